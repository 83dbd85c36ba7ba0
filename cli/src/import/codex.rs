//! What does a line of a Codex rollout say about itself, and whose session is it?
//!
//! Lines come as an envelope `{timestamp, type, payload}`; the type of the event is `type/payload.type` where the payload
//! names one (`response_item/message`), the id is the payload's own `id` (a `call_id` is a link between two records, not
//! the id of one). Older rollouts are flat: a header without a type, bare response items, and `record_type` markers.
//!
//! The first `session_meta` is the file's identity: a forked rollout carries its parent's behind it. A sub-agent that
//! names the thread that spawned it is `PARENT/agent-ID`.

use super::record::{Record, joined};
use super::shallow::{self, Shape, parse_inner, string};

/// The fields that [`record`] reads, in its order.
pub(crate) const FIELDS: [&str; 7] = ["type", "payload", "timestamp", "id", "record_type", "instructions", "git"];

/// Describes one record.
pub(crate) fn record(fields: &[Option<&str>; 7]) -> Record {
    let [event_type, payload, timestamp, id, record_type, instructions, git] = *fields;
    let inner = payload.and_then(|raw| parse_inner(raw, ["type", "id"]));
    let [inner_type, inner_id] = inner.unwrap_or_default();
    let outer = match string(event_type) {
        Some(outer) => outer,
        None if record_type.is_some() => string(record_type).unwrap_or_default(),
        // The header of the flat format: `{id, timestamp, instructions, git}`.
        None if id.is_some() && (instructions.is_some() || git.is_some()) => "session_meta".into(),
        None => "".into(),
    };
    let whole = if outer.is_empty() { String::new() } else { joined(&outer, string(inner_type).as_deref()) };
    let id = if payload.is_some() { inner_id } else { id };
    Record::of_type(&whole).with_id(string(id)).with_time(string(timestamp))
}

const ITEMS: [&str; 9] = [
    "session_meta",
    "response_item",
    "event_msg",
    "turn_context",
    "compacted",
    "world_state",
    "inter_agent_communication",
    "inter_agent_communication_metadata",
    "security_risk_score",
];

/// Whether a line is a record of this format, and of no other that resembles it.
pub(crate) fn recognises(line: &[u8]) -> bool {
    let names = ["type", "payload", "record_type", "instructions", "id", "timestamp"];
    let Ok(Shape::Object([event_type, payload, record_type, instructions, id, timestamp])) =
        shallow::parse(line, names)
    else {
        return false;
    };
    match string(event_type) {
        Some(event_type) => ITEMS.contains(&&*event_type) && shallow::is_object(payload),
        None if string(record_type).is_some_and(|kind| kind == "state") => true,
        None => instructions.is_some() && id.is_some() && timestamp.is_some(),
    }
}

/// The name that a line gives to its file; `None` where it is no header.
pub(crate) fn session(line: &[u8]) -> Option<String> {
    let names = ["type", "payload", "id", "instructions", "git"];
    let Ok(Shape::Object([event_type, payload, id, instructions, git])) = shallow::parse(line, names) else {
        return None;
    };
    match string(event_type) {
        Some(event_type) if event_type == "session_meta" => {
            let [id, parent, source] = parse_inner(payload?, ["id", "parent_thread_id", "source"])?;
            let id = filled(id)?;
            match filled(parent).or_else(|| spawner(source?)) {
                Some(parent) => Some(format!("{parent}/agent-{id}")),
                None => Some(id),
            }
        }
        None if instructions.is_some() || git.is_some() => filled(id),
        _ => None,
    }
}

/// The thread that spawned this one: `{"subagent":{"thread_spawn":{"parent_thread_id":…}}}`.
fn spawner(source: &str) -> Option<String> {
    let [subagent] = parse_inner(source, ["subagent"])?;
    let [spawn] = parse_inner(subagent?, ["thread_spawn"])?;
    let [parent] = parse_inner(spawn?, ["parent_thread_id"])?;
    filled(parent)
}

