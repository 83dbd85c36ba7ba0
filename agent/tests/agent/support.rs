//! Logs for tests, written for them, in the shapes of the formats that are read.

use treering::{EventView, Position, Projection, Revision};

/// An event of a log: its type, its payload, when it happened.
#[derive(Clone, Debug)]
pub(crate) struct Logged {
    pub(crate) event_type: String,
    pub(crate) payload: Vec<u8>,
    pub(crate) time: i64,
}

pub(crate) fn logged(event_type: &str, payload: impl Into<Vec<u8>>) -> Logged {
    Logged { event_type: event_type.to_owned(), payload: payload.into(), time: 0 }
}

/// An event as folds see it.
pub(crate) fn view(revision: usize, event: &Logged) -> EventView<'_> {
    EventView {
        stream: "s",
        revision: Revision(revision as u64),
        position: Position(8192 + revision as u64 * 64),
        id: None,
        event_type: &event.event_type,
        recorded_at: event.time,
        occurred_at: None,
        metadata: b"",
        payload: &event.payload,
    }
}

/// Has a fold take one event.
pub(crate) fn apply(fold: &mut impl Projection, revision: usize, event: &Logged) {
    fold.apply(&view(revision, event));
}

/// The fold over all of these.
pub(crate) fn folded<P: Projection>(mut fold: P, events: &[Logged]) -> P {
    for (revision, event) in events.iter().enumerate() {
        apply(&mut fold, revision, event);
    }
    fold
}

