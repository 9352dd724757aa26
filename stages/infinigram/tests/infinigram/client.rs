//! The client against a server in this process.

use lsn_infinigram::{
    CorpusCounts, GreedyCover,
    client::{CacheFile, Client, ClientError, ClientOptions, NoCache, Retry},
};
use serde_json::{Value, json};
use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    sync::{
        Arc, Barrier, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

/// A response: status, further header lines, body.
type Response = (u16, &'static str, String);

/// Answers every connection's one request with what a function says, on a thread of its own.
struct Server {
    url: String,
    asked: Arc<Mutex<Vec<Value>>>,
}

impl Server {
    fn start(answer: impl Fn(usize, &Value) -> Response + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (log, answer) = (Arc::clone(&asked), Arc::new(answer));
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (log, answer) = (Arc::clone(&log), Arc::clone(&answer));
                thread::spawn(move || serve(stream.unwrap(), &log, &*answer));
            }
        });
        Self { url, asked }
    }

    fn asked(&self) -> Vec<Value> {
        self.asked.lock().unwrap().clone()
    }

    fn client(&self, cache: Box<dyn lsn_infinigram::client::CountCache>) -> Client {
        Client::new(self.options(), cache).unwrap()
    }

    fn options(&self) -> ClientOptions {
        let pause = Duration::from_millis(1);
        ClientOptions {
            url: self.url.clone(),
            retry: Retry { attempts: 3, first_pause: pause, longest_pause: pause },
            ..ClientOptions::new("v4_test")
        }
    }
}

fn serve(stream: TcpStream, log: &Mutex<Vec<Value>>, answer: &dyn Fn(usize, &Value) -> Response) {
    let mut reader = BufReader::new(&stream);
    let mut length = 0;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).unwrap() == 0 || line == "\r\n" {
            break;
        }
        if let Some((name, value)) = line.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            length = value.trim().parse().unwrap();
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    let request: Value = serde_json::from_slice(&body).unwrap();
    let number = {
        let mut log = log.lock().unwrap();
        log.push(request.clone());
        log.len()
    };
    let (status, headers, body) = answer(number, &request);
    let head = format!("HTTP/1.1 {status} X\r\nconnection: close\r\n{headers}content-length: {}\r\n\r\n", body.len());
    // The client may be gone by now; that is its affair.
    let _ = (&stream).write_all(head.as_bytes()).and_then(|()| (&stream).write_all(body.as_bytes()));
}

fn ok(count: u64) -> Response {
    (200, "", json!({"count": count, "approx": false, "token_ids": [1], "tokens": ["x"], "latency": 0.5}).to_string())
}

fn error(status: u16, message: &str) -> Response {
    (status, "", json!({"error": message}).to_string())
}

#[test]
fn ids_and_words_are_asked_for_as_the_api_wants_them() {
    let server = Server::start(|_, request| ok(if request["query"] == "to be" { 7 } else { 3 }));
    let client = server.client(Box::new(NoCache));
    assert_eq!(client.count(&["to", "be"]).unwrap(), 7);
    assert_eq!(client.count(&[5_u32, 6]).unwrap(), 3);
    let expected = [
        json!({"index": "v4_test", "query_type": "count", "query": "to be"}),
        json!({"index": "v4_test", "query_type": "count", "query_ids": [5, 6]}),
    ];
    assert_eq!(server.asked(), expected);
}

#[test]
fn failures_that_may_pass_are_tried_again() {
    for failure in [
        error(500, "[Flask] Internal server error: x"),
        (503, "retry-after: 0\r\n", "<html>busy</html>".to_owned()),
        (429, "", json!({"message": "Too Many Requests"}).to_string()),
        (200, "", "not JSON".to_owned()),
        (200, "", "{}".to_owned()),
    ] {
        let server = Server::start(move |number, _| if number < 3 { failure.clone() } else { ok(2) });
        assert_eq!(server.client(Box::new(NoCache)).count(&["x"]).unwrap(), 2);
        assert_eq!(server.asked().len(), 3);
    }
}

#[test]
fn a_server_that_stays_away_is_given_up() {
    let server = Server::start(|_, _| error(502, "bad gateway"));
    let failed = server.client(Box::new(NoCache)).count(&["x"]).unwrap_err();
    assert!(
        matches!(&failed, ClientError::Unavailable { attempts: 3, problem, .. } if problem.contains("bad gateway"))
    );
    assert!(failed.is_transient());
    assert_eq!(server.asked().len(), 3);
    // Nobody listens at all.
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let options = ClientOptions { url: format!("http://{address}/"), ..server.options() };
    let failed = Client::new(options, Box::new(NoCache)).unwrap().count(&["x"]).unwrap_err();
    assert!(matches!(failed, ClientError::Unavailable { attempts: 3, .. }), "{failed}");
}

