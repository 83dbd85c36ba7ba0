//! What does an import tell while it runs, and at its end?
//!
//! To people: a line for every file that changed something or could not be taken, the unparsed lines with file and line
//! (the first of each file; the rest are counted), and the summary. To programs: an object for every file, for every
//! unparsed line, and last the summary, told apart by `kind`.

use std::collections::HashSet;
use std::path::Path;
use std::time::Duration;

use indicatif::ProgressBar;
use serde::Serialize;

use crate::exit::{Failure, Outcome};
use crate::import::record::Format;
use crate::import::shallow::Flaw;
use crate::output::{Out, bytes, count, counted, duration, printable, rate};

/// How many unparsed lines of one file people are shown.
const UNPARSED_SHOWN: u64 = 20;

/// How a file ended up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Result {
    /// A new stream.
    New,
    /// An existing stream, continued.
    Grown,
    /// Everything was there already.
    Unchanged,
    /// The file holds nothing.
    Empty,
    /// The file could not be taken, or not to its end.
    Refused,
}

impl Result {
    fn word(self) -> &'static str {
        match self {
            Result::New => "new",
            Result::Grown => "grown",
            Result::Unchanged => "unchanged",
            Result::Empty => "empty",
            Result::Refused => "refused",
        }
    }
}

/// What became of one file, or of one stream of an export.
#[derive(Clone, Debug, Serialize)]
pub(super) struct FileReport {
    kind: &'static str,
    pub(super) file: String,
    pub(super) result: Result,
    pub(super) format: Option<&'static str>,
    /// The stream, where there is one.
    pub(super) stream: Option<String>,
    /// The stream that the file would have gone to, had it continued that.
    pub(super) instead_of: Option<String>,
    pub(super) events: u64,
    pub(super) bytes: u64,
    pub(super) unparsed: u64,
    /// Why the file was refused.
    pub(super) why: Option<String>,
}

impl FileReport {
    /// A file of which nothing was added yet.
    pub(super) fn new(path: &Path, format: Option<Format>) -> FileReport {
        FileReport {
            kind: "file",
            file: path.display().to_string(),
            result: Result::Unchanged,
            format: format.map(Format::as_str),
            stream: None,
            instead_of: None,
            events: 0,
            bytes: 0,
            unparsed: 0,
            why: None,
        }
    }

    /// A file that cannot be taken.
    pub(super) fn refused(path: &Path, why: String) -> FileReport {
        FileReport { result: Result::Refused, why: Some(why), ..FileReport::new(path, None) }
    }
}

#[derive(Serialize)]
struct Unparsed<'a> {
    kind: &'static str,
    file: &'a str,
    line: u64,
    why: String,
}

#[derive(Serialize)]
struct Summary {
    kind: &'static str,
    files: u64,
    streams: u64,
    events: u64,
    bytes: u64,
    unparsed: u64,
    unchanged: u64,
    beside: u64,
    refused: u64,
    passed_over: u64,
    seconds: f64,
    events_per_second: f64,
}

/// What is told, and added up.
#[derive(Debug)]
pub(super) struct Report {
    json: bool,
    out: Out,
    bar: ProgressBar,
    files: HashSet<String>,
    streams: HashSet<String>,
    beside: Vec<String>,
    events: u64,
    bytes: u64,
    unparsed: u64,
    unchanged: u64,
    refused: u64,
    damaged: bool,
}

impl Report {
    /// Nothing told yet. What is printed goes above `bar`.
    pub(super) fn new(json: bool, bar: ProgressBar) -> Report {
        Report {
            json,
            out: Out::stdout(),
            bar,
            files: HashSet::new(),
            streams: HashSet::new(),
            beside: Vec::new(),
            events: 0,
            bytes: 0,
            unparsed: 0,
            unchanged: 0,
            refused: 0,
            damaged: false,
        }
    }

    fn say(&mut self, text: &str) -> Outcome {
        let Report { out, bar, .. } = self;
        bar.suspend(|| {
            out.line(text)?;
            out.flush()
        })
    }

    fn say_json(&mut self, value: &impl Serialize) -> Outcome {
        let Report { out, bar, .. } = self;
        bar.suspend(|| {
            out.json(value)?;
            out.flush()
        })
    }

