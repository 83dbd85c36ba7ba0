//! Rust sources as the rules see them: code without comments and literals, the parts that are only for tests, paths.
//!
//! Not a parser: it knows comments, literals, brackets and `::`, which is all that the rules ask for. Every byte keeps
//! its place, so that an offset in the code is an offset in the text, and lines can be counted.

use std::collections::BTreeSet;
use std::ops::Range;

/// A file of the workspace.
#[derive(Debug, Clone)]
pub(crate) struct File {
    /// Its path from the root of the workspace, with `/`.
    pub(crate) path: String,
    pub(crate) text: String,
}

impl File {
    pub(crate) fn new(path: &str, text: &str) -> File {
        File { path: path.into(), text: text.into() }
    }

    /// `path:line: what`, for the byte at `offset`.
    pub(crate) fn finding(&self, offset: usize, what: impl std::fmt::Display) -> String {
        let line = self.text[..offset].matches('\n').count() + 1;
        format!("{}:{line}: {what}", self.path)
    }

    pub(crate) fn is_rust(&self) -> bool {
        self.path.ends_with(".rs")
    }

    pub(crate) fn is_markdown(&self) -> bool {
        self.path.ends_with(".md")
    }
}

/// The text with comments, and what stands between quotes, turned into spaces. As long as the text.
pub(crate) fn code_of(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut code = bytes.to_vec();
    let blank = |code: &mut Vec<u8>, range: Range<usize>| {
        for byte in &mut code[range] {
            if *byte != b'\n' {
                *byte = b' ';
            }
        }
    };
    let mut at = 0;
    while at < bytes.len() {
        let rest = &bytes[at..];
        let end = if rest.starts_with(b"//") {
            let end = at + rest.iter().position(|&byte| byte == b'\n').unwrap_or(rest.len());
            blank(&mut code, at..end);
            end
        } else if rest.starts_with(b"/*") {
            let end = at + block_comment_len(rest);
            blank(&mut code, at..end);
            end
        } else if let Some((quote, closing)) = string_start(bytes, at) {
            let body = quote + 1;
            let len = match &closing {
                Some(closing) => find(&bytes[body..], closing).unwrap_or(bytes.len() - body),
                None => escaped_len(&bytes[body..], b'"'),
            };
            blank(&mut code, body..body + len);
            (body + len + closing.map_or(1, |closing| closing.len())).min(bytes.len())
        } else if let Some(len) = char_literal_len(text, at) {
            blank(&mut code, at + 1..at + len - 1);
            at + len
        } else {
            at + 1
        };
        at = end;
    }
    String::from_utf8(code).expect("whole characters were replaced")
}

fn find(bytes: &[u8], needle: &[u8]) -> Option<usize> {
    bytes.windows(needle.len()).position(|window| window == needle)
}

fn block_comment_len(bytes: &[u8]) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at < bytes.len() {
        if bytes[at..].starts_with(b"/*") {
            depth += 1;
            at += 2;
        } else if bytes[at..].starts_with(b"*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += 1;
        }
    }
    bytes.len()
}

/// Where a string literal begins at `at`: the place of its opening quote, and what closes it if it is a raw one.
fn string_start(bytes: &[u8], at: usize) -> Option<(usize, Option<Vec<u8>>)> {
    if bytes[at] == b'"' {
        return Some((at, None));
    }
    if at > 0 && is_word(bytes[at - 1]) {
        return None;
    }
    let rest = &bytes[at..];
    let prefix = [&b"br"[..], b"cr", b"r"].into_iter().find(|prefix| rest.starts_with(prefix))?;
    let hashes = rest[prefix.len()..].iter().take_while(|&&byte| byte == b'#').count();
    let quote = prefix.len() + hashes;
    let mut closing = vec![b'"'];
    closing.extend(std::iter::repeat_n(b'#', hashes));
    (rest.get(quote) == Some(&b'"')).then_some((at + quote, Some(closing)))
}

/// Length up to the closing quote, which does not count.
fn escaped_len(bytes: &[u8], quote: u8) -> usize {
    let mut at = 0;
    while at < bytes.len() && bytes[at] != quote {
        at += if bytes[at] == b'\\' { 2 } else { 1 };
    }
    at.min(bytes.len())
}

