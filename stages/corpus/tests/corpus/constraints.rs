//! A small checker of the IFEval constraints that the corpus uses, written from their definitions and not from the generator.

use serde_json::Value;

/// Whether the reply keeps the constraint.
pub fn satisfied(id: &str, kwargs: &Value, reply: &str) -> bool {
    let text = |key: &str| kwargs[key].as_str().unwrap_or_else(|| panic!("{id} lacks {key}")).to_owned();
    let number = |key: &str| kwargs[key].as_u64().unwrap_or_else(|| panic!("{id} lacks {key}")) as usize;
    let list = |key: &str| -> Vec<String> {
        let items = kwargs[key].as_array().unwrap_or_else(|| panic!("{id} lacks {key}"));
        items.iter().map(|v| v.as_str().unwrap().to_lowercase()).collect()
    };
    let lower = reply.to_lowercase();
    match id {
        "punctuation:no_comma" => !reply.contains(','),
        "change_case:english_lowercase" => reply == lower && reply.chars().any(char::is_lowercase),
        "startend:quotation" => reply.len() > 1 && reply.starts_with('"') && reply.ends_with('"'),
        "startend:end_checker" => lower.trim().trim_matches('"').ends_with(text("end_phrase").to_lowercase().trim()),
        "detectable_format:title" => reply.lines().any(|line| {
            let inner = line.find("<<").zip(line.rfind(">>")).and_then(|(start, end)| line.get(start + 2..end));
            inner.is_some_and(|title| !title.trim().is_empty())
        }),
        "detectable_format:number_bullet_lists" => {
            reply.lines().filter(|line| line.trim_start().starts_with(['*', '-'])).count() == number("num_bullets")
        }
        "detectable_format:constrained_response" => {
            ["yes", "no", "maybe"].iter().any(|word| reply.contains(&format!("My answer is {word}.")))
        }
        "detectable_content:postscript" => lower.contains(&text("postscript_marker").to_lowercase()),
        "length_constraints:number_paragraphs" => {
            let parts: Vec<&str> = reply.split("***").collect();
            parts.iter().all(|part| !part.trim().is_empty()) && parts.len() == number("num_paragraphs")
        }
        "length_constraints:number_sentences" => {
            let sentences = reply.split(['.', '!', '?']).filter(|part| !part.trim().is_empty()).count();
            match text("relation").as_str() {
                "at least" => sentences >= number("num_sentences"),
                "less than" => sentences < number("num_sentences"),
                other => panic!("unknown relation {other}"),
            }
        }
        "keywords:existence" => list("keywords").iter().all(|word| lower.contains(word)),
        "keywords:forbidden_words" => {
            let words: Vec<&str> = lower.split(|c: char| !c.is_alphanumeric()).collect();
            list("forbidden_words").iter().all(|word| !words.contains(&word.as_str()))
        }
        other => panic!("unknown constraint {other}"),
    }
}
