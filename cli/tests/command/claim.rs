//! A program that runs under a claim: how it ends, who has to wait, and what signals do.

use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};

use crate::support::{Place, Ran, treering};

const TREERING: &str = env!("CARGO_BIN_EXE_treering");

/// Says that it runs, then waits until its standard input ends.
const UNTIL_CLOSED: &str = "echo ready; read line; exit 7";

/// Starts a script under the claim on a stream, and waits until it says that it is ready.
fn start(place: &Place, stream: &str, script: &str) -> Child {
    let mut child = treering(["claim"])
        .arg(place.store())
        .args([stream, "--", "sh", "-c", script])
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line, "ready\n");
    child
}

fn signal(name: &str, pid: u32) {
    assert!(std::process::Command::new("kill").args([name, &pid.to_string()]).status().unwrap().success());
}

fn with_store() -> Place {
    let place = Place::new();
    place.feed("append", &["s"], b"one\n").ok();
    place
}

#[test]
fn the_program_writes_the_store_and_its_exit_code_is_passed_on() {
    let place = with_store();
    let store = place.store().display().to_string();
    let append = format!("echo two | {TREERING} append '{store}' s");
    place.run("claim", &["s", "--", "sh", "-c", &append]).ok();
    assert_eq!(place.run("cat", &["s", "--json"]).json().len(), 2);
    for code in [0, 1, 3, 77, 255] {
        let ran = place.run("claim", &["not yet", "--", "sh", "-c", &format!("echo out; echo err >&2; exit {code}")]);
        assert_eq!((ran.code, &*ran.stderr, &*ran.stdout), (code, "err\n", &b"out\n"[..]));
    }
    assert_eq!(place.run("claim", &["s", "--", "sh", "-c", "kill -KILL $$"]).code, 128 + 9);
    assert_eq!(place.run("streams", &["--json"]).json().len(), 1, "a claim makes no stream");
}

#[test]
fn who_comes_second_waits_or_is_told_who_has_it() {
    let place = with_store();
    let mut first = start(&place, "s", UNTIL_CLOSED);
    let holder = format!("is held by process {} (treering)", first.id());
    for flags in [&["--no-wait"][..], &["--timeout", "0.05"], &["--timeout", "0"]] {
        place.run("claim", &[&["s"], flags, &["--", "echo", "no"]].concat()).failed(6, &holder);
    }
    let ran = place.run("claim", &["s", "--no-wait", "--json", "--", "echo", "no"]).failed(6, &holder);
    let object: serde_json::Value = serde_json::from_str(&ran.stderr).unwrap();
    assert_eq!((&object["error"], &object["exit_code"]), (&"locked".into(), &6.into()));
    assert!(ran.stdout.is_empty(), "the program did not run");
    assert_eq!(place.run("claim", &["other", "--no-wait", "--", "echo", "yes"]).text(), "yes\n");

    let second = treering(["claim"]).arg(place.store()).args(["s", "--", "echo", "mine"]).spawn().unwrap();
    drop(first.stdin.take());
    assert_eq!(first.wait().unwrap().code(), Some(7));
    assert_eq!(Ran::from(second.wait_with_output().unwrap()).text(), "mine\n");
}

#[test]
fn signals_are_the_programs_to_follow() {
    let place = with_store();
    // Loops end by themselves, should nobody end them.
    let script = "trap 'exit 5' TERM; echo ready; for i in $(seq 3000); do sleep 0.02; done; exit 7";
    let mut asked = start(&place, "s", script);
    // An interrupt reaches both where a terminal sends it; this one reaches the command alone, which does not end by it.
    for name in ["-INT", "-QUIT"] {
        signal(name, asked.id());
    }
    place.run("claim", &["s", "--timeout", "0.2", "--", "echo", "no"]).failed(6, "is held by process");
    signal("-TERM", asked.id());
    assert_eq!(asked.wait().unwrap().code(), Some(5), "the program heard of it");

    // A signal that the command was told to ignore is ignored by the program too.
    let under = format!("trap '' HUP; exec {TREERING} claim \"$0\" s -- sh -c 'kill -HUP $$; echo alive'");
    let output = std::process::Command::new("sh").args(["-c", &under]).arg(place.store()).output().unwrap();
    assert_eq!(Ran::from(output).text(), "alive\n");
    // Not HUP, which whoever runs the tests may have had ignored.
    let ended = "trap 'exit 6' TERM; kill -TERM $PPID; for i in $(seq 3000); do sleep 0.02; done; exit 7";
    assert_eq!(place.run("claim", &["s", "--", "sh", "-c", ended]).code, 6, "and else it is passed on");
}

