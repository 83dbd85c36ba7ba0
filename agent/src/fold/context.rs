//! What is a model told that goes on from here, within a budget?
//!
//! The newest of the conversation that fits. Invariants:
//! 1. What is kept is the end of the conversation: nothing is left out in its middle, but for 2 to 4.
//! 2. A call and its result are kept together or not at all; a result whose call is gone is left out. A call without a result is
//!    kept and says so.
//! 3. Thoughts and what is sealed go back to the provider that made them alone. Where another one is to go on, they are left out.
//! 4. What a compaction stands for is left out, what stands for it is kept; so is the session's definition, whatever the budget.
//!
//! The budget is an estimate ([`estimated_tokens`]): no tokenizer is at hand, and providers differ.

use std::collections::{BTreeMap, VecDeque};

use serde::{Deserialize, Serialize};
use treering::{EventView, Projection};

use crate::event::{AgentEvent, Session, ToolCall};
use crate::fold::echo::Echoes;
use crate::fold::passed::Passed;
use crate::fold::{load, save};
use crate::part::{Part, words};

/// What a message costs beside its parts.
const MESSAGE_TOKENS: u64 = 8;
/// What an image costs at most where providers count by pixels.
const IMAGE_TOKENS: u64 = 1_600;

/// How many tokens a text has, roughly: one for three ASCII characters, and one for each other.
///
/// Held against what the provider counted in three real sessions of Claude Code, whole contexts came to 0.7, 0.9 and 1.2 of it (the
/// provider counts also what the program put in beside the log). So leave room: a budget of two thirds of a window is safe there.
#[must_use]
pub fn estimated_tokens(text: &str) -> u64 {
    let ascii = text.bytes().filter(u8::is_ascii).count() as u64;
    let others = text.chars().filter(|character| !character.is_ascii()).count() as u64;
    ascii.div_ceil(3) + others
}

/// How much is kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Budget {
    /// All of it.
    #[default]
    All,
    /// So many tokens, as [`estimated_tokens`] counts them.
    Tokens(u64),
    /// So many bytes of text.
    Bytes(u64),
}

/// Who speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Role {
    /// A person, or who speaks in their place.
    User,
    /// A model.
    Model,
    /// A tool.
    Tool,
}

/// A message for a model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Message {
    /// Who speaks.
    pub role: Role,
    /// The revision of the first event that it is made of.
    pub revision: u64,
    /// Who served the model that spoke.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider: Option<String>,
    /// Who spoke, where a user message is no person's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// The call that a tool's message answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub call: Option<String>,
    /// Whether the tool failed.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_error: bool,
    /// What is said.
    pub content: Vec<Part>,
    /// What is called.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub calls: Vec<ToolCall>,
    /// Those of the calls that have no result.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub open: Vec<String>,
    /// What it counts in the budget.
    pub size: u64,
}

/// The fold.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Context {
    budget: Budget,
    provider: Option<String>,
    state: State,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct State {
    session: Session,
    kept: VecDeque<Message>,
    size: u64,
    /// Calls that are kept, and whether they have a result.
    calls: BTreeMap<String, bool>,
    left_out: u64,
    /// Whether the conversation is that of a side chain, once it began.
    is_side: Option<bool>,
    echoes: Echoes,
    passed: Passed,
}

impl Context {
    /// All of the conversation.
    #[must_use]
    pub fn new() -> Context {
        Context::default()
    }

    /// Only so much of it, the newest.
    #[must_use]
    pub fn budget(mut self, budget: Budget) -> Context {
        self.budget = budget;
        self
    }

    /// For a model of this provider: what others have sealed or thought is left out.
    #[must_use]
    pub fn provider(mut self, provider: impl Into<String>) -> Context {
        self.provider = Some(provider.into());
        self
    }

    /// Who the agent is, as far as is said.
    #[must_use]
    pub fn session(&self) -> &Session {
        &self.state.session
    }

    /// The messages, oldest first: what a model said in several events, and its calls, as one.
    #[must_use]
    pub fn messages(&self) -> Vec<Message> {
        let mut messages: Vec<Message> = Vec::new();
        for kept in &self.state.kept {
            let mut kept = kept.clone();
            let has_result = |call: &ToolCall| self.state.calls.get(&call.call) == Some(&true);
            kept.open = kept.calls.iter().filter(|call| !has_result(call)).map(|call| call.call.clone()).collect();
            match messages.last_mut() {
                Some(last)
                    if last.role == Role::Model && kept.role == Role::Model && last.provider == kept.provider =>
                {
                    last.content.append(&mut kept.content);
                    last.calls.append(&mut kept.calls);
                    last.open.append(&mut kept.open);
                    last.size += kept.size;
                }
                _ => messages.push(kept),
            }
        }
        messages
    }

