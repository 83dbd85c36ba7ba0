//! Which tools were called, what came of it, and what is still open?
//!
//! A call is an intent: from when it is in the log until its result is, nobody knows what it did. Those that are open are kept with
//! what is needed to go on; of those that are finished a sum for each tool stays, and a line each that can be taken out
//! ([`Tools::take`]). A call that a log holds twice counts twice; a result without a call is counted by itself.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use treering::{EventView, Projection};

use crate::event::AgentEvent;
use crate::fold::passed::Passed;
use crate::fold::{load, save};

/// A call without a result.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OpenCall {
    /// The id of the call.
    pub call: String,
    /// The tool.
    pub tool: String,
    /// What it was called with.
    pub input: Value,
    /// Where the call stands in its stream.
    pub revision: u64,
    /// When it happened, in nanoseconds since 1970 UTC.
    pub since: i64,
    /// What was said of a permission for it: `asked`, `granted`, `refused`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub permission: Option<String>,
}

/// A call with its result.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Finished {
    /// The id of the call.
    pub call: String,
    /// The tool.
    pub tool: String,
    /// Where the call stands in its stream.
    pub revision: u64,
    /// And its result.
    pub result_revision: u64,
    /// Whether the tool failed.
    pub is_error: bool,
    /// From call to result, in nanoseconds; below zero where a clock was set back.
    pub took: i64,
}

/// What a tool was used for, in numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToolSum {
    /// How often it was called.
    pub calls: u64,
    /// How many of these calls have a result.
    pub finished: u64,
    /// How many of the results are errors.
    pub failed: u64,
    /// How often it was refused.
    pub refused: u64,
    /// Nanoseconds from calls to results, all together.
    pub took: i64,
}

/// The fold.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tools {
    state: State,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct State {
    open: BTreeMap<String, OpenCall>,
    sums: BTreeMap<String, ToolSum>,
    finished: Vec<Finished>,
    unmatched: u64,
    passed: Passed,
}

impl Tools {
    /// Nothing called yet.
    #[must_use]
    pub fn new() -> Tools {
        Tools::default()
    }

    /// The calls without a result, oldest first.
    #[must_use]
    pub fn open(&self) -> Vec<&OpenCall> {
        let mut open: Vec<&OpenCall> = self.state.open.values().collect();
        open.sort_by_key(|call| call.revision);
        open
    }

    /// Each tool, by name.
    pub fn sums(&self) -> impl Iterator<Item = (&str, &ToolSum)> {
        self.state.sums.iter().map(|(tool, sum)| (tool.as_str(), sum))
    }

    /// The calls that got their result and were not taken out, in the order of the results.
    #[must_use]
    pub fn finished(&self) -> &[Finished] {
        &self.state.finished
    }

    /// Takes out what was finished since the last time.
    pub fn take(&mut self) -> Vec<Finished> {
        std::mem::take(&mut self.state.finished)
    }

    /// Results that no open call waited for.
    #[must_use]
    pub fn unmatched(&self) -> u64 {
        self.state.unmatched
    }

    /// What said nothing.
    #[must_use]
    pub fn passed(&self) -> &Passed {
        &self.state.passed
    }

    fn sum(&mut self, tool: &str) -> &mut ToolSum {
        if !self.state.sums.contains_key(tool) {
            self.state.sums.insert(tool.to_owned(), ToolSum::default());
        }
        self.state.sums.get_mut(tool).expect("it was just put there")
    }

    fn permission(&mut self, call: Option<&String>, said: &str) {
        if let Some(call) = call.and_then(|call| self.state.open.get_mut(call)) {
            call.permission = Some(said.to_owned());
            let tool = call.tool.clone();
            self.sum(&tool).refused += u64::from(said == "refused");
        }
    }

    fn take_event(&mut self, said: AgentEvent, event: &EventView<'_>) {
        let revision = event.revision.get();
        match said {
            AgentEvent::ToolCall(call) => {
                self.sum(&call.tool).calls += 1;
                // Without an id no result can name it: it stays open, by itself.
                let key = if call.call.is_empty() { format!("at revision {revision}") } else { call.call.clone() };
                let (tool, input, since) = (call.tool, call.input, event.time());
                let open = OpenCall { call: call.call, tool, input, revision, since, permission: None };
                self.state.open.insert(key, open);
            }
            AgentEvent::ToolResult(result) => {
                let Some(OpenCall { call, tool, revision: called, since, .. }) = self.state.open.remove(&result.call)
                else {
                    return self.state.unmatched += 1;
                };
                let (is_error, took) = (result.is_error, event.time().saturating_sub(since));
                let sum = self.sum(&tool);
                sum.finished += 1;
                sum.failed += u64::from(is_error);
                sum.took = sum.took.saturating_add(took);
                let finished = Finished { call, tool, revision: called, result_revision: revision, is_error, took };
                self.state.finished.push(finished);
            }
            AgentEvent::PermissionAsked(asked) => self.permission(asked.call.as_ref(), "asked"),
            AgentEvent::PermissionGiven(given) => {
                self.permission(given.call.as_ref(), if given.granted { "granted" } else { "refused" });
            }
            _ => {}
        }
    }
}

impl Projection for Tools {
    fn name(&self) -> &str {
        "agent-tools"
    }

    fn version(&self) -> String {
        "1".to_owned()
    }

    fn apply(&mut self, event: &EventView<'_>) {
        for said in self.state.passed.read(event).events {
            self.take_event(said, event);
        }
    }

    fn save(&self) -> Vec<u8> {
        save(&self.state)
    }

    fn load(&mut self, state: &[u8]) -> Result<(), String> {
        load(&mut self.state, state)
    }
}
