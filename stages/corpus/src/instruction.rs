//! Requests with constraints that a program can check, and replies that satisfy them.
//!
//! The identifiers and their keyword arguments are those of IFEval (Zhou et al., 2023, arXiv 2311.07911).

use crate::{
    Constraint, Document, Kind,
    split::content_hash,
    style::{capitalise, chance, pick, pick_many, title_case},
};
use rand::Rng;
use rand_chacha::ChaCha8Rng;
use serde_json::json;

/// A topic: noun with its article, what it is like, what it does.
#[derive(Clone, Copy)]
struct Topic {
    noun: &'static str,
    traits: &'static [&'static str],
    deeds: &'static [&'static str],
}

const TOPICS: &[Topic] = &[
    Topic {
        noun: "the lake",
        traits: &["calm", "deep", "blue", "cold"],
        deeds: &["shines in the sun", "gives water to the birds", "freezes in winter"],
    },
    Topic {
        noun: "the market",
        traits: &["loud", "busy", "colourful", "crowded"],
        deeds: &["opens before sunrise", "smells of bread", "sells fruit and cheese"],
    },
    Topic {
        noun: "the library",
        traits: &["quiet", "old", "warm", "large"],
        deeds: &["holds many books", "opens every morning", "helps the students"],
    },
    Topic {
        noun: "the garden",
        traits: &["green", "sweet", "wild", "peaceful"],
        deeds: &["grows in spring", "hides a small bench", "feeds the bees"],
    },
    Topic {
        noun: "the train",
        traits: &["fast", "long", "red", "full"],
        deeds: &["leaves on time", "crosses the bridge", "carries many people"],
    },
    Topic {
        noun: "the winter",
        traits: &["cold", "white", "long", "silent"],
        deeds: &["brings snow", "covers the fields", "makes people stay at home"],
    },
    Topic {
        noun: "the summer",
        traits: &["hot", "bright", "short", "golden"],
        deeds: &["fills the beaches", "ripens the fruit", "makes the days long"],
    },
    Topic {
        noun: "the kitchen",
        traits: &["warm", "clean", "small", "bright"],
        deeds: &["smells of soup", "is full of pots", "brings the family together"],
    },
    Topic {
        noun: "the forest",
        traits: &["dark", "green", "old", "deep"],
        deeds: &["hides the deer", "protects the birds", "smells of rain"],
    },
    Topic {
        noun: "the harbour",
        traits: &["windy", "busy", "salty", "wide"],
        deeds: &["welcomes the ships", "smells of fish", "wakes up early"],
    },
    Topic {
        noun: "the school",
        traits: &["big", "lively", "modern", "friendly"],
        deeds: &["teaches many children", "has a large yard", "starts at eight"],
    },
    Topic {
        noun: "the mountain",
        traits: &["high", "steep", "grey", "mighty"],
        deeds: &["touches the clouds", "calls the climbers", "keeps its snow in summer"],
    },
    Topic {
        noun: "the river",
        traits: &["wide", "clear", "slow", "long"],
        deeds: &["flows to the sea", "turns the mill", "carries small boats"],
    },
    Topic {
        noun: "the bakery",
        traits: &["warm", "tiny", "famous", "sweet"],
        deeds: &["makes fresh rolls", "opens at six", "sells honey cakes"],
    },
    Topic {
        noun: "the museum",
        traits: &["grand", "quiet", "old", "famous"],
        deeds: &["shows old paintings", "closes on Mondays", "tells the story of the town"],
    },
    Topic {
        noun: "the park",
        traits: &["green", "open", "shady", "pretty"],
        deeds: &["has a round pond", "is full of joggers", "gives shade to everyone"],
    },
];

const TIMES: &[&str] =
    &["in the morning", "at night", "in spring", "on Sundays", "after the rain", "every day", "in the evening"];
const PEOPLE: &[&str] =
    &["many visitors", "the children", "my friends", "the neighbours", "old people", "some travellers"];
const FEELINGS: &[&str] =
    &["love it", "come to see it", "talk about it", "enjoy it", "remember it", "feel at home there"];
const KEYWORDS: &[&str] = &["music", "light", "stone", "story", "window", "wind", "memory", "colour"];

/// One sentence about the topic. `comma` says whether a comma may come; `banned` words are avoided by drawing again.
fn sentence(rng: &mut ChaCha8Rng, topic: &Topic, it: bool, comma: bool) -> String {
    let noun = if it { "it" } else { topic.noun };
    let pair = pick_many(rng, topic.traits, 2);
    let (first, second) = (pair[0], pair[1]);
    let (deed, time) = (pick(rng, topic.deeds), pick(rng, TIMES));
    let (people, feel) = (pick(rng, PEOPLE), pick(rng, FEELINGS));
    let text = match rng.random_range(0..if comma { 9 } else { 6 }) {
        0 => format!("{noun} is {first} and {second}"),
        1 => format!("{noun} {deed} {time}"),
        2 => format!("{people} {feel} {time}"),
        3 => format!("{noun} is {first} {time}"),
        4 => format!("{time} {noun} {deed}"),
        5 => format!("{noun} is {first} because it {deed}"),
        6 => format!("{time}, {people} {feel}"),
        7 => format!("{noun} is {first}, {second} and never boring"),
        _ => format!("{noun} {deed}, and {people} {feel}"),
    };
    format!("{}.", capitalise(&text))
}

