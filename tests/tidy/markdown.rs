//! Links of the Markdown pages lead somewhere, and paths that they name exist.

use std::collections::BTreeMap;

use super::source::File;

/// Folders of the tree that may not be there at all; links into them count from the day on which they are.
const PARTS: [&str; 2] = ["format-spec", "fuzz"];
/// First parts of a path that a page names in back quotes.
const FOLDERS: [&str; 8] = ["engine", "agent", "cli", "tests", "format-spec", "benches", "fuzz", ".ci"];

/// What is in the tree: files and folders, by their paths from the root, without a final `/`.
pub(crate) trait Tree {
    fn exists(&self, path: &str) -> bool;
}

impl<F: Fn(&str) -> bool> Tree for F {
    fn exists(&self, path: &str) -> bool {
        self(path)
    }
}

/// Whether the path leads into a part that is not there yet.
fn is_awaited(tree: &impl Tree, path: &str) -> bool {
    PARTS.iter().any(|part| path.split('/').next() == Some(part) && !tree.exists(part))
}

/// Dead relative links and anchors of all pages.
pub(crate) fn dead_links(files: &[File], tree: &impl Tree) -> Vec<String> {
    let pages: BTreeMap<&str, &File> =
        files.iter().filter(|file| file.is_markdown()).map(|file| (file.path.as_str(), file)).collect();
    let mut findings = Vec::new();
    for page in pages.values() {
        for (offset, target) in links(&prose_of(&page.text)) {
            if target.contains("://") || target.starts_with("mailto:") {
                continue;
            }
            let (path, anchor) = target.split_once('#').map_or((target.as_str(), None), |(path, a)| (path, Some(a)));
            let folder = page.path.rsplit_once('/').map_or("", |(folder, _)| folder);
            let path = if path.is_empty() { Some(page.path.clone()) } else { resolve(folder, path) };
            let Some(path) = path else {
                findings.push(page.finding(offset, format!("link {target} leads out of the workspace")));
                continue;
            };
            if is_awaited(tree, &path) {
                continue;
            }
            if !path.is_empty() && !tree.exists(&path) {
                findings.push(page.finding(offset, format!("link {target} is dead: no {path}")));
            } else if let Some(anchor) = anchor {
                let there =
                    pages.get(path.as_str()).is_some_and(|page| anchors(&page.text).contains(&anchor.to_owned()));
                if !there {
                    findings.push(page.finding(offset, format!("link {target} is dead: no such heading in {path}")));
                }
            }
        }
    }
    findings
}

/// Paths in back quotes that are not there: from the root in every page, from `engine/src` in the page on architecture.
pub(crate) fn dead_paths(page: &File, tree: &impl Tree) -> Vec<String> {
    if !page.is_markdown() || page.path.ends_with("CHANGELOG.md") {
        return Vec::new();
    }
    let in_architecture = page.path == "engine/ARCHITECTURE.md";
    let mut findings = Vec::new();
    let text = blank_fences(&page.text);
    for (offset, span) in spans(&text) {
        let plain = span.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-./".contains(&byte));
        let Some((first, _)) = span.split_once('/').filter(|_| plain) else {
            let source = in_architecture && plain && span.ends_with(".rs");
            if source && !tree.exists(&format!("engine/src/{span}")) {
                findings.push(page.finding(offset, format!("no engine/src/{span}")));
            }
            continue;
        };
        let path = span.trim_end_matches('/');
        if FOLDERS.contains(&first) {
            if !is_awaited(tree, path) && !tree.exists(path) {
                findings.push(page.finding(offset, format!("no {path}")));
            }
        } else if in_architecture && (span.ends_with('/') || span.ends_with(".rs")) {
            // A module that is not written yet is missing as a whole.
            if tree.exists(&format!("engine/src/{first}")) && !tree.exists(&format!("engine/src/{path}")) {
                findings.push(page.finding(offset, format!("no engine/src/{path}")));
            }
        }
    }
    findings
}

/// `path` from `folder`, without `.` and `..`; nothing where it leads above the root.
fn resolve(folder: &str, path: &str) -> Option<String> {
    let mut parts: Vec<&str> = folder.split('/').filter(|part| !part.is_empty()).collect();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop()?;
            }
            part => parts.push(part),
        }
    }
    Some(parts.join("/"))
}

fn blank(text: &str) -> String {
    text.chars().map(|c| if c == '\n' { "\n".into() } else { " ".repeat(c.len_utf8()) }).collect()
}

/// The text with fenced blocks turned into spaces. As long as the text.
fn blank_fences(text: &str) -> String {
    let mut open: Option<&str> = None;
    let lines = text.split_inclusive('\n').map(|line| {
        let start = line.trim_start();
        let fence = ["```", "~~~"].into_iter().find(|fence| start.starts_with(fence));
        let inside = open.is_some();
        match (open, fence) {
            (None, Some(fence)) => open = Some(fence),
            (Some(opened), Some(fence)) if opened == fence => open = None,
            _ => {}
        }
        if inside || fence.is_some() { blank(line) } else { line.to_owned() }
    });
    lines.collect()
}

