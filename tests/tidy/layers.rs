//! Imports point down only.
//!
//! The layers are those of the table in `engine/ARCHITECTURE.md`, so that the page and the sources cannot differ.
//! Modules of one layer may use each other as long as they form no ring, unless their row says "neither uses the other".
//! Parts for tests, and the crate's root, which only names and exports, may use everything.

use std::collections::{BTreeMap, BTreeSet};

use super::source::{File, closing, product_code_of, segments_after, segments_at, skip_space, word_at, words};

const SOURCES: &str = "engine/src/";

/// A module's row of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Layer {
    number: u32,
    apart: bool,
}

/// The rows of the page's table whose first column is a number and whose second one names modules in back quotes.
pub(crate) fn table(page: &str) -> BTreeMap<String, Layer> {
    let mut modules = BTreeMap::new();
    let rows = page.lines().skip_while(|line| !line.starts_with("| layer |")).take_while(|line| line.starts_with('|'));
    for row in rows {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        let Some(number) = cells.get(1).and_then(|cell| cell.parse().ok()) else { continue };
        let apart = row.contains("neither uses the other");
        for name in cells.get(2).copied().unwrap_or_default().split('`').skip(1).step_by(2) {
            modules.insert(name.to_owned(), Layer { number, apart });
        }
    }
    modules
}

/// What breaks the layers of `page`.
pub(crate) fn check(page: &str, files: &[File]) -> Vec<String> {
    let table = table(page);
    let sources: Vec<&File> = files.iter().filter(|file| file.path.starts_with(SOURCES) && file.is_rust()).collect();
    let mut findings = Vec::new();
    let mut unlisted = BTreeSet::new();
    let mut edges: BTreeMap<(String, String), String> = BTreeMap::new();
    let modules: BTreeSet<String> = sources.iter().filter_map(|file| module_path(file).first().cloned()).collect();
    let exports = exports(&sources);
    for file in &sources {
        let Some(from) = module_path(file).first().cloned() else { continue };
        let Some(layer) = table.get(&from) else {
            unlisted.insert(from);
            continue;
        };
        let code = product_code_of(&file.text);
        for (offset, name) in imports(file, &code) {
            let Some(to) = modules.get(name).or_else(|| exports.get(name)) else {
                findings.push(file.finding(offset, format!("crate::{name} is no module; name the module it is in")));
                continue;
            };
            let Some(&Layer { number, .. }) = table.get(to).filter(|_| *to != from) else { continue };
            if number > layer.number {
                let what =
                    format!("{from} (layer {}) uses {to} (layer {number}): imports point down only", layer.number);
                findings.push(file.finding(offset, what));
            } else if number == layer.number && layer.apart {
                findings.push(file.finding(offset, format!("{from} uses {to}: neither uses the other")));
            } else if number == layer.number {
                let place = file.finding(offset, format!("{from} uses {to}"));
                edges.entry((from.clone(), to.clone())).or_insert(place);
            }
        }
    }
    findings.extend(unlisted.iter().map(|name| format!("{SOURCES}{name}: not in the table of layers")));
    findings.extend(rings(&edges));
    findings
}

/// `engine/src/a/b.rs` is the module a, b; the crate's root is none.
fn module_path(file: &File) -> Vec<String> {
    let path = file.path.strip_prefix(SOURCES).unwrap_or_default().trim_end_matches(".rs");
    path.split('/').filter(|part| !["lib", "mod", ""].contains(part)).map(str::to_owned).collect()
}

/// What the crate's root exports by name, and from which module.
fn exports(sources: &[&File]) -> BTreeMap<String, String> {
    let Some(root) = sources.iter().find(|file| file.path == format!("{SOURCES}lib.rs")) else {
        return BTreeMap::new();
    };
    let code = product_code_of(&root.text);
    let mut exports = BTreeMap::new();
    for at in words(&code, "use") {
        let start = skip_space(&code, at + 3);
        let statement = &code[start..start + code[start..].find(';').unwrap_or(0)];
        let statement = statement.trim_start_matches("crate::").trim_start_matches("self::");
        let module = word_at(statement, 0);
        let names = statement[module.len()..].split([':', '{', '}', ',']);
        for name in names.filter_map(|name| name.split_whitespace().last()) {
            exports.insert(name.to_owned(), module.to_owned());
        }
    }
    exports
}