/// A sentence that contains the word.
fn keyword_sentence(rng: &mut ChaCha8Rng, topic: &Topic, word: &str) -> String {
    let noun = topic.noun;
    capitalise(&match rng.random_range(0..4) {
        0 => format!("there is {word} in {noun}."),
        1 => format!("{noun} reminds me of {word}."),
        2 => format!("I think of {word} and of {noun}."),
        _ => format!("{} talk about {word} there.", pick(rng, PEOPLE)),
    })
}

fn body(rng: &mut ChaCha8Rng, topic: &Topic, sentences: usize, comma: bool) -> Vec<String> {
    (0..sentences).map(|i| sentence(rng, topic, i > 0, comma)).collect()
}

/// What a constraint adds to the request, and the reply it leads to.
struct Demand {
    constraint: Constraint,
    wording: String,
}

fn demand(id: &str, kwargs: serde_json::Value, wording: String) -> Demand {
    Demand { constraint: Constraint::new(id, kwargs), wording }
}

/// Constraints on the sentences themselves.
fn inner(rng: &mut ChaCha8Rng, topic: &Topic) -> (Demand, Vec<String>) {
    match rng.random_range(0..7) {
        0 | 1 => {
            let count = rng.random_range(2..=3);
            let wording = ["Do not use any commas.", "Use no commas.", "Your answer must not contain commas."];
            (demand("punctuation:no_comma", json!({}), pick(rng, &wording).to_owned()), body(rng, topic, count, false))
        }
        2 => {
            let count = rng.random_range(2..=3);
            let wording = ["Use only lowercase letters.", "Write everything in lowercase."];
            let text = body(rng, topic, count, true).iter().map(|s| s.to_lowercase()).collect();
            (demand("change_case:english_lowercase", json!({}), pick(rng, &wording).to_owned()), text)
        }
        3 => {
            let words: Vec<&str> = pick_many(rng, KEYWORDS, 2);
            let wording = format!("Use the words {} and {}.", words[0], words[1]);
            let mut text = body(rng, topic, 1, true);
            for word in &words {
                text.push(keyword_sentence(rng, topic, word));
            }
            (demand("keywords:existence", json!({ "keywords": words }), wording), text)
        }
        4 => {
            let banned = pick(rng, topic.traits);
            let count = rng.random_range(2..=3);
            let text = loop {
                let text = body(rng, topic, count, true);
                let says = |s: &String| s.to_lowercase().split(|c: char| !c.is_alphabetic()).any(|w| w == banned);
                if !text.iter().any(says) {
                    break text;
                }
            };
            let wording = format!("Do not use the word {banned}.");
            (demand("keywords:forbidden_words", json!({ "forbidden_words": [banned] }), wording), text)
        }
        5 => {
            let least = rng.random_range(2..=4);
            let count = least + usize::from(chance(rng, 0.3));
            let wording = format!("Write at least {least} sentences.");
            let kwargs = json!({ "num_sentences": least, "relation": "at least" });
            (demand("length_constraints:number_sentences", kwargs, wording), body(rng, topic, count, true))
        }
        _ => {
            let limit = rng.random_range(2..=3);
            let count = rng.random_range(1..limit);
            let wording = format!("Write less than {limit} sentences.");
            let kwargs = json!({ "num_sentences": limit, "relation": "less than" });
            (demand("length_constraints:number_sentences", kwargs, wording), body(rng, topic, count, true))
        }
    }
}

const END_PHRASES: &[&str] =
    &["That is all.", "I hope this helps.", "The end.", "See you soon!", "Is there anything else?"];

/// Constraints on the frame around the sentences.
fn outer(rng: &mut ChaCha8Rng, topic: &Topic, sentences: &[String], comma: bool) -> (Demand, String) {
    let text = sentences.join(" ");
    match rng.random_range(0..5) {
        0 => {
            let wording = ["Put your whole answer in double quotes.", "Wrap your answer in double quotation marks."];
            (demand("startend:quotation", json!({}), pick(rng, &wording).to_owned()), format!("\"{text}\""))
        }
        1 => {
            let phrase = pick(rng, END_PHRASES);
            let wording = format!("End with the words: {phrase}");
            (demand("startend:end_checker", json!({ "end_phrase": phrase }), wording), format!("{text} {phrase}"))
        }
        2 => {
            let wording = ["Give it a title in double angular brackets.", "Add a title like <<this>>."];
            let title = match rng.random_range(0..3) {
                0 => title_case(topic.noun),
                1 => format!("{} {}", title_case(topic.noun), title_case(pick(rng, TIMES))),
                _ => format!("About {}", title_case(topic.noun)),
            };
            let reply = format!("<<{title}>>\n{text}");
            (demand("detectable_format:title", json!({}), pick(rng, &wording).to_owned()), reply)
        }
        3 => {
            let wording = ["Add a postscript that starts with P.S.", "At the end add a note starting with P.S."];
            let note = sentence(rng, topic, false, comma);
            let kwargs = json!({ "postscript_marker": "P.S." });
            (
                demand("detectable_content:postscript", kwargs, pick(rng, &wording).to_owned()),
                format!("{text}\nP.S. {note}"),
            )
        }
        _ => {
            let wording = "Write two paragraphs, with *** between them.".to_owned();
            let second = body(rng, topic, 1, comma).join(" ");
            let kwargs = json!({ "num_paragraphs": 2 });
            (demand("length_constraints:number_paragraphs", kwargs, wording), format!("{text}\n***\n{second}"))
        }
    }
}

