//! No reply, keyword pattern or ground truth may make a checker panic, hang or allocate without bound.

#![no_main]

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use lsn_labels::{
    language,
    verifiable::{
        ifeval::{INSTRUCTION_IDS, Instruction},
        rlvr::{self, Edition, FUNCTIONS},
    },
};
use serde_json::json;

#[derive(Debug, Arbitrary)]
struct Row<'a> {
    id: u8,
    text: &'a str,
    other: &'a str,
    count: u16,
    less: bool,
    reply: &'a str,
}

fuzz_target!(|row: Row<'_>| {
    let (text, count) = (row.text, row.count % 40);
    let relation = if row.less { "less than" } else { "at least" };
    let arguments = json!({
        "keywords": [text, row.other], "keyword": text, "forbidden_words": [text, row.other],
        "frequency": count, "relation": relation, "letter": text, "let_frequency": count, "let_relation": relation,
        "language": text, "num_sentences": count, "num_paragraphs": count, "num_words": count, "nth_paragraph": 1,
        "first_word": text, "num_placeholders": count, "postscript_marker": text, "num_bullets": count,
        "num_highlights": count, "section_spliter": text, "num_sections": count, "prompt_to_repeat": text,
        "end_phrase": text, "capital_frequency": count, "capital_relation": relation,
    });
    if let (Some(id), Some(arguments)) = (INSTRUCTION_IDS.get(usize::from(row.id)), arguments.as_object())
        && let Ok(instruction) = Instruction::parse(id, arguments)
    {
        let judged = instruction.judge(row.reply);
        assert_eq!(judged.strict, instruction.strict(row.reply));
        assert!(judged.strict != Ok(true) || judged.loose == Ok(true), "strict implies loose");
    } else if let Some((name, names)) = FUNCTIONS.get(usize::from(row.id) - INSTRUCTION_IDS.len().min(row.id.into())) {
        let mut truth = json!({"func_name": name});
        for name in *names {
            truth[name] = match *name {
                "N" => json!(count),
                "i" => json!(1),
                "quantifier" => json!(if row.less { "around" } else { "at least" }),
                "keyword_list" | "forbidden_words" | "options" => json!([text, row.other]),
                _ => json!(text),
            };
        }
        for edition in [Edition::First, Edition::Revised] {
            let _ = rlvr::verify(row.reply, &truth, edition);
        }
        let _ = rlvr::verify(row.reply, &json!(text), Edition::First);
    } else {
        let _ = language::detect(row.reply);
    }
});
