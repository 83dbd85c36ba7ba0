//! Planted bugs: what makes them possible stands in one module, each is asked for somewhere and claimed by a part of the
//! laboratory, and nothing switches them on but the laboratory.

use super::source::{File, code_of, words};

const MODULE: &str = "engine/src/planted.rs";
const CLAIMS: &str = "tests/lab/parts/plants.rs";
const CFG: &str = concat!("treering_", "planted");

/// Everything about planted bugs that is not as it must be.
pub(crate) fn check(files: &[File]) -> Vec<String> {
    let mut findings = Vec::new();
    let Some(module) = files.iter().find(|file| file.path == MODULE) else { return vec![format!("{MODULE}: missing")] };
    let named = names(module);
    let claims = files.iter().find(|file| file.path == CLAIMS).map_or("", |file| &file.text);
    for name in &named {
        let asked = format!("planted(Plant::{name})");
        let is_asked = |file: &&File| file.path.starts_with("engine/src/") && file.path != MODULE;
        if !files.iter().filter(is_asked).any(|file| code_of(&file.text).contains(&asked)) {
            findings.push(format!("{MODULE}: nothing asks for {name}"));
        }
        if !claims.contains(&format!("(\"{name}\", ")) {
            findings.push(format!("{MODULE}: no part of the laboratory claims {name}; say which in {CLAIMS}"));
        }
    }
    for claimed in claims.lines().filter_map(|line| line.trim().strip_prefix("(\"")?.split('"').next()) {
        if !named.iter().any(|name| name == claimed) {
            findings.push(format!("{CLAIMS}: there is no {claimed} in {MODULE}"));
        }
    }
    for file in files.iter().filter(|file| file.path != MODULE && file.path != CLAIMS) {
        let is_text = file.is_markdown();
        let is_declared = |at: usize| file.path == "Cargo.toml" && file.text[..at].ends_with("\"cfg(");
        for (at, _) in file.text.match_indices(CFG).filter(|(at, _)| !is_text && !is_declared(*at)) {
            findings.push(file.finding(at, format!("{CFG} belongs into {MODULE} and {CLAIMS} only")));
        }
        if file.path.starts_with("engine/src/") && file.is_rust() {
            let code = code_of(&file.text);
            let strange = words(&code, "planted").filter(|at| {
                let rest = &code[*at + "planted".len()..];
                let is_import =
                    code[..*at].ends_with("crate::") || code[..*at].ends_with("{Plant, ") || rest.starts_with(';');
                !rest.starts_with("(Plant::") && !is_import
            });
            findings.extend(strange.map(|at| file.finding(at, "ask with planted(Plant::…)")));
        }
    }
    findings
}

/// The bugs that the module names.
fn names(module: &File) -> Vec<String> {
    let list = module.text.split("\nplants! {\n").nth(1).unwrap_or_default().split("\n}").next().unwrap_or_default();
    let lines = list.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with("//"));
    lines.map(str::to_owned).collect()
}

mod bites {
    use super::*;

    const LIST: &str = "//! x\nplants! {\n    /// A.\n    One\n    /// B.\n    Two\n}\n";

    fn found(asks: &str, claims: &str, other: File) -> String {
        let files = [File::new(MODULE, LIST), File::new("engine/src/a.rs", asks), File::new(CLAIMS, claims), other];
        check(&files).join("\n")
    }

    #[test]
    fn what_is_as_it_must_be_is_fine() {
        let asks = "use crate::planted::{Plant, planted};\nif planted(Plant::One) || planted(Plant::Two) {}";
        let claims = "(\"One\", \"x\"),\n(\"Two\", \"y\"),";
        assert_eq!(found(asks, claims, File::new("Cargo.toml", &format!("check-cfg = [\"cfg({CFG})\"]"))), "");
    }

    #[test]
    fn what_is_not_is_found() {
        let other = File::new("engine/Cargo.toml", &format!("rustflags = [\"--cfg\", \"{CFG}\"]"));
        let found =
            found("if planted(Plant::One) {}\nlet planted = 1;", "(\"One\", \"x\"),\n(\"Gone\", \"y\"),", other);
        for what in [
            "nothing asks for Two",
            "no part of the laboratory claims Two",
            "there is no Gone",
            "engine/Cargo.toml:1: ",
            "engine/src/a.rs:2: ask with",
        ] {
            assert!(found.contains(what), "{what} is not in:\n{found}");
        }
    }
}
