//! What is written down in one place and held in another: promises and their tests, rules of the format and theirs,
//! versions.

use std::collections::{BTreeMap, BTreeSet};

use super::source::{File, code_of, is_word, tests_in};

/// The promises there are, P1 to this one.
const PROMISES: u32 = 20;

/// The page of promises against the tests: every promise in order, each with tests or the word that they are to come;
/// every named test there, every test named for a promise listed under it; nothing claimed in the README without a test.
pub(crate) fn promises(page: &File, readme: &File, files: &[File]) -> Vec<String> {
    let mut findings = Vec::new();
    let tests: BTreeMap<String, String> = files
        .iter()
        .filter(|file| file.is_rust())
        .flat_map(|file| {
            let code = code_of(&file.text);
            let found: Vec<_> =
                tests_in(&code).into_iter().map(|(at, n)| (n.to_owned(), file.finding(at, n))).collect();
            found
        })
        .collect();
    let mut listed: BTreeMap<u32, BTreeSet<String>> = BTreeMap::new();
    let mut awaited = BTreeSet::new();
    let mut current = None;
    let mut offset = 0;
    for line in page.text.split_inclusive('\n') {
        let at = offset;
        offset += line.len();
        let line = line.trim_end();
        if let Some(heading) = line.strip_prefix("## ") {
            current = promise_number(heading.split(' ').next().unwrap_or_default());
            if let Some(number) = current {
                if number as usize != listed.len() + 1 {
                    findings.push(page.finding(at, format!("P{number} is out of order")));
                }
                listed.entry(number).or_default();
            }
        } else if let (Some(number), Some(name)) = (current, line.strip_prefix("- test: ")) {
            let name = name.split(' ').next().unwrap_or_default().trim_matches('`');
            if !tests.contains_key(name) {
                findings.push(page.finding(at, format!("no test is named {name}")));
            }
            listed.entry(number).or_default().insert(name.to_owned());
        } else if let (Some(number), true) = (current, line.starts_with("- to come")) {
            awaited.insert(number);
        } else if line.starts_with("- test") {
            findings.push(page.finding(at, "write `- test: name`, under a promise"));
        }
    }
    for number in 1..=PROMISES {
        match listed.get(&number) {
            None => findings.push(format!("{}: P{number} is missing", page.path)),
            Some(tests) if tests.is_empty() && !awaited.contains(&number) => {
                findings.push(format!("{}: P{number} has no test, and none is to come", page.path));
            }
            Some(_) => {}
        }
    }
    for (name, place) in &tests {
        let Some(number) = numbered(name) else { continue };
        if !listed.get(&number).is_some_and(|listed| listed.contains(name)) {
            findings.push(format!("{place}: add `- test: {name}` under P{number} in {}", page.path));
        }
    }
    for (at, _) in readme.text.match_indices('P') {
        let len = readme.text[at + 1..].bytes().take_while(|&byte| is_word(byte)).count();
        let before = readme.text[..at].bytes().next_back();
        let Some(number) = promise_number(&readme.text[at..at + 1 + len]) else { continue };
        if !before.is_some_and(is_word) && listed.get(&number).is_none_or(BTreeSet::is_empty) {
            findings.push(readme.finding(at, format!("claims P{number}, which no test holds")));
        }
    }
    findings
}

fn promise_number(word: &str) -> Option<u32> {
    let digits = word.strip_prefix('P')?;
    digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok())?
}

/// The number in `p07_…`.
fn numbered(name: &str) -> Option<u32> {
    let (number, _) = name.strip_prefix('p')?.split_once('_')?;
    (number.len() == 2 && number.bytes().all(|byte| byte.is_ascii_digit())).then(|| number.parse().ok())?
}

