//! What does a line of a Codex rollout say in the words of the vocabulary?
//!
//! Lines of type `response_item/…` are what the model is told and says; `event_msg/…` are what a screen was told, in part the same
//! once more (an echo). Older rollouts have the items bare. Usage comes by itself: the sum since the session began, and the last
//! step of it, sometimes twice.

use serde_json::Value;

use crate::event::{
    AgentEvent, Compaction, Failure, ModelOutput, PermissionAsked, Reading, Session, ToolCall, ToolResult, UsageReport,
    UserInput,
};
use crate::foreign::{fields, number, parts, take, take_text, whole};
use crate::part::{Extra, File, Part};
use crate::usage::{Counts, Usage};

const PROVIDER: &str = "openai";
/// How the program begins what it puts in by itself as a user.
const PUT_IN: [&str; 4] =
    ["<environment_context>", "<user_instructions>", "<INSTRUCTIONS>", "# AGENTS.md instructions"];

/// Bare items of the flat format.
const BARE: [&str; 7] = [
    "message",
    "reasoning",
    "function_call",
    "function_call_output",
    "custom_tool_call",
    "custom_tool_call_output",
    "local_shell_call",
];

/// Whether lines of this type say something.
pub(crate) fn knows(event_type: &str) -> bool {
    match event_type.split_once('/') {
        Some(("response_item", _)) => true,
        Some(("event_msg", kind)) => matches!(
            kind,
            "user_message"
                | "agent_message"
                | "agent_reasoning"
                | "token_count"
                | "error"
                | "stream_error"
                | "turn_aborted"
                | "exec_approval_request"
                | "apply_patch_approval_request"
        ),
        Some(_) => false,
        None => matches!(event_type, "session_meta" | "turn_context" | "compacted") || BARE.contains(&event_type),
    }
}

/// Reads a line.
pub(crate) fn read(event_type: &str, payload: &[u8]) -> serde_json::Result<Reading> {
    if BARE.contains(&event_type) {
        return Ok(item(serde_json::from_slice(payload)?).into());
    }
    let [inner] = fields(payload, &["payload"])?;
    let mut inner = whole(inner)?;
    if !inner.is_object() {
        return Ok(Reading::default());
    }
    Ok(match event_type {
        "session_meta" => vec![
            Session {
                agent: take_text(&mut inner, "originator"),
                provider: Some(take_text(&mut inner, "model_provider").unwrap_or_else(|| PROVIDER.to_owned())),
                model: take_text(&mut inner, "model"),
                instructions: inner
                    .get_mut("base_instructions")
                    .and_then(|base| take_text(base, "text"))
                    .or_else(|| take_text(&mut inner, "instructions")),
                ..Session::default()
            }
            .into(),
        ]
        .into(),
        "turn_context" => vec![Session { model: take_text(&mut inner, "model"), ..Session::default() }.into()].into(),
        "compacted" => compacted(inner).into(),
        _ if event_type.starts_with("response_item/") => item(inner).into(),
        _ => screen(inner),
    })
}

/// An item of the Responses interface.
fn item(mut item: Value) -> Vec<AgentEvent> {
    let kind = take_text(&mut item, "type").unwrap_or_default();
    let call = |item: &mut Value| take_text(item, "call_id").or_else(|| take_text(item, "id")).unwrap_or_default();
    match kind.as_str() {
        "message" => message(item),
        "reasoning" => {
            let mut thoughts = parts(take(&mut item, "summary"), |_| None);
            thoughts
                .extend(parts(take(&mut item, "content"), |mut block| take_text(&mut block, "text").map(Part::text)));
            let part = Part::reasoning(crate::part::words(&thoughts), take_text(&mut item, "encrypted_content"));
            vec![said(vec![part], None)]
        }
        "function_call" | "custom_tool_call" | "local_shell_call" | "tool_search_call" => {
            let tool = take_text(&mut item, "name").unwrap_or_else(|| kind.trim_end_matches("_call").to_owned());
            let name = ["arguments", "input", "action"].into_iter().find(|name| item.get(*name).is_some());
            let input = name.map(|name| take(&mut item, name)).unwrap_or_default();
            vec![
                ToolCall {
                    call: call(&mut item),
                    tool,
                    input: structured(input),
                    provider: Some(PROVIDER.to_owned()),
                    ..ToolCall::default()
                }
                .into(),
            ]
        }
        "function_call_output" | "custom_tool_call_output" | "tool_search_output" => {
            let (content, is_error) = output(take(&mut item, "output"));
            vec![ToolResult { call: call(&mut item), content, is_error, extra: Extra::new() }.into()]
        }
        "compaction" => {
            let data = take_text(&mut item, "encrypted_content").unwrap_or_default();
            vec![said(vec![Part::sealed("compaction", data)], None)]
        }
        // Done by the provider itself: there is no result to wait for.
        "web_search_call" | "image_generation_call" => {
            item["type"] = kind.into();
            vec![said(vec![Part::Other(item)], None)]
        }
        _ => Vec::new(),
    }
}

