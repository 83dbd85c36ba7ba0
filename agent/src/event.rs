//! The vocabulary: which events there are, how each looks as JSON, and how they are read.
//!
//! Invariants:
//! 1. Reading never panics, whatever the bytes, and builds no more than they hold.
//! 2. An event of the vocabulary that is read and written again loses no field, also none that this version does not know.
//! 3. What is read of a foreign line is a view: the line stays the payload.

use std::fmt;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::part::{Extra, Part, content};
use crate::usage::{Counts, Usage};
use crate::{claude_code, codex};

/// The names of the vocabulary: the types of its events.
pub const TYPES: [&str; 10] = [
    "session",
    "user_input",
    "model_output",
    "tool_call",
    "tool_result",
    "permission_asked",
    "permission_given",
    "failure",
    "compaction",
    "usage",
];

/// An event of the vocabulary.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum AgentEvent {
    /// Who the agent is and what it works with.
    Session(Session),
    /// Something said to the agent.
    UserInput(UserInput),
    /// Something that a model said or thought.
    ModelOutput(ModelOutput),
    /// A tool is to be called: recorded before anything happens.
    ToolCall(ToolCall),
    /// What came of a call.
    ToolResult(ToolResult),
    /// Somebody is asked whether something may be done.
    PermissionAsked(PermissionAsked),
    /// The answer, also where it is no.
    PermissionGiven(PermissionGiven),
    /// Something went wrong outside of a tool.
    Failure(Failure),
    /// From here on a summary stands for what came before.
    Compaction(Compaction),
    /// What was used, where no model output says it.
    Usage(UsageReport),
}

/// What was read of one event of a log.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Reading {
    /// What it says: nothing for types that are not known, one thing for the vocabulary's own, several for some foreign lines.
    pub events: Vec<AgentEvent>,
    /// It says again, for a screen, what another event near it says for the model (Codex writes both).
    pub is_echo: bool,
    /// It belongs to a sub-agent whose lines stand among those of its parent (old logs of Claude Code).
    pub is_side: bool,
}

impl From<Vec<AgentEvent>> for Reading {
    fn from(events: Vec<AgentEvent>) -> Reading {
        Reading { events, is_echo: false, is_side: false }
    }
}

/// An event that bears a name of the vocabulary, or of a format that is read, without being one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unreadable {
    /// Its type.
    pub event_type: String,
    /// What is wrong with its payload.
    pub reason: String,
}

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the payload is no {}: {}", self.event_type, self.reason)
    }
}

impl std::error::Error for Unreadable {}

macro_rules! vocabulary {
    ($($kind:ident($type:ident) $name:literal),* $(,)?) => {
        impl AgentEvent {
            /// Its name in the vocabulary, to be the type of the event.
            #[must_use]
            pub fn event_type(&self) -> &'static str {
                match self { $(AgentEvent::$kind(_) => $name,)* }
            }

            /// It as JSON, to be the payload of the event.
            ///
            /// # Panics
            /// Never: every value of these types is JSON.
            #[must_use]
            pub fn payload(&self) -> Vec<u8> {
                match self { $(AgentEvent::$kind(event) => serde_json::to_vec(event),)* }
                    .expect("maps with names and values without cycles always make JSON")
            }

            /// Reads an event of a log, of the vocabulary or imported; the way of telling is its type.
            ///
            /// # Errors
            /// [`Unreadable`] where the type is known and the payload is not of its shape. A type that is not known is no
            /// error: nothing is read.
            pub fn read(event_type: &str, payload: &[u8]) -> Result<Reading, Unreadable> {
                let unreadable = |reason: serde_json::Error| Unreadable {
                    event_type: event_type.to_owned(),
                    reason: reason.to_string(),
                };
                match event_type {
                    $($name => own(payload).map(|event| vec![AgentEvent::$kind(event)].into()),)*
                    other if claude_code::knows(other) => claude_code::read(other, payload),
                    other if codex::knows(other) => codex::read(other, payload),
                    _ => Ok(Reading::default()),
                }
                .map_err(unreadable)
            }
        }

        $(impl From<$type> for AgentEvent {
            fn from(event: $type) -> AgentEvent {
                AgentEvent::$kind(event)
            }
        })*
    };
}

vocabulary! {
    Session(Session) "session",
    UserInput(UserInput) "user_input",
    ModelOutput(ModelOutput) "model_output",
    ToolCall(ToolCall) "tool_call",
    ToolResult(ToolResult) "tool_result",
    PermissionAsked(PermissionAsked) "permission_asked",
    PermissionGiven(PermissionGiven) "permission_given",
    Failure(Failure) "failure",
    Compaction(Compaction) "compaction",
    Usage(UsageReport) "usage",
}

