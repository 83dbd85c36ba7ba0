//! Which files do the paths on the command line mean?
//!
//! A file is taken whatever its name. A folder is walked, in the order of names, for files that end in `.jsonl` or
//! `.ndjson`; what else lies in it is counted as passed over, compressed logs by name, so that nothing is missed in
//! silence. Links to folders are not followed (they can form rings); links to files are. Only regular files are taken:
//! a file is read more than once, which no pipe allows.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// What was found.
#[derive(Debug, Default)]
pub(crate) struct Found {
    /// The files to import, in order.
    pub(crate) files: Vec<PathBuf>,
    /// How many other files the folders hold.
    pub(crate) passed_over: u64,
    /// Those of them that look like logs, but compressed.
    pub(crate) compressed: Vec<PathBuf>,
    /// What could not be looked at, and why.
    pub(crate) failed: Vec<(PathBuf, String)>,
}

impl Found {
    /// Looks at every path.
    pub(crate) fn look(paths: &[PathBuf]) -> Found {
        let mut found = Found::default();
        for path in paths {
            match fs::metadata(path) {
                Ok(metadata) if metadata.is_dir() => found.walk(path),
                Ok(metadata) if metadata.is_file() => found.files.push(path.clone()),
                Ok(_) => found.failed.push((
                    path.clone(),
                    "it is neither a file nor a folder; `treering append` takes lines from a pipe".to_owned(),
                )),
                Err(error) => found.failed.push((path.clone(), reason(&error))),
            }
        }
        found
    }

    fn walk(&mut self, folder: &Path) {
        let mut waiting = vec![folder.to_owned()];
        while let Some(path) = waiting.pop() {
            let names = match sorted_names(&path) {
                Ok(names) => names,
                Err(error) => {
                    self.failed.push((path, reason(&error)));
                    continue;
                }
            };
            let mut folders = Vec::new();
            for name in names {
                let inner = path.join(&name);
                match fs::symlink_metadata(&inner) {
                    Ok(metadata) if metadata.is_dir() => folders.push(inner),
                    Ok(metadata) if metadata.is_symlink() => match fs::metadata(&inner) {
                        Ok(target) if target.is_file() => self.file(inner),
                        _ => self.passed_over += 1,
                    },
                    Ok(metadata) if metadata.is_file() => self.file(inner),
                    Ok(_) => self.passed_over += 1,
                    Err(error) => self.failed.push((inner, reason(&error))),
                }
            }
            waiting.extend(folders.into_iter().rev());
        }
    }

    fn file(&mut self, path: PathBuf) {
        let name = path.file_name().map(OsStr::to_string_lossy).unwrap_or_default().to_ascii_lowercase();
        if [".jsonl", ".ndjson"].iter().any(|ending| name.ends_with(ending)) {
            self.files.push(path);
        } else {
            self.passed_over += 1;
            if [".jsonl.zst", ".jsonl.gz", ".jsonl.xz"].iter().any(|ending| name.ends_with(ending)) {
                self.compressed.push(path);
            }
        }
    }
}

fn sorted_names(folder: &Path) -> io::Result<Vec<std::ffi::OsString>> {
    let mut names = fs::read_dir(folder)?.map(|entry| Ok(entry?.file_name())).collect::<io::Result<Vec<_>>>()?;
    names.sort();
    Ok(names)
}

fn reason(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "there is no such file or folder".to_owned(),
        io::ErrorKind::PermissionDenied => "it may not be read (permission denied)".to_owned(),
        _ => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_are_walked_in_order_and_what_is_left_out_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::create_dir_all(at("s1/subagents")).unwrap();
        for name in ["s1.jsonl", "s1/subagents/agent-a.jsonl", "B.NDJSON", "notes.md", "old.jsonl.zst", "s2.jsonl"] {
            fs::write(at(name), "{}\n").unwrap();
        }
        std::os::unix::fs::symlink(folder.path(), at("ring")).unwrap();
        std::os::unix::fs::symlink(at("s2.jsonl"), at("t-link.jsonl")).unwrap();
        std::os::unix::fs::symlink(at("gone"), at("dangling.jsonl")).unwrap();
        let found = Found::look(&[folder.path().to_owned()]);
        let names: Vec<_> = found.files.iter().map(|path| path.strip_prefix(folder.path()).unwrap()).collect();
        let expected = ["B.NDJSON", "s1.jsonl", "s2.jsonl", "t-link.jsonl", "s1/subagents/agent-a.jsonl"];
        assert_eq!(names, expected.map(Path::new));
        assert_eq!((found.passed_over, found.compressed.len(), found.failed.len()), (4, 1, 0));
    }

    #[test]
    fn a_path_that_is_no_file_is_told_and_the_others_are_taken() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("any.name");
        fs::write(&file, "{}\n").unwrap();
        let gone = folder.path().join("gone");
        let found = Found::look(&[gone.clone(), file.clone(), "/dev/null".into()]);
        assert_eq!(found.files, [file]);
        assert_eq!(found.failed.len(), 2);
        assert_eq!(found.failed[0], (gone, "there is no such file or folder".to_owned()));
    }
}