/// Length of the character literal at `at`, quotes included; nothing where a lifetime or something else stands there.
fn char_literal_len(text: &str, at: usize) -> Option<usize> {
    let rest = text.as_bytes()[at..].strip_prefix(b"'")?;
    if rest.first() == Some(&b'\\') {
        return Some(1 + escaped_len(rest, b'\'') + 1);
    }
    let len = text[at + 1..].chars().next()?.len_utf8();
    (rest.get(len) == Some(&b'\'')).then_some(len + 2)
}

pub(crate) fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

/// Where `word` stands as a whole word.
pub(crate) fn words<'t>(text: &'t str, word: &'t str) -> impl Iterator<Item = usize> + 't {
    let bytes = text.as_bytes();
    text.match_indices(word).map(|(at, _)| at).filter(move |&at| {
        let before = at.checked_sub(1).is_none_or(|before| !is_word(bytes[before]));
        before && bytes.get(at + word.len()).is_none_or(|&after| !is_word(after))
    })
}

/// The word that begins at `at`.
pub(crate) fn word_at(text: &str, at: usize) -> &str {
    let len = text.as_bytes()[at..].iter().take_while(|&&byte| is_word(byte)).count();
    &text[at..at + len]
}

/// `at`, moved behind spaces and line ends.
pub(crate) fn skip_space(text: &str, at: usize) -> usize {
    at + text.as_bytes()[at..].iter().take_while(|byte| byte.is_ascii_whitespace()).count()
}

/// Place behind the bracket that closes the one at `open`; the end where it is missing.
pub(crate) fn closing(code: &str, open: usize) -> usize {
    let mut depth = 0;
    for (at, byte) in code.bytes().enumerate().skip(open) {
        match byte {
            b'(' | b'[' | b'{' => depth += 1,
            b')' | b']' | b'}' => {
                depth -= 1;
                if depth == 0 {
                    return at + 1;
                }
            }
            _ => {}
        }
    }
    code.len()
}

/// What of the code is only compiled for tests, and the names of the modules in other files that are.
pub(crate) fn test_parts(code: &str) -> (Vec<Range<usize>>, BTreeSet<String>) {
    let mut parts = Vec::new();
    let mut modules = BTreeSet::new();
    if code.contains("#![cfg(test)]") {
        parts.push(0..code.len());
    }
    for start in ["#[cfg(test)]", "#[cfg(all(test"].into_iter().flat_map(|a| code.match_indices(a).map(|(at, _)| at)) {
        // Behind this attribute and those that follow.
        let mut at = skip_space(code, closing(code, start + 1));
        while code[at..].starts_with("#[") {
            at = skip_space(code, closing(code, at + 1));
        }
        let item = at;
        let end = loop {
            match code.as_bytes().get(at) {
                None => break code.len(),
                Some(b';') => break at + 1,
                Some(b'{') => break closing(code, at),
                Some(b'(' | b'[') => at = closing(code, at),
                Some(_) => at += 1,
            }
        };
        let declaration = code[item..end].trim_start_matches("pub(crate)").trim_start();
        if let Some(name) = declaration.strip_prefix("mod ").and_then(|rest| rest.strip_suffix(';')) {
            modules.insert(name.trim().to_owned());
        }
        parts.push(start..end);
    }
    (parts, modules)
}

/// The code without what is only compiled for tests. As long as the text.
pub(crate) fn product_code_of(text: &str) -> String {
    let mut code = code_of(text).into_bytes();
    let (parts, _) = test_parts(std::str::from_utf8(&code).expect("was a string"));
    for byte in parts.into_iter().flat_map(|part| part.start..part.end) {
        if code[byte] != b'\n' {
            code[byte] = b' ';
        }
    }
    String::from_utf8(code).expect("whole items were replaced")
}

/// For each path that begins with `root` (`crate`, `std`, …) the segment that follows, and where it stands; `*` for a
/// glob. A group gives one for each of its members.
pub(crate) fn segments_after<'c>(code: &'c str, root: &'c str) -> Vec<(usize, &'c str)> {
    let mut found = Vec::new();
    for at in words(code, root) {
        // `a::std::b` is another path; `pub(in crate::x)` is no use of x.
        let before = code[..at].trim_end();
        if before.ends_with("::") && before[..before.len() - 2].trim_end().bytes().next_back().is_some_and(is_word) {
            continue;
        }
        if before.ends_with("(in") {
            continue;
        }
        segments_at(code, at + root.len(), &mut found);
    }
    found
}