/// The top-level names that the code uses, by `crate::` or by going up with `super::`.
fn imports<'c>(file: &File, code: &'c str) -> Vec<(usize, &'c str)> {
    let mut found = segments_after(code, "crate");
    let inline: Vec<_> = words(code, "mod")
        .filter_map(|at| {
            let name = skip_space(code, at + 3);
            let open = skip_space(code, name + word_at(code, name).len());
            (code.as_bytes().get(open) == Some(&b'{')).then(|| open..closing(code, open))
        })
        .collect();
    for start in words(code, "super") {
        if code[..start].trim_end().ends_with("::") {
            continue;
        }
        let depth = module_path(file).len() + inline.iter().filter(|module| module.contains(&start)).count();
        let (mut ups, mut at) = (1, start + 5);
        while code[at..].starts_with("::super") {
            ups += 1;
            at += 7;
        }
        if ups == depth {
            segments_at(code, at, &mut found);
        }
    }
    found
}

fn rings(edges: &BTreeMap<(String, String), String>) -> Vec<String> {
    let reachable = |start: &String| {
        let mut seen = BTreeSet::new();
        let mut next = vec![start];
        while let Some(module) = next.pop() {
            for (_, to) in edges.keys().filter(|(from, _)| from == module) {
                if seen.insert(to) {
                    next.push(to);
                }
            }
        }
        seen
    };
    let in_ring = edges.iter().filter(|((from, to), _)| reachable(to).contains(from));
    in_ring.map(|(_, place)| format!("{place}, which uses it in turn: a ring")).collect()
}

mod bites {
    use super::*;

    const PAGE: &str = "text\n| layer | modules |\n|---|---|\n| 0 | `ids`, `error` |\n\
                        | 2 | `format` · `storage` (neither uses the other) |\n| 3 | `segment`, `index` |\n\n| 1 | `no` |";

    fn found(files: &[(&str, &str)]) -> Vec<String> {
        let mut files: Vec<File> = files.iter().map(|(path, text)| File::new(path, text)).collect();
        files.push(File::new("engine/src/lib.rs", "mod ids; pub use ids::{Position, Revision as R};"));
        files.push(File::new("engine/src/ids.rs", "pub struct Position;"));
        check(PAGE, &files)
    }

    #[test]
    fn the_table_is_read_to_its_end() {
        let table = table(PAGE);
        assert_eq!(
            table.keys().map(String::as_str).collect::<Vec<_>>(),
            ["error", "format", "ids", "index", "segment", "storage"]
        );
        assert_eq!(table["storage"], Layer { number: 2, apart: true });
        assert_eq!(table["index"], Layer { number: 3, apart: false });
    }

    #[test]
    fn pointing_down_is_fine() {
        let none: [String; 0] = [];
        assert_eq!(
            found(&[("engine/src/format/frame.rs", "use crate::ids::Position; use super::other; use crate::R;")]),
            none
        );
        let tests = "//! crate::segment\n#[cfg(test)]\nmod tests { use crate::segment::X; use super::*; }";
        assert_eq!(found(&[("engine/src/format/mod.rs", tests), ("engine/src/segment.rs", "")]), none);
        assert_eq!(found(&[("engine/src/segment.rs", "use crate::index::A;"), ("engine/src/index.rs", "")]), none);
    }

    #[test]
    fn pointing_up_is_found_however_it_is_written() {
        for text in [
            "\nuse crate::segment::X;",
            "\nuse crate::{ids::Position, segment};",
            "\nfn f() { crate::segment::g() }",
            "\nuse super::super::segment::X;",
        ] {
            let found = found(&[("engine/src/format/frame.rs", text), ("engine/src/segment.rs", "")]);
            assert_eq!(found.len(), 1, "{text}: {found:?}");
            assert!(found[0].starts_with("engine/src/format/frame.rs:2: format (layer 2) uses segment"), "{found:?}");
        }
    }

    #[test]
    fn through_the_root_sideways_in_rings_and_unlisted_is_found() {
        let bad = |files: &[(&str, &str)], what: &str| {
            let found = found(files);
            assert!(found.iter().any(|finding| finding.contains(what)), "{found:?}");
        };
        bad(&[("engine/src/error.rs", "use crate::Unknown;")], "crate::Unknown is no module");
        bad(&[("engine/src/error.rs", "use crate::*;")], "crate::* is no module");
        bad(&[("engine/src/format.rs", "use crate::storage::X;"), ("engine/src/storage.rs", "")], "neither uses");
        let ring =
            [("engine/src/segment.rs", "use crate::index::A;"), ("engine/src/index.rs", "use crate::segment::B;")];
        bad(&ring, "segment.rs:1: segment uses index, which uses it in turn: a ring");
        bad(&[("engine/src/extra/mod.rs", "")], "engine/src/extra: not in the table");
    }
}