/// Texts in single back quotes, with their places.
fn spans(text: &str) -> Vec<(usize, &str)> {
    let mut found = Vec::new();
    for line in text.split_inclusive('\n') {
        let start = line.as_ptr() as usize - text.as_ptr() as usize;
        let mut at = 0;
        while let Some(open) = line[at..].find('`').map(|open| at + open + 1) {
            let Some(len) = line[open..].find('`') else { break };
            found.push((start + open, &line[open..open + len]));
            at = open + len + 1;
        }
    }
    found
}

/// The text without code. As long as the text.
fn prose_of(text: &str) -> String {
    let text = blank_fences(text);
    let mut prose = text.clone();
    for (at, span) in spans(&text) {
        prose.replace_range(at..at + span.len(), &blank(span));
    }
    prose
}

/// Targets of links, with their places: `[text](target)` and `[name]: target`.
fn links(prose: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let target = |text: &str| {
        let text = text.trim_start().trim_start_matches('<');
        text.split(|c: char| c.is_whitespace() || c == '>').next().unwrap_or_default().to_owned()
    };
    for (at, _) in prose.match_indices("](") {
        let rest = &prose[at + 2..];
        let mut depth = 1;
        let end = rest.char_indices().find(|&(_, c)| {
            depth += i32::from(c == '(') - i32::from(c == ')');
            depth == 0
        });
        found.push((at, target(&rest[..end.map_or(rest.len(), |(end, _)| end)])));
    }
    for line in prose.split_inclusive('\n') {
        let at = line.as_ptr() as usize - prose.as_ptr() as usize;
        if let Some((_, rest)) = line.strip_prefix('[').and_then(|line| line.split_once("]:")) {
            found.push((at, target(rest)));
        }
    }
    found.retain(|(_, target)| !target.is_empty());
    found
}

/// The anchors of a page's headings, as code hosts make them.
pub(crate) fn anchors(text: &str) -> Vec<String> {
    let mut anchors: Vec<String> = Vec::new();
    for line in blank_fences(text).lines() {
        let title = line.trim_start_matches('#');
        if title.len() == line.len() || !title.starts_with(' ') {
            continue;
        }
        // Of a link in a heading only its text counts.
        let mut plain = String::new();
        let mut rest = title.trim();
        while let Some((before, after)) = rest.split_once("](") {
            plain.push_str(before);
            rest = after.split_once(')').map_or("", |(_, rest)| rest);
        }
        plain.push_str(rest);
        let kept =
            plain.to_lowercase().chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c)).collect::<String>();
        let anchor = kept.replace(' ', "-");
        let same = anchors.iter().filter(|other| **other == anchor).count();
        anchors.push(if same == 0 { anchor } else { format!("{anchor}-{same}") });
    }
    anchors
}

mod bites {
    use super::*;

    const THERE: [&str; 8] = [
        "README.md",
        "engine",
        "engine/A.md",
        "engine/src",
        "engine/src/read",
        "engine/src/read/mod.rs",
        "tests",
        ".ci/run",
    ];

    fn tree(path: &str) -> bool {
        THERE.contains(&path)
    }

    fn found(pages: &[(&str, &str)]) -> Vec<String> {
        let files: Vec<File> = pages.iter().map(|(path, text)| File::new(path, text)).collect();
        dead_links(&files, &tree)
    }

    #[test]
    fn living_links_are_fine() {
        let text = "# Title\n## How `to` do: it!\n## Same\n## Same\n[a](engine/A.md), [b](engine/), [c](#how-to-do-it), [d](#same-1)\n\
                    [e](https://x.y/z#q) ![f](.ci/run \"title\") [g](engine/A.md#top)\n[h]: ./engine/../README.md\n\
                    `[i](gone)`\n```\n[j](gone)\n```\n[k](format-spec/README.md#any)";
        let none: [String; 0] = [];
        assert_eq!(found(&[("README.md", text), ("engine/A.md", "# [Top](../README.md)")]), none);
    }

    #[test]
    fn dead_links_and_anchors_are_found() {
        let text =
            "# Title\n[a](engine/B.md)\n[b](#titles)\n[c](engine/A.md#no)\n[d](../x)\n[e]: gone.md\n[f](tests/#x)";
        let found = found(&[("README.md", text), ("engine/A.md", "# [Top](gone/too.md)")]);
        let places: Vec<_> = found.iter().map(|finding| finding.split(": ").next().unwrap()).collect();
        let expected =
            ["README.md:2", "README.md:3", "README.md:4", "README.md:5", "README.md:7", "README.md:6", "engine/A.md:1"];
        assert_eq!(places, expected, "{found:#?}");
    }

    #[test]
    fn paths_that_are_not_there_are_found() {
        let text = "`engine/src/read/` `engine/x.rs` `cli/src` `a/b` `cargo run`\n`format-spec/README.md` `tests/`";
        let found = dead_paths(&File::new("README.md", text), &tree);
        assert_eq!(found, ["README.md:1: no engine/x.rs", "README.md:1: no cli/src"]);
        let text = "`read/` `read/mod.rs` `read/gone.rs` `later/x.rs` `gone.rs`\n```\n`read/gone.rs`\n```";
        let found = dead_paths(&File::new("engine/ARCHITECTURE.md", text), &tree);
        assert_eq!(
            found,
            ["engine/ARCHITECTURE.md:1: no engine/src/read/gone.rs", "engine/ARCHITECTURE.md:1: no engine/src/gone.rs"]
        );
    }
}