    /// A line that is not JSON; `before` is how many of this file were told already.
    pub(super) fn unparsed(&mut self, path: &Path, line: u64, flaw: &Flaw, before: u64) -> Outcome {
        let file = path.display().to_string();
        if self.json {
            self.say_json(&Unparsed { kind: "unparsed", file: &file, line, why: flaw.to_string() })
        } else if before < UNPARSED_SHOWN {
            self.say(&format!("unparsed   {}:{line}: {flaw}", printable(&file)))
        } else {
            Ok(())
        }
    }

    /// A compressed log in a folder.
    pub(super) fn passed_over(&mut self, path: &Path) -> Outcome {
        if self.json {
            return Ok(());
        }
        let file = path.display().to_string();
        self.say(&format!("passed over  {}: it is compressed; decompress it first", printable(&file)))
    }

    /// A file whose stream holds damage: the command ends with that code.
    pub(super) fn damaged(&mut self) {
        self.damaged = true;
    }

    /// What became of a file.
    pub(super) fn file(&mut self, file: &FileReport) -> Outcome {
        self.files.insert(file.file.clone());
        if let Some(stream) = &file.stream {
            self.streams.insert(stream.clone());
            if file.instead_of.is_some() && file.result == Result::New {
                self.beside.push(stream.clone());
            }
        }
        self.events += file.events;
        self.bytes += file.bytes;
        self.unparsed += file.unparsed;
        self.unchanged += u64::from(file.result == Result::Unchanged);
        self.refused += u64::from(file.result == Result::Refused);
        if self.json {
            return self.say_json(file);
        }
        if file.unparsed > UNPARSED_SHOWN {
            let more = count(file.unparsed - UNPARSED_SHOWN);
            self.say(&format!("unparsed   {}: … and {more} more lines", printable(&file.file)))?;
        }
        if file.result == Result::Unchanged {
            return Ok(());
        }
        let mut text = format!("{:<9}  {:>9}  ", file.result.word(), count(file.events));
        if let Some(stream) = &file.stream {
            text.push_str(&printable(stream));
            text.push_str("  ");
        }
        match file.format {
            Some(format) => text.push_str(&format!("({format}, {})", printable(&file.file))),
            None => text.push_str(&printable(&file.file)),
        }
        if let Some(first) = &file.instead_of {
            text.push_str(&format!("; it does not continue {}", printable(first)));
        }
        if let Some(why) = &file.why {
            text.push_str(&format!(": {why}"));
        }
        self.say(&text)
    }

    /// The end of the run, and how the command ends.
    pub(super) fn summary(mut self, time: Duration, passed_over: u64) -> Outcome {
        let files = self.files.len() as u64;
        let streams = self.streams.len() as u64;
        if self.json {
            let seconds = time.as_secs_f64();
            let summary = Summary {
                kind: "summary",
                files,
                streams,
                events: self.events,
                bytes: self.bytes,
                unparsed: self.unparsed,
                unchanged: self.unchanged,
                beside: self.beside.len() as u64,
                refused: self.refused,
                passed_over,
                seconds,
                events_per_second: self.events as f64 / seconds.max(1e-9),
            };
            self.say_json(&summary)?;
        } else {
            self.say(&format!(
                "{}, {}: {} added ({}), {} unparsed, in {} ({})",
                counted(files, "file"),
                counted(streams, "stream"),
                counted(self.events, "event"),
                bytes(self.bytes),
                count(self.unparsed),
                duration(time),
                rate(self.events, time)
            ))?;
            if self.unchanged > 0 {
                self.say(&format!("{} of them held nothing new", count(self.unchanged)))?;
            }
            if !self.beside.is_empty() {
                let names: Vec<_> = self.beside.iter().take(5).map(|name| printable(name).into_owned()).collect();
                let more = if self.beside.len() > 5 { ", …" } else { "" };
                self.say(&format!(
                    "{} did not continue the stream of that name and got one beside it: {}{more}",
                    counted(self.beside.len() as u64, "file"),
                    names.join(", ")
                ))?;
            }
            if passed_over > 0 {
                self.say(&format!("{} in the folders passed over: not .jsonl", counted(passed_over, "other file")))?;
            }
        }
        if self.damaged {
            return Err(Failure::Damage(
                "damage in the store kept some files from being imported; `treering verify` lists it".to_owned(),
            ));
        }
        if self.refused > 0 {
            return Err(Failure::Error(format!(
                "{} not imported to the end, for the reasons given; everything else is in",
                counted(self.refused, "file")
            )));
        }
        Ok(())
    }
}