fn message(mut item: Value) -> Vec<AgentEvent> {
    let role = take_text(&mut item, "role").unwrap_or_default();
    let content = parts(take(&mut item, "content"), |block| Some(other(block)));
    let from = match role.as_str() {
        "assistant" => return vec![said(content, take_text(&mut item, "id"))],
        "user" => {
            let begins = |part: &Part| match part {
                Part::Text(text) => PUT_IN.iter().any(|start| text.text.starts_with(start)),
                _ => false,
            };
            content.first().is_some_and(begins).then(|| "harness".to_owned())
        }
        "developer" | "system" => Some("developer".to_owned()),
        _ => return Vec::new(),
    };
    vec![UserInput { content, from, extra: Extra::new() }.into()]
}

fn said(content: Vec<Part>, message: Option<String>) -> AgentEvent {
    let provider = Some(PROVIDER.to_owned());
    ModelOutput { provider, message, content, ..ModelOutput::default() }.into()
}

/// A history that is replaced by a shorter one: by a summary, or by the items that follow here.
fn compacted(mut inner: Value) -> Vec<AgentEvent> {
    let summary = take_text(&mut inner, "message").filter(|text| !text.is_empty()).map(Part::text);
    let compaction = Compaction {
        summary: summary.into_iter().collect(),
        label: Some("codex".to_owned()),
        provider: Some(PROVIDER.to_owned()),
        ..Compaction::default()
    };
    let kept = match take(&mut inner, "replacement_history") {
        Value::Array(items) => items,
        _ => Vec::new(),
    };
    std::iter::once(compaction.into()).chain(kept.into_iter().flat_map(item)).collect()
}

/// What a screen was told.
fn screen(mut inner: Value) -> Reading {
    let kind = take_text(&mut inner, "type").unwrap_or_default();
    let text = |inner: &mut Value, name: &str| take_text(inner, name).unwrap_or_default();
    let echo = |event: AgentEvent| Reading { events: vec![event], is_echo: true, is_side: false };
    let failure = |message, place: &str| {
        vec![Failure { message, place: Some(place.to_owned()), extra: Extra::new() }.into()].into()
    };
    match kind.as_str() {
        "user_message" => {
            let content = vec![Part::text(text(&mut inner, "message"))];
            echo(UserInput { content, ..UserInput::default() }.into())
        }
        "agent_message" => echo(said(vec![Part::text(text(&mut inner, "message"))], None)),
        "agent_reasoning" => echo(said(vec![Part::reasoning(text(&mut inner, "text"), None)], None)),
        "token_count" => tokens(&inner["info"]).into_iter().map(AgentEvent::from).collect::<Vec<_>>().into(),
        "turn_aborted" => failure(text(&mut inner, "reason"), "turn"),
        "error" | "stream_error" => failure(text(&mut inner, "message"), "model"),
        _ => {
            let action = match inner.get_mut("command").map(Value::take) {
                Some(Value::Array(words)) => Some(words.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(" ")),
                _ => take_text(&mut inner, "reason"),
            };
            vec![PermissionAsked { call: take_text(&mut inner, "call_id"), action, extra: Extra::new() }.into()].into()
        }
    }
}

fn tokens(info: &Value) -> Option<UsageReport> {
    let usage = |said: &Value| {
        let cached = number(said, "cached_input_tokens");
        Usage {
            // Here the cached are among the input.
            input: number(said, "input_tokens").saturating_sub(cached),
            cache_read: cached,
            output: number(said, "output_tokens"),
            reasoning: number(said, "reasoning_output_tokens"),
            ..Usage::default()
        }
    };
    let (total, last) = (info.get("total_token_usage"), info.get("last_token_usage"));
    let step = last.filter(|last| last.is_object()).map(usage);
    let provider = Some(PROVIDER.to_owned());
    match (total.filter(|total| total.is_object()).map(usage), step) {
        (Some(usage), step) => {
            Some(UsageReport { provider, usage, counts: Counts::SoFar, step, ..UsageReport::default() })
        }
        (None, Some(usage)) => Some(UsageReport { provider, usage, ..UsageReport::default() }),
        (None, None) => None,
    }
}

/// Arguments come as text that holds JSON.
fn structured(input: Value) -> Value {
    match input {
        Value::String(text) => serde_json::from_str(&text).unwrap_or(Value::String(text)),
        other => other,
    }
}

/// What a tool gave back: text, blocks, or an object around them, itself sometimes in a text.
fn output(value: Value) -> (Vec<Part>, bool) {
    let wrapped = match &value {
        Value::String(text) if text.starts_with("{\"output\":") => serde_json::from_str(text).ok(),
        Value::Object(_) => Some(value.clone()),
        _ => None,
    };
    let Some(mut wrapped) = wrapped else { return (parts(value, |block| Some(other(block))), false) };
    let failed = wrapped["success"] == false
        || wrapped.pointer("/metadata/exit_code").and_then(Value::as_i64).is_some_and(|code| code != 0);
    let name = ["output", "content"].into_iter().find(|name| wrapped.get(*name).is_some());
    let content = match name {
        Some(name) => parts(take(&mut wrapped, name), |block| Some(other(block))),
        None => vec![Part::Other(wrapped)],
    };
    (content, failed)
}

/// An image as a file, anything else as it is.
fn other(mut block: Value) -> Part {
    match block["type"].as_str() {
        Some("input_image") => {
            let url = take_text(&mut block, "image_url");
            Part::File(File { media_type: "image/*".to_owned(), url, ..File::default() })
        }
        _ => Part::Other(block),
    }
}
