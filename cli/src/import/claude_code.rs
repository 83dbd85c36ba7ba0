//! What does a line of a Claude Code session log say about itself, and whose session is it?
//!
//! The format is observed, not specified, and drifts: every field may be missing. A record's type is `type`, with
//! `/subtype` where there is one (`system/compact_boundary`); its id is `uuid` (some kinds have none, and it is not
//! unique: compaction writes a record again under its old one); its time is `timestamp`.
//!
//! A sub-agent's file carries the session id of its trunk, so it is told by `agentId` in a side chain, or by its file name
//! `agent-ID.jsonl`, and named `SESSION/agent-ID`.

use super::record::{Record, joined};
use super::shallow::{self, Shape, string};

/// The fields that [`record`] reads, in its order.
pub(crate) const FIELDS: [&str; 4] = ["type", "subtype", "uuid", "timestamp"];

/// Describes one record.
pub(crate) fn record(fields: &[Option<&str>; 4]) -> Record {
    let [event_type, subtype, uuid, timestamp] = *fields;
    let event_type = string(event_type).unwrap_or_default();
    let subtype = string(subtype);
    // A subtype without a type says nothing that a reader could look for.
    let whole = if event_type.is_empty() { String::new() } else { joined(&event_type, subtype.as_deref()) };
    Record::of_type(&whole).with_id(string(uuid)).with_time(string(timestamp))
}

/// Types of records that no other tool writes beside a session id.
const KINDS: [&str; 18] = [
    "user",
    "assistant",
    "system",
    "progress",
    "attachment",
    "summary",
    "queue-operation",
    "mode",
    "permission-mode",
    "custom-title",
    "ai-title",
    "agent-name",
    "last-prompt",
    "pr-link",
    "frame-link",
    "worktree-state",
    "relocated",
    "bridge-session",
];

/// Whether a line is a record of this format, and of no other that resembles it.
pub(crate) fn recognises(line: &[u8]) -> bool {
    let names = ["type", "sessionId", "leafUuid", "snapshot", "message"];
    let Ok(Shape::Object([event_type, session, leaf, snapshot, message])) = shallow::parse(line, names) else {
        return false;
    };
    let Some(event_type) = string(event_type) else { return false };
    match &*event_type {
        "summary" if leaf.is_some() => true,
        "file-history-snapshot" if shallow::is_object(snapshot) => true,
        "user" | "assistant" => {
            // Tools that copied this shape put `parts` where this one has `role` and `content`.
            let message = message.and_then(|raw| shallow::parse_inner(raw, ["role", "content", "parts"]));
            matches!(message, Some([Some(_), Some(_), None]))
        }
        kind => session.is_some() && KINDS.contains(&kind),
    }
}

/// Whose log a line belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Owner {
    /// The session.
    pub(crate) session: String,
    /// The sub-agent, where the line is of its side chain.
    pub(crate) agent: Option<String>,
}

/// Reads the owner from a line; `None` where it names no session.
pub(crate) fn owner(line: &[u8], stem: &str) -> Option<Owner> {
    let names = ["sessionId", "agentId", "isSidechain"];
    let Ok(Shape::Object([session, agent, side])) = shallow::parse(line, names) else { return None };
    let session = string(session).filter(|session| !session.is_empty())?.into_owned();
    let agent = (side == Some("true"))
        .then(|| {
            let named = string(agent).filter(|agent| !agent.is_empty()).map(|agent| agent.into_owned());
            named.or_else(|| stem.strip_prefix("agent-").filter(|id| !id.is_empty()).map(str::to_owned))
        })
        .flatten();
    Some(Owner { session, agent })
}

#[cfg(test)]
mod tests {
    use super::super::record::{Format, read};
    use super::*;

    fn typed(line: &str) -> Record {
        read(Format::ClaudeCode, line.as_bytes())
    }

    #[test]
    fn type_id_and_time_come_from_the_envelope() {
        let record = typed(
            r#"{"parentUuid":null,"sessionId":"s","type":"user","message":{"type":"no","uuid":"no"},"uuid":"u-1","timestamp":"2026-02-12T14:11:57.667Z"}"#,
        );
        assert_eq!(record.event_type, "user");
        assert_eq!(record.id.as_deref(), Some("u-1"));
        assert_eq!(record.occurred_at, Some(1_770_905_517_667_000_000));
        assert_eq!(typed(r#"{"type":"system","subtype":"compact_boundary"}"#).event_type, "system/compact_boundary");
        assert_eq!(typed(r#"{"type":"system","subtype":""}"#).event_type, "system");
        assert_eq!(typed(r#"{"subtype":"alone"}"#).event_type, "json");
        let bare = typed(r#"{"type":"summary","summary":"s","leafUuid":"l","timestamp":"yesterday"}"#);
        assert_eq!((bare.id, bare.occurred_at), (None, None));
    }

    #[test]
    fn its_own_records_are_recognised_and_look_alikes_are_not() {
        for line in [
            r#"{"type":"user","sessionId":"s","message":{"role":"user","content":"hi"}}"#,
            r#"{"type":"file-history-snapshot","messageId":"m","snapshot":{}}"#,
            r#"{"type":"summary","summary":"s","leafUuid":"l"}"#,
            r#"{"type":"mode","mode":"normal","sessionId":"s"}"#,
        ] {
            assert!(recognises(line.as_bytes()), "{line}");
        }
        for line in [
            r#"{"type":"user","sessionId":"s","uuid":"u","message":{"role":"user","parts":[]}}"#,
            r#"{"type":"response_item","payload":{"type":"message"}}"#,
            r#"{"type":"session","id":"x","version":3}"#,
            r#"{"type":"summary","text":"a summary of another tool"}"#,
            "[]",
            "{",
        ] {
            assert!(!recognises(line.as_bytes()), "{line}");
        }
    }

    #[test]
    fn a_side_chain_belongs_to_its_agent_and_its_session() {
        let owned = |line: &str, stem: &str| owner(line.as_bytes(), stem).map(|owner| (owner.session, owner.agent));
        let side = r#"{"sessionId":"s","isSidechain":true,"agentId":"a1"}"#;
        assert_eq!(owned(side, "x"), Some(("s".into(), Some("a1".into()))));
        let unnamed = r#"{"sessionId":"s","isSidechain":true}"#;
        assert_eq!(owned(unnamed, "agent-b2"), Some(("s".into(), Some("b2".into()))));
        assert_eq!(owned(unnamed, "s"), Some(("s".into(), None)), "side chains inside the main file");
        let main = r#"{"sessionId":"s","isSidechain":false,"agentId":"primary"}"#;
        assert_eq!(owned(main, "s"), Some(("s".into(), None)));
        assert_eq!(owned(r#"{"type":"summary"}"#, "s"), None);
        assert_eq!(owned(r#"{"sessionId":""}"#, "s"), None);
    }
}