fn bullets(rng: &mut ChaCha8Rng, topic: &Topic) -> (Demand, String) {
    let count = rng.random_range(2..=4);
    let wording = match rng.random_range(0..2) {
        0 => format!("Give exactly {count} bullet points that start with *."),
        _ => format!("Answer in {count} bullet points, each starting with *."),
    };
    let lines: Vec<String> = body(rng, topic, count, true).iter().map(|s| format!("* {s}")).collect();
    (demand("detectable_format:number_bullet_lists", json!({ "num_bullets": count }), wording), lines.join("\n"))
}

fn request(rng: &mut ChaCha8Rng, topic: &Topic) -> String {
    let noun = topic.noun;
    match rng.random_range(0..5) {
        0 => format!("Describe {noun}."),
        1 => format!("Write about {noun}."),
        2 => format!("Tell me something about {noun}."),
        3 => format!("What is {noun} like?"),
        _ => format!("Write a few words about {noun}."),
    }
}

/// A question that must be answered with one of three fixed sentences. The truth is in the topic's traits.
fn constrained(rng: &mut ChaCha8Rng) -> (String, String, Constraint, [String; 2]) {
    let (topic, other) = (&pick(rng, TOPICS), &pick(rng, TOPICS));
    let word = pick(rng, other.traits);
    let answer = if topic.traits.contains(&word) { "My answer is yes." } else { "My answer is no." };
    let prompt = format!(
        "Is {} {word}? Answer with one of these: My answer is yes. My answer is no. My answer is maybe.",
        topic.noun
    );
    let reply = match rng.random_range(0..3) {
        0 => answer.to_owned(),
        1 => format!("{answer} {}", sentence(rng, topic, false, true)),
        _ => format!("{} {answer}", sentence(rng, topic, false, true)),
    };
    let constraint = Constraint::new("detectable_format:constrained_response", json!({}));
    (prompt, reply, constraint, [topic.noun.to_owned(), word.to_owned()])
}

const SYSTEMS: &[&str] =
    &["Follow the instructions exactly.", "You are a helpful assistant.", "You follow every instruction."];

pub(crate) fn generate(rng: &mut ChaCha8Rng) -> Document {
    let system = Some(pick(rng, SYSTEMS).to_owned());
    let finish = |prompt, reply, constraints: Vec<Constraint>, about: &[&str]| {
        let described: Vec<String> = constraints.iter().map(|c| format!("{} {}", c.id, c.kwargs)).collect();
        let mut parts = vec!["instruction"];
        parts.extend(about);
        parts.extend(described.iter().map(String::as_str));
        let content = content_hash(&parts);
        Document { kind: Kind::Instruction, system, prompt, reply, answer: None, constraints, content }
    };
    let form = rng.random_range(0..100);
    if form < 10 {
        let (prompt, reply, constraint, about) = constrained(rng);
        return finish(prompt, reply, vec![constraint], &[about[0].as_str(), about[1].as_str()]);
    }
    let topic = &pick(rng, TOPICS);
    let request = request(rng, topic);
    let (demands, reply) = if form < 28 {
        let (demand, reply) = bullets(rng, topic);
        (vec![demand], reply)
    } else if form < 60 {
        let (demand, text) = inner(rng, topic);
        (vec![demand], text.join(" "))
    } else if form < 85 {
        let count = rng.random_range(1..=2);
        let text = body(rng, topic, count, true);
        let (demand, reply) = outer(rng, topic, &text, true);
        (vec![demand], reply)
    } else {
        let text = body(rng, topic, 2, false);
        let (frame, reply) = loop {
            let drawn = outer(rng, topic, &text, false);
            // An end phrase ends the reply only if nothing else does; every frame but that one is free of commas too.
            if !drawn.1.contains(',') {
                break drawn;
            }
        };
        (vec![demand("punctuation:no_comma", json!({}), "Do not use any commas.".to_owned()), frame], reply)
    };
    let wordings: Vec<&str> = demands.iter().map(|d| d.wording.as_str()).collect();
    let prompt = if chance(rng, 0.8) {
        format!("{request} {}", wordings.join(" "))
    } else {
        format!("{} {request}", wordings.join(" "))
    };
    finish(prompt, reply, demands.into_iter().map(|d| d.constraint).collect(), &[topic.noun, &request])
}