    /// What is kept, by the measure of the budget; the session's definition comes on top.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.state.size
    }

    /// How much of what was said is left out: of budget, of another provider, compacted, answers to calls that are gone.
    #[must_use]
    pub fn left_out(&self) -> u64 {
        self.state.left_out
    }

    /// What said nothing.
    #[must_use]
    pub fn passed(&self) -> &Passed {
        &self.state.passed
    }

    fn take(&mut self, event: AgentEvent, revision: u64) {
        let mut message = Message {
            role: Role::User,
            revision,
            provider: None,
            from: None,
            call: None,
            is_error: false,
            content: Vec::new(),
            calls: Vec::new(),
            open: Vec::new(),
            size: 0,
        };
        match event {
            AgentEvent::Session(session) => return merge(&mut self.state.session, session),
            AgentEvent::Compaction(compaction) => {
                self.compact(compaction.through);
                (message.content, message.from) = (compaction.summary, Some("summary".to_owned()));
                self.leave_out_sealed(&mut message.content, compaction.provider.as_deref());
            }
            AgentEvent::UserInput(input) => (message.content, message.from) = (input.content, input.from),
            AgentEvent::ModelOutput(output) => {
                (message.role, message.content, message.provider) = (Role::Model, output.content, output.provider);
                self.leave_out_sealed(&mut message.content, message.provider.as_deref());
            }
            AgentEvent::ToolCall(call) => {
                if self.state.calls.contains_key(&call.call) {
                    // Written once more, as logs that were continued elsewhere do.
                    return self.state.left_out += 1;
                }
                self.state.calls.insert(call.call.clone(), false);
                (message.role, message.provider) = (Role::Model, call.provider.clone());
                message.calls.push(call);
            }
            AgentEvent::ToolResult(result) => {
                match self.state.calls.get_mut(&result.call) {
                    Some(has_result @ false) => *has_result = true,
                    _ => return self.state.left_out += 1,
                }
                (message.role, message.content) = (Role::Tool, result.content);
                (message.call, message.is_error) = (Some(result.call), result.is_error);
            }
            _ => return,
        }
        message.content.retain(|part| !part.is_blank());
        // An answer without words is one all the same.
        if message.content.is_empty() && message.calls.is_empty() && message.call.is_none() {
            return;
        }
        message.size = self.measure(&message);
        self.state.size += message.size;
        self.state.kept.push_back(message);
        self.fit();
    }

    fn leave_out_sealed(&mut self, content: &mut Vec<Part>, made_by: Option<&str>) {
        if self.provider.is_some() && self.provider.as_deref() != made_by {
            let before = content.len();
            content.retain(|part| !part.is_providers_own());
            self.state.left_out += (before - content.len()) as u64;
        }
    }

    /// Drops the oldest until the rest fits.
    fn fit(&mut self) {
        let most = match self.budget {
            Budget::All => return,
            Budget::Tokens(most) | Budget::Bytes(most) => most,
        };
        while self.state.size > most && self.drop_oldest() {}
    }

    /// Drops everything up to this revision.
    fn compact(&mut self, through: Option<u64>) {
        while self.state.kept.front().is_some_and(|oldest| through.is_none_or(|through| oldest.revision <= through)) {
            self.drop_oldest();
        }
    }

    /// Drops the oldest message, and the answers to its calls; says whether there was one.
    fn drop_oldest(&mut self) -> bool {
        let State { kept, size, calls, left_out, .. } = &mut self.state;
        let Some(oldest) = kept.pop_front() else { return false };
        *size -= oldest.size;
        *left_out += 1;
        for call in oldest.calls {
            if calls.remove(&call.call) == Some(true)
                && let Some(place) = kept.iter().position(|message| message.call.as_ref() == Some(&call.call))
                && let Some(result) = kept.remove(place)
            {
                *size -= result.size;
                *left_out += 1;
            }
        }
        true
    }

    fn measure(&self, message: &Message) -> u64 {
        let in_bytes = matches!(self.budget, Budget::Bytes(_));
        let of_text = |text: &str| if in_bytes { text.len() as u64 } else { estimated_tokens(text) };
        let of_part = |part: &Part| match part {
            Part::Text(text) => of_text(&text.text),
            Part::Reasoning(thought) => of_text(&thought.text) + thought.seal.as_deref().map_or(0, of_text),
            Part::Sealed(sealed) => of_text(&sealed.data),
            Part::File(file) if !in_bytes && file.media_type.starts_with("image/") => IMAGE_TOKENS,
            Part::File(file) => file.data.as_deref().or(file.url.as_deref()).map_or(0, of_text),
            Part::Other(value) => of_text(&value.to_string()),
        };
        let parts: u64 = message.content.iter().map(of_part).sum();
        let calls: u64 = message.calls.iter().map(|call| of_text(&call.tool) + of_text(&call.input.to_string())).sum();
        parts + calls + if in_bytes { 0 } else { MESSAGE_TOKENS }
    }
}

/// What the later one names takes the place of what the earlier one said.
fn merge(session: &mut Session, later: Session) {
    let Session { agent, provider, model, instructions, tools, extra } = later;
    for (old, new) in [
        (&mut session.agent, agent),
        (&mut session.provider, provider),
        (&mut session.model, model),
        (&mut session.instructions, instructions),
    ] {
        if new.is_some() {
            *old = new;
        }
    }
    if !tools.is_empty() {
        session.tools = tools;
    }
    session.extra.extend(extra);
}

impl Projection for Context {
    fn name(&self) -> &str {
        "agent-context"
    }

    fn version(&self) -> String {
        format!("1 {:?} for {:?}", self.budget, self.provider)
    }

    fn apply(&mut self, event: &EventView<'_>) {
        let reading = self.state.passed.read(event);
        for said in reading.events {
            let speaks =
                matches!(said, AgentEvent::UserInput(_) | AgentEvent::ModelOutput(_) | AgentEvent::ToolCall(_));
            if speaks && *self.state.is_side.get_or_insert(reading.is_side) != reading.is_side {
                self.state.left_out += 1;
                continue;
            }
            if !self.state.echoes.was_said(&said, reading.is_echo) {
                self.take(said, event.revision.get());
            }
        }
    }

    fn save(&self) -> Vec<u8> {
        save(&self.state)
    }

    fn load(&mut self, state: &[u8]) -> Result<(), String> {
        load(&mut self.state, state)
    }
}

impl Message {
    /// Its words, without what is no text.
    #[must_use]
    pub fn words(&self) -> String {
        words(&self.content)
    }
}
