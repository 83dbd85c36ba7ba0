//! `import`: nothing lost, nothing invented, nothing twice.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::support::{Place, real_logs};

fn samples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("samples")
}

fn import(place: &Place, path: &Path, args: &[&str]) -> Vec<Value> {
    place.run("import", &[&[path.to_str().unwrap(), "--json"], args].concat()).json()
}

/// Imports, then checks that every stream that a file became gives the file back, and that a second import adds nothing.
fn round_trip(place: &Place, folder: &Path, args: &[&str]) -> Vec<Value> {
    let told = import(place, folder, args);
    let mut lines = 0;
    for file in told.iter().filter(|object| object["kind"] == "file") {
        let bytes = std::fs::read(file["file"].as_str().unwrap()).unwrap();
        assert_ne!(file["result"], "refused", "{file}");
        assert!(place.raw(file["stream"].as_str().unwrap()) == bytes, "{file} does not come back as it was");
        lines += file["events"].as_u64().unwrap();
    }
    let summary = told.last().unwrap();
    assert_eq!((&summary["events"], &summary["kind"]), (&lines.into(), &"summary".into()));
    let again = import(place, folder, args).pop().unwrap();
    assert_eq!((&again["events"], &again["bytes"], &again["unparsed"]), (&0.into(), &0.into(), &0.into()));
    assert_eq!(again["streams"], summary["streams"]);
    assert_eq!(place.events(), lines);
    place.is_clean();
    told
}