/// Rules of the format, `**[ABC-n]**` on its pages, against the tests that name them: each defined once, every one cited
/// by a test, every citation and every reference of a page defined.
pub(crate) fn rules(files: &[File]) -> Vec<String> {
    let mut findings = Vec::new();
    let pages = || files.iter().filter(|file| file.path.starts_with("format-spec/") && file.is_markdown());
    if pages().next().is_none() {
        // Without pages there are no rules; the day on which the first one comes this begins to count.
        return findings;
    }
    let mut defined: BTreeMap<&str, String> = BTreeMap::new();
    for page in pages() {
        for (at, id) in rule_ids(&page.text) {
            let bold = page.text[..at].ends_with("**") && page.text[at + id.len() + 2..].starts_with("**");
            if !bold {
                continue;
            }
            if let Some(first) = defined.insert(id, page.finding(at, id)) {
                findings.push(page.finding(at, format!("{id} is defined twice: {first}")));
            }
        }
    }
    let mut cited = BTreeSet::new();
    for file in files {
        let is_page = file.path.starts_with("format-spec/") && file.is_markdown();
        let in_tests = file.path.starts_with("tests/") && !file.path.starts_with("tests/tidy/") && file.is_rust();
        let in_engine = file.path.starts_with("engine/src/") && file.is_rust();
        if !is_page && !in_tests && !in_engine {
            continue;
        }
        let test_parts = if in_engine { super::source::test_parts(&code_of(&file.text)).0 } else { Vec::new() };
        for (at, id) in rule_ids(&file.text) {
            if !defined.contains_key(id) {
                findings.push(file.finding(at, format!("no page of the format defines {id}")));
            }
            if in_tests || test_parts.iter().any(|part| part.contains(&at)) {
                cited.insert(id);
            }
        }
    }
    for (id, place) in &defined {
        if !cited.contains(id) {
            findings.push(format!("{place}: no test names it"));
        }
    }
    findings
}

/// What looks like `[ABC-n]`, without the brackets; the place is that of the opening one.
fn rule_ids(text: &str) -> Vec<(usize, &str)> {
    let mut found = Vec::new();
    for (at, _) in text.match_indices('[') {
        let Some(len) = text[at..].find(']') else { break };
        let id = &text[at + 1..at + len];
        let Some((letters, digits)) = id.split_once('-') else { continue };
        let letters = (2..=6).contains(&letters.len()) && letters.bytes().all(|byte| byte.is_ascii_uppercase());
        let digits = (1..=3).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit());
        if letters && digits {
            found.push((at, id));
        }
    }
    found
}

/// Manifests: versions are written once, in the root, and every member takes them, the lints and the licence from there.
pub(crate) fn manifests(files: &[File]) -> Vec<String> {
    let mut findings = Vec::new();
    let manifest = |path: &str| files.iter().find(|file| file.path == path);
    let Some(root) = manifest("Cargo.toml") else { return vec!["Cargo.toml: missing".into()] };
    let value = |file: &File, section: &str, key: &str| {
        entries(&file.text).into_iter().find(|(s, k, _)| s == section && k == key).map(|(_, _, value)| value)
    };
    let version = value(root, "workspace.package", "version").unwrap_or_default();
    let version = version.trim_matches('"').to_owned();
    let engine = value(root, "workspace.dependencies", "treering").unwrap_or_default();
    if !engine.contains(&format!("version = \"{version}\"")) || version.is_empty() {
        findings.push(format!("Cargo.toml: the workspace is version {version:?}, its engine is asked for as {engine}"));
    }
    let members = value(root, "workspace", "members").unwrap_or_default();
    let excluded = value(root, "workspace", "exclude").unwrap_or_default();
    for file in files {
        let Some((folder, "Cargo.toml")) = file.path.rsplit_once('/') else { continue };
        if excluded.contains(&format!("\"{folder}\"")) {
            continue;
        }
        if !members.contains(&format!("\"{folder}\"")) {
            findings.push(format!("{}: neither member nor excluded in Cargo.toml", file.path));
        }
        for key in ["version", "edition", "rust-version", "license"] {
            if value(file, "package", &format!("{key}.workspace")).as_deref() != Some("true") {
                findings.push(format!("{}: write {key}.workspace = true", file.path));
            }
        }
        if value(file, "lints", "workspace").as_deref() != Some("true") {
            findings.push(format!("{}: take the lints of the workspace", file.path));
        }
        for (section, key, value) in entries(&file.text) {
            let of_workspace = (key.ends_with(".workspace") && value == "true") || value.contains("workspace = true");
            if section.ends_with("dependencies") && !of_workspace {
                findings.push(format!("{}: {key} has a version of its own; put it into Cargo.toml", file.path));
            }
        }
    }
    match manifest("CHANGELOG.md") {
        None => findings.push("CHANGELOG.md: missing".into()),
        Some(log) => {
            let heads = log.text.lines().filter_map(|line| line.strip_prefix("## "));
            let named = |head: &str| head.contains("Unreleased") || head.trim_start_matches('[').starts_with(&version);
            if !heads.take(1).any(named) {
                findings.push(format!("CHANGELOG.md: begins neither with Unreleased nor with {version}"));
            }
        }
    }
    findings
}

