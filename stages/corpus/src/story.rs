//! Short stories from a generative grammar: opening, wish, obstacle, help, resolution, ending.
//!
//! The prompt names the hero and the goal, sometimes the place; the story keeps to them and is free in everything else.

use crate::{
    Document, Kind,
    split::content_hash,
    style::{Person, capitalise, chance, pick, with_article},
};
use rand::Rng;
use rand_chacha::ChaCha8Rng;

const HEROES: &[&str] = &[
    "fox", "owl", "rabbit", "bear", "mouse", "cat", "dog", "frog", "girl", "boy", "baker", "sailor", "farmer",
    "painter", "knight", "king", "queen", "teacher",
];

const HELPERS: &[&str] = &[
    "bird",
    "turtle",
    "horse",
    "wizard",
    "miller",
    "child",
    "duck",
    "hedgehog",
    "gardener",
    "fisherman",
    "goat",
    "deer",
];

const TRAITS: &[&str] =
    &["young", "old", "shy", "brave", "clever", "lazy", "kind", "lonely", "curious", "small", "proud", "quiet"];

const HELPER_TRAITS: &[&str] = &["wise", "friendly", "old", "tiny", "strange", "gentle", "funny", "patient"];

/// Where a story plays, with its preposition.
const PLACES: &[&str] = &[
    "in a deep forest",
    "near the sea",
    "on a green hill",
    "in a small village",
    "by a wide river",
    "in a stone castle",
    "on a lonely island",
    "at the edge of the desert",
    "in a snowy valley",
    "under a tall mountain",
];

/// What the hero wants: as an infinitive, and told as done.
const GOALS: &[(&str, [&str; 3])] = &[
    (
        "find a golden key",
        [
            "found the golden key under an old tree",
            "saw the golden key shine in the grass",
            "held the golden key in the morning light",
        ],
    ),
    (
        "see the ocean",
        [
            "saw the ocean for the first time",
            "stood on the beach and looked at the waves",
            "heard the song of the ocean",
        ],
    ),
    (
        "learn to sing",
        ["sang a song that everyone loved", "sang louder than the wind", "learned to sing like a summer bird"],
    ),
    (
        "build a boat",
        ["built a boat with a red sail", "finished the boat and sailed away", "rowed the new boat across the water"],
    ),
    ("win a race", ["won the race by one step", "ran faster than all the others", "crossed the line first"]),
    (
        "bake a cake",
        [
            "baked a cake as tall as a door",
            "took a warm cake out of the oven",
            "shared a sweet cake with all the neighbours",
        ],
    ),
    ("make a friend", ["made a friend for life", "was not alone any more", "found a friend who loved to laugh"]),
    (
        "climb the highest tower",
        ["reached the top of the tower", "climbed the tower and touched a cloud", "stood on the tower and waved"],
    ),
    (
        "catch a falling star",
        ["caught a falling star in a jar", "held a small warm star", "saw a star fall right into the basket"],
    ),
    ("fly like an eagle", ["flew over the fields on paper wings", "flew above the clouds", "felt the wind and flew"]),
    (
        "grow a magic garden",
        ["grew a garden full of blue roses", "saw the first magic flower open", "picked a silver apple in the garden"],
    ),
    ("find the way home", ["found the way home", "saw the lights of home again", "knocked on the door of home"]),
    (
        "write a song",
        ["wrote a song about the moon", "wrote a song that made people dance", "played the new song on a flute"],
    ),
    (
        "wake the sleeping dragon",
        ["woke the dragon with a soft bell", "saw the dragon open one green eye", "made the dragon laugh"],
    ),
    (
        "save the old bridge",
        [
            "saved the old bridge with strong ropes",
            "mended the bridge stone by stone",
            "walked over the bridge without fear",
        ],
    ),
    ("meet the moon", ["met the moon in a quiet lake", "talked with the moon all night", "saw the moon smile"]),
];

const WEATHER: &[&str] = &["rainy", "cold", "warm", "windy", "misty", "quiet", "clear", "stormy"];
const TIMES: &[&str] = &["morning", "day", "evening", "afternoon", "night"];

const OBSTACLES: &[&str] = &[
    "the road was long and dark",
    "a thick fog came down",
    "the rain did not stop for three days",
    "nobody wanted to help",
    "the wind blew the map away",
    "a deep river was in the way",
    "the others only laughed",
    "it was harder than it looked",
    "a wall of thorns stood there",
    "there was not much time",
];

const GIFTS: &[&str] = &[
    "a lantern",
    "a rope",
    "a map",
    "some bread",
    "a warm coat",
    "a little bell",
    "good advice",
    "a red feather",
    "a wooden whistle",
    "a secret word",
];

const ENDINGS: &[&str] = &[
    "That night {he} slept under the stars.",
    "From that day on, {he} was never sad again.",
    "And {name} never forgot that {time}.",
    "Everyone came to celebrate with {him}.",
    "{He} laughed and danced until the sun went down.",
    "And {he} lived happily for many years.",
    "People still tell this story today.",
    "Then {he} went home with a happy heart.",
    "{He} smiled and said that it was worth the trouble.",
    "After that, nothing seemed too hard for {him}.",
];

