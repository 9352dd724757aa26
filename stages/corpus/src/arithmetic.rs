//! Word problems of one or two steps with `+`, `-` and `×` (written `*`) on small numbers.

use crate::{
    Document, Kind,
    split::content_hash,
    style::{Person, chance, pick},
    words::{CONTAINERS, GOODS, OBJECTS},
};
use rand::Rng;
use rand_chacha::ChaCha8Rng;

/// One line of working: what is computed, and a sentence that leads to it.
struct Step {
    lead: String,
    left: i64,
    op: char,
    right: i64,
}

impl Step {
    fn new(lead: String, left: i64, op: char, right: i64) -> Self {
        Self { lead, left, op, right }
    }

    fn result(&self) -> i64 {
        match self.op {
            '+' => self.left + self.right,
            '-' => self.left - self.right,
            _ => self.left * self.right,
        }
    }

    fn equation(&self) -> String {
        format!("{} {} {} = {}", self.left, self.op, self.right, self.result())
    }
}

/// A problem before it is put into words of a reply.
struct Problem {
    scenario: &'static str,
    numbers: Vec<i64>,
    prompt: String,
    steps: Vec<Step>,
    /// The closing sentence; `#` stands for the result.
    closing: String,
}

/// Mostly up to 20, sometimes up to 60.
fn amount(rng: &mut ChaCha8Rng) -> i64 {
    if chance(rng, 0.7) { rng.random_range(3..=20) } else { rng.random_range(21..=60) }
}

/// Mostly up to 9, sometimes up to 30.
fn change(rng: &mut ChaCha8Rng) -> i64 {
    if chance(rng, 0.7) { rng.random_range(2..=9) } else { rng.random_range(10..=30) }
}

fn factor(rng: &mut ChaCha8Rng) -> i64 {
    rng.random_range(2..=9)
}

/// Draws a part of `whole`, at least 1 and less than the whole.
fn part_of(rng: &mut ChaCha8Rng, whole: i64) -> i64 {
    change(rng).min(whole - 1).max(1)
}

const GAINS: &[(&str, &str)] =
    &[("buys", "buying"), ("finds", "finding"), ("gets", "getting"), ("picks up", "picking up")];
const LOSSES: &[(&str, &str)] =
    &[("gives away", "giving away"), ("loses", "losing"), ("sells", "selling"), ("uses", "using")];

fn gain(rng: &mut ChaCha8Rng) -> Problem {
    let (p, a, b) = (Person::draw(rng), amount(rng), change(rng));
    let (obj, (verb, gerund)) = (pick(rng, OBJECTS), pick(rng, GAINS));
    let (name, he) = (p.name, p.capital_he());
    let prompt = match rng.random_range(0..3) {
        0 => format!("{name} has {a} {obj}. {he} {verb} {b} more. How many {obj} does {name} have now?"),
        1 => format!("{name} had {a} {obj} and then {verb} {b} more {obj}. How many {obj} is that in all?"),
        _ => format!("If {name} has {a} {obj} and {verb} {b} more, how many {obj} does {} have?", p.he),
    };
    let lead = match rng.random_range(0..3) {
        0 => format!("{name} starts with {a} {obj}. After {gerund} {b} more, {} has", p.he),
        1 => format!("We add {b} to the {a} {obj}:"),
        _ => format!("{name} has {a} {obj} and {verb} {b}, which makes"),
    };
    let closing = format!("{name} has # {obj} now.");
    Problem { scenario: "gain", numbers: vec![a, b], prompt, steps: vec![Step::new(lead, a, '+', b)], closing }
}