fn filled(raw: Option<&str>) -> Option<String> {
    string(raw).filter(|text| !text.is_empty()).map(|text| text.into_owned())
}

#[cfg(test)]
mod tests {
    use super::super::record::{Format, read};
    use super::*;

    fn typed(line: &str) -> Record {
        read(Format::Codex, line.as_bytes())
    }

    #[test]
    fn type_id_and_time_come_from_envelope_and_payload() {
        let record = typed(
            r#"{"timestamp":"2026-02-15T03:50:43.000Z","type":"response_item","payload":{"type":"message","id":"msg_1","content":[{"type":"no"}]}}"#,
        );
        assert_eq!(record.event_type, "response_item/message");
        assert_eq!(record.id.as_deref(), Some("msg_1"));
        assert_eq!(record.occurred_at, Some(1_771_127_443_000_000_000));
        assert_eq!(typed(r#"{"type":"turn_context","payload":{"model":"m"}}"#).event_type, "turn_context");
        assert_eq!(typed(r#"{"type":"new_type","payload":[1]}"#).event_type, "new_type");
        let call = typed(r#"{"type":"response_item","payload":{"type":"function_call","call_id":"c"}}"#);
        assert_eq!(call.id, None, "a call id is shared by two records");
    }

    #[test]
    fn the_flat_format_is_read_too() {
        let header = typed(r#"{"id":"s-1","timestamp":"2025-09-03T00:47:19.293Z","instructions":null,"git":{}}"#);
        assert_eq!((header.event_type.as_str(), header.id.as_deref()), ("session_meta", Some("s-1")));
        assert_eq!(typed(r#"{"record_type":"state"}"#).event_type, "state");
        assert_eq!(typed(r#"{"type":"message","role":"user","content":[]}"#).event_type, "message");
        assert_eq!(typed(r#"{"note":"nothing known"}"#).event_type, "json");
    }

    #[test]
    fn its_own_records_are_recognised_and_look_alikes_are_not() {
        for line in [
            r#"{"timestamp":"t","type":"event_msg","payload":{"type":"user_message"}}"#,
            r#"{"record_type":"state"}"#,
            r#"{"id":"s","timestamp":"t","instructions":null}"#,
        ] {
            assert!(recognises(line.as_bytes()), "{line}");
        }
        for line in [
            r#"{"type":"user","message":{"role":"user","content":"hi"}}"#,
            r#"{"type":"event_msg","payload":"text"}"#,
            r#"{"record_type":"other"}"#,
            r#"{"id":"x"}"#,
            "3",
        ] {
            assert!(!recognises(line.as_bytes()), "{line}");
        }
    }

    #[test]
    fn the_header_names_the_session() {
        let named = |line: &str| session(line.as_bytes());
        let plain = r#"{"type":"session_meta","payload":{"id":"t-1","source":"cli"}}"#;
        assert_eq!(named(plain).as_deref(), Some("t-1"));
        let review = r#"{"type":"session_meta","payload":{"id":"t-2","source":{"subagent":"review"}}}"#;
        assert_eq!(named(review).as_deref(), Some("t-2"), "whose sub-agent it is, it does not say");
        let spawned = r#"{"type":"session_meta","payload":{"id":"t-3","source":{"subagent":{"thread_spawn":{"parent_thread_id":"t-1","depth":1}}}}}"#;
        assert_eq!(named(spawned).as_deref(), Some("t-1/agent-t-3"));
        let told = r#"{"type":"session_meta","payload":{"id":"t-4","parent_thread_id":"t-1"}}"#;
        assert_eq!(named(told).as_deref(), Some("t-1/agent-t-4"));
        assert_eq!(named(r#"{"id":"old","instructions":"","timestamp":"t"}"#).as_deref(), Some("old"));
        assert_eq!(named(r#"{"type":"session_meta","payload":{"id":""}}"#), None);
        assert_eq!(named(r#"{"type":"event_msg","payload":{"id":"no"}}"#), None);
    }
}
