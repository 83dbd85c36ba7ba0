//! What is read of the lines of other tools: what they say, and that nothing they could say stops a reader.

use crate::support::{CLAUDE_CODE, CODEX};
use proptest::prelude::*;
use serde_json::Value;
use treering_agent::{AgentEvent, Counts, Part, Reading};

fn read(line: (&str, &str)) -> Reading {
    AgentEvent::read(line.0, line.1.as_bytes()).unwrap()
}

fn kinds(reading: &Reading) -> Vec<&'static str> {
    reading.events.iter().map(AgentEvent::event_type).collect()
}

#[test]
fn lines_of_claude_code_say_what_they_say() {
    let said: Vec<Vec<&str>> = CLAUDE_CODE.iter().map(|line| kinds(&read(*line))).collect();
    let expected: [&[&str]; 13] = [
        &[],
        &["user_input"],
        &["model_output"],
        &["model_output"],
        &["model_output", "tool_call", "tool_call"],
        &["tool_result"],
        &["permission_given", "tool_result"],
        &["model_output"],
        &["failure"],
        &["compaction"],
        &["user_input"],
        &["user_input"],
        &[],
    ];
    assert_eq!(said, expected);
    let AgentEvent::ModelOutput(thought) = &read(CLAUDE_CODE[2]).events[0] else { panic!() };
    assert_eq!(thought.content, [Part::reasoning("A listing.", Some("c2ln".to_owned()))]);
    assert_eq!(thought.provider.as_deref(), Some("anthropic"));
    assert_eq!(thought.usage.as_ref().map(|usage| (usage.input, usage.cache_write, usage.output)), Some((3, 100, 9)));
    let AgentEvent::ToolCall(call) = &read(CLAUDE_CODE[4]).events[2] else { panic!() };
    assert_eq!((&*call.call, &*call.tool, call.message.as_deref()), ("toolu_2", "Read", Some("msg_1")));
    let AgentEvent::PermissionGiven(refused) = &read(CLAUDE_CODE[6]).events[0] else { panic!() };
    assert_eq!((refused.call.as_deref(), refused.granted), (Some("toolu_2"), false));
    let AgentEvent::Failure(failure) = &read(CLAUDE_CODE[8]).events[0] else { panic!() };
    assert_eq!(failure.message, "API Error: overloaded");
    for (line, from) in [(1, None), (10, Some("summary")), (11, Some("harness"))] {
        let AgentEvent::UserInput(input) = &read(CLAUDE_CODE[line]).events[0] else { panic!() };
        assert_eq!(input.from.as_deref(), from);
    }
    assert!(read(CLAUDE_CODE[7]).is_side && !read(CLAUDE_CODE[1]).is_side);
}