/// Section, key and value of the lines `key = value`; an array over several lines counts as one.
fn entries(toml: &str) -> Vec<(String, String, String)> {
    let mut entries: Vec<(String, String, String)> = Vec::new();
    let (mut section, mut open) = (String::new(), false);
    for line in toml.lines().map(|line| line.split(" #").next().unwrap_or_default().trim()) {
        if open {
            open = !line.ends_with(']');
            if let Some((_, _, value)) = entries.last_mut() {
                value.push_str(line);
            }
        } else if line.starts_with('[') {
            section = line.trim_matches(['[', ']']).to_owned();
        } else if let Some((key, value)) = line.split_once('=').filter(|_| !line.starts_with('#')) {
            let value = value.trim();
            open = value.starts_with('[') && !value.ends_with(']');
            entries.push((section.clone(), key.trim().to_owned(), value.to_owned()));
        }
    }
    entries
}

mod bites {
    use super::*;

    /// A page of twenty promises, of which the first says this.
    fn page(first: &str) -> File {
        let rest: String = (2..=20).map(|n| format!("## P{n} Name\n\nWords.\n\n- to come\n")).collect();
        File::new("engine/PROMISES.md", &format!("# Promises\n\n## P1 Prefix\n\nWords.\n\n{first}\n{rest}"))
    }

    fn found(page: &File, readme: &str) -> String {
        let tests = "#[test]\nfn p01_a() {}\n#[test]\nfn other() {}\nfn p01_no_test() {}";
        promises(page, &File::new("README.md", readme), &[File::new("tests/a.rs", tests)]).join("\n")
    }

    #[test]
    fn promises_and_tests_that_agree_are_fine() {
        assert_eq!(found(&page("- test: p01_a\n- test: other (by hand)\n- to come: power loss"), "P1, XP3, P2x"), "");
    }

    #[test]
    fn promises_and_tests_that_differ_are_found() {
        for (page, readme, what) in [
            (page("- to come"), "", "tests/a.rs:2: p01_a: add `- test: p01_a` under P1 in engine/PROMISES.md"),
            (page("- test: p01_a\n- test: p01_no_test"), "", "engine/PROMISES.md:8: no test is named p01_no_test"),
            (page("nothing"), "", "P1 has no test, and none is to come"),
            (page("- test: p01_a"), "a\nP2 holds", "README.md:2: claims P2, which no test holds"),
            (page("- tests: p01_a"), "", "engine/PROMISES.md:7: write `- test: name`"),
            (page("- test: p01_a\n## P3 Early\n- to come"), "", "engine/PROMISES.md:8: P3 is out of order"),
            (File::new("engine/PROMISES.md", "## P1 x\n- test: p01_a"), "", "P20 is missing"),
        ] {
            let found = found(&page, readme);
            assert!(found.contains(what), "{what} is not in:\n{found}");
        }
    }