/// Reads `::name` or `::{…}` at `at`.
pub(crate) fn segments_at<'c>(code: &'c str, at: usize, found: &mut Vec<(usize, &'c str)>) {
    let at = skip_space(code, at);
    let Some(_) = code[at..].strip_prefix("::") else { return };
    let at = skip_space(code, at + 2);
    match code.as_bytes().get(at) {
        Some(b'{') => {
            let end = closing(code, at);
            let mut member = at + 1;
            while member < end {
                member = skip_space(code, member);
                if code.as_bytes()[member] == b'}' {
                    break;
                }
                push_segment(code, member, found);
                // On to the comma of this group.
                while member < end - 1 && code.as_bytes()[member] != b',' {
                    member = if code.as_bytes()[member] == b'{' { closing(code, member) } else { member + 1 };
                }
                member += 1;
            }
        }
        Some(_) => push_segment(code, at, found),
        None => {}
    }
}

fn push_segment<'c>(code: &'c str, at: usize, found: &mut Vec<(usize, &'c str)>) {
    match word_at(code, at) {
        "" if code[at..].starts_with('*') => found.push((at, &code[at..=at])),
        "" | "self" => {}
        word => found.push((at, word)),
    }
}

/// Names and places of the functions marked as tests.
pub(crate) fn tests_in(code: &str) -> Vec<(usize, &str)> {
    let marks = code.match_indices("#[test]").map(|(at, mark)| at + mark.len());
    marks
        .filter_map(|at| {
            let function = words(&code[at..], "fn").next()? + at;
            let name = skip_space(code, function + 2);
            Some((name, word_at(code, name)))
        })
        .collect()
}

mod bites {
    use super::*;

    #[test]
    fn literals_and_comments_are_no_code() {
        let text = r####"let a = "x // y"; // unsafe
/* one /* two */ unsafe */ let b = r#"un"safe"#; let c = b"\"unsafe"; let d: &'static str = 'é'; let e = '\'';
let f = br##"#""##; r#type; let g = '"'; unsafe {}"####;
        let code = code_of(text);
        assert_eq!(code.len(), text.len());
        assert_eq!(words(&code, "unsafe").count(), 1);
        for kept in ["let a", "let b", "let c", "&'static str", "let e", "let f", "r#type", "let g", "unsafe {}"] {
            assert!(code.contains(kept), "{kept} is missing in {code}");
        }
        for gone in ["x // y", "un", "é", "two"] {
            assert_eq!(words(&code, gone).count(), 0, "{gone} is left in {code}");
        }
    }

    #[test]
    fn parts_for_tests_are_found_whole() {
        let text = "use a;\n#[cfg(test)]\nmod tests {\n fn f() { g({}) }\n}\n#[cfg(test)]\n#[path = \"x\"]\nmod more;\nfn kept() {}\n\
                    #[cfg(all(test, feature = \"x\"))]\nfn only(a: [u8; 4]) {}\nfn too() {}";
        let code = product_code_of(text);
        for kept in ["use a;", "fn kept() {}", "fn too() {}"] {
            assert!(code.contains(kept), "{kept} is missing in {code}");
        }
        for gone in ["fn f", "more", "fn only"] {
            assert!(!code.contains(gone), "{gone} is left in {code}");
        }
        assert_eq!(test_parts(&code_of(text)).1, BTreeSet::from(["more".to_owned()]));
    }

    #[test]
    fn paths_give_the_segment_behind_their_root() {
        let code = "use crate::a::b; use crate::{c::{d, e}, f as g,\n h}; x::crate::no; pub(in crate::no) y; $crate::i!(); \
                    pub(crate) z; crate :: j; use crate::*;";
        let names: Vec<_> = segments_after(code, "crate").into_iter().map(|(_, name)| name).collect();
        assert_eq!(names, ["a", "c", "f", "h", "i", "j", "*"]);
    }

    #[test]
    fn tests_are_found_by_their_mark() {
        let code = "#[test]\n#[should_panic]\nfn one() {} fn helper() {} proptest! { #[test] fn two(x in 0..3) {} }";
        let names: Vec<_> = tests_in(code).into_iter().map(|(_, name)| name).collect();
        assert_eq!(names, ["one", "two"]);
    }
}
