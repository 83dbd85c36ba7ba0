//! What must not stand in the sources, and where the exceptions are.

use super::source::{File, code_of, is_word, product_code_of, segments_after, skip_space, test_parts, word_at, words};

/// The one place of unsafe code and of calls to the system.
const STORAGE: &str = "engine/src/storage/";
/// Lines a file may have beside its tests before it must say why.
const LINES_MAX: usize = 700;
/// What a longer file says in its first lines.
const LONG_BECAUSE: &str = "//! Long because";

/// Unsafe code outside of storage.
pub(crate) fn unsafe_code(file: &File) -> Vec<String> {
    if !file.is_rust() || file.path.starts_with(STORAGE) {
        return Vec::new();
    }
    let code = code_of(&file.text);
    words(&code, "unsafe").map(|at| file.finding(at, format!("unsafe code lives in {STORAGE} only"))).collect()
}

/// The engine's ways to the system outside of storage: files, processes, network, clock, the crates that wrap calls.
pub(crate) fn system_calls(file: &File) -> Vec<String> {
    if !file.is_rust() || !file.path.starts_with("engine/src/") || file.path.starts_with(STORAGE) {
        return Vec::new();
    }
    let code = product_code_of(&file.text);
    let mut found: Vec<(usize, String)> = Vec::new();
    for (at, module) in segments_after(&code, "std") {
        if ["fs", "os", "process", "net", "env", "*"].contains(&module) {
            found.push((at, format!("std::{module}")));
        }
    }
    for name in ["libc", "rustix", "memmap2", "nix", "getrandom", "SystemTime"] {
        found.extend(words(&code, name).map(|at| (at, name.to_owned())));
    }
    if ["Path", "PathBuf"].iter().any(|name| words(&code, name).next().is_some()) {
        let methods = [
            "exists",
            "try_exists",
            "is_dir",
            "is_file",
            "is_symlink",
            "read_dir",
            "read_link",
            "canonicalize",
            "symlink_metadata",
        ];
        for name in methods {
            let calls =
                words(&code, name).filter(|&at| code[..at].ends_with('.') && code[at + name.len()..].starts_with("()"));
            found.extend(calls.map(|at| (at, format!(".{name}()"))));
        }
    }
    found.sort();
    found
        .into_iter()
        .map(|(at, what)| file.finding(at, format!("{what}: the system is called in {STORAGE} only")))
        .collect()
}

/// Locks, threads and the clock of waiting taken from elsewhere than `sync.rs`, where a scheduler can be put in their place.
pub(crate) fn ways_around_the_scheduler(file: &File) -> Vec<String> {
    let is_apart = [STORAGE, "engine/src/sync"].iter().any(|path| file.path.starts_with(path));
    if !file.is_rust() || !file.path.starts_with("engine/src/") || is_apart {
        return Vec::new();
    }
    let code = product_code_of(&file.text);
    let mut found: Vec<(usize, String)> =
        words(&code, "parking_lot").map(|at| (at, "parking_lot".to_owned())).collect();
    for (root, banned) in [("std", "thread"), ("Instant", "now")] {
        let paths = segments_after(&code, root).into_iter().filter(|(_, next)| *next == banned);
        found.extend(paths.map(|(at, _)| (at, format!("{root}::{banned}"))));
    }
    found.sort();
    found.into_iter().map(|(at, what)| file.finding(at, format!("{what}: take it from crate::sync"))).collect()
}

/// Macros that stand for work not done.
pub(crate) fn unfinished_macros(file: &File) -> Vec<String> {
    if !file.is_rust() {
        return Vec::new();
    }
    let code = code_of(&file.text);
    let mut found = Vec::new();
    for name in ["todo", "unimplemented", "dbg"] {
        let calls = words(&code, name).filter(|at| code[skip_space(&code, at + name.len())..].starts_with('!'));
        found.extend(calls.map(|at| file.finding(at, format!("{name}! is not for what is kept"))));
    }
    found
}

/// Words for work not done, in any text.
pub(crate) fn unfinished_words(file: &File) -> Vec<String> {
    let found = [concat!("TO", "DO"), concat!("FIX", "ME")].into_iter().flat_map(|word| words(&file.text, word));
    found.map(|at| file.finding(at, "work that is left belongs into an issue")).collect()
}