fn loss(rng: &mut ChaCha8Rng) -> Problem {
    let (p, a) = (Person::draw(rng), amount(rng));
    let b = part_of(rng, a);
    let (obj, (verb, gerund)) = (pick(rng, OBJECTS), pick(rng, LOSSES));
    let (name, he) = (p.name, p.capital_he());
    let prompt = match rng.random_range(0..3) {
        0 => format!("{name} has {a} {obj}. {he} {verb} {b} of them. How many {obj} are left?"),
        1 => format!("{name} had {a} {obj} but {verb} {b}. How many {obj} does {} still have?", p.he),
        _ => format!("If {name} has {a} {obj} and {verb} {b} of them, how many {obj} are left?"),
    };
    let lead = match rng.random_range(0..3) {
        0 => format!("{name} starts with {a} {obj}. After {gerund} {b}, {} has", p.he),
        1 => format!("We take {b} from the {a} {obj}:"),
        _ => format!("{name} has {a} {obj} and {verb} {b}, which leaves"),
    };
    let closing = format!("{name} has # {obj} left.");
    Problem { scenario: "loss", numbers: vec![a, b], prompt, steps: vec![Step::new(lead, a, '-', b)], closing }
}

fn groups(rng: &mut ChaCha8Rng) -> Problem {
    let (p, a, b) = (Person::draw(rng), factor(rng), factor(rng));
    let (obj, (plural, singular), name) = (pick(rng, OBJECTS), pick(rng, CONTAINERS), p.name);
    let prompt = match rng.random_range(0..3) {
        0 => format!("{name} has {a} {plural} with {b} {obj} in each {singular}. How many {obj} are there in all?"),
        1 => format!("There are {a} {plural} of {obj}. Each {singular} has {b} {obj}. How many {obj} are there?"),
        _ => format!("{name} puts {b} {obj} into each of {a} {plural}. How many {obj} does {} need?", p.he),
    };
    let lead = match rng.random_range(0..2) {
        0 => format!("There are {a} {plural} with {b} {obj} each, so we have"),
        _ => format!("We multiply the {plural} by the {obj} in each {singular}:"),
    };
    let closing = format!("There are # {obj} in all.");
    Problem { scenario: "groups", numbers: vec![a, b], prompt, steps: vec![Step::new(lead, a, '*', b)], closing }
}

fn together(rng: &mut ChaCha8Rng) -> Problem {
    let (p, mut q, a, b) = (Person::draw(rng), Person::draw(rng), amount(rng), change(rng));
    while q.name == p.name {
        q = Person::draw(rng);
    }
    let (obj, n, m) = (pick(rng, OBJECTS), p.name, q.name);
    let prompt = match rng.random_range(0..2) {
        0 => format!("{n} has {a} {obj} and {m} has {b} {obj}. How many {obj} do they have together?"),
        _ => format!("{n} and {m} collect {obj}. {n} has {a} and {m} has {b}. How many do they have in all?"),
    };
    let lead = match rng.random_range(0..2) {
        0 => format!("{n} has {a} and {m} has {b}, so together they have"),
        _ => format!("We add what {n} and {m} have:"),
    };
    let closing = format!("They have # {obj} together.");
    Problem { scenario: "together", numbers: vec![a, b], prompt, steps: vec![Step::new(lead, a, '+', b)], closing }
}

fn difference(rng: &mut ChaCha8Rng) -> Problem {
    let (p, mut q, a) = (Person::draw(rng), Person::draw(rng), amount(rng));
    while q.name == p.name {
        q = Person::draw(rng);
    }
    let b = part_of(rng, a);
    let (obj, n, m) = (pick(rng, OBJECTS), p.name, q.name);
    let prompt = match rng.random_range(0..2) {
        0 => format!("{n} has {a} {obj} and {m} has {b}. How many more {obj} does {n} have than {m}?"),
        _ => format!("{m} has {b} {obj}. {n} has {a} {obj}. How many more does {n} have?"),
    };
    let lead = match rng.random_range(0..2) {
        0 => format!("{n} has {a} and {m} has {b}, so the difference is"),
        _ => format!("We take what {m} has from what {n} has:"),
    };
    let closing = format!("{n} has # more {obj} than {m}.");
    Problem { scenario: "difference", numbers: vec![a, b], prompt, steps: vec![Step::new(lead, a, '-', b)], closing }
}

