//! `kill -9` in the middle of work: every receipt that was printed is found again, and work goes on where it stopped.

use std::io::{BufRead, BufReader, Write};
use std::process::Stdio;

use crate::support::{Place, treering};

/// Appends numbered lines until it has seen `receipts`, kills the writer, and gives the receipts that were printed, also
/// those behind the last one waited for, as (first, last) revisions.
fn append_and_kill(place: &Place, args: &[&str], first: u64, receipts: usize) -> Vec<(u64, u64)> {
    let mut child = treering(["append"])
        .arg(place.store())
        .args(["s", "--json"])
        .args(args)
        .stdin(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let feeder = std::thread::spawn(move || {
        let mut number = first;
        while writeln!(stdin, "line {number} {}", "x".repeat((number % 700) as usize)).is_ok() {
            number += 1;
        }
    });
    let mut printed = Vec::new();
    for line in BufReader::new(child.stdout.take().unwrap()).lines() {
        // The kill may cut a line: that is no receipt.
        let Ok(receipt) = serde_json::from_str::<serde_json::Value>(&line.unwrap()) else { continue };
        printed.push((receipt["first_revision"].as_u64().unwrap(), receipt["last_revision"].as_u64().unwrap()));
        if printed.len() == receipts {
            child.kill().unwrap();
        }
    }
    assert!(!child.wait().unwrap().success(), "it was killed while it worked");
    feeder.join().unwrap();
    assert!(printed.len() >= receipts);
    printed
}

#[test]
fn every_receipt_that_was_printed_is_found_again() {
    let place = Place::new();
    let mut next = 0;
    let lives: [(&[&str], usize); 6] = [
        (&[], 1),
        (&[], 60),
        (&["--durability", "written"], 500),
        (&["--batch", "7"], 20),
        (&["--durability", "written", "--batch", "50"], 37),
        (&[], 9),
    ];
    for (life, (args, receipts)) in lives.into_iter().enumerate() {
        let printed = append_and_kill(&place, args, next, receipts);
        assert_eq!(printed[0].0, next, "life {life} goes on where the log ended");
        assert!(printed.windows(2).all(|pair| pair[0].1 + 1 == pair[1].0), "receipts come in order");
        let events = place.run("cat", &["s", "--json"]).json();
        let promised = printed.last().unwrap().1;
        assert!(events.len() as u64 > promised, "life {life}: {} events, promised up to {promised}", events.len());
        for (revision, event) in events.iter().enumerate() {
            assert_eq!(event["revision"], revision as u64);
            let line = format!("line {revision} {}", "x".repeat(revision % 700));
            assert_eq!(event["payload"], line.as_str(), "life {life}: what was appended there, and nothing else");
        }
        // A batch is there whole or not at all.
        if let Some(place) = args.iter().position(|arg| *arg == "--batch") {
            let size: u64 = args[place + 1].parse().unwrap();
            assert_eq!((events.len() as u64 - next) % size, 0, "life {life}");
        }
        place.is_clean();
        next = events.len() as u64;
    }
}

#[test]
fn an_import_that_was_killed_is_finished_by_running_it_again() {
    let place = Place::new();
    let line = |number: u32| format!("{{\"type\":\"t\",\"id\":\"{number}\",\"text\":\"{}\"}}\n", "y".repeat(200));
    let text: String = (0..60_000).map(line).collect();
    let file = place.write("big.jsonl", &text);
    let mut child = treering(["import"]).arg(place.store()).arg(&file).stdout(Stdio::null()).spawn().unwrap();
    // As soon as there is something of it, wherever that is.
    loop {
        let ran = place.run("stat", &["--json"]);
        if ran.code == 0 && ran.json()[0]["events"].as_u64().unwrap() > 0 {
            break;
        }
        if child.try_wait().unwrap().is_some() {
            break;
        }
    }
    let _ = child.kill();
    child.wait().unwrap();
    let before = place.events();
    let summary = place.last_json("import", &[file.to_str().unwrap(), "--json"]);
    assert_eq!(summary["events"], 60_000 - before, "only what is missing is added ({before} were in)");
    assert!(place.raw("big") == text.as_bytes(), "the bytes differ");
    place.is_clean();
}
