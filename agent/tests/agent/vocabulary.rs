//! The page against the code: every name has an example, and every example is read and written again without loss.

use serde_json::{Value, json};
use treering_agent::{AgentEvent, Part, TYPES};

const PAGE: &str = include_str!("../../VOCABULARY.md");

/// The examples of the page, each with the name that it stands under.
fn examples() -> Vec<(&'static str, &'static str)> {
    let mut examples = Vec::new();
    let mut name = "";
    let mut lines = PAGE.lines();
    while let Some(line) = lines.next() {
        if let Some(heading) = line.strip_prefix("## ") {
            name = heading.trim_matches('`');
        } else if line == "```json" {
            examples.push((name, lines.next().unwrap()));
        }
    }
    examples
}

fn read_one(event_type: &str, payload: &[u8]) -> AgentEvent {
    let mut reading = AgentEvent::read(event_type, payload).unwrap();
    assert_eq!((reading.events.len(), reading.is_echo, reading.is_side), (1, false, false));
    reading.events.remove(0)
}

#[test]
fn every_example_of_the_page_is_read_and_written_again_as_it_was() {
    let examples = examples();
    for name in TYPES {
        assert!(examples.iter().any(|(example, _)| *example == name), "{name} has no example");
        assert!(PAGE.contains(&format!("| [`{name}`](#{name}) |")), "{name} is not in the table");
    }
    for (name, example) in examples {
        let event = read_one(name, example.as_bytes());
        assert_eq!(event.event_type(), name);
        assert_eq!(String::from_utf8(event.payload()).unwrap(), example, "{name}: no field is lost or moved");
    }
}

/// What a later version adds, at the top, in a part, in the usage.
#[test]
fn fields_that_are_not_known_are_kept() {
    fn with_more(value: &mut Value) {
        match value {
            Value::Object(fields) => {
                fields
                    .iter_mut()
                    .filter(|(name, _)| *name != "input" && *name != "tools")
                    .for_each(|(_, it)| with_more(it));
                fields.insert("added_later".to_owned(), json!({ "a": [1, 2.5, null] }));
            }
            Value::Array(items) => items.iter_mut().for_each(with_more),
            _ => {}
        }
    }
    for (name, example) in examples() {
        let mut value: Value = serde_json::from_str(example).unwrap();
        with_more(&mut value);
        let event = read_one(name, value.to_string().as_bytes());
        let again: Value = serde_json::from_slice(&event.payload()).unwrap();
        assert_eq!(again, value, "{name}");
    }
}

#[test]
fn parts_that_are_not_known_are_kept() {
    let content = json!([{ "type": "hologram", "deep": [1] }, "bare", { "type": "text", "text": 5 }, 7, { "type": "text", "text": "t" }]);
    let payload = json!({ "content": content });
    let AgentEvent::UserInput(input) = read_one("user_input", payload.to_string().as_bytes()) else { panic!() };
    assert_eq!(input.content.len(), 5);
    assert_eq!(input.content[4], Part::text("t"));
    assert!(input.content[..4].iter().all(|part| matches!(part, Part::Other(_))));
    assert_eq!(serde_json::from_slice::<Value>(&AgentEvent::from(input).payload()).unwrap(), payload);
    let AgentEvent::UserInput(short) = read_one("user_input", br#"{"content":"words"}"#) else { panic!() };
    assert_eq!(short.content, [Part::text("words")]);
    let AgentEvent::UserInput(null) = read_one("user_input", br#"{"content":null}"#) else { panic!() };
    assert!(null.content.is_empty());
}

#[test]
fn types_that_are_not_known_are_passed_over_whatever_they_hold() {
    for event_type in
        ["note", "", "User", "tool_call ", "progress", "unparsed", "event_msg/mystery", "response", "summary"]
    {
        for payload in [&b""[..], b"{", b"\xff\0", b"{}", br#"{"call":1}"#] {
            assert!(AgentEvent::read(event_type, payload).unwrap().events.is_empty(), "{event_type}");
        }
    }
}

#[test]
fn what_bears_a_name_without_its_shape_is_reported() {
    for (event_type, payload, word) in [
        ("tool_call", &b"{"[..], "EOF"),
        ("tool_call", b"", "EOF"),
        ("tool_call", br#"{"call":"c"}"#, "tool"),
        ("tool_call", br#"{"call":1,"tool":"t"}"#, "integer"),
        ("tool_call", b"[]", "struct ToolCall"),
        ("tool_result", br#"{"content":"x"}"#, "call"),
        ("permission_given", br#"{"granted":"yes"}"#, "boolean"),
        ("usage", br#"{"usage":{"input":-1}}"#, "-1"),
        ("user_input", b"\xff", "expected value"),
        ("user_input", br#"{"content":{"a":1}}"#, "variant"),
        ("user_input", br#"{"content":"x"} {}"#, "trailing"),
        ("user", b"words", "expected value"),
        ("user", b"[1]", "object"),
        ("response_item/message", b"{\"payload\":", "EOF"),
    ] {
        let error = AgentEvent::read(event_type, payload).unwrap_err();
        assert_eq!(error.event_type, event_type);
        assert!(error.reason.contains(word), "{event_type}: {} holds no {word:?}", error.reason);
    }
}

/// Deeper than any stack would take.
#[test]
fn bombs_of_brackets_are_reported_or_passed_over() {
    let deep = "[".repeat(200_000);
    let closed = format!("{deep}{}", "]".repeat(200_000));
    let read = |event_type: &str, payload: &str| AgentEvent::read(event_type, payload.as_bytes());
    for name in TYPES {
        assert!(read(name, &deep).is_err());
        assert!(read(name, &format!("{{\"x\":{closed}}}")).is_err());
    }
    for (event_type, field) in [("user", "message"), ("assistant", "message"), ("response_item/message", "payload")] {
        assert!(read(event_type, &format!("{{\"{field}\":{closed}}}")).is_err());
        // Where nobody looks, nothing is built.
        assert!(read(event_type, &format!("{{\"elsewhere\":{closed}}}")).is_ok());
    }
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig { failure_persistence: None, ..Default::default() })]

    /// Also those of seventeen digits.
    #[test]
    fn numbers_stay_what_they_were(number in proptest::num::f64::NORMAL) {
        let payload = json!({ "call": "c", "tool": "t", "input": number }).to_string();
        let AgentEvent::ToolCall(call) = read_one("tool_call", payload.as_bytes()) else { panic!() };
        proptest::prop_assert_eq!(call.input.as_f64(), Some(number));
        proptest::prop_assert_eq!(String::from_utf8(AgentEvent::from(call).payload()).unwrap(), payload);
    }
}
