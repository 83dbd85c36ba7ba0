//! What does an event say, in one line?

use crate::event::AgentEvent;
use crate::part::{Part, words};

/// The longest line, in characters.
pub(crate) const LINE_CHARACTERS: usize = 400;

/// What it says, without a line break, cut where it is long.
pub(crate) fn line(event: &AgentEvent) -> String {
    let text = match event {
        AgentEvent::Session(session) => {
            let said = [
                ("agent", &session.agent),
                ("provider", &session.provider),
                ("model", &session.model),
                ("instructions", &session.instructions),
            ];
            let said: Vec<String> =
                said.iter().filter_map(|(name, value)| value.as_ref().map(|value| format!("{name} {value}"))).collect();
            said.join(", ")
        }
        AgentEvent::UserInput(input) => parts(&input.content),
        AgentEvent::ModelOutput(output) => parts(&output.content),
        AgentEvent::ToolCall(call) => format!("{} {}", call.tool, start(&call.input.to_string())),
        AgentEvent::ToolResult(result) => {
            format!("{}{}", if result.is_error { "error: " } else { "" }, parts(&result.content))
        }
        AgentEvent::PermissionAsked(asked) => asked.action.clone().unwrap_or_default(),
        AgentEvent::PermissionGiven(given) => {
            let by = given.by.as_ref().map(|by| format!(" by {by}")).unwrap_or_default();
            let reason = given.reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default();
            format!("{}{by}{reason}", if given.granted { "granted" } else { "refused" })
        }
        AgentEvent::Failure(failure) => failure.message.clone(),
        AgentEvent::Compaction(compaction) => {
            let label = compaction.label.as_ref().map(|label| format!("{label}: ")).unwrap_or_default();
            format!("{label}{}", parts(&compaction.summary))
        }
        AgentEvent::Usage(report) => format!("{} tokens", report.usage.total()),
    };
    one_line(&text)
}

/// In one line what the parts hold.
fn parts(parts: &[Part]) -> String {
    let text = words(parts);
    if !text.trim().is_empty() {
        return text;
    }
    let said: Vec<String> = parts
        .iter()
        .filter_map(|part| match part {
            Part::Reasoning(thought) if thought.text.is_empty() => Some("(sealed thought)".to_owned()),
            Part::Reasoning(thought) => Some(format!("({})", start(&thought.text))),
            Part::Sealed(sealed) => Some(format!("(sealed {})", sealed.kind)),
            Part::File(file) => Some(format!("[{}]", file.media_type)),
            Part::Other(value) => Some(format!("[{}]", value["type"].as_str().unwrap_or("part"))),
            Part::Text(_) => None,
        })
        .collect();
    said.join(" ")
}

fn start(text: &str) -> &str {
    text.char_indices().nth(LINE_CHARACTERS).map_or(text, |(end, _)| &text[..end])
}

/// White space as single spaces, cut to the longest line.
pub(crate) fn one_line(text: &str) -> String {
    let mut line = String::new();
    let mut left = LINE_CHARACTERS;
    for word in text.split_whitespace() {
        if !line.is_empty() {
            line.push(' ');
            left = left.saturating_sub(1);
        }
        for character in word.chars() {
            if left == 0 {
                line.push('…');
                return line;
            }
            line.push(character);
            left -= 1;
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_one_line_and_not_long() {
        assert_eq!(one_line(" a\n\tb  c "), "a b c");
        assert_eq!(one_line(""), "");
        let long = "ü".repeat(LINE_CHARACTERS + 1);
        assert_eq!(one_line(&long).chars().count(), LINE_CHARACTERS + 1);
        assert!(one_line(&long).ends_with('…'));
        assert!(!one_line(&"ü".repeat(LINE_CHARACTERS)).ends_with('…'));
    }
}
