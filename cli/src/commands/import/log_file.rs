//! How does one file get into the store?
//!
//! Recognise, name, compare, add. The file is read up to three times, each time streaming: its first lines to recognise
//! it, all of it against the stream that may hold it already, and the rest of it to be added. What is in memory is one
//! batch and one line.

use std::fs::File;
use std::io::{Seek, SeekFrom};
use std::path::Path;

use treering::{
    Batch, Durability, ErrorKind, Expected, NewEvent, ReadOptions, Revision, Store, StreamReader, Visibility,
};

use super::report::{FileReport, Report, Result as FileResult};
use super::{Run, export_file};
use crate::exit::{Failure, Outcome};
use crate::import::format::{Window, recognise};
use crate::import::lines::{Line, LineError, Lines};
use crate::import::mark::Marks;
use crate::import::plan::{Recorded, Seen, Verdict, compare};
use crate::import::record::{self, Format, Record};
use crate::import::stream_name::{candidates, numbered};

/// A batch is closed when it holds so many bytes or events: large enough that framing costs little, small enough that
/// memory stays small and that damage to one frame costs little.
const BATCH_BYTES: usize = 256 << 10;
const BATCH_EVENTS: usize = 256;

/// What stops a file, and whether it stops the run.
#[derive(Debug)]
pub(super) enum Trouble {
    /// This file only.
    File(String),
    /// This file only, but the store is at fault: damage hides what the stream holds.
    Damage(String),
    /// Everything.
    Run(Failure),
}

impl From<LineError> for Trouble {
    fn from(error: LineError) -> Trouble {
        Trouble::File(error.to_string())
    }
}

impl From<treering::Error> for Trouble {
    fn from(error: treering::Error) -> Trouble {
        match error.kind() {
            ErrorKind::Limit | ErrorKind::Invalid => Trouble::File(error.to_string()),
            ErrorKind::Damage | ErrorKind::HeadUnknown | ErrorKind::CopyIncomplete => {
                Trouble::Damage(error.to_string())
            }
            _ => Trouble::Run(error.into()),
        }
    }
}

impl From<Failure> for Trouble {
    fn from(failure: Failure) -> Trouble {
        Trouble::Run(failure)
    }
}

/// Imports one file and reports it. Only what stops the whole run is an error.
pub(super) fn import(run: &Run<'_>, path: &Path, report: &mut Report) -> Outcome {
    let bar_start = run.bar.position();
    let mut file = FileReport::new(path, None);
    let done = import_into(run, path, bar_start, &mut file, report);
    run.bar.set_position(bar_start + path.metadata().map_or(0, |metadata| metadata.len()));
    let why = match done {
        // An export is reported stream by stream.
        Ok(Told::ByStream) => return Ok(()),
        Ok(Told::ByFile) => return report.file(&file),
        Err(Trouble::Run(failure)) => return Err(failure),
        Err(Trouble::File(why)) => why,
        Err(Trouble::Damage(why)) => {
            report.damaged();
            why
        }
    };
    file.result = FileResult::Refused;
    file.why = Some(why);
    report.file(&file)
}

/// Whether a file was told as a whole or already stream by stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Told {
    ByFile,
    ByStream,
}

fn import_into(
    run: &Run<'_>,
    path: &Path,
    bar_start: u64,
    told: &mut FileReport,
    report: &mut Report,
) -> Result<Told, Trouble> {
    let file = File::open(path).map_err(|error| Trouble::File(format!("cannot open it: {error}")))?;
    let file_name = path.file_name().unwrap_or_default().to_string_lossy();
    let window = Window::read(&mut Lines::new(&file))?;
    let format = match run.format {
        Some(format) => Some(format),
        None => recognise(&window, &file_name).map_err(|refusal| Trouble::File(refusal.to_string()))?,
    };
    told.format = format.map(Format::as_str);
    let Some(format) = format.filter(|_| !window.lines.is_empty()) else {
        told.result = FileResult::Empty;
        return Ok(Told::ByFile);
    };
    if format == Format::Treering {
        export_file::import(run, path, &file, report)?;
        return Ok(Told::ByStream);
    }
    let names = match run.stream {
        Some(name) => vec![name.to_owned()],
        None => candidates(format, &window, path, run.prefix),
    };
    // The window may hold a line of any size.
    drop(window);
    let place = find_place(run.store, &file, &names)?;
    told.stream = Some(place.stream.clone());
    told.instead_of = place.instead_of;
    let Some((mut lines, first, replaces)) = place.rest else { return Ok(Told::ByFile) };
    told.result = if place.events == 0 { FileResult::New } else { FileResult::Grown };
    let mut adding = Adding::behind(run.store, place.stream, place.events);
    let mut next = Some(first);
    let mut replaces = replaces;
    while let Some(line) = next.take() {
        let record = record::read(format, &line.bytes);
        if let Some(flaw) = &record.flaw {
            report.unparsed(path, line.number, flaw, told.unparsed)?;
            told.unparsed += 1;
        }
        let marks = Marks {
            origin: (adding.is_at_the_start()).then(|| (format, file_name.clone().into_owned())),
            unparsed: record.flaw.as_ref().map(ToString::to_string),
            no_lf: !line.terminated,
            replaces: replaces.take(),
        };
        told.events += 1;
        told.bytes += line.bytes.len() as u64;
        if adding.push(Described { record, metadata: marks.encode(), payload: line.bytes })? {
            run.bar.set_position(bar_start + lines.offset());
        }
        match lines.next_line() {
            Ok(line) => next = line,
            Err(error) => {
                // What stands before the line that cannot be had is in all the same.
                adding.flush()?;
                return Err(error.into());
            }
        }
    }
    adding.flush()?;
    Ok(Told::ByFile)
}

