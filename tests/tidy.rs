//! The house style, checked by reading the sources: layers, the one door to the system, unfinished work, lengths, links,
//! promises and rules with their tests, versions.
//!
//! Every rule is a function from texts to findings (`path:line: what`), and has a test on small bad input beside it that
//! shows that it bites. Here they are let loose on the workspace.

use std::fs;
use std::path::Path;

mod bans;
mod faults;
mod layers;
mod ledger;
mod markdown;
mod plants;
mod source;

use source::File;

/// Kinds of text that people write here.
const ENDINGS: [&str; 6] = [".rs", ".md", ".toml", ".py", ".sh", ".ci/run"];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the tests are a folder of the workspace")
}

/// All texts of the workspace.
fn workspace() -> Vec<File> {
    fn walk(folder: &Path, files: &mut Vec<File>) {
        let mut entries: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap()).collect();
        entries.sort_by_key(fs::DirEntry::file_name);
        for entry in entries {
            let name = entry.file_name();
            let name = name.to_str().unwrap_or_default();
            let path = entry.path();
            let is_built = ["target", "corpus", "artifacts", "coverage", "__pycache__"].contains(&name);
            if entry.file_type().unwrap().is_dir() {
                if !is_built && (!name.starts_with('.') || name == ".ci") {
                    walk(&path, files);
                }
                continue;
            }
            let path = path.strip_prefix(root()).unwrap().to_str().unwrap().to_owned();
            if ENDINGS.iter().any(|ending| path.ends_with(ending)) {
                let text = fs::read_to_string(root().join(&path)).unwrap();
                files.push(File { path, text });
            }
        }
    }
    let mut files = Vec::new();
    walk(root(), &mut files);
    files
}

fn file<'f>(files: &'f [File], path: &str) -> &'f File {
    files.iter().find(|file| file.path == path).unwrap_or_else(|| panic!("{path} is missing"))
}

#[track_caller]
fn nothing(findings: Vec<String>) {
    assert!(findings.is_empty(), "\n{}\n", findings.join("\n"));
}

/// Runs a rule that looks at one file at a time.
#[track_caller]
fn on_each(rule: fn(&File) -> Vec<String>) {
    nothing(workspace().iter().flat_map(rule).collect());
}

#[test]
fn the_workspace_is_read_whole() {
    let files = workspace();
    for path in ["Cargo.toml", "README.md", ".ci/run", "engine/src/lib.rs", "engine/PROMISES.md", "tests/tidy.rs"] {
        assert!(!file(&files, path).text.is_empty());
    }
    assert!(files.iter().all(|file| !file.path.starts_with("target/")));
}

#[test]
fn imports_point_down_only() {
    let files = workspace();
    let page = file(&files, "engine/ARCHITECTURE.md");
    assert!(layers::table(&page.text).len() > 20, "the table of layers was not understood");
    nothing(layers::check(&page.text, &files));
}

#[test]
fn unsafe_code_lives_in_storage_only() {
    on_each(bans::unsafe_code);
}

#[test]
fn the_system_is_called_in_storage_only() {
    on_each(bans::system_calls);
}

#[test]
fn no_lock_thread_or_wait_is_hidden_from_the_scheduler() {
    on_each(bans::ways_around_the_scheduler);
}

#[test]
fn nothing_is_left_unfinished() {
    on_each(bans::unfinished_macros);
    on_each(bans::unfinished_words);
}

#[test]
fn no_path_of_a_machine_is_named() {
    on_each(bans::machine_paths);
}

#[test]
fn every_source_opens_with_its_contract() {
    on_each(bans::contract);
}

#[test]
fn long_sources_say_why() {
    on_each(bans::length);
}

#[test]
fn every_source_is_compiled() {
    nothing(bans::dead_files(&workspace()));
}

#[test]
fn links_and_paths_of_pages_lead_somewhere() {
    let files = workspace();
    let tree = |path: &str| root().join(path).exists();
    nothing(markdown::dead_links(&files, &tree));
    nothing(files.iter().flat_map(|page| markdown::dead_paths(page, &tree)).collect());
}

#[test]
fn promises_and_their_tests_agree() {
    let files = workspace();
    nothing(ledger::promises(file(&files, "engine/PROMISES.md"), file(&files, "README.md"), &files));
}

#[test]
fn rules_of_the_format_and_their_tests_agree() {
    nothing(ledger::rules(&workspace()));
}

#[test]
fn faults_and_what_holds_them_agree() {
    let files = workspace();
    nothing(faults::check(file(&files, "tests/FAULTS.md"), &files));
}

#[test]
fn planted_bugs_are_in_one_place_and_claimed() {
    nothing(plants::check(&workspace()));
}

#[test]
fn versions_are_written_once() {
    nothing(ledger::manifests(&workspace()));
}