fn price(rng: &mut ChaCha8Rng) -> Problem {
    let (p, k, cost, (one, many)) = (Person::draw(rng), factor(rng), factor(rng), pick(rng, GOODS));
    let name = p.name;
    let prompt = match rng.random_range(0..2) {
        0 => format!("One {one} costs {cost} coins. How many coins do {k} {many} cost?"),
        _ => format!("{name} buys {k} {many}. Each {one} costs {cost} coins. How many coins does {} pay?", p.he),
    };
    let lead = match rng.random_range(0..2) {
        0 => format!("Each of the {k} {many} costs {cost} coins, which makes"),
        _ => format!("We multiply the {many} by the price of one {one}:"),
    };
    let closing = format!("The {many} cost # coins.");
    Problem { scenario: "price", numbers: vec![k, cost], prompt, steps: vec![Step::new(lead, k, '*', cost)], closing }
}

fn gain_loss(rng: &mut ChaCha8Rng) -> Problem {
    let (p, a, b) = (Person::draw(rng), amount(rng), change(rng));
    let c = part_of(rng, a + b);
    let (obj, (up, ups), (down, downs)) = (pick(rng, OBJECTS), pick(rng, GAINS), pick(rng, LOSSES));
    let (name, he) = (p.name, p.capital_he());
    let prompt = match rng.random_range(0..2) {
        0 => format!("{name} has {a} {obj}. {he} {up} {b} more and then {down} {c}. How many {obj} are left?"),
        _ => format!("{name} had {a} {obj}. First {} {up} {b}. Then {} {down} {c}. How many {obj} now?", p.he, p.he),
    };
    let steps = vec![
        Step::new(format!("After {ups} {b}, {name} has"), a, '+', b),
        Step::new(format!("After {downs} {c}, {} has", p.he), a + b, '-', c),
    ];
    let closing = format!("{name} has # {obj} left.");
    Problem { scenario: "gain_loss", numbers: vec![a, b, c], prompt, steps, closing }
}

fn loss_gain(rng: &mut ChaCha8Rng) -> Problem {
    let (p, a) = (Person::draw(rng), amount(rng));
    let (b, c) = (part_of(rng, a), change(rng));
    let (obj, (up, ups), (down, downs)) = (pick(rng, OBJECTS), pick(rng, GAINS), pick(rng, LOSSES));
    let (name, he) = (p.name, p.capital_he());
    let prompt = match rng.random_range(0..2) {
        0 => format!("{name} has {a} {obj}. {he} {down} {b} and then {up} {c}. How many {obj} does {name} have now?"),
        _ => format!("{name} had {a} {obj}. First {} {down} {b}. Then {} {up} {c}. How many {obj} now?", p.he, p.he),
    };
    let steps = vec![
        Step::new(format!("After {downs} {b}, {name} has"), a, '-', b),
        Step::new(format!("After {ups} {c}, {} has", p.he), a - b, '+', c),
    ];
    let closing = format!("{name} has # {obj} now.");
    Problem { scenario: "loss_gain", numbers: vec![a, b, c], prompt, steps, closing }
}

fn groups_more(rng: &mut ChaCha8Rng) -> Problem {
    let (p, a, b, c) = (Person::draw(rng), factor(rng), factor(rng), factor(rng));
    let (obj, (plural, singular), name) = (pick(rng, OBJECTS), pick(rng, CONTAINERS), p.name);
    let adds = chance(rng, 0.6);
    let c = if adds { c } else { c.min(a * b - 1) };
    let tail =
        if adds { format!("{} finds {c} more", p.capital_he()) } else { format!("{} loses {c}", p.capital_he()) };
    let prompt = match rng.random_range(0..2) {
        0 => format!("{name} has {a} {plural} with {b} {obj} in each. {tail}. How many {obj} does {name} have?"),
        _ => {
            format!("{name} fills {a} {plural}. Each {singular} holds {b} {obj}. {tail}. How many {obj} are there now?")
        }
    };
    let op = if adds { '+' } else { '-' };
    let second = if adds { format!("With {c} more, {} has", p.he) } else { format!("Without {c}, {} has", p.he) };
    let steps = vec![Step::new(format!("The {plural} hold"), a, '*', b), Step::new(second, a * b, op, c)];
    let closing = format!("{name} has # {obj} now.");
    let scenario = if adds { "groups_more" } else { "groups_less" };
    Problem { scenario, numbers: vec![a, b, c], prompt, steps, closing }
}

