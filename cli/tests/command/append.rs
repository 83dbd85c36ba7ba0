//! `append`: a line an event, a receipt a batch, expectations, prompt receipts, many lines.

use std::io::{BufRead, BufReader, Write};
use std::process::Stdio;
use std::sync::mpsc::channel;

use crate::support::{PATIENCE, Place, treering};

#[test]
fn every_line_is_an_event_and_every_batch_a_receipt() {
    let place = Place::new();
    let receipts = place.feed("append", &["notes", "--json", "--type", "note"], b"one\ntwo\n\nfour").json();
    assert_eq!(receipts.len(), 4);
    for (revision, receipt) in receipts.iter().enumerate() {
        assert_eq!(receipt["stream"], "notes");
        assert_eq!(receipt["first_revision"], revision as u64);
        assert_eq!(receipt["last_revision"], revision as u64);
        assert_eq!(receipt["level"], "synced");
    }
    let positions: Vec<_> = receipts.iter().map(|receipt| receipt["position"].as_u64().unwrap()).collect();
    assert!(positions.is_sorted_by(|a, b| a < b), "{positions:?}");
    assert_eq!(place.raw("notes"), b"one\ntwo\n\nfour\n");
    let events = place.run("cat", &["notes", "--json"]).json();
    assert!(events.iter().all(|event| event["type"] == "note" && event["metadata"] == ""));
    assert_eq!(events[2]["payload"], "", "an empty line is an event with an empty payload");
}

#[test]
fn batches_are_cut_by_lines_and_the_last_one_may_be_short() {
    let place = Place::new();
    let receipts = place.feed("append", &["s", "--batch", "3", "--json"], b"1\n2\n3\n4\n5\n6\n7\n").json();
    let ranges: Vec<_> = receipts
        .iter()
        .map(|r| (r["first_revision"].as_u64().unwrap(), r["last_revision"].as_u64().unwrap()))
        .collect();
    assert_eq!(ranges, [(0, 2), (3, 5), (6, 6)]);
    let events = place.run("cat", &["s", "--json"]).json();
    assert_eq!(events[0]["batch"], events[2]["batch"]);
    assert_ne!(events[2]["batch"], events[3]["batch"]);
    let text = place.feed("append", &["s", "--batch", "2", "--durability", "written"], b"8\n9\n10\n").text();
    let lines: Vec<_> = text.lines().collect();
    assert!(lines[0].starts_with("s revisions 7..=8 position ") && lines[0].ends_with(" written"), "{text}");
    assert!(lines[1].starts_with("s revision 9 position "), "{text}");
}

#[test]
fn an_expected_head_holds_for_the_first_batch_and_moves_on() {
    let place = Place::new();
    place.feed("append", &["s", "--expect", "none"], b"0\n1\n2\n").ok();
    place.feed("append", &["s", "--expect", "2", "--batch", "2"], b"3\n4\n5\n").ok();
    place.feed("append", &["s", "--expect", "exists"], b"6\n").ok();
    place.feed("append", &["s", "--expect", "any"], b"7\n").ok();
    assert_eq!(place.raw("s"), b"0\n1\n2\n3\n4\n5\n6\n7\n");
}

#[test]
fn a_conflict_prints_the_actual_head_and_appends_nothing() {
    let place = Place::new();
    place.feed("append", &["s"], b"0\n1\n2\n").ok();
    for expect in ["1", "3", "none", "9223372036854775807"] {
        let ran = place.feed("append", &["s", "--expect", expect], b"x\ny\n");
        assert!(ran.stdout.is_empty(), "no receipt");
        ran.failed(3, "revision 2");
        let ran = place.feed("append", &["s", "--expect", expect, "--json"], b"x\n").failed(3, "conflict");
        let object: serde_json::Value = serde_json::from_str(&ran.stderr).unwrap();
        assert_eq!((&object["error"], &object["conflict"]["actual"]), (&"conflict".into(), &2.into()));
        assert_eq!((&object["exit_code"], &object["conflict"]["stream"]), (&3.into(), &"s".into()));
    }
    for expect in ["exists", "0"] {
        place.feed("append", &["gone", "--expect", expect], b"x\n").failed(3, "does not exist");
    }
    assert_eq!(place.events(), 3);
    assert_eq!(place.raw("s"), b"0\n1\n2\n");
}