#[test]
fn the_samples_come_back_byte_for_byte() {
    let place = Place::new();
    let told = round_trip(&place, &samples(), &[]);
    let session = "6b30bc6d-525e-427f-a53d-9ec562ab9f18";
    let mut streams: Vec<_> = told.iter().filter_map(|object| object["stream"].as_str()).collect();
    streams.sort_unstable();
    let agent = format!("{session}/agent-a7d3c19");
    assert_eq!(streams, ["019cbe0a-5d1c-7a40-9c55-3f0e8d2b7a16", session, &agent]);
    let events = place.run("cat", &[session, "--json"]).json();
    assert_eq!(events[0]["type"], "file-history-snapshot");
    assert_eq!(events[0]["metadata"], r#"{"import":"claude-code","file":"claude-code-session.jsonl"}"#);
    assert!(events.iter().skip(1).all(|event| event["metadata"] == ""));
    let boundary = events.iter().find(|event| event["type"] == "system/compact_boundary").unwrap();
    assert!(boundary["id"].is_string() && boundary["occurred_at"].as_i64().unwrap() > 1_772_000_000_000_000_000);
    let codex = place.run("cat", &[streams[0], "--json"]).json();
    assert_eq!(codex[0]["type"], "session_meta");
    assert!(codex.iter().any(|event| event["type"] == "response_item/function_call_output"));
}

#[test]
fn real_sessions_of_claude_code_come_back_byte_for_byte() {
    let Some(logs) = real_logs("claude-code") else { return };
    let place = Place::new();
    let told = round_trip(&place, &logs, &["--format", "auto"]);
    let session = "ae4a77f8-aedd-4bc1-888f-c94edc91af04";
    for stream in [session.to_owned(), format!("{session}/agent-aac57f5"), format!("{session}/agent-acompact-946d2b")] {
        assert!(told.iter().any(|object| object["stream"] == stream.as_str()), "{stream}");
    }
    let formats =
        told.iter().filter(|object| object["kind"] == "file").map(|object| object["format"].as_str().unwrap());
    assert!(formats.into_iter().all(|format| format == "claude-code"));
}

#[test]
fn real_rollouts_of_codex_come_back_byte_for_byte() {
    let Some(logs) = real_logs("codex") else { return };
    let place = Place::new();
    let told = round_trip(&place, &logs, &[]);
    let formats: Vec<_> = told.iter().filter_map(|object| object["format"].as_str()).collect();
    assert!(formats.iter().filter(|format| **format == "codex").count() >= 19, "{formats:?}");
    assert_eq!(formats.iter().filter(|format| **format == "jsonl").count(), 1, "the recording of the interface");
}

#[test]
fn real_logs_of_many_tools_come_back_byte_for_byte() {
    for kind in ["multi-tool", "openhands", "llm-stream"] {
        let Some(logs) = real_logs(kind) else { return };
        let place = Place::new();
        let told = round_trip(&place, &logs, &[]);
        let summary = told.last().unwrap();
        let reported = told.iter().filter(|object| object["kind"] == "unparsed").count() as u64;
        assert_eq!(summary["unparsed"], reported, "each unparsed line is told with file and line");
    }
}

#[test]
fn a_file_that_grows_adds_only_what_is_new() {
    let place = Place::new();
    let text = std::fs::read(samples().join("claude-code-session.jsonl")).unwrap();
    let stream = "6b30bc6d-525e-427f-a53d-9ec562ab9f18";
    // Cut between lines, inside lines, just before and behind an LF; also an older copy in between.
    let first_lf = text.iter().position(|byte| *byte == b'\n').unwrap();
    let mut seen = 0;
    for len in [0, 1, first_lf, first_lf + 1, 5_000, 4_000, 12_345, text.len() - 1, 17, text.len()] {
        let path = place.write("log.jsonl", &text[..len]);
        // The beginning of a line alone is no log that could be recognised.
        let format = if len <= first_lf { "claude-code" } else { "auto" };
        let args = &["--format", format, "--stream", stream];
        let summary = import(&place, &path, args).pop().unwrap();
        assert_eq!(summary["events"].as_u64().unwrap() > 0, len > seen, "at {len} after {seen}");
        seen = seen.max(len);
        if seen > 0 {
            assert!(place.raw(stream) == text[..seen], "at {len}");
        }
    }
    let events = place.run("cat", &[stream, "--json"]).json();
    let lines = text.iter().filter(|byte| **byte == b'\n').count();
    assert_eq!(events.len(), lines + 5, "each line once, and the five torn beginnings that were replaced");
    let replaced = events.iter().filter(|event| event["metadata"].as_str().unwrap().contains("\"replaces\":")).count();
    assert_eq!(replaced, 5);
    place.is_clean();
}

#[test]
fn a_file_that_names_its_session_only_later_stays_in_its_stream() {
    let place = Place::new();
    let early = "{\"type\":\"summary\",\"summary\":\"before\",\"leafUuid\":\"l\"}\n";
    let path = place.write("kept-name.jsonl", early);
    assert_eq!(import(&place, &path, &[])[0]["stream"], "kept-name");
    place.write("kept-name.jsonl", format!("{early}{{\"type\":\"mode\",\"sessionId\":\"later\"}}\n"));
    let told = import(&place, &path, &[]);
    assert_eq!((&told[0]["stream"], &told[0]["result"]), (&"kept-name".into(), &"grown".into()));
    assert_eq!(place.events(), 2);
}

#[test]
fn another_file_of_the_same_name_gets_a_stream_beside() {
    let place = Place::new();
    let contents = ["{\"n\":1}\n{\"n\":2}\n", "{\"n\":1}\n{\"n\":3}\n", "{\"n\":4}\n"];
    for (folder, text) in ["a", "b", "c"].iter().zip(contents) {
        place.write(&format!("logs/{folder}/same.jsonl"), text);
    }
    let told = round_trip(&place, &place.path("logs"), &[]);
    let streams: Vec<_> = told.iter().filter_map(|object| object["stream"].as_str()).collect();
    assert_eq!(streams, ["same", "same~2", "same~3"]);
    assert_eq!(told.last().unwrap()["beside"], 2);
    let other = place.path("other");
    let text = place.run_on(&other, "import", &[place.path("logs").to_str().unwrap()]).text();
    assert!(text.contains("same~2, same~3"), "{text}");
    // Growth finds its own stream among those of the name.
    place.write("logs/b/same.jsonl", "{\"n\":1}\n{\"n\":3}\n{\"n\":5}\n");
    let told = import(&place, &place.path("logs"), &[]);
    assert_eq!(
        (&told[1]["stream"], &told[1]["result"], &told[1]["events"]),
        (&"same~2".into(), &"grown".into(), &1.into())
    );
}

#[test]
fn bad_lines_are_kept_counted_and_told() {
    let place = Place::new();
    let good = r#"{"type":"user","sessionId":"s","uuid":"u","message":{"role":"user","content":"hi"}}"#;
    let mut text = Vec::new();
    for line in [
        &b"\xef\xbb\xbf{\"type\":\"summary\",\"summary\":\"bom\",\"leafUuid\":\"l\"}"[..],
        good.as_bytes(),
        b"{\"type\":\"user\",\"message\":{\"ro",
        format!("{good}{good}").as_bytes(),
        b"\0\0\0\0\0\0\0\0",
        b"{\"type\":\"user\",\"text\":\"\xc3\x28\"}",
        b"",
        b"[1,2,3]",
        "{\"type\":\"user\",\"text\":\"a\u{2028}b\"}\r".as_bytes(),
        good.as_bytes(),
    ] {
        text.extend_from_slice(line);
        text.push(b'\n');
    }
    let path = place.write("bad.jsonl", &text);
    let told = round_trip(&place, &path, &[]);
    let unparsed: Vec<_> = told
        .iter()
        .filter(|object| object["kind"] == "unparsed")
        .map(|object| (object["line"].as_u64().unwrap(), object["why"].as_str().unwrap()))
        .collect();
    assert_eq!(unparsed.iter().map(|(line, _)| *line).collect::<Vec<_>>(), [3, 4, 5, 6]);
    for ((_, why), word) in unparsed.iter().zip(["torn", "glued", "8 NUL bytes", "not UTF-8"]) {
        assert!(why.contains(word), "{why}");
    }
    let events = place.run("cat", &["s", "--json"]).json();
    let types: Vec<_> = events.iter().map(|event| event["type"].as_str().unwrap()).collect();
    let expected = ["summary", "user", "unparsed", "unparsed", "unparsed", "unparsed", "blank", "json", "user", "user"];
    assert_eq!(types, expected);
    assert!(events[5]["payload_base64"].is_string() && events[5]["payload"].is_null());
    assert!(events[3]["metadata"].as_str().unwrap().starts_with("{\"unparsed\":\"glued"));
    let text = Place::new().run("import", &[path.to_str().unwrap()]).text();
    assert!(text.contains(&format!("{}:3: torn", path.display())), "{text}");
    assert!(text.contains("4 unparsed"), "{text}");
}

#[test]
fn names_can_be_given_and_prefixed() {
    let place = Place::new();
    let path = place.write("log.jsonl", "{\"n\":1}\n");
    assert_eq!(import(&place, &path, &["--stream", "mine"])[0]["stream"], "mine");
    assert_eq!(import(&place, &path, &["--stream-prefix", "laptop/"])[0]["stream"], "laptop/log");
    let dollar = place.write("$x.jsonl", "{\"n\":2}\n");
    assert_eq!(import(&place, &dollar, &[])[0]["stream"], "_$x");
    place.run("import", &["log.jsonl", "--stream", "$mine"]).failed(2, "belong to the engine");
    place.run("import", &["log.jsonl", "--stream", "a", "--stream-prefix", "b"]).failed(2, "cannot be used with");
}

#[test]
fn what_is_not_lines_is_refused_with_the_reason_and_the_rest_goes_in() {
    let place = Place::new();
    place.write("logs/document.jsonl", "{\n \"a\": [\n 1\n ]\n}\n");
    place.write("logs/packed.jsonl", b"\x28\xb5\x2f\xfd\x04\0");
    place.write("logs/words.jsonl", "just\nwords\n");
    place.write("logs/empty.jsonl", "");
    place.write("logs/good.jsonl", "{\"a\":1}\n");
    place.write("logs/notes.txt", "not looked at\n");
    let logs = place.path("logs");
    let ran = place.run("import", &[logs.to_str().unwrap(), "--json"]).failed(1, "3 files not imported");
    let told: Vec<Value> = ran.stdout_text().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let refused: Vec<_> = told.iter().filter(|object| object["result"] == "refused").collect();
    assert_eq!(refused.len(), 3);
    for (file, word) in
        refused.iter().zip(["one JSON document", "compressed (zstd)", "none of its first lines is JSON"])
    {
        assert!(file["why"].as_str().unwrap().contains(word), "{file}");
    }
    let summary = told.last().unwrap();
    assert_eq!((&summary["events"], &summary["passed_over"]), (&1.into(), &1.into()));
    // Named explicitly, any lines go in.
    let words = place.path("logs/words.jsonl");
    let told = import(&place, &words, &["--format", "jsonl"]);
    assert_eq!(told.last().unwrap()["unparsed"], 2);
    assert_eq!(place.raw("words"), b"just\nwords\n");
}

#[test]
fn paths_that_lead_nowhere_make_no_store() {
    let place = Place::new();
    place.run("import", &["gone.jsonl"]).failed(1, "there is no such file");
    place.write("folder/readme.md", "x");
    place.run("import", &["folder"]).failed(1, ".jsonl");
    place.run("import", &[]).failed(2, "required");
    assert!(!place.store().exists());
}

#[test]
fn one_line_of_64_megabytes_and_no_final_lf() {
    let place = Place::new();
    let mut text = b"{\"type\":\"big\",\"text\":\"".to_vec();
    text.resize(64 << 20, b'z');
    text.extend_from_slice(b"\"}");
    let path = place.write("big.jsonl", &text);
    let told = import(&place, &path, &[]);
    assert_eq!((&told[0]["events"], &told[0]["bytes"]), (&1.into(), &(text.len() as u64).into()));
    assert!(place.raw("big") == text, "the bytes differ");
    assert_eq!(import(&place, &path, &[]).pop().unwrap()["events"], 0);
    let events = place.run("cat", &["big", "--json"]).json();
    assert_eq!(events[0]["type"], "big");
    assert!(events[0]["metadata"].as_str().unwrap().contains("\"no_lf\":true"));
}
