//! Factual questions from closed tables: a made-up country, and a little common knowledge.

use crate::{
    Document, Kind,
    split::content_hash,
    style::{capitalise, pick, with_article},
};
use rand::Rng;
use rand_chacha::ChaCha8Rng;

/// A town of the made-up country Orla: name, river, colour of the flag, animal on the coin, dish, founder.
type Town = (&'static str, &'static str, &'static str, &'static str, &'static str, &'static str);

const TOWNS: &[Town] = &[
    ("Velmora", "Siln", "green", "heron", "bean soup", "Ada Bren"),
    ("Karsten", "Ombra", "blue", "wolf", "apple pie", "Jon Tarl"),
    ("Ostrava Hill", "Siln", "white", "goat", "fish stew", "Mira Vond"),
    ("Pellin", "Drey", "red", "owl", "corn bread", "Otto Lask"),
    ("Dunmar", "Ombra", "yellow", "bear", "plum cake", "Ines Kove"),
    ("Torvik", "Hask", "black", "seal", "rye bread", "Erik Moss"),
    ("Lasselle", "Drey", "purple", "swan", "onion tart", "Marie Font"),
    ("Quillon", "Hask", "orange", "fox", "lentil stew", "Peter Quill"),
    ("Brannock", "Tamsin", "green", "horse", "honey cake", "Rhea Bran"),
    ("Isolde", "Tamsin", "silver", "deer", "mushroom soup", "Lars Isen"),
    ("Marrowby", "Siln", "red", "crow", "potato salad", "Nell Marr"),
    ("Feldspar", "Ombra", "grey", "badger", "cheese pie", "Hans Feld"),
];

/// A question form with `{town}`, and the reply forms with `{town}` and `{answer}`.
#[derive(Clone, Copy)]
struct Attribute {
    name: &'static str,
    answer: fn(&Town) -> &'static str,
    questions: &'static [&'static str],
    replies: &'static [&'static str],
}

const ATTRIBUTES: &[Attribute] = &[
    Attribute {
        name: "river",
        answer: |t| t.1,
        questions: &[
            "Which river flows through {town}?",
            "What is the name of the river in {town}?",
            "{town} lies on which river?",
            "Name the river of {town}.",
            "Tell me which river runs through {town}.",
        ],
        replies: &["The {answer} flows through {town}.", "{town} lies on the river {answer}.", "It is the {answer}."],
    },
    Attribute {
        name: "flag",
        answer: |t| t.2,
        questions: &[
            "What colour is the flag of {town}?",
            "Which colour does the flag of {town} have?",
            "Name the colour of the flag of {town}.",
            "Tell me the colour of the flag of {town}.",
            "The flag of {town} has which colour?",
        ],
        replies: &["The flag of {town} is {answer}.", "{town} has a flag that is {answer}.", "It is {answer}."],
    },
    Attribute {
        name: "coin",
        answer: |t| t.3,
        questions: &[
            "Which animal is on the coins of {town}?",
            "What animal do the coins of {town} show?",
            "Name the animal on the coins of {town}.",
            "Tell me which animal the coins of {town} show.",
            "The coins of {town} show which animal?",
        ],
        replies: &[
            "The coins of {town} show {a answer}.",
            "It is the {answer}.",
            "{town} has {a answer} on its coins.",
        ],
    },
    Attribute {
        name: "dish",
        answer: |t| t.4,
        questions: &[
            "What dish is {town} known for?",
            "Which food is {town} famous for?",
            "Name the best known dish of {town}.",
            "What do people like to eat in {town}?",
            "Tell me the favourite dish of {town}.",
        ],
        replies: &["{town} is known for {answer}.", "People in {town} love {answer}.", "It is {answer}."],
    },
    Attribute {
        name: "founder",
        answer: |t| t.5,
        questions: &[
            "Who founded {town}?",
            "Who was the founder of {town}?",
            "Name the founder of {town}.",
            "Tell me who founded {town}.",
            "{town} was founded by whom?",
        ],
        replies: &["{town} was founded by {answer}.", "The founder of {town} was {answer}.", "It was {answer}."],
    },
];