/// Paths of somebody's machine.
pub(crate) fn machine_paths(file: &File) -> Vec<String> {
    let mut found = Vec::new();
    for path in [concat!("/wo", "rk/"), concat!("/ho", "me/"), concat!("/ro", "ot/")] {
        for (at, _) in file.text.match_indices(path) {
            let before = file.text[..at].bytes().next_back();
            if before.is_none_or(|byte| !is_word(byte) && !b".-}>)".contains(&byte)) {
                found.push(file.finding(at, format!("{path} is a path of one machine")));
            }
        }
    }
    found
}

/// A source that does not open with its contract.
pub(crate) fn contract(file: &File) -> Vec<String> {
    let opens = !file.is_rust() || file.text.starts_with("//! ");
    if opens { Vec::new() } else { vec![file.finding(0, "open with `//!`: the question this file answers")] }
}

/// A source longer than it may be without saying why.
pub(crate) fn length(file: &File) -> Vec<String> {
    if !file.is_rust() || file.path.starts_with("tests/") {
        return Vec::new();
    }
    let code = code_of(&file.text);
    let lines = |text: &str| text.matches('\n').count();
    let in_tests: usize = test_parts(&code).0.into_iter().map(|part| lines(&code[part])).sum();
    let product = lines(&code).saturating_sub(in_tests);
    let says_why = file.text.lines().take(20).any(|line| line.starts_with(LONG_BECAUSE));
    if product <= LINES_MAX || says_why {
        return Vec::new();
    }
    let what =
        format!("{product} lines beside its tests, {LINES_MAX} are the most: split it, or say `{LONG_BECAUSE} …`");
    vec![file.finding(0, what)]
}

/// Sources that no `mod` names: the compiler never sees them.
pub(crate) fn dead_files(files: &[File]) -> Vec<String> {
    let mut findings = Vec::new();
    for file in files.iter().filter(|file| file.is_rust() && file.path.contains("/src/")) {
        let (folder, name) = file.path.rsplit_once('/').expect("has a folder");
        if ["lib.rs", "main.rs"].contains(&name) || folder.ends_with("/bin") {
            continue;
        }
        let (folder, module) = match name {
            "mod.rs" => folder.rsplit_once('/').expect("has a folder"),
            _ => (folder, name.trim_end_matches(".rs")),
        };
        let parents = ["lib.rs", "main.rs", "mod.rs"].map(|name| format!("{folder}/{name}"));
        let parents = [format!("{folder}.rs")].into_iter().chain(parents);
        let declared = parents.filter_map(|path| files.iter().find(|file| file.path == path)).any(|parent| {
            let code = code_of(&parent.text);
            words(&code, "mod").any(|at| word_at(&code, skip_space(&code, at + 3)) == module)
        });
        if !declared {
            findings.push(file.finding(0, format!("no `mod {module}` names this file")));
        }
    }
    findings
}

mod bites {
    use super::*;

    #[track_caller]
    fn finds(rule: fn(&File) -> Vec<String>, path: &str, text: &str, lines: &[usize]) {
        let found = rule(&File::new(path, text));
        let expected: Vec<String> = lines.iter().map(|line| format!("{path}:{line}:")).collect();
        assert_eq!(found.len(), expected.len(), "{found:?}");
        assert!(found.iter().zip(&expected).all(|(found, place)| found.starts_with(place)), "{found:?}");
    }

    #[test]
    fn unsafe_code_is_found_outside_of_storage() {
        let text = "//! unsafe\nlet a = \"unsafe\";\nunsafe { f() }\n#![deny(unsafe_code)]\nunsafe impl Send for X {}";
        finds(unsafe_code, "engine/src/read/mod.rs", text, &[3, 5]);
        finds(unsafe_code, "tests/x.rs", text, &[3, 5]);
        finds(unsafe_code, "engine/src/storage/mapping.rs", text, &[]);
        finds(unsafe_code, "engine/src/storages.rs", text, &[3, 5]);
    }

