//! The programs of the torture as files that can be started.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::torture::processes;

/// Where the writer and the verifier lie.
#[derive(Clone, Debug)]
pub struct Programs {
    /// `torture-writer`.
    pub writer: PathBuf,
    /// `torture-verifier`.
    pub verifier: PathBuf,
}

impl Programs {
    /// Builds them beside the program that runs, with the profile of that one.
    ///
    /// # Errors
    /// What the build said.
    pub fn build() -> Result<Programs, String> {
        let here = std::env::current_exe().map_err(|error| error.to_string())?;
        let folder = here.parent().unwrap_or(Path::new("."));
        let is_release = folder.file_name().is_some_and(|name| name == "release");
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let mut build = Command::new(cargo);
        build.args(["build", "--quiet", "--bin", "torture-writer", "--bin", "torture-verifier", "--manifest-path"]);
        build.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml"));
        build.arg("--target-dir").arg(folder.parent().unwrap_or(folder));
        if is_release {
            build.arg("--release");
        }
        let built = build.output().map_err(|error| format!("cargo cannot be started: {error}"))?;
        if !built.status.success() {
            return Err(format!("the programs cannot be built: {}", String::from_utf8_lossy(&built.stderr)));
        }
        Ok(Programs { writer: folder.join("torture-writer"), verifier: folder.join("torture-verifier") })
    }

    /// Holds a store against the journal of its receipts, and against how many events followers saw and what they were.
    /// What the verifier printed.
    ///
    /// # Errors
    /// What is broken.
    pub fn check(&self, store: &Path, journal: &Path, seen: &[String], is_thorough: bool) -> Result<String, String> {
        self.check_with(&[], store, journal, seen, is_thorough)
    }

    /// As [`check`](Self::check), of writers that lived at the same time, or still do.
    ///
    /// # Errors
    /// What is broken.
    pub fn check_crowd(
        &self,
        store: &Path,
        journal: &Path,
        seen: &[String],
        is_thorough: bool,
    ) -> Result<String, String> {
        self.check_with(&["--crowd"], store, journal, seen, is_thorough)
    }

    fn check_with(
        &self,
        options: &[&str],
        store: &Path,
        journal: &Path,
        seen: &[String],
        is_thorough: bool,
    ) -> Result<String, String> {
        let mut verifier = Command::new(&self.verifier);
        verifier.arg("check").arg(store).arg(journal).args(options);
        for seen in seen {
            verifier.args(["--seen", seen]);
        }
        if is_thorough {
            verifier.arg("--every-byte");
        }
        verifier.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut started = verifier.spawn().map_err(|error| error.to_string())?;
        let (is_well, text) = processes::end_of(&mut started, "the verifier")?;
        if is_well { Ok(text) } else { Err(format!("the verifier says: {text}")) }
    }
}