    fn rules_of(page: &str, test: &str, engine: &str) -> String {
        let files = [
            File::new("format-spec/01-x.md", page),
            File::new("tests/a.rs", test),
            File::new("engine/src/a.rs", engine),
            File::new("tests/tidy/b.rs", "// [QQQ-9]"),
        ];
        rules(&files).join("\n")
    }

    #[test]
    fn rules_and_tests_that_agree_are_fine() {
        let page = "- **[FRM-1]** A.\n- **[FRM-2]** B, see [FRM-1].";
        let engine = "// [FRM-1]\nlet a = b[LEN - 1];\n#[cfg(test)]\nmod tests {\n// [FRM-2]\n}";
        assert_eq!(rules_of(page, "// [FRM-1]", engine), "");
    }

    #[test]
    fn rules_and_tests_that_differ_are_found() {
        let page = "- **[FRM-1]** A.\n- **[FRM-2]** B, see [FRM-4].\n- **[FRM-1]** again";
        let found = rules_of(page, "// [FRM-1] [FRM-3]", "// [FRM-2] is not in a part for tests");
        for what in [
            "format-spec/01-x.md:3: FRM-1 is defined twice",
            "format-spec/01-x.md:2: no page of the format defines FRM-4",
            "tests/a.rs:1: no page of the format defines FRM-3",
            "format-spec/01-x.md:2: FRM-2: no test names it",
        ] {
            assert!(found.contains(what), "{what} is not in:\n{found}");
        }
        assert_eq!(found.lines().count(), 4, "{found}");
    }

    const ROOT: &str = "[workspace]\nmembers = [\n \"a\",\n]\nexclude = [\"fuzz\"]\n[workspace.package]\nversion = \"0.2.0\"\n\
                        [workspace.dependencies]\ntreering = { path = \"engine\", version = \"0.2.0\" }\n";
    const MEMBER: &str = "[package]\nversion.workspace = true\nedition.workspace = true\nrust-version.workspace = true\n\
                          license.workspace = true\n[dependencies]\nx.workspace = true\ny = { workspace = true }\n\
                          [lints]\nworkspace = true\n";

    fn manifests_of(root: &str, member: &str, log: &str) -> String {
        let more = [("a/Cargo.toml", member), ("fuzz/Cargo.toml", "[package]"), ("CHANGELOG.md", log)];
        let files = [("Cargo.toml", root)].into_iter().chain(more).map(|(path, text)| File::new(path, text));
        manifests(&files.collect::<Vec<_>>()).join("\n")
    }

    #[test]
    fn manifests_that_agree_are_fine() {
        assert_eq!(manifests_of(ROOT, MEMBER, "# Log\n## Unreleased\n"), "");
        assert_eq!(manifests_of(ROOT, MEMBER, "# Log\n## 0.2.0 (today)\n## 0.1.0"), "");
    }

    #[test]
    fn manifests_that_differ_are_found() {
        for (root, member, log, what) in [
            (
                ROOT.replace("on = \"0.2.0\" }", "on = \"0.1.0\" }"),
                MEMBER.into(),
                "## Unreleased",
                "its engine is asked",
            ),
            (ROOT.replace("\"a\"", "\"b\""), MEMBER.into(), "## Unreleased", "a/Cargo.toml: neither member nor"),
            (
                ROOT.into(),
                MEMBER.replace("version.workspace = true", "version = \"1\""),
                "## Unreleased",
                "write version",
            ),
            (
                ROOT.into(),
                MEMBER.replace("x.workspace = true", "x = \"1\""),
                "## Unreleased",
                "x has a version of its own",
            ),
            (ROOT.into(), MEMBER.replace("[lints]", "[lint]"), "## Unreleased", "take the lints"),
            (ROOT.into(), MEMBER.into(), "## 0.1.0\n## Unreleased", "begins neither with"),
        ] {
            let found = manifests_of(&root, &member, log);
            assert!(found.contains(what), "{what} is not in:\n{found}");
        }
    }
}