#[test]
fn lines_of_codex_say_what_they_say() {
    let said: Vec<Vec<&str>> = CODEX.iter().map(|line| kinds(&read(*line))).collect();
    let expected = [
        "session",
        "user_input",
        "user_input",
        "user_input",
        "session",
        "model_output",
        "model_output",
        "tool_call",
        "usage",
        "usage",
        "tool_result",
        "model_output",
        "model_output",
        "usage",
        "tool_call",
    ];
    assert_eq!(said, expected.map(|kind| vec![kind]));
    let echoes: Vec<usize> = (0..CODEX.len()).filter(|line| read(CODEX[*line]).is_echo).collect();
    assert_eq!(echoes, [3, 5, 11]);
    let AgentEvent::ModelOutput(thought) = &read(CODEX[6]).events[0] else { panic!() };
    assert_eq!(thought.content, [Part::reasoning("A greeting", Some("gAAA".to_owned()))]);
    let AgentEvent::ToolCall(call) = &read(CODEX[7]).events[0] else { panic!() };
    assert_eq!(call.input, serde_json::json!({ "command": ["echo", "hello"] }), "arguments are JSON in a text");
    let AgentEvent::ToolResult(result) = &read(CODEX[10]).events[0] else { panic!() };
    assert_eq!((&result.content[..], result.is_error), (&[Part::text("hello\n")][..], true));
    let AgentEvent::Usage(usage) = &read(CODEX[13]).events[0] else { panic!() };
    assert_eq!((usage.counts, usage.usage.input, usage.usage.cache_read), (Counts::SoFar, 110, 140));
    let AgentEvent::UserInput(put_in) = &read(CODEX[1]).events[0] else { panic!() };
    assert_eq!(put_in.from.as_deref(), Some("harness"));

    let compacted = r#"{"type":"compacted","payload":{"message":"short","replacement_history":[{"type":"message","role":"user","content":[{"type":"input_text","text":"kept"}]},"bare",{"type":"compaction","encrypted_content":"x"}]}}"#;
    assert_eq!(kinds(&read(("compacted", compacted))), ["compaction", "user_input", "model_output"]);
    let bare = r#"{"type":"message","role":"assistant","content":[{"type":"output_text","text":"old"}]}"#;
    assert_eq!(kinds(&read(("message", bare))), ["model_output"]);
    assert!(read(("message", r#"{"text":"somebody's own"}"#)).events.is_empty());
}

/// All places in a value.
fn places(value: &Value) -> Vec<String> {
    fn walk(value: &Value, at: &str, places: &mut Vec<String>) {
        places.push(at.to_owned());
        match value {
            Value::Object(fields) => fields.iter().for_each(|(name, it)| walk(it, &format!("{at}/{name}"), places)),
            Value::Array(items) => items.iter().enumerate().for_each(|(n, it)| walk(it, &format!("{at}/{n}"), places)),
            _ => {}
        }
    }
    let mut places = Vec::new();
    walk(value, "", &mut places);
    places
}

/// Whatever stands in the place of a field, and wherever a line is cut: it is read, passed over or reported.
#[test]
fn no_drift_of_a_format_stops_a_reader() {
    let strangers = [
        Value::Null,
        Value::Bool(true),
        Value::from(-1),
        Value::from(1e300),
        Value::from(""),
        Value::from("{\"output\":"),
        serde_json::json!([]),
        serde_json::json!([[{ "type": 5 }], null, "words"]),
        serde_json::json!({}),
        serde_json::json!({ "type": "text", "media_type": "x" }),
    ];
    let types: Vec<&str> =
        CLAUDE_CODE.iter().chain(&CODEX).map(|(event_type, _)| *event_type).chain(["message", "compacted"]).collect();
    let mut read = 0_u32;
    for (event_type, line) in CLAUDE_CODE.iter().chain(&CODEX) {
        let value: Value = serde_json::from_str(line).unwrap();
        for place in places(&value) {
            for stranger in &strangers {
                let mut changed = value.clone();
                *changed.pointer_mut(&place).unwrap() = stranger.clone();
                let changed = changed.to_string();
                read += u32::from(AgentEvent::read(event_type, changed.as_bytes()).is_ok());
            }
        }
        for cut in 0..line.len() {
            let _ = AgentEvent::read(event_type, &line.as_bytes()[..cut]);
        }
        for other in &types {
            let _ = AgentEvent::read(other, line.as_bytes());
        }
    }
    assert!(read > 2_000, "most of them are lines still: {read}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_are_read_passed_over_or_reported(
        line in 0..CLAUDE_CODE.len() + CODEX.len(),
        bytes in prop::collection::vec(any::<u8>(), 0..300),
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
    ) {
        let (event_type, text) = CLAUDE_CODE.iter().chain(&CODEX).nth(line).unwrap();
        let _ = AgentEvent::read(event_type, &bytes);
        let mut changed = text.as_bytes().to_vec();
        for (place, byte) in flips {
            let place = place.index(changed.len());
            changed[place] = byte;
        }
        let _ = AgentEvent::read(event_type, &changed);
    }
}