#[test]
fn a_refusal_is_final() {
    for refusal in [
        error(200, "Please limit your input to <= 1000 characters!"),
        error(400, "[Flask] Invalid index: v4_test"),
        (404, "", "no such page".to_owned()),
    ] {
        let message = refusal.2.clone();
        let server = Server::start(move |_, _| refusal.clone());
        let failed = server.client(Box::new(NoCache)).count(&["x"]).unwrap_err();
        let ClientError::Refused { message: said, .. } = &failed else { panic!("{failed}") };
        assert!(!failed.is_transient() && (message.contains(said.as_str()) || said.contains(&message)), "{said}");
        assert_eq!(server.asked().len(), 1);
    }
}

#[test]
fn answers_are_asked_for_once_and_kept_for_good() {
    let server = Server::start(|_, _| ok(4));
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("counts.jsonl");
    for _ in 0..2 {
        let client = server.client(Box::new(CacheFile::open(&path).unwrap()));
        assert_eq!(client.count(&["a", "b"]).unwrap(), 4);
        assert_eq!(client.count(&["a", "b"]).unwrap(), 4);
    }
    assert_eq!(server.asked().len(), 1);
    // Another index is another question; a failure is no answer.
    let options = ClientOptions { index: "v4_other".to_owned(), ..server.options() };
    let client = Client::new(options, Box::new(CacheFile::open(&path).unwrap())).unwrap();
    assert_eq!(client.count(&["a", "b"]).unwrap(), 4);
    assert_eq!(server.asked().len(), 2);
}

#[test]
fn no_more_requests_are_under_way_than_allowed() {
    static RUNNING: AtomicUsize = AtomicUsize::new(0);
    static MOST: AtomicUsize = AtomicUsize::new(0);
    // Requests leave the server in pairs: without two at a time, nobody would.
    let pair = Arc::new(Barrier::new(2));
    let server = Server::start(move |_, _| {
        MOST.fetch_max(RUNNING.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        pair.wait();
        RUNNING.fetch_sub(1, Ordering::SeqCst);
        ok(1)
    });
    let client = Client::new(ClientOptions { concurrency: 2, ..server.options() }, Box::new(NoCache)).unwrap();
    thread::scope(|scope| {
        for id in 0..12_u32 {
            let client = &client;
            scope.spawn(move || assert_eq!(client.count(&[id]).unwrap(), 1));
        }
    });
    assert_eq!(MOST.load(Ordering::SeqCst), 2);
    assert_eq!(server.asked().len(), 12);
}

#[test]
fn words_that_the_api_takes_for_operators_are_asked_for_by_id() {
    // Each word is a token: its length.
    let server = Server::start(|_, request| {
        let ids = match request["query"].as_str() {
            Some(text) => {
                assert!(!text.contains(" AND ") && !text.contains(" OR "), "{text}");
                text.split(' ').map(|word| word.len() as u64).collect()
            }
            None => request["query_ids"].as_array().unwrap().iter().map(|id| id.as_u64().unwrap()).collect::<Vec<_>>(),
        };
        (200, "", json!({"count": ids.len(), "token_ids": ids}).to_string())
    });
    let client = server.client(Box::new(NoCache));
    let words = ["salt", "AND", "OR", "pepper"];
    assert_eq!(client.count(&words).unwrap(), 4);
    let asked = server.asked();
    assert_eq!(asked.last().unwrap()["query_ids"], json!([4, 3, 2, 6]));
    assert_eq!(asked.len(), 4);
    assert_eq!(client.count(&["AND", "pepper"]).unwrap(), 2);
    assert_eq!(server.asked().last().unwrap()["query"], "AND pepper");
}

#[test]
fn a_cover_asks_by_bisection() {
    // N-grams up to three words are in the corpus, unless they hold "new".
    let server = Server::start(|_, request| {
        let text = request["query"].as_str().unwrap();
        ok(u64::from(text.split(' ').count() <= 3 && !text.contains("new")))
    });
    let client = server.client(Box::new(NoCache));
    let words: Vec<&str> = "a b c d new e".split(' ').collect();
    let cover = GreedyCover::of(&client, &words, 10).unwrap();
    assert_eq!(cover, GreedyCover { coverage: 5, breaks: 1, pieces: vec![(0, 3), (3, 1), (5, 1)] });
    let asked: Vec<String> =
        server.asked().iter().map(|request| request["query"].as_str().unwrap().to_owned()).collect();
    assert_eq!(asked[..3], ["a b c", "a b c d new", "a b c d"]);
}