#[test]
fn a_command_that_is_killed_has_no_claim_whatever_goes_on() {
    let place = with_store();
    let mut killed = start(&place, "s", UNTIL_CLOSED);
    killed.kill().unwrap();
    let input = killed.stdin.take();
    killed.wait().unwrap();
    assert_eq!(place.run("claim", &["s", "--no-wait", "--", "echo", "free"]).text(), "free\n");
    drop(input);
}

#[test]
fn what_cannot_be_run_says_why() {
    let place = Place::new();
    place.run("claim", &["s", "--", "echo", "no"]).failed(1, "there is no store");
    assert!(!place.store().exists());
    let place = with_store();
    place.run("claim", &["s", "--", "no such program"]).failed(1, "cannot start no such program");
    place.run("claim", &["", "--", "echo"]).failed(2, "stream");
    place.run("claim", &["s"]).failed(2, "COMMAND");
    place.run("claim", &["s", "echo"]).failed(2, "echo");
    place.run("claim", &["s", "--no-wait", "--timeout", "1", "--", "echo"]).failed(2, "--timeout");
    for bad in ["x", "-1", "inf", "NaN", "1e30", ""] {
        place.run("claim", &["s", &format!("--timeout={bad}"), "--", "echo"]).failed(2, "number of seconds");
    }
    place.run("claim", &["s", "--no-wait", "--", "true"]).ok();
}

#[test]
fn who_has_lost_the_stream_appends_no_more_under_its_token() {
    let place = with_store();
    let store = place.store().display().to_string();
    let append = format!("echo fenced | {TREERING} append '{store}' s --fence $TREERING_FENCE");
    let script = format!("{append} && echo $TREERING_FENCE");
    let ran = place.run("claim", &["s", "--fenced", "--", "sh", "-c", &script]).text();
    let (receipt, old) = ran.trim().split_once('\n').unwrap();
    assert!(receipt.starts_with("s revision 1 "), "{receipt}");
    // The claim that came with a token in between is the newest.
    let late = format!("echo $TREERING_FENCE; echo late | {TREERING} append '{store}' s --fence {old} --json");
    let ran = place.run("claim", &["s", "--fenced", "--", "sh", "-c", &late]);
    let new = String::from_utf8(ran.stdout.clone()).unwrap().trim().to_owned();
    ran.failed(3, &format!("claimed again, with token {new}"));
    let ran = place.feed("append", &["s", "--fence", old, "--json"], b"late\n").failed(3, "nothing was appended");
    let object: serde_json::Value = serde_json::from_str(&ran.stderr).unwrap();
    assert_eq!((&object["error"], &object["exit_code"]), (&"fenced".into(), &3.into()));
    place.feed("append", &["s", "--fence", &new], b"two\nthree\n").ok();
    place.feed("append", &["s", "--fence", "soon"], b"").failed(2, "it is a number");
    // A stream that was not begun, and no claim at all.
    place.run("claim", &["none", "--fenced", "--", "echo", "no"]).failed(1, "no stream \"none\" yet");
    place.feed("append", &["none", "--fence", &new], b"no\n").failed(3, "no such stream");
    assert_eq!(place.run("cat", &["s", "--json"]).json().len(), 4);
}
