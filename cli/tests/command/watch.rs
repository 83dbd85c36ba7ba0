//! `watch` and `intents`: what grows, and what was about to be done.

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::{PATIENCE, Place, Running, treering};

/// A `watch` of another process.
fn watching(place: &Place, args: &[&str]) -> Running {
    Running::start(treering(["watch"]).arg(place.store()).args(args))
}

/// Waits until it looks. What was there before that is not shown, so a stream grows until it was.
fn is_there(place: &Place, watching: &Running, stream: &str) {
    let give_up = Instant::now() + PATIENCE;
    let mut lines = std::iter::from_fn(|| {
        place.feed("append", &[stream], b"1\n").ok();
        assert!(Instant::now() < give_up, "it does not look");
        Some(watching.next_within(Duration::from_millis(20)))
    });
    assert!(lines.any(|line| line.is_some_and(|line| line.contains(stream))));
}

#[test]
fn streams_are_shown_as_they_grow_in_any_process() {
    let place = Place::new();
    place.feed("append", &["a"], b"one\ntwo\n").ok();
    let text = watching(&place, &[]);
    let json = watching(&place, &["--json"]);
    is_there(&place, &text, "ready");
    is_there(&place, &json, "ready");
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
    let mut watching = watching(&place, &["x/", "--json"]);
    is_there(&place, &watching, "x/ready");
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
    watching.read_no_more();
    let give_up = Instant::now() + PATIENCE;
    let code = loop {
        place.feed("append", &["x/1"], b"more\n").ok();
        if let Some(code) = watching.ended() {
            break code;
        }
        assert!(Instant::now() < give_up, "it goes on");
        std::thread::sleep(Duration::from_millis(20));
    };
    assert_eq!(code, 0);
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
