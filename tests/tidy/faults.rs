//! The page of faults against the tests: every class in order, each held by something or with the word that it is not; every
//! name leads somewhere; every part of the laboratory stands there.

use std::collections::BTreeSet;

use super::source::{File, code_of, tests_in};

/// How many classes there are.
const CLASSES: usize = 44;

/// What is wrong with the page.
pub(crate) fn check(page: &File, files: &[File]) -> Vec<String> {
    let mut findings = Vec::new();
    let rust = || files.iter().filter(|file| file.is_rust());
    let tests: BTreeSet<String> = rust()
        .flat_map(|file| {
            let code = code_of(&file.text);
            tests_in(&code).into_iter().map(|(_, name)| name.to_owned()).collect::<Vec<_>>()
        })
        .collect();
    let parts: BTreeSet<&str> =
        rust().filter(|file| file.path.starts_with("tests/lab/parts/")).flat_map(parts_in).collect();
    let scripts: Vec<&File> = rust().filter(|file| file.path.starts_with("tests/support/sim/workloads")).collect();
    let mut cited = BTreeSet::new();
    let (mut classes, mut is_held, mut offset) = (0, true, 0);
    for line in page.text.split_inclusive('\n') {
        let at = offset;
        offset += line.len();
        let line = line.trim_end();
        if let Some(heading) = line.strip_prefix("## ") {
            if !is_held {
                findings.push(page.finding(at, format!("nothing is said to hold F{classes:02}, above here")));
            }
            is_held = !heading.starts_with('F');
            if heading.starts_with('F') {
                classes += 1;
                if !heading.starts_with(&format!("F{classes:02} ")) {
                    findings.push(page.finding(at, format!("this is class F{classes:02}")));
                }
            }
        } else if let Some((kind, name)) = line.strip_prefix("- ").and_then(|rest| rest.split_once(": ")) {
            let is_there = match kind {
                "test" => tests.contains(name),
                "workload" => scripts.iter().any(|file| file.text.contains(&format!("fn {name}(run: &mut Run)"))),
                "lab" => {
                    cited.insert(name);
                    parts.contains(name)
                }
                "not tested" => name.len() > 20,
                _ => false,
            };
            is_held = true;
            if !is_there {
                findings.push(page.finding(at, format!("there is no {kind} {name}")));
            }
        }
    }
    if !is_held || classes != CLASSES {
        findings.push(format!("{}: {classes} classes of {CLASSES}, or the last is held by nothing", page.path));
    }
    findings.extend(parts.difference(&cited).map(|part| format!("{}: no class names the part {part}", page.path)));
    findings
}

/// The names of the parts of a file of the laboratory: what their method `name` returns.
fn parts_in(file: &File) -> Vec<&str> {
    let bodies = file.text.split("fn name(&self) -> &'static str {").skip(1);
    bodies.filter_map(|body| body.split('"').nth(1)).collect()
}

mod bites {
    use super::*;

    const PART: &str = "fn name(&self) -> &'static str {\n        \"crash\"\n    }";

    fn page(first: &str) -> String {
        let rest: String = (2..=CLASSES).map(|n| format!("## F{n:02} X\n\n- lab: crash\n")).collect();
        format!("# Faults\n\n## F01 X\n\n{first}\n{rest}")
    }

    fn found(page: &str, part: &str) -> String {
        let files = [
            File::new("tests/a.rs", "#[test]\nfn holds() {}"),
            File::new("tests/lab/parts/a.rs", part),
            File::new("tests/support/sim/workloads.rs", "\nfn rolls(run: &mut Run) {}"),
        ];
        check(&File::new("tests/FAULTS.md", page), &files).join("\n")
    }

    #[test]
    fn a_page_whose_names_lead_somewhere_is_fine() {
        let first = "- test: holds\n- workload: rolls\n- not tested: since there is nothing of it yet";
        assert_eq!(found(&page(first), PART), "");
    }

    #[test]
    fn orphans_and_names_of_nothing_are_found() {
        for (page, part, what) in [
            (page("words only"), PART, "nothing is said to hold F01"),
            (page("- test: gone"), PART, "there is no test gone"),
            (page("- workload: gone"), PART, "there is no workload gone"),
            (page("- lab: gone"), PART, "there is no lab gone"),
            (page("- not tested: why"), PART, "there is no not tested why"),
            (page("- test: holds").replace("## F07", "## F08"), PART, "this is class F07"),
            (page("- test: holds").replace("## F44 X\n\n- lab: crash\n", ""), PART, "43 classes of 44"),
            (page("- test: holds"), &PART.replace("crash", "other"), "no class names the part other"),
        ] {
            let found = found(&page, part);
            assert!(found.contains(what), "{what} is not in:\n{found}");
        }
    }
}