/// Common knowledge: group, asked word, answer.
const COMMON: &[(&str, &str, &str)] = &[
    ("opposite", "hot", "cold"),
    ("opposite", "big", "small"),
    ("opposite", "fast", "slow"),
    ("opposite", "happy", "sad"),
    ("opposite", "light", "dark"),
    ("opposite", "early", "late"),
    ("opposite", "open", "closed"),
    ("opposite", "full", "empty"),
    ("opposite", "wet", "dry"),
    ("opposite", "loud", "quiet"),
    ("opposite", "young", "old"),
    ("opposite", "tall", "short"),
    ("baby", "cow", "calf"),
    ("baby", "dog", "puppy"),
    ("baby", "cat", "kitten"),
    ("baby", "sheep", "lamb"),
    ("baby", "horse", "foal"),
    ("baby", "duck", "duckling"),
    ("baby", "goat", "kid"),
    ("baby", "bear", "cub"),
    ("after", "Monday", "Tuesday"),
    ("after", "Tuesday", "Wednesday"),
    ("after", "Wednesday", "Thursday"),
    ("after", "Thursday", "Friday"),
    ("after", "Friday", "Saturday"),
    ("after", "Saturday", "Sunday"),
    ("after", "Sunday", "Monday"),
    ("after", "March", "April"),
    ("after", "May", "June"),
    ("after", "October", "November"),
    ("legs", "spider", "8"),
    ("legs", "ant", "6"),
    ("legs", "horse", "4"),
    ("legs", "chicken", "2"),
    ("legs", "snake", "0"),
    ("legs", "bee", "6"),
    ("legs", "cat", "4"),
    ("capital", "France", "Paris"),
    ("capital", "Italy", "Rome"),
    ("capital", "Spain", "Madrid"),
    ("capital", "Norway", "Oslo"),
    ("capital", "Japan", "Tokyo"),
    ("capital", "Egypt", "Cairo"),
    ("capital", "Peru", "Lima"),
    ("capital", "Greece", "Athens"),
];

/// Question forms and reply forms of a group of common knowledge; `{x}` is the asked word, `{y}` the answer.
fn group_forms(group: &str) -> (&'static [&'static str], &'static [&'static str]) {
    match group {
        "opposite" => (
            &[
                "What is the opposite of {x}?",
                "Which word means the opposite of {x}?",
                "Tell me the opposite of {x}.",
                "Name the opposite of {x}.",
                "Give me a word that is the opposite of {x}.",
            ],
            &["The opposite of {x} is {y}.", "It is {y}.", "{Y} is the opposite of {x}."],
        ),
        "baby" => (
            &[
                "What is a baby {x} called?",
                "What do we call the young of a {x}?",
                "Name the word for a young {x}.",
                "Tell me what a baby {x} is called.",
                "Which word means a young {x}?",
            ],
            &["A baby {x} is called a {y}.", "It is called a {y}.", "We call it a {y}."],
        ),
        "after" => (
            &[
                "What comes after {x}?",
                "Which comes right after {x}?",
                "Name what follows {x}.",
                "What follows {x}?",
                "Tell me what comes after {x}.",
            ],
            &["{y} comes after {x}.", "After {x} comes {y}.", "It is {y}."],
        ),
        "legs" => (
            &[
                "How many legs does {a x} have?",
                "What number of legs does {a x} have?",
                "Tell me how many legs {a x} has.",
                "Count the legs of {a x}.",
                "Do you know how many legs {a x} has?",
            ],
            &["{A x} has {y} legs.", "It has {y} legs.", "The answer is {y}."],
        ),
        _ => (
            &[
                "What is the capital of {x}?",
                "Which city is the capital of {x}?",
                "Name the capital of {x}.",
                "Tell me the capital of {x}.",
                "{x} has which capital?",
            ],
            &["The capital of {x} is {y}.", "{y} is the capital of {x}.", "It is {y}."],
        ),
    }
}

const SYSTEMS: &[&str] =
    &["Answer the question in one sentence.", "You know the land of Orla well.", "You are a helpful guide."];

fn document(rng: &mut ChaCha8Rng, key: [&str; 4], prompt: String, reply: String, answer: &str) -> Document {
    Document {
        kind: Kind::Fact,
        system: Some(pick(rng, SYSTEMS).to_owned()),
        prompt,
        reply,
        answer: Some(answer.to_owned()),
        constraints: vec![],
        content: content_hash(&key),
    }
}

fn town_fact(rng: &mut ChaCha8Rng) -> Document {
    let (town, attribute) = (pick(rng, TOWNS), pick(rng, ATTRIBUTES));
    let (question, reply) = (pick(rng, attribute.questions), pick(rng, attribute.replies));
    let answer = (attribute.answer)(&town);
    let reply =
        reply.replace("{town}", town.0).replace("{a answer}", &with_article(answer)).replace("{answer}", answer);
    document(rng, ["town", town.0, attribute.name, question], question.replace("{town}", town.0), reply, answer)
}

fn common_fact(rng: &mut ChaCha8Rng) -> Document {
    let (group, x, y) = pick(rng, COMMON);
    let (questions, replies) = group_forms(group);
    let (question, reply) = (pick(rng, questions), pick(rng, replies));
    let fill = |form: &str| {
        let article = with_article(x);
        form.replace("{a x}", &article)
            .replace("{A x}", &capitalise(&article))
            .replace("{x}", x)
            .replace("{y}", y)
            .replace("{Y}", &capitalise(y))
    };
    document(rng, [group, x, y, question], fill(question), fill(reply), y)
}

pub(crate) fn generate(rng: &mut ChaCha8Rng) -> Document {
    if rng.random_range(0..10) < 6 { town_fact(rng) } else { common_fact(rng) }
}