    #[test]
    fn ways_to_the_system_are_found_outside_of_storage() {
        let text = "//! std::fs\nuse std::fs::File;\nuse std::{io, os::fd::AsFd, process};\nfn f() { std::net::x(); rustix::y() }\n\
                    /// std::fs::read\nuse std::io;\n#[cfg(test)]\nmod tests { use std::fs; }\n";
        finds(system_calls, "engine/src/store.rs", text, &[2, 3, 3, 4, 4]);
        finds(system_calls, "engine/src/storage/os.rs", text, &[]);
        finds(system_calls, "cli/src/main.rs", text, &[]);
        let text = "use std::path::Path;\nfn f(p: &Path) -> bool { p.exists() && entry.is_file && p\n.is_dir() }\nSystemTime::now();";
        finds(system_calls, "engine/src/store.rs", text, &[2, 3, 4]);
        finds(system_calls, "engine/src/store.rs", "fn f() { stream.exists() }", &[]);
    }

    #[test]
    fn ways_around_the_scheduler_are_found() {
        let text = "use std::{sync::Arc, thread};\nuse crate::sync::thread;\nlet a = Instant::now();\nuse parking_lot::Mutex;\n\
                    thread::park();\n#[cfg(test)]\nmod tests { use std::thread; }\n";
        finds(ways_around_the_scheduler, "engine/src/store.rs", text, &[1, 3, 4]);
        finds(ways_around_the_scheduler, "engine/src/storage/os.rs", text, &[]);
        finds(ways_around_the_scheduler, "engine/src/sync.rs", text, &[]);
    }

    #[test]
    fn work_not_done_is_found() {
        let text = "fn f() { todo!() }\n// todo!()\nunimplemented ! ();\ndbg!(x); let todo = 1;";
        finds(unfinished_macros, "cli/src/main.rs", text, &[1, 3, 4]);
        let text = format!(
            "fn f() {{}} // {}: later\n\nTODOS are a list\n# {}(me)",
            concat!("TO", "DO"),
            concat!("FIX", "ME")
        );
        finds(unfinished_words, "README.md", &text, &[1, 4]);
    }

    #[test]
    fn paths_of_a_machine_are_found() {
        let text = ["see /wo", "rk/main\n", "src/wo", "rk/x\n$HOME/ho", "me/x\n\"/ho", "me/u\"\n"].concat();
        finds(machine_paths, "README.md", &text, &[1, 4]);
    }

    #[test]
    fn a_missing_contract_and_a_long_file_are_found() {
        finds(contract, "engine/src/a.rs", "use x;\n//! late", &[1]);
        finds(contract, "engine/src/a.rs", "//! Answers.\n", &[]);
        finds(contract, "README.md", "# x", &[]);
        let lines = |count| "x();\n".repeat(count);
        finds(length, "engine/src/a.rs", &lines(700), &[]);
        finds(length, "engine/src/a.rs", &lines(701), &[1]);
        finds(length, "engine/src/a.rs", &format!("//! A.\n//! Long because of its table.\n{}", lines(701)), &[]);
        let tests = format!("{}#[cfg(test)]\nmod tests {{\n{}}}\n", lines(690), lines(500));
        finds(length, "engine/src/a.rs", &tests, &[]);
        finds(length, "tests/a.rs", &lines(2_000), &[]);
    }

    #[test]
    fn files_that_nothing_declares_are_found() {
        let files = [
            File::new("engine/src/lib.rs", "pub mod a;\nmod b;\n// mod gone;"),
            File::new("engine/src/a/mod.rs", "mod c;"),
            File::new("engine/src/a/c.rs", ""),
            File::new("engine/src/b.rs", "mod d;"),
            File::new("engine/src/b/d.rs", ""),
            File::new("engine/src/gone.rs", ""),
            File::new("engine/src/a/lost.rs", ""),
            File::new("engine/src/e/mod.rs", ""),
        ];
        let found = dead_files(&files).join("\n");
        assert_eq!(found.lines().count(), 3, "{found}");
        for name in ["`mod gone`", "`mod lost`", "`mod e`"] {
            assert!(found.contains(name), "{found}");
        }
    }
}