fn purse(rng: &mut ChaCha8Rng) -> Problem {
    let (p, k, cost, (one, many)) = (Person::draw(rng), rng.random_range(2..=5), factor(rng), pick(rng, GOODS));
    let spent = k * cost;
    let purse = spent + rng.random_range(1..=20);
    let (name, he) = (p.name, p.capital_he());
    let prompt = match rng.random_range(0..2) {
        0 => format!("{name} has {purse} coins. {he} buys {k} {many} for {cost} coins each. How many coins are left?"),
        _ => format!(
            "A {one} costs {cost} coins. {name} has {purse} coins and buys {k} {many}. How many coins are left?"
        ),
    };
    let steps = vec![
        Step::new(format!("The {many} cost"), k, '*', cost),
        Step::new(format!("{name} still has"), purse, '-', spent),
    ];
    let closing = format!("{name} has # coins left.");
    Problem { scenario: "purse", numbers: vec![purse, k, cost], prompt, steps, closing }
}

fn more_than(rng: &mut ChaCha8Rng) -> Problem {
    let (p, mut q, a, b) = (Person::draw(rng), Person::draw(rng), rng.random_range(3..=20), factor(rng));
    while q.name == p.name {
        q = Person::draw(rng);
    }
    let (obj, n, m) = (pick(rng, OBJECTS), p.name, q.name);
    let prompt = format!("{n} has {a} {obj}. {m} has {b} more than {n}. How many {obj} do they have together?");
    let steps =
        vec![Step::new(format!("{m} has"), a, '+', b), Step::new("Together they have".to_owned(), a, '+', a + b)];
    let closing = format!("They have # {obj} together.");
    Problem { scenario: "more_than", numbers: vec![a, b], prompt, steps, closing }
}

fn reply(rng: &mut ChaCha8Rng, problem: &Problem) -> String {
    let result = problem.steps.last().map_or(0, Step::result);
    let closing = problem.closing.replace('#', &result.to_string());
    // The bare form is the shortest; the others say what is computed, before or after.
    let lines = match rng.random_range(0..4) {
        0 => problem.steps.iter().map(|s| format!("{}.", s.equation())).chain([closing]).collect::<Vec<_>>(),
        1 => problem.steps.iter().map(|s| format!("{} {}.", s.lead, s.equation())).chain([closing]).collect(),
        _ => problem.steps.iter().map(|s| format!("{} {}.", s.lead, s.equation())).collect(),
    };
    format!("{}\n#### {result}", lines.join(" "))
}

const SYSTEMS: &[&str] =
    &["You are a careful maths tutor.", "Solve the problem step by step.", "Show your work and end with the answer."];

const SCENARIOS: &[fn(&mut ChaCha8Rng) -> Problem] =
    &[gain, loss, groups, together, difference, price, gain_loss, loss_gain, groups_more, purse, more_than];

pub(crate) fn generate(rng: &mut ChaCha8Rng) -> Document {
    let problem = pick(rng, SCENARIOS)(rng);
    let numbers: Vec<String> = problem.numbers.iter().map(i64::to_string).collect();
    let mut parts = vec!["arithmetic", problem.scenario];
    parts.extend(numbers.iter().map(String::as_str));
    let content = content_hash(&parts);
    let answer = problem.steps.last().map_or(0, Step::result).to_string();
    let reply = reply(rng, &problem);
    let system = Some(pick(rng, SYSTEMS).to_owned());
    Document {
        kind: Kind::Arithmetic,
        system,
        prompt: problem.prompt,
        reply,
        answer: Some(answer),
        constraints: vec![],
        content,
    }
}
