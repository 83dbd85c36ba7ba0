//! Which stream does a file go to?
//!
//! Without a name from the user, one file is one stream: named by the session that its records name (a sub-agent's
//! `SESSION/agent-ID`), else by the stem of the file. Names that the store cannot take are made legal here, never refused:
//! they come from file names and from the insides of logs, and neither is the user's fault.
//!
//! A file that grows may name its session only later, so [`candidates`] also gives the names that the same file could have
//! got earlier. Whether a stream of such a name holds this file's lines is decided by its bytes, in [`super::plan`].

use std::path::Path;

use super::format::Window;
use super::record::{Format, cut_to};
use super::{claude_code, codex};

/// What a name is made of where there is nothing else.
const UNNAMED: &str = "unnamed";

/// The names that a file's stream can have, the preferred one first; never empty. All are legal.
pub(crate) fn candidates(format: Format, window: &Window, path: &Path, prefix: &str) -> Vec<String> {
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    let stem = stem.strip_suffix(".jsonl").unwrap_or(&stem).to_owned();
    let mut raw = match format {
        Format::ClaudeCode => claude_names(window, &stem),
        Format::Codex => window.lines.iter().find_map(|line| codex::session(&line.bytes)).into_iter().collect(),
        Format::Jsonl | Format::Treering => Vec::new(),
    };
    raw.push(stem);
    let mut names: Vec<String> = Vec::new();
    for name in raw {
        let name = legal(&format!("{prefix}{name}"));
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names
}

/// A resumed session begins with records of the one before it; its file is named by its own id. So an id that is also
/// the file's name counts more than the first one.
fn claude_names(window: &Window, stem: &str) -> Vec<String> {
    let owners: Vec<_> = window.lines.iter().filter_map(|line| claude_code::owner(&line.bytes, stem)).collect();
    let Some(first) = owners.first() else { return Vec::new() };
    if let Some(agent) = &first.agent
        && owners.iter().all(|owner| owner.agent.as_ref() == Some(agent))
    {
        return vec![format!("{}/agent-{agent}", first.session)];
    }
    let own = owners.iter().find(|owner| owner.session == stem).map(|owner| owner.session.clone());
    own.into_iter().chain([first.session.clone()]).collect()
}

/// The nearest name that the store takes: not empty, not reserved, not too long.
fn legal(name: &str) -> String {
    let name = if name.is_empty() { UNNAMED } else { name };
    if name.starts_with(treering::limits::RESERVED_NAME_PREFIX) {
        return cut_to(&format!("_{name}"), treering::limits::STREAM_NAME_BYTES_MAX).to_owned();
    }
    cut_to(name, treering::limits::STREAM_NAME_BYTES_MAX).to_owned()
}

/// The `number`-th stream of a name: the name itself, then `NAME~2`, `NAME~3` …
pub(crate) fn numbered(name: &str, number: u32) -> String {
    if number <= 1 {
        return name.to_owned();
    }
    let suffix = format!("~{number}");
    let room = treering::limits::STREAM_NAME_BYTES_MAX - suffix.len();
    format!("{}{suffix}", cut_to(name, room))
}

#[cfg(test)]
mod tests {
    use super::super::lines::Lines;
    use super::*;

    fn named(format: Format, text: &str, path: &str) -> Vec<String> {
        let window = Window::read(&mut Lines::new(text.as_bytes())).unwrap();
        candidates(format, &window, Path::new(path), "")
    }

    #[test]
    fn a_session_names_its_file() {
        let text = "{\"type\":\"summary\"}\nnoise\n{\"sessionId\":\"s-1\"}\n{\"sessionId\":\"s-2\"}\n";
        assert_eq!(named(Format::ClaudeCode, text, "a/b.jsonl"), ["s-1", "b"]);
        assert_eq!(named(Format::ClaudeCode, text, "a/s-2.jsonl"), ["s-2", "s-1"], "resumed from s-1");
        assert_eq!(named(Format::ClaudeCode, "{}\n", "a/b.c.jsonl"), ["b.c"]);
        let rollout = "{\"type\":\"session_meta\",\"payload\":{\"id\":\"t\"}}\n{\"type\":\"session_meta\",\"payload\":{\"id\":\"parent\"}}\n";
        assert_eq!(named(Format::Codex, rollout, "rollout-1.jsonl"), ["t", "rollout-1"]);
        assert_eq!(named(Format::Jsonl, "{\"sessionId\":\"s\"}\n", "plain.jsonl"), ["plain"]);
    }

    #[test]
    fn a_sub_agent_is_named_below_its_session() {
        let line = "{\"sessionId\":\"s\",\"isSidechain\":true,\"agentId\":\"a1\"}\n";
        assert_eq!(named(Format::ClaudeCode, line, "agent-a1.jsonl"), ["s/agent-a1", "agent-a1"]);
        let unnamed = "{\"sessionId\":\"s\",\"isSidechain\":true}\n";
        assert_eq!(named(Format::ClaudeCode, unnamed, "agent-b2.jsonl"), ["s/agent-b2", "agent-b2"]);
        let inline = format!("{line}{{\"sessionId\":\"s\",\"isSidechain\":false}}\n");
        assert_eq!(named(Format::ClaudeCode, &inline, "s.jsonl"), ["s"], "a main file with a side chain in front");
    }

    #[test]
    fn every_name_becomes_legal() {
        assert_eq!(named(Format::Jsonl, "", "$system.jsonl"), ["_$system"]);
        assert_eq!(named(Format::Jsonl, "", ""), [UNNAMED]);
        let long = format!("{{\"sessionId\":\"{}\"}}\n", "é".repeat(600));
        let name = &named(Format::ClaudeCode, &long, "x.jsonl")[0];
        assert_eq!((name.len(), name.chars().all(|c| c == 'é')), (1024, true));
        let at_limit = format!("{{\"sessionId\":\"${}\"}}\n", "n".repeat(1023));
        assert_eq!(named(Format::ClaudeCode, &at_limit, "x.jsonl")[0].len(), 1024);
    }

    #[test]
    fn numbers_fit_into_the_longest_name() {
        assert_eq!((numbered("n", 1), numbered("n", 2), numbered("n", 17)), ("n".into(), "n~2".into(), "n~17".into()));
        let name = numbered(&"é".repeat(512), 10);
        assert!(name.len() <= 1024 && name.ends_with("é~10"), "{}", name.len());
    }
}