/// A session of Claude Code: one message in three lines, whose usage grows; a call that is refused; a compaction.
pub(crate) const CLAUDE_CODE: [(&str, &str); 13] = [
    ("progress", r#"{"type":"progress","data":{"type":"hook_progress"}}"#),
    (
        "user",
        r#"{"type":"user","isSidechain":false,"message":{"role":"user","content":"List the files."},"uuid":"u1"}"#,
    ),
    (
        "assistant",
        r#"{"type":"assistant","message":{"id":"msg_1","model":"claude-opus-4-6","role":"assistant","content":[{"type":"thinking","thinking":"A listing.","signature":"c2ln"}],"stop_reason":null,"usage":{"input_tokens":3,"cache_creation_input_tokens":100,"cache_read_input_tokens":1000,"output_tokens":9}}}"#,
    ),
    (
        "assistant",
        r#"{"type":"assistant","message":{"id":"msg_1","model":"claude-opus-4-6","role":"assistant","content":[{"type":"text","text":"I list them."}],"stop_reason":null,"usage":{"input_tokens":3,"cache_creation_input_tokens":100,"cache_read_input_tokens":1000,"output_tokens":9}}}"#,
    ),
    (
        "assistant",
        r#"{"type":"assistant","message":{"id":"msg_1","model":"claude-opus-4-6","role":"assistant","content":[{"type":"tool_use","id":"toolu_1","name":"Bash","input":{"command":"ls"}},{"type":"tool_use","id":"toolu_2","name":"Read","input":{"path":"a"}}],"stop_reason":"tool_use","usage":{"input_tokens":3,"cache_creation_input_tokens":100,"cache_read_input_tokens":1000,"output_tokens":209}}}"#,
    ),
    (
        "user",
        r#"{"type":"user","message":{"role":"user","content":[{"type":"tool_result","tool_use_id":"toolu_1","content":"a\nb"}]},"toolUseResult":{"stdout":"a\nb"}}"#,
    ),
    (
        "user",
        r#"{"type":"user","message":{"role":"user","content":[{"type":"tool_result","tool_use_id":"toolu_2","is_error":true,"content":[{"type":"text","text":"The user doesn't want to proceed with this tool use. STOP."}]}]}}"#,
    ),
    (
        "assistant",
        r#"{"type":"assistant","isSidechain":true,"message":{"id":"msg_side","model":"claude-haiku-4-5","role":"assistant","content":[{"type":"text","text":"said aside"}],"usage":{"input_tokens":5,"output_tokens":7}}}"#,
    ),
    (
        "assistant",
        r#"{"type":"assistant","isApiErrorMessage":true,"message":{"model":"<synthetic>","content":[{"type":"text","text":"API Error: overloaded"}]}}"#,
    ),
    (
        "system/compact_boundary",
        r#"{"type":"system","subtype":"compact_boundary","compactMetadata":{"trigger":"manual","preTokens":5}}"#,
    ),
    ("user", r#"{"type":"user","isCompactSummary":true,"message":{"role":"user","content":"Two files, a and b."}}"#),
    (
        "user",
        r#"{"type":"user","isMeta":true,"message":{"role":"user","content":[{"type":"text","text":"Be brief."},{"type":"image","source":{"type":"base64","media_type":"image/png","data":"iVBORw0KGgo="}}]}}"#,
    ),
    ("summary", r#"{"type":"summary","summary":"Files","leafUuid":"x"}"#),
];

/// A rollout of Codex: what is said stands there twice, the count of tokens too; a call stays open.
pub(crate) const CODEX: [(&str, &str); 15] = [
    (
        "session_meta",
        r#"{"type":"session_meta","payload":{"id":"t-1","originator":"codex_cli_rs","model_provider":"openai","base_instructions":{"text":"You are Codex."}}}"#,
    ),
    (
        "response_item/message",
        r#"{"type":"response_item","payload":{"type":"message","role":"user","content":[{"type":"input_text","text":"<environment_context>\n  <cwd>/srv</cwd>"}]}}"#,
    ),
    (
        "response_item/message",
        r#"{"type":"response_item","payload":{"type":"message","role":"user","content":[{"type":"input_text","text":"Say hello."}]}}"#,
    ),
    ("event_msg/user_message", r#"{"type":"event_msg","payload":{"type":"user_message","message":"Say hello."}}"#),
    ("turn_context", r#"{"type":"turn_context","payload":{"cwd":"/srv","model":"gpt-5.1"}}"#),
    ("event_msg/agent_reasoning", r#"{"type":"event_msg","payload":{"type":"agent_reasoning","text":"A greeting"}}"#),
    (
        "response_item/reasoning",
        r#"{"type":"response_item","payload":{"type":"reasoning","summary":[{"type":"summary_text","text":"A greeting"}],"encrypted_content":"gAAA"}}"#,
    ),
    (
        "response_item/function_call",
        r#"{"type":"response_item","payload":{"type":"function_call","name":"shell","arguments":"{\"command\":[\"echo\",\"hello\"]}","call_id":"call_1"}}"#,
    ),
    (
        "event_msg/token_count",
        r#"{"type":"event_msg","payload":{"type":"token_count","info":{"total_token_usage":{"input_tokens":100,"cached_input_tokens":40,"output_tokens":10,"reasoning_output_tokens":4,"total_tokens":110},"last_token_usage":{"input_tokens":100,"cached_input_tokens":40,"output_tokens":10,"reasoning_output_tokens":4,"total_tokens":110}}}}"#,
    ),
    (
        "event_msg/token_count",
        r#"{"type":"event_msg","payload":{"type":"token_count","info":{"total_token_usage":{"input_tokens":100,"cached_input_tokens":40,"output_tokens":10,"reasoning_output_tokens":4,"total_tokens":110},"last_token_usage":{"input_tokens":100,"cached_input_tokens":40,"output_tokens":10,"reasoning_output_tokens":4,"total_tokens":110}}}}"#,
    ),
    (
        "response_item/function_call_output",
        r#"{"type":"response_item","payload":{"type":"function_call_output","call_id":"call_1","output":"{\"output\":\"hello\\n\",\"metadata\":{\"exit_code\":1}}"}}"#,
    ),
    ("event_msg/agent_message", r#"{"type":"event_msg","payload":{"type":"agent_message","message":"Hello."}}"#),
    (
        "response_item/message",
        r#"{"type":"response_item","payload":{"type":"message","role":"assistant","id":"msg_9","content":[{"type":"output_text","text":"Hello."}]}}"#,
    ),
    (
        "event_msg/token_count",
        r#"{"type":"event_msg","payload":{"type":"token_count","info":{"total_token_usage":{"input_tokens":250,"cached_input_tokens":140,"output_tokens":15,"reasoning_output_tokens":4,"total_tokens":265},"last_token_usage":{"input_tokens":150,"cached_input_tokens":100,"output_tokens":5,"total_tokens":155}}}}"#,
    ),
    (
        "response_item/custom_tool_call",
        r#"{"type":"response_item","payload":{"type":"custom_tool_call","name":"apply_patch","input":"*** Begin Patch","call_id":"call_2"}}"#,
    ),
];

/// A log as events.
pub(crate) fn log_of(lines: &[(&str, &str)]) -> Vec<Logged> {
    let timed = |(number, (event_type, line)): (usize, &(&str, &str))| Logged {
        time: 1_000_000_000 * number as i64,
        ..logged(event_type, *line)
    };
    lines.iter().enumerate().map(timed).collect()
}
