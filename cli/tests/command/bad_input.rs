//! What cannot be done is refused with its exit code and the way out, and nothing has changed.

use std::os::unix::fs::{FileExt, PermissionsExt};
use std::process::Stdio;

use crate::support::{Place, Ran, treering};

#[test]
fn wrong_command_lines_are_usage_errors() {
    let place = Place::new();
    let long = "n".repeat(1025);
    let cases: &[&[&str]] = &[
        &["append", "s", ""],
        &["append", "s", "$system"],
        &["append", "s", &long],
        &["append", "s", "x", "--type", ""],
        &["append", "s", "x", "--type", &long],
        &["append", "s", "x", "--expect", "9223372036854775808"],
        &["append", "s", "x", "--expect", "head"],
        &["append", "s", "x", "--batch", "0"],
        &["append", "s", "x", "--batch", "1048577"],
        &["append", "s", "x", "--durability", "maybe"],
        &["append", "s"],
        &["cat", "s", "--raw"],
        &["import", "s", "x", "--format", "xml"],
        &["nonsense"],
        &["bench", ".", "--rounds", "0"],
    ];
    for args in cases {
        let ran: Ran = treering(*args).current_dir(place.path("")).output().unwrap().into();
        assert_eq!(ran.code, 2, "{args:?}: {}", ran.stderr);
        assert!(ran.stdout.is_empty());
    }
    assert!(!place.store().exists(), "a usage error makes no store");
}

#[test]
fn help_is_there_for_every_command_with_examples() {
    let commands = [
        "append", "import", "cat", "tail", "streams", "stat", "verify", "accept", "salvage", "dump", "export", "demo",
        "bench", "claim", "watch", "intents", "unlock", "reindex",
    ];
    for command in commands {
        let ran: Ran = treering([command, "--help"]).output().unwrap().into();
        assert!(ran.text().contains("Examples:"), "{command}");
    }
    let all = Ran::from(treering(["--help"]).output().unwrap()).text();
    assert!(commands.iter().all(|command| all.contains(command)) && !all.contains("demo-worker"), "{all}");
}

#[test]
fn what_is_no_store_is_told_and_left_alone() {
    let place = Place::new();
    let readers: [&[&str]; 7] =
        [&["cat", "x"], &["tail"], &["watch"], &["streams"], &["stat"], &["verify"], &["export"]];
    for args in readers {
        let ran = place.run(args[0], &args[1..]);
        assert_eq!(ran.code, 1, "{args:?}: {}", ran.stderr);
        assert!(ran.stderr.starts_with("treering: ") && ran.stderr.lines().count() <= 2, "{}", ran.stderr);
        assert!(!place.store().exists(), "reading makes nothing");
    }
    place.write("s", "a file in place of a directory");
    for args in readers {
        assert_eq!(place.run(args[0], &args[1..]).code, 1, "{args:?}");
    }
    assert_eq!(place.feed("append", &["x"], b"line\n").code, 1);
    assert_eq!(std::fs::read(place.store()).unwrap(), b"a file in place of a directory");
    std::fs::remove_file(place.store()).unwrap();
    place.write("s/holiday.jpg", "a folder of something else");
    assert_eq!(place.feed("append", &["x"], b"line\n").code, 1);
    let names: Vec<_> = std::fs::read_dir(place.store()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, ["holiday.jpg"], "nothing was put into somebody else's folder");
}

/// A command that has appended the line `1`, has its receipt, and waits for more.
fn appending(place: &Place, args: &[&str]) -> (std::process::Child, std::process::ChildStdin) {
    let mut child = treering(["append"]).arg(place.store()).args(args).stdin(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    std::io::Write::write_all(&mut stdin, b"1\n").unwrap();
    std::io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut [0; 1]).unwrap();
    (child, stdin)
}

#[test]
fn a_second_writer_is_refused_with_the_pid_of_the_first() {
    let place = Place::new();
    place.feed("append", &["s"], b"0\n").ok();
    let (mut first, stdin) = appending(&place, &["s", "--exclusive"]);
    place.feed("append", &["s"], b"x\n").failed(6, &first.id().to_string());
    assert_eq!(place.raw("s"), b"0\n1\n", "readers are not kept out");
    drop(stdin);
    assert!(first.wait().unwrap().success());
    place.feed("append", &["s"], b"2\n").ok();
}