fn own<T: DeserializeOwned>(payload: &[u8]) -> serde_json::Result<T> {
    serde_json::from_slice(payload)
}

/// Who the agent is. A later one of the same stream changes what it names and leaves the rest.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Session {
    /// The name of the agent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<String>,
    /// Who serves the model: `anthropic`, `openai`, …
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider: Option<String>,
    /// The model, as the provider calls it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// What the model is told before everything else.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instructions: Option<String>,
    /// The tools it may call, each with `name`, `description` and `input_schema`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tools: Vec<Value>,
    /// What else is said.
    #[serde(flatten)]
    pub extra: Extra,
}

/// Something said to the agent.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct UserInput {
    /// What was said: parts, or a string.
    #[serde(default, deserialize_with = "content")]
    pub content: Vec<Part>,
    /// Who said it, where that is no person: `harness` for what the program around the model puts in, `developer`, `summary`
    /// for what stands for a history that was compacted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// What else is said.
    #[serde(flatten)]
    pub extra: Extra,
}

/// Something that a model said or thought.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ModelOutput {
    /// Who serves the model. What is sealed in the content is of use to them alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider: Option<String>,
    /// The model, as the provider calls it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// The provider's id of the message: calls of the same message bear it too, and its usage counts once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// What was said: parts, or a string.
    #[serde(default, deserialize_with = "content")]
    pub content: Vec<Part>,
    /// Why it stopped, as the provider says it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stop: Option<String>,
    /// What the message took.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<Usage>,
    /// What else is said.
    #[serde(flatten)]
    pub extra: Extra,
}

/// A tool is to be called. Appended before the tool runs: a call without a result is an intent that may have had effects.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ToolCall {
    /// The id of the call, which its result bears too.
    pub call: String,
    /// The name of the tool.
    pub tool: String,
    /// What it is called with.
    #[serde(default)]
    pub input: Value,
    /// Who serves the model that calls.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider: Option<String>,
    /// The provider's id of the message that the call is part of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// What else is said.
    #[serde(flatten)]
    pub extra: Extra,
}

impl ToolCall {
    /// A call of a tool.
    #[must_use]
    pub fn new(call: impl Into<String>, tool: impl Into<String>, input: Value) -> ToolCall {
        ToolCall { call: call.into(), tool: tool.into(), input, ..ToolCall::default() }
    }
}

/// What came of a call.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ToolResult {
    /// The id of the call.
    pub call: String,
    /// What the model is told: parts, or a string.
    #[serde(default, deserialize_with = "content")]
    pub content: Vec<Part>,
    /// Whether the tool failed.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_error: bool,
    /// What else is said.
    #[serde(flatten)]
    pub extra: Extra,
}

/// Somebody is asked whether something may be done.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PermissionAsked {
    /// The call that waits for the answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub call: Option<String>,
    /// What is to be done, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub action: Option<String>,
    /// What else is said.
    #[serde(flatten)]
    pub extra: Extra,
}

/// The answer to it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PermissionGiven {
    /// The call that waited.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub call: Option<String>,
    /// Yes or no.
    pub granted: bool,
    /// Who answered: a name, or the rule that did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    /// Why, or how far it goes, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// What else is said.
    #[serde(flatten)]
    pub extra: Extra,
}

/// Something went wrong outside of a tool: at a provider, in the program around the model.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Failure {
    /// What went wrong, in words.
    pub message: String,
    /// Where: `model`, `harness`, `turn`.
    #[serde(default, rename = "where", skip_serializing_if = "Option::is_none")]
    pub place: Option<String>,
    /// What else is said.
    #[serde(flatten)]
    pub extra: Extra,
}

/// From here on a summary stands for what came before. Nothing is removed: the events that it stands for stay.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Compaction {
    /// What stands for them: parts, or a string. Empty where the summary is the next event.
    #[serde(default, deserialize_with = "content")]
    pub summary: Vec<Part>,
    /// The last revision that it stands for; everything before this event where it is not said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub through: Option<u64>,
    /// Who made it: a strategy and its version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// Who serves the model that made it: what is sealed in the summary is of use to them alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider: Option<String>,
    /// What else is said.
    #[serde(flatten)]
    pub extra: Extra,
}

/// What was used, where no model output says it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct UsageReport {
    /// Who serves the model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider: Option<String>,
    /// The model; that of the session where it is not said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// The provider's id of the message that it is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// What was used.
    pub usage: Usage,
    /// Whether it is of one message or of the whole session so far.
    #[serde(default)]
    pub counts: Counts,
    /// The last step of it, where the whole is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<Usage>,
    /// What else is said.
    #[serde(flatten)]
    pub extra: Extra,
}