/// What the prompt fixes and what stays the same through one story.
struct Scene {
    person: Person,
    hero: String,
    place: &'static str,
    infinitive: &'static str,
    done: [&'static str; 3],
    helper: String,
    time: &'static str,
}

impl Scene {
    /// Fills in who, when and where. Placeholders are words in braces.
    fn fill(&self, rng: &mut ChaCha8Rng, template: &str) -> String {
        let p = self.person;
        template
            .replace("{name}", p.name)
            .replace("{he}", p.he)
            .replace("{He}", p.capital_he())
            .replace("{him}", p.him)
            .replace("{his}", p.his)
            .replace("{a hero}", &with_article(&self.hero))
            .replace("{hero}", &self.hero)
            .replace("{place}", self.place)
            .replace("{Place}", &capitalise(self.place))
            .replace("{goal}", self.infinitive)
            .replace("{done}", pick(rng, &self.done))
            .replace("{a helper}", &with_article(&self.helper))
            .replace("{helper}", &self.helper)
            .replace("{time}", self.time)
            .replace("{weather}", pick(rng, WEATHER))
            .replace("{obstacle}", pick(rng, OBSTACLES))
            .replace("{gift}", pick(rng, GIFTS))
    }
}

const OPENINGS: &[&str] = &[
    "Once there was {a hero} named {name} who lived {place}.",
    "{Place} lived {a hero} called {name}.",
    "{name} was {a hero} who lived {place}.",
    "Long ago, {a hero} named {name} lived {place}.",
    "There was once {a hero} {place}, and {his} name was {name}.",
];

const WISHES: &[&str] = &[
    "More than anything, {he} wanted to {goal}.",
    "Every {time} {he} dreamed about how to {goal}.",
    "One {weather} {time}, {name} decided to {goal}.",
    "{name} told everyone that {he} would {goal}.",
    "{He} had only one wish: to {goal}.",
    "On a {weather} {time}, {he} set out to {goal}.",
];

const TROUBLES: &[&str] = &[
    "But {obstacle}.",
    "At first {obstacle}, and {name} was ready to give up.",
    "Soon {obstacle}.",
    "{He} tried and tried, but {obstacle}.",
    "It was not easy, because {obstacle}.",
];

const MEETINGS: &[&str] = &[
    "Then {he} met {a helper}, who gave {him} {gift}.",
    "{He} asked {a helper} for help and got {gift}.",
    "Just then {a helper} came by with {gift}.",
    "Luckily, {a helper} knew what to do and offered {him} {gift}.",
    "\"Take {gift},\" said {a helper}.",
    "So {he} shared {his} lunch with {a helper} and was given {gift}.",
];

const RESOLUTIONS: &[&str] = &[
    "At last {name} {done}.",
    "In the end {he} {done}.",
    "The next {time}, {name} {done}.",
    "With that, {he} {done}.",
    "And before long {he} {done}.",
];

const REQUESTS: &[&str] = &[
    "Write a short story about {a hero} who wants to {goal}.",
    "Tell me a story about {a hero} who tries to {goal}.",
    "Write a story about {a hero} who hopes to {goal}.",
    "Can you tell a short tale of {a hero} who wants to {goal}?",
    "I would like a story about {a hero} who tries to {goal}.",
];

const PLACED_REQUESTS: &[&str] = &[
    "Write a short story about {a hero} who lives {place} and wants to {goal}.",
    "Tell me a story that plays {place}, about {a hero} who tries to {goal}.",
];

const SYSTEMS: &[&str] =
    &["You are a storyteller.", "You write stories for children.", "You tell short and lively stories."];

pub(crate) fn generate(rng: &mut ChaCha8Rng) -> Document {
    let (infinitive, done) = pick(rng, GOALS);
    let (hero_trait, hero) = (pick(rng, TRAITS), pick(rng, HEROES));
    let mut person = Person::draw(rng);
    while matches!((hero, person.he), ("girl" | "queen", "he") | ("boy" | "king", "she")) {
        person = Person::draw(rng);
    }
    let scene = Scene {
        person,
        hero: format!("{hero_trait} {hero}"),
        place: pick(rng, PLACES),
        infinitive,
        done,
        helper: format!("{} {}", pick(rng, HELPER_TRAITS), pick(rng, HELPERS)),
        time: pick(rng, TIMES),
    };
    let requests = if chance(rng, 0.3) { PLACED_REQUESTS } else { REQUESTS };
    let request = pick(rng, requests);
    let prompt = scene.fill(rng, request);

    let mut parts = vec![OPENINGS, WISHES];
    // A story may do without its obstacle, but then it has a helper.
    match rng.random_range(0..4) {
        0 => parts.push(TROUBLES),
        1 => parts.push(MEETINGS),
        _ => parts.extend([TROUBLES, MEETINGS]),
    }
    parts.extend([RESOLUTIONS, ENDINGS]);
    let sentences: Vec<String> = parts
        .into_iter()
        .map(|alternatives| {
            let template = pick(rng, alternatives);
            scene.fill(rng, template)
        })
        .collect();
    Document {
        kind: Kind::Story,
        system: Some(pick(rng, SYSTEMS).to_owned()),
        prompt,
        reply: sentences.join(" "),
        answer: None,
        constraints: vec![],
        content: content_hash(&["story", hero_trait, hero, infinitive]),
    }
}
