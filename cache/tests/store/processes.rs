//! Several real processes on one store, racing and dying.

use crate::common::{TestStore, key, large, open, record};
use lsn_cache::{Digest, EventHandler, IndexError, Lookup, OpenMode, Ownership, Published, SledIndex, Store};
use std::{
    collections::BTreeSet,
    env, fs,
    io::{BufRead, BufReader, Lines, Read, Write},
    path::Path,
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
};

/// A process of this test binary that plays a role on the store.
struct Actor {
    process: Child,
    input: ChildStdin,
    output: Lines<BufReader<ChildStdout>>,
}

impl Actor {
    /// Starts it; it waits for [`Actor::go`].
    fn new(root: &Path, role: &str, number: u32) -> Self {
        let mut process = Command::new(env::current_exe().unwrap())
            .args(["--exact", "processes::actor", "--ignored", "--nocapture"])
            .env("LSN_TEST_ROLE", role)
            .env("LSN_TEST_ROOT", root)
            .env("LSN_TEST_NUMBER", number.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let input = process.stdin.take().unwrap();
        let output = BufReader::new(process.stdout.take().unwrap()).lines();
        let mut actor = Self { process, input, output };
        assert_eq!(actor.says(), "ready");
        actor
    }

    /// The next thing it says; what the test harness prints in between is passed over.
    fn says(&mut self) -> String {
        loop {
            let line = self.output.next().unwrap().unwrap();
            // The harness does not end its own line before the test's first one.
            if let Some((_, said)) = line.split_once("actor: ") {
                return said.to_owned();
            }
        }
    }

    fn go(&mut self) {
        self.input.write_all(b"g").unwrap();
    }

    fn kill(mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    fn ends_well(mut self) {
        assert!(self.process.wait().unwrap().success());
    }
}

fn say(text: impl std::fmt::Display) {
    println!("actor: {text}");
    std::io::stdout().flush().unwrap();
}

fn wait_for_go() {
    std::io::stdin().read_exact(&mut [0]).unwrap();
}

#[test]
#[ignore = "the part of the other tests that runs in processes of its own"]
fn actor() {
    let root = env::var("LSN_TEST_ROOT").unwrap();
    let number: u32 = env::var("LSN_TEST_NUMBER").unwrap().parse().unwrap();
    let store = Store::open(Path::new(&root), OpenMode::ReadWrite).unwrap();
    say("ready");
    wait_for_go();
    match env::var("LSN_TEST_ROLE").unwrap().as_str() {
        "publish once" => publish_once(&store, number),
        "publish forever" => publish_forever(&store, number),
        "add rows" => add_rows(&store, number),
        "add rows forever" => add_rows_forever(&store, number),
        "hold the index" => hold_the_index(&store),
        role => panic!("no such role: {role}"),
    }
}

fn output(store: &Store, name: &str, content: &[u8]) -> lsn_cache::Artifact {
    let path = store.root().with_file_name(format!("{name}-{}", std::process::id()));
    fs::write(&path, content).unwrap();
    store.capture(&path, Ownership::Own).unwrap()
}

fn publish_once(store: &Store, number: u32) {
    let artifact = output(store, "once", &large(number as u8));
    say(match store.put_action(&record("race", [("x", artifact)])).unwrap() {
        Published::New => "new",
        Published::Same => "same",
        Published::Differs(_) => "differs",
        other => panic!("{other:?}"),
    });
    store.sync().unwrap();
}

fn publish_forever(store: &Store, number: u32) {
    for round in 0.. {
        let name = format!("{number}-{round}");
        // A directory of its own per task: what was captured must never be written to again.
        let artifact = output(store, &name, &large(round as u8));
        store.put_action(&record(&name, [("x", artifact)])).unwrap();
        say(name);
    }
}

fn row(number: u32) -> (Digest, Vec<u8>) {
    (Digest::of(&number.to_le_bytes()), number.to_le_bytes().repeat(number as usize % 700))
}

fn add_rows(store: &Store, first: u32) {
    let rows = store.rows().open("n").unwrap();
    for number in first..first + 300 {
        let (key, value) = row(number);
        rows.put(&key, &value).unwrap();
    }
    rows.close().unwrap();
}

fn add_rows_forever(store: &Store, first: u32) {
    let rows = store.rows().open("n").unwrap();
    for number in first.. {
        let (key, value) = row(number);
        rows.put(&key, &value).unwrap();
        say(number);
    }
}

fn hold_the_index(store: &Store) {
    let _index = SledIndex::open(&store.root().with_file_name("index"), "actor 1", &EventHandler::default()).unwrap();
    say("holding");
    wait_for_go();
}

#[test]
fn of_two_publishers_of_one_key_one_is_visible_and_the_other_is_told() {
    // Invariant 6: first with equal, then with differing results.
    for (second, told) in [(1, "same"), (2, "differs")] {
        for _ in 0..5 {
            let test = TestStore::new();
            let mut actors = [1, second].map(|number| Actor::new(test.store.root(), "publish once", number));
            actors.iter_mut().for_each(Actor::go);
            let mut said: Vec<_> = actors.iter_mut().map(Actor::says).collect();
            said.sort();
            let mut wanted = vec!["new".to_owned(), told.to_owned()];
            wanted.sort();
            assert_eq!(said, wanted);
            actors.into_iter().for_each(Actor::ends_well);
            assert!(matches!(test.store.action(&key("race")).unwrap(), Lookup::Hit(_)));
            assert!(test.store.verify(|_| {}).unwrap().is_sound());
            assert_eq!(test.temporaries(), 0);
        }
    }
}

#[test]
fn a_killed_publisher_leaves_a_sound_store() {
    // Invariants 1, 2 and 3.
    let test = TestStore::new();
    let mut said = BTreeSet::new();
    for round in 0..12u32 {
        let mut actors = [0, 1].map(|number| Actor::new(test.store.root(), "publish forever", round * 2 + number));
        actors.iter_mut().for_each(Actor::go);
        for _ in 0..(round * 7) % 11 {
            said.extend(actors.iter_mut().map(Actor::says));
        }
        actors.into_iter().for_each(Actor::kill);
    }
    let report = test.store.verify(|_| {}).unwrap();
    assert!(report.is_sound(), "{report:?}");
    for name in &said {
        assert!(matches!(test.store.action(&key(name)).unwrap(), Lookup::Hit(_)), "{name} was published and is gone");
    }
    assert!(report.actions >= said.len() as u64 && said.len() > 50);
}

#[test]
fn rows_of_a_killed_writer_are_kept() {
    // Invariant 3.
    let test = TestStore::new();
    let mut said = BTreeSet::new();
    for round in 0..8u32 {
        let mut actor = Actor::new(test.store.root(), "add rows forever", round * 100_000);
        actor.go();
        for _ in 0..round * 13 {
            said.insert(actor.says().parse::<u32>().unwrap());
        }
        actor.kill();
        let rows = open(test.store.root(), OpenMode::ReadWrite).0.rows().open("n").unwrap();
        for number in &said {
            let (key, value) = row(*number);
            assert_eq!(rows.get(&key).unwrap(), Some(value), "row {number}");
        }
    }
    assert_eq!(said.len(), (0..8).map(|round| round * 13).sum::<usize>());
}

#[test]
fn rows_of_many_writers_at_once_are_all_kept() {
    let test = TestStore::new();
    // Each overlaps with the next by half.
    let mut actors: Vec<_> = (0..4).map(|i| Actor::new(test.store.root(), "add rows", i * 150)).collect();
    actors.iter_mut().for_each(Actor::go);
    // Others open and compact meanwhile.
    for _ in 0..20 {
        test.store.rows().compact("n").unwrap();
        test.store.rows().open("n").unwrap();
    }
    actors.into_iter().for_each(Actor::ends_well);
    let rows = test.store.rows().open("n").unwrap();
    for number in 0..750 {
        let (key, value) = row(number);
        assert_eq!(rows.get(&key).unwrap(), Some(value), "row {number}");
    }
    assert_eq!(rows.len(), 750);
    assert_eq!(test.events(), []);
}

#[test]
fn the_lock_of_an_index_ends_with_its_process() {
    // Invariant 3.
    let test = TestStore::new();
    let path = test.path("index");
    let mut actor = Actor::new(test.store.root(), "hold the index", 0);
    actor.go();
    assert_eq!(actor.says(), "holding");
    let error = SledIndex::open(&path, "us", &EventHandler::default()).unwrap_err();
    assert!(matches!(&error, IndexError::Locked { holder: Some(holder), .. } if holder == "actor 1"), "{error}");
    actor.kill();
    SledIndex::open(&path, "us", &EventHandler::default()).unwrap();
}