#[test]
fn several_append_to_one_store_and_are_named() {
    let place = Place::new();
    place.feed("append", &["s"], b"0\n").ok();
    let (mut first, mut stdin) = appending(&place, &["s"]);
    place.feed("append", &["s"], b"2\n").ok();
    let stat = place.run("stat", &["--json"]).ok();
    let stat: serde_json::Value = serde_json::from_slice(&stat).unwrap();
    assert_eq!(stat["writers"][0]["pid"], first.id());
    assert_eq!(stat["writers"][0]["exclusive"], false);
    place.feed("append", &["s", "--exclusive"], b"x\n").failed(6, &first.id().to_string());
    std::io::Write::write_all(&mut stdin, b"3\n").unwrap();
    drop(stdin);
    assert!(first.wait().unwrap().success());
    assert_eq!(place.raw("s"), b"0\n1\n2\n3\n");
}

#[test]
fn unlock_names_who_keeps_others_out_and_ends_it() {
    let place = Place::new();
    place.feed("append", &["s"], b"0\n").ok();
    let told = String::from_utf8(place.run("unlock", &[]).ok()).unwrap();
    assert!(told.contains("nobody"), "{told}");
    let (mut first, _stdin) = appending(&place, &["s", "--exclusive"]);
    let told = String::from_utf8(place.run("unlock", &[]).ok()).unwrap();
    assert!(told.contains(&first.id().to_string()) && told.contains("alone"), "{told}");
    let told = place.run("unlock", &["--kill", "--json"]).ok();
    let told: serde_json::Value = serde_json::from_slice(&told).unwrap();
    assert_eq!((&told["pid"], &told["killed"]), (&first.id().into(), &true.into()));
    assert!(!first.wait().unwrap().success());
    place.feed("append", &["s"], b"2\n").ok();
    assert_eq!(place.raw("s"), b"0\n1\n2\n", "what was acknowledged stays");
}

#[test]
fn a_folder_that_may_not_be_written_is_told() {
    let place = Place::new();
    place.feed("append", &["s"], b"0\n").ok();
    let locked = place.path("locked");
    std::fs::create_dir(&locked).unwrap();
    std::fs::set_permissions(&locked, std::fs::Permissions::from_mode(0o555)).unwrap();
    let is_root = std::fs::write(locked.join("probe"), "").is_ok();
    if is_root {
        eprintln!("skipped: this user may write everywhere");
        return;
    }
    let ran: Ran = treering(["append"]).arg(locked.join("s")).arg("x").output().unwrap().into();
    ran.failed(1, "permission");
}

/// Turns over one byte of an event in the middle of a store whose log was closed cleanly, so that it is known durable.
fn damaged() -> Place {
    let place = Place::new();
    let input: String = (0..100).map(|number| format!("event number {number:03}\n")).collect();
    place.feed("append", &["s"], input.as_bytes()).ok();
    let needle = b"event number 041";
    for entry in std::fs::read_dir(place.store()).unwrap() {
        let path = entry.unwrap().path();
        let bytes = std::fs::read(&path).unwrap();
        if let Some(at) = bytes.windows(needle.len()).position(|window| window == needle) {
            let file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
            file.write_at(b"E", at as u64).unwrap();
            return place;
        }
    }
    panic!("the event is in no file");
}

#[test]
fn damage_is_told_and_everything_else_is_shown() {
    let place = damaged();
    let ran = place.run("cat", &["s", "--json"]).failed(4, "damage");
    let revisions: Vec<u64> = ran
        .stdout_text()
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["revision"].as_u64().unwrap())
        .collect();
    assert!(revisions.iter().copied().eq((0..100).filter(|revision| *revision != 41)), "{revisions:?}");
    let ran = place.run("verify", &["--json"]).failed(4, "1 place of damage");
    let told: Vec<serde_json::Value> =
        ran.stdout_text().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((&told[0]["kind"], &told[0]["class"]), (&"damage".into(), &"damage".into()));
    assert!(told[0]["file"].as_str().unwrap().ends_with(".segment"));
    let lost = &told[0]["streams"][0];
    assert_eq!(
        (&lost["stream"], &lost["first_revision"], &lost["last_revision"]),
        (&"s".into(), &41.into(), &41.into())
    );
    assert_eq!(told.last().unwrap()["clean"], false);
    place.run("verify", &[]).failed(4, "1 place of damage");
    place.run("export", &[]).failed(4, "damage");
}