/// Where a file belongs, and what of it is new.
struct Place<'f> {
    stream: String,
    /// The stream that it would have gone to, had it continued that.
    instead_of: Option<String>,
    /// How many events the stream holds.
    events: u64,
    /// What is to be added: the reader, the first new line, the revision that this line replaces.
    rest: Option<(Lines<&'f File>, Line, Option<u64>)>,
}

/// Looks through the streams of these names, and those numbered after them, for one that holds this file or the
/// beginning of it; else gives the first free name.
fn find_place<'f>(store: &Store, file: &'f File, names: &[String]) -> Result<Place<'f>, Trouble> {
    let mut free = None;
    for name in names {
        for number in 1.. {
            let stream = numbered(name, number);
            let instead_of = (number > 1).then(|| name.clone());
            let Some(info) = store.stream(&stream)? else {
                free.get_or_insert((stream, instead_of));
                break;
            };
            let mut lines = from_start(file)?;
            let reader = store.read_stream(&stream, ReadOptions::new().visibility(Visibility::Committed))?;
            let rest = match compare(&mut lines, &mut Held(reader))? {
                Verdict::Repeats => None,
                Verdict::Continues { events, first, replaces } => {
                    debug_assert_eq!(events, info.head.get() + 1);
                    Some((events, (lines, first, replaces)))
                }
                Verdict::Diverges { .. } => continue,
            };
            let (events, rest) = rest.map_or((0, None), |(events, rest)| (events, Some(rest)));
            return Ok(Place { stream, instead_of, events, rest });
        }
    }
    let (stream, instead_of) = free.ok_or_else(|| Trouble::File("no name for its stream is free".to_owned()))?;
    let mut lines = from_start(file)?;
    let rest = lines.next_line()?.map(|first| (lines, first, None));
    Ok(Place { stream, instead_of, events: 0, rest })
}

/// The lines of a file, from its first one.
pub(super) fn from_start(mut file: &File) -> Result<Lines<&File>, Trouble> {
    file.seek(SeekFrom::Start(0)).map_err(|error| Trouble::File(format!("cannot read it twice: {error}")))?;
    Ok(Lines::new(file))
}

/// A stream of the store, as planning reads it.
struct Held(StreamReader);

impl Recorded for Held {
    type Error = Trouble;

    fn next_event(&mut self) -> Result<Option<Seen<'_>>, Trouble> {
        match self.0.next() {
            None => Ok(None),
            Some(Ok(event)) => Ok(Some(Seen { payload: event.payload(), metadata: event.metadata() })),
            Some(Err(error)) => Err(error.into()),
        }
    }
}

/// A line with everything that its event says.
struct Described {
    record: Record,
    metadata: Vec<u8>,
    payload: Vec<u8>,
}

impl Described {
    fn len(&self) -> usize {
        self.payload.len() + self.metadata.len()
    }

    fn as_event(&self) -> NewEvent<'_> {
        let mut event = NewEvent::new(&self.record.event_type, &self.payload).metadata(&self.metadata);
        if let Some(id) = &self.record.id {
            event = event.id(id);
        }
        match self.record.occurred_at {
            Some(time) => event.occurred_at(time),
            None => event,
        }
    }
}

/// Events on their way behind the head of a stream, in batches.
struct Adding<'a> {
    store: &'a Store,
    stream: String,
    /// The revision of the next event that is pushed.
    next: u64,
    expected: Expected,
    waiting: Vec<Described>,
    bytes: usize,
}

impl<'a> Adding<'a> {
    fn behind(store: &'a Store, stream: String, events: u64) -> Adding<'a> {
        let expected = match events.checked_sub(1) {
            Some(head) => Expected::Exactly(Revision(head)),
            None => Expected::NoStream,
        };
        Adding { store, stream, next: events, expected, waiting: Vec::new(), bytes: 0 }
    }

    fn is_at_the_start(&self) -> bool {
        self.next == 0
    }

    /// Takes an event; says whether a batch went into the log.
    fn push(&mut self, event: Described) -> Result<bool, Trouble> {
        let full = self.bytes + event.len() > BATCH_BYTES || self.waiting.len() == BATCH_EVENTS;
        if full {
            self.flush()?;
        }
        self.bytes += event.len();
        self.next += 1;
        self.waiting.push(event);
        Ok(full)
    }

    fn flush(&mut self) -> Result<(), Trouble> {
        if self.waiting.is_empty() {
            return Ok(());
        }
        let events: Vec<_> = self.waiting.iter().map(Described::as_event).collect();
        let batch = Batch::to(&self.stream, self.expected, &events).durability(Durability::Written);
        let receipt = self.store.append(&batch)?;
        self.expected = Expected::Exactly(receipt.sections[0].last_revision);
        self.waiting.clear();
        self.bytes = 0;
        Ok(())
    }
}