#[test]
fn a_line_typed_by_hand_gets_its_receipt_at_once() {
    let place = Place::new();
    let mut child =
        treering(["append"]).arg(place.store()).args(["s", "--json"]).stdin(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let (sender, receipts) = channel();
    let stdout = child.stdout.take().unwrap();
    std::thread::spawn(move || BufReader::new(stdout).lines().for_each(|line| sender.send(line.unwrap()).unwrap()));
    for revision in 0..3 {
        writeln!(stdin, "line {revision}").unwrap();
        let receipt = receipts.recv_timeout(PATIENCE).expect("a receipt while the input is still open");
        assert!(receipt.contains(&format!("\"last_revision\":{revision}")), "{receipt}");
    }
    drop(stdin);
    assert!(child.wait().unwrap().success());
    assert_eq!(place.raw("s"), b"line 0\nline 1\nline 2\n");
}

#[test]
fn receipts_come_in_order_for_many_lines() {
    let place = Place::new();
    let input: String = (0..5_000).map(|number| format!("{{\"n\":{number}}}\n")).collect();
    let receipts = place.feed("append", &["s", "--json"], input.as_bytes()).json();
    let revisions: Vec<_> = receipts.iter().map(|receipt| receipt["last_revision"].as_u64().unwrap()).collect();
    assert!(revisions.iter().copied().eq(0..5_000));
    assert_eq!(place.raw("s"), input.as_bytes());
}

#[test]
fn nothing_in_is_nothing_appended() {
    let place = Place::new();
    assert_eq!(place.feed("append", &["s"], b"").ok(), b"");
    assert_eq!(place.events(), 0);
    assert_eq!(place.run("streams", &["--json"]).ok(), b"");
}

#[test]
fn any_bytes_are_a_payload() {
    let place = Place::new();
    let input = b"\xff\xfe torn \xc3\n\0\0\0\n{\"a\":1}{\"b\":2}\r\n\xef\xbb\xbfmark\n\xe2\x80\xa8\n";
    place.feed("append", &["s"], input).ok();
    assert_eq!(place.raw("s"), input);
    assert_eq!(place.events(), 5);
}

#[test]
fn a_line_of_64_megabytes_is_one_event() {
    let place = Place::new();
    let mut input = vec![b'x'; 64 << 20];
    input[5_000_000] = 0xff;
    input.extend_from_slice(b"\nsmall\n");
    place.feed("append", &["s"], &input).ok();
    assert!(place.raw("s") == input, "the bytes differ");
    place.is_clean();
}

#[test]
fn without_a_reader_of_receipts_appending_stops_with_an_error() {
    let place = Place::new();
    let mut child = treering(["append"]).arg(place.store()).arg("s").stdin(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let mut stdin = child.stdin.take().unwrap();
    let feeder = std::thread::spawn(move || while writeln!(stdin, "line").is_ok() {});
    let ran = crate::support::Ran::from(child.wait_with_output().unwrap());
    feeder.join().unwrap();
    ran.failed(1, "standard output was closed");
}

#[test]
fn a_synced_receipt_is_printed_only_behind_a_sync() {
    let place = Place::new();
    place.feed("append", &["s"], b"the store is made\n").ok();
    let trace = place.path("trace");
    let mut command = std::process::Command::new("strace");
    command.args(["-f", "-e", "trace=fdatasync,fsync,msync,write", "-o"]).arg(&trace);
    command.arg(env!("CARGO_BIN_EXE_treering")).arg("append").arg(place.store()).arg("s");
    let Ok(mut child) = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn() else {
        eprintln!("skipped: there is no strace");
        return;
    };
    let mut stdin = child.stdin.take().unwrap();
    let mut receipts = BufReader::new(child.stdout.take().unwrap()).lines();
    for number in 0..5 {
        if writeln!(stdin, "line {number}").is_err() {
            break;
        }
        // The next line comes when the receipt is there, so that each has a sync of its own.
        let _ = receipts.next();
    }
    drop(stdin);
    let output = child.wait_with_output().unwrap();
    let trace = std::fs::read_to_string(&trace).unwrap_or_default();
    if !output.status.success() && !trace.contains("write(") {
        eprintln!("skipped: strace may not trace here ({})", String::from_utf8_lossy(&output.stderr).trim());
        return;
    }
    let mut syncs_since = 0;
    let mut printed = 0;
    for call in trace.lines() {
        if call.contains("write(1,") {
            assert!(syncs_since > 0, "a receipt without a sync before it:\n{trace}");
            (syncs_since, printed) = (0, printed + 1);
        } else if call.contains("fdatasync") && call.ends_with("= 0") {
            syncs_since += 1;
        }
    }
    assert_eq!(printed, 5, "{trace}");
}
