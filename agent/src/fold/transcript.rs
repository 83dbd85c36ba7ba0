//! How does the conversation read, as Markdown?
//!
//! A heading where the speaker changes, thoughts as quotations, calls and results in fences that nothing in them can close. Long input
//! and output of tools is cut, with what is missing said. What is written grows with the history; it can be taken out as it comes
//! ([`Transcript::take`]), and then the state is small.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use treering::{EventView, Projection};

use crate::event::AgentEvent;
use crate::fold::echo::Echoes;
use crate::fold::passed::Passed;
use crate::fold::{load, save};
use crate::part::Part;

/// So many bytes of what a tool takes or gives are shown, unless told otherwise.
const SHOWN_BYTES: usize = 4_000;

/// The fold.
#[derive(Clone, Debug, PartialEq)]
pub struct Transcript {
    shown_bytes: usize,
    state: State,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct State {
    text: String,
    /// What was said of the session last.
    session: String,
    /// Who spoke last.
    speaker: String,
    /// Calls that wait for a result, and their tools.
    calls: BTreeMap<String, String>,
    echoes: Echoes,
    passed: Passed,
}

impl Default for Transcript {
    fn default() -> Transcript {
        Transcript { shown_bytes: SHOWN_BYTES, state: State::default() }
    }
}

impl Transcript {
    /// With long input and output of tools cut at 4,000 bytes.
    #[must_use]
    pub fn new() -> Transcript {
        Transcript::default()
    }

    /// Cut at so many bytes.
    #[must_use]
    pub fn shown_bytes(mut self, bytes: usize) -> Transcript {
        self.shown_bytes = bytes;
        self
    }

    /// What was written and not taken.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.state.text
    }

    /// Takes out what was written since the last time.
    pub fn take(&mut self) -> String {
        std::mem::take(&mut self.state.text)
    }

    /// What said nothing.
    #[must_use]
    pub fn passed(&self) -> &Passed {
        &self.state.passed
    }

    fn write(&mut self, event: &AgentEvent, revision: u64) {
        match event {
            AgentEvent::Session(session) => {
                let said: Vec<&str> = [&session.agent, &session.provider, &session.model]
                    .into_iter()
                    .filter_map(Option::as_deref)
                    .collect();
                let said = said.join(", ");
                // Codex says it again with every turn.
                if !said.is_empty() && self.state.session != said {
                    self.aside(&format!("Session: {said}"));
                    self.state.session = said;
                }
            }
            AgentEvent::UserInput(input) => {
                let speaker = match input.from.as_deref() {
                    None => "User".to_owned(),
                    Some("summary") => "Summary".to_owned(),
                    Some(from) => format!("Put in by the {from}"),
                };
                self.said(speaker, &input.content, revision);
            }
            AgentEvent::ModelOutput(output) => {
                let speaker = output.model.as_deref().or(output.provider.as_deref());
                self.said(
                    speaker.map_or_else(|| "Model".to_owned(), |name| format!("Model {name}")),
                    &output.content,
                    revision,
                );
            }
            AgentEvent::ToolCall(call) => {
                self.state.calls.insert(call.call.clone(), call.tool.clone());
                self.line(&format!("**Calls {}**", code(&call.tool)));
                match &call.input {
                    Value::String(text) => self.fence("", text),
                    input => self.fence("json", &serde_json::to_string_pretty(input).unwrap_or_default()),
                }
            }
            AgentEvent::ToolResult(result) => {
                let tool = self.state.calls.remove(&result.call);
                let tool = tool.map_or_else(|| "a call that is not here".to_owned(), |tool| code(&tool));
                self.line(&format!("**{} of {tool}**", if result.is_error { "Error" } else { "Result" }));
                for part in &result.content {
                    match part {
                        Part::Text(text) => self.fence("", &text.text),
                        other => self.part(other),
                    }
                }
            }
            AgentEvent::PermissionAsked(asked) => {
                self.aside(&format!("Permission asked: {}", asked.action.as_deref().unwrap_or("for the call")));
            }
            AgentEvent::PermissionGiven(given) => {
                let answer = if given.granted { "granted" } else { "refused" };
                let by = given.by.as_deref().map(|by| format!(" by {by}")).unwrap_or_default();
                self.aside(&format!("Permission {answer}{by}"));
            }
            AgentEvent::Failure(failure) => self.aside(&format!("Failure: {}", failure.message)),
            AgentEvent::Compaction(compaction) => {
                self.aside(&format!("Compacted ({})", compaction.label.as_deref().unwrap_or("no label")));
                self.said("Summary".to_owned(), &compaction.summary, revision);
            }
            AgentEvent::Usage(_) => {}
        }
    }

    fn said(&mut self, speaker: String, content: &[Part], revision: u64) {
        if content.iter().all(Part::is_blank) {
            return;
        }
        if self.state.speaker != speaker {
            let heading = format!("## {} · {revision}", crate::say::one_line(&speaker));
            self.line(&heading);
            self.state.speaker = speaker;
        }
        for part in content {
            self.part(part);
        }
    }

    fn part(&mut self, part: &Part) {
        match part {
            part if part.is_blank() => {}
            Part::Text(text) => self.line(text.text.trim_matches('\n')),
            Part::Reasoning(thought) if thought.text.trim().is_empty() => self.line("> *(a thought that is sealed)*"),
            Part::Reasoning(thought) => self.line(&quoted(thought.text.trim())),
            Part::Sealed(sealed) => self.line(&format!("*(sealed: {})*", code(&sealed.kind))),
            Part::File(file) => {
                self.line(&format!("*(file: {})*", code(file.name.as_ref().unwrap_or(&file.media_type))))
            }
            Part::Other(value) => self.line(&format!("*({})*", code(value["type"].as_str().unwrap_or("a part")))),
        }
    }

    /// A paragraph of the program's, in italics.
    fn aside(&mut self, text: &str) {
        let text = crate::say::one_line(text).replace('*', "\\*");
        self.line(&format!("*{text}*"));
        self.state.speaker.clear();
    }

    fn line(&mut self, text: &str) {
        self.state.text.push_str(text);
        self.state.text.push_str("\n\n");
    }

    fn fence(&mut self, language: &str, text: &str) {
        let mut end = text.len().min(self.shown_bytes);
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        let shown = &text[..end];
        let mut longest = 2;
        let mut run = 0;
        for byte in shown.bytes() {
            run = if byte == b'`' { run + 1 } else { 0 };
            longest = longest.max(run);
        }
        let fence = "`".repeat(longest + 1);
        let lf = if shown.is_empty() || shown.ends_with('\n') { "" } else { "\n" };
        let missing = text.len() - end;
        let text = &mut self.state.text;
        let _ = write!(text, "{fence}{language}\n{shown}{lf}{fence}\n\n");
        if missing > 0 {
            let _ = write!(text, "*({missing} bytes more)*\n\n");
        }
    }
}

fn quoted(text: &str) -> String {
    text.lines().map(|line| format!("> {line}")).collect::<Vec<_>>().join("\n")
}

/// A name as code that nothing in it can end.
fn code(name: &str) -> String {
    format!("`{}`", crate::say::one_line(name).replace('`', "'"))
}

impl Projection for Transcript {
    fn name(&self) -> &str {
        "agent-transcript"
    }

    fn version(&self) -> String {
        format!("1 with {} bytes", self.shown_bytes)
    }

    fn apply(&mut self, event: &EventView<'_>) {
        let reading = self.state.passed.read(event);
        for said in &reading.events {
            if !self.state.echoes.was_said(said, reading.is_echo) {
                self.write(said, event.revision.get());
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
