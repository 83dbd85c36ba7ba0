//! What does a line of a Claude Code session log say in the words of the vocabulary?
//!
//! One message of the provider comes in several lines, one for each block, which share its id and repeat its usage as it stood
//! when the line was written. Results of tools are lines of the user. The structured copy of a result (`toolUseResult`, up to
//! half of a log) is passed over: the message holds what the model was told.
//!
//! The format is observed, not specified: what has not the expected shape is passed over.

use serde_json::Value;

use crate::event::{
    AgentEvent, Compaction, Failure, ModelOutput, PermissionGiven, Reading, ToolCall, ToolResult, UserInput,
};
use crate::foreign::{fields, is_true, number, parts, take, take_text, text, whole};
use crate::part::{Extra, File, Part, words};
use crate::usage::Usage;

const PROVIDER: &str = "anthropic";
/// How the program tells the model that a person said no; logs up to 2.1 have no other sign of it.
const REFUSED: &str = "The user doesn't want to proceed with this tool use.";

/// Whether lines of this type say something.
pub(crate) fn knows(event_type: &str) -> bool {
    matches!(event_type, "user" | "assistant" | "system/compact_boundary" | "system/api_error")
}

/// Reads a line.
pub(crate) fn read(event_type: &str, payload: &[u8]) -> serde_json::Result<Reading> {
    let names = [
        "message",
        "isSidechain",
        "isMeta",
        "isCompactSummary",
        "toolDenialKind",
        "sourceToolUseID",
        "isApiErrorMessage",
        "costUSD",
        "error",
        "content",
        "compactMetadata",
    ];
    let [message, side, meta, summary, denial, source, api_error, cost, error, content, compacted] =
        fields(payload, &names)?;
    let events = match event_type {
        "user" => {
            let from = match () {
                () if is_true(summary) => Some("summary"),
                () if is_true(meta) => Some("harness"),
                () => None,
            };
            user(whole(message)?, from, text(denial), text(source))
        }
        "assistant" if is_true(api_error) => {
            let message = words(&parts(take(&mut whole(message)?, "content"), |_| None));
            vec![Failure { message, place: Some("model".into()), extra: Extra::new() }.into()]
        }
        "assistant" => assistant(whole(message)?, cost.and_then(|cost| cost.get().parse().ok())),
        "system/compact_boundary" => {
            let label = whole(compacted)?["trigger"].as_str().map(|trigger| format!("claude-code {trigger}"));
            vec![Compaction { label, provider: Some(PROVIDER.into()), ..Compaction::default() }.into()]
        }
        _ => {
            let mut error = whole(error)?;
            let message = take_text(&mut error, "formatted").or_else(|| take_text(&mut error, "message"));
            let message = message.or_else(|| text(content)).unwrap_or_else(|| "an error of the provider".to_owned());
            vec![Failure { message, place: Some("model".into()), extra: Extra::new() }.into()]
        }
    };
    Ok(Reading { events, is_echo: false, is_side: is_true(side) })
}

fn user(mut message: Value, from: Option<&str>, denial: Option<String>, source: Option<String>) -> Vec<AgentEvent> {
    let mut results: Vec<AgentEvent> = Vec::new();
    let mut result = |mut block: Value| -> Option<Part> {
        if block["type"] != "tool_result" {
            return Some(other(block));
        }
        let call = take_text(&mut block, "tool_use_id").or_else(|| source.clone()).unwrap_or_default();
        let content = parts(take(&mut block, "content"), |block| Some(other(block)));
        let is_error = block["is_error"] == true;
        if denial.is_some() || is_error && words(&content).starts_with(REFUSED) {
            results.push(
                PermissionGiven {
                    call: Some(call.clone()),
                    granted: false,
                    by: Some("user".into()),
                    reason: denial.clone(),
                    extra: Extra::new(),
                }
                .into(),
            );
        }
        results.push(ToolResult { call, content, is_error, extra: Extra::new() }.into());
        None
    };
    let content = parts(take(&mut message, "content"), &mut result);
    if !content.is_empty() {
        results.push(UserInput { content, from: from.map(str::to_owned), extra: Extra::new() }.into());
    }
    results
}

fn assistant(mut message: Value, cost_usd: Option<f64>) -> Vec<AgentEvent> {
    if !message.is_object() {
        return Vec::new();
    }
    let id = take_text(&mut message, "id");
    let mut calls: Vec<AgentEvent> = Vec::new();
    let content = parts(take(&mut message, "content"), |mut block| match block["type"].as_str() {
        Some("tool_use") => {
            let call = take_text(&mut block, "id").unwrap_or_default();
            let tool = take_text(&mut block, "name").unwrap_or_default();
            let input = take(&mut block, "input");
            let (provider, message) = (Some(PROVIDER.to_owned()), id.clone());
            calls.push(ToolCall { call, tool, input, provider, message, extra: Extra::new() }.into());
            None
        }
        Some("thinking") => {
            let seal = take_text(&mut block, "signature").filter(|seal| !seal.is_empty());
            Some(Part::reasoning(take_text(&mut block, "thinking").unwrap_or_default(), seal))
        }
        Some("redacted_thinking") => {
            Some(Part::sealed("redacted_thinking", take_text(&mut block, "data").unwrap_or_default()))
        }
        _ => Some(other(block)),
    });
    let usage = usage(&message["usage"], cost_usd);
    // What the program itself says in the model's name.
    let model = take_text(&mut message, "model").filter(|model| model != "<synthetic>");
    let stop = take_text(&mut message, "stop_reason");
    let provider = Some(PROVIDER.to_owned());
    let output = ModelOutput { provider, model, message: id, content, stop, usage, extra: Extra::new() };
    std::iter::once(output.into()).chain(calls).collect()
}

fn usage(said: &Value, cost_usd: Option<f64>) -> Option<Usage> {
    let usage = Usage {
        input: number(said, "input_tokens"),
        cache_write: number(said, "cache_creation_input_tokens"),
        cache_read: number(said, "cache_read_input_tokens"),
        output: number(said, "output_tokens"),
        cost_usd,
        ..Usage::default()
    };
    (!usage.is_empty()).then_some(usage)
}

/// An image or a document as a file, anything else as it is.
fn other(mut block: Value) -> Part {
    let source = block.get_mut("source");
    if let Some(source) = source.filter(|source| source["media_type"].is_string() || source["url"].is_string()) {
        let media_type = take_text(source, "media_type").unwrap_or_else(|| "image/*".to_owned());
        let (data, url) = (take_text(source, "data"), take_text(source, "url"));
        return Part::File(File { media_type, data, url, name: None, extra: Extra::new() });
    }
    Part::Other(block)
}
