//! `watch` and `intents`: what grows, and what was about to be done.

use std::io::{BufRead, BufReader, Lines};
use std::process::{Child, ChildStdout, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::Value;

use crate::support::{Place, treering};

/// A `watch` of another process, line by line.
struct Watching {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Watching {
    fn start(place: &Place, args: &[&str]) -> Watching {
        let mut child = treering(["watch"]).arg(place.store()).args(args).stdin(Stdio::null()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Watching { child, lines }
    }

    fn next(&mut self) -> String {
        self.lines.next().expect("it goes on").unwrap()
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Waits until it looks. What was there before that is not shown, so a stream grows until it was.
fn is_there(place: &Place, watching: &mut Watching, stream: &str) {
    let is_seen = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !is_seen.load(Ordering::Relaxed) {
                place.feed("append", &[stream], b"1\n").ok();
                std::thread::sleep(Duration::from_millis(20));
            }
        });
        while !watching.next().contains(stream) {}
        is_seen.store(true, Ordering::Relaxed);
    });
}

#[test]
fn streams_are_shown_as_they_grow_in_any_process() {
    let place = Place::new();
    place.feed("append", &["a"], b"one\ntwo\n").ok();
    let mut text = Watching::start(&place, &[]);
    let mut json = Watching::start(&place, &["--json"]);
    is_there(&place, &mut text, "ready");
    is_there(&place, &mut json, "ready");
    place.feed("append", &["a", "--type", "turn"], b"three\nfour\n").ok();
    // It may come in two moments.
    let (mut grew, mut events) = (0, 0);
    while events < 4 {
        let object: Value = serde_json::from_str(&json.next()).unwrap();
        if object["stream"] == "a" {
            grew += object["grew"].as_u64().unwrap();
            events = object["events"].as_u64().unwrap();
            assert_eq!(object["type"], "turn");
        }
    }
    assert_eq!((grew, events), (2, 4));
    let last = std::iter::from_fn(|| Some(text.next())).find(|line| line.ends_with(" of 4 events, turn")).unwrap();
    assert!(last.contains("Z  a  +"), "{last}");
}

#[test]
fn streams_of_other_names_are_not_watched_and_a_pipe_that_closes_is_the_end() {
    let place = Place::new();
    place.feed("append", &["x/1"], b"one\n").ok();
    let mut watching = Watching::start(&place, &["x/", "--json"]);
    is_there(&place, &mut watching, "x/ready");
    place.feed("append", &["y"], b"other\n").ok();
    place.feed("append", &["x/9"], b"one\n").ok();
    loop {
        let object: Value = serde_json::from_str(&watching.next()).unwrap();
        assert!(object["stream"].as_str().unwrap().starts_with("x/"), "{object}");
        if object["stream"] == "x/9" {
            break;
        }
    }
    // Nobody reads any more: it ends, without a word, once there is something to show.
    drop(std::mem::replace(
        &mut watching.lines,
        BufReader::new(treering(["--version"]).spawn().unwrap().stdout.unwrap()).lines(),
    ));
    let mut ended = None;
    for _ in 0..200 {
        place.feed("append", &["x/1"], b"more\n").ok();
        std::thread::sleep(Duration::from_millis(20));
        ended = watching.child.try_wait().unwrap();
        if ended.is_some() {
            break;
        }
    }
    assert_eq!(ended.and_then(|status| status.code()), Some(0));
}

#[test]
fn intents_without_an_outcome_are_listed() {
    let place = Place::new();
    let types = ["--intent", "call,pay", "--outcome", "result"];
    let intents = |args: &[&str]| place.run("intents", &[&["s"], &types[..], args].concat());
    place.feed("append", &["s", "--type", "call"], b"first\nsecond\n").ok();
    place.feed("append", &["s", "--type", "result"], b"of the first\n").ok();
    place.feed("append", &["s", "--type", "pay"], b"third\n").ok();
    let lines = intents(&["--json"]).json();
    let revisions: Vec<u64> = lines.iter().map(|line| line["revision"].as_u64().unwrap()).collect();
    assert_eq!(revisions, [1, 3]);
    let text = intents(&[]).text();
    assert!(text.lines().count() == 2 && text.contains("second") && text.contains("third"), "{text}");
    assert_eq!(intents(&["--from", "2", "--json"]).json().len(), 1);
    place.feed("append", &["s", "--type", "result"], b"1\n2\n").ok();
    assert_eq!(intents(&[]).text(), "");
    place.run("intents", &[&["nowhere"], &types[..]].concat()).failed(1, "no stream nowhere");
    place.run("intents", &["s", "--intent", "a", "--outcome", "b,a"]).failed(2, "as an intent and as an outcome");
    place.run("intents", &["s", "--intent", "a"]).failed(2, "--outcome");
}
