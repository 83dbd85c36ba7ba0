//! `treering verify`: every checksum, every chain, every invariant; each damage on a line of its own.
//!
//! Looks at the files themselves, so it also works where a store does not open. Changes nothing.

use std::path::PathBuf;

use indicatif::ProgressBar;
use serde::Serialize;
use treering::maintain::{Progress, verify};
use treering::{Damage, DamagedStream};

use crate::commands::show::outcome_of;
use crate::exit::Outcome;
use crate::output::{Out, bytes, bytes_bar, counted, printable};

/// Check every checksum and chain of a store
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  treering verify s
  treering verify s --json | jq 'select(.kind == \"damage\")'

Exit code 0 where all is well or was accepted as lost (treering accept), 4 where damage was found \
that was not, 5 where the store is a copy that ends early.")]
pub(crate) struct Args {
    /// The store
    store: PathBuf,
    /// One JSON object a line: each damage, each note, then the summary
    #[arg(long)]
    json: bool,
}

/// A damage as an object.
#[derive(Serialize)]
pub(crate) struct DamageLine<'a> {
    kind: &'static str,
    class: &'static str,
    file: &'a str,
    first_byte: u64,
    end_byte: u64,
    first_position: u64,
    end_position: u64,
    /// `null` where nothing that is left says which.
    streams: Option<Vec<StreamLine<'a>>>,
    detail: &'a str,
    accepted: bool,
}

/// A stream that has events in damaged bytes.
#[derive(Serialize)]
struct StreamLine<'a> {
    /// `null` where its name is lost too.
    stream: Option<&'a str>,
    id: u64,
    first_revision: u64,
    last_revision: u64,
}

impl<'a> From<&'a DamagedStream> for StreamLine<'a> {
    fn from(stream: &'a DamagedStream) -> StreamLine<'a> {
        StreamLine {
            stream: stream.name.as_deref(),
            id: stream.stream.get(),
            first_revision: stream.revisions.0.get(),
            last_revision: stream.revisions.1.get(),
        }
    }
}

impl<'a> From<&'a Damage> for DamageLine<'a> {
    fn from(damage: &'a Damage) -> DamageLine<'a> {
        DamageLine {
            kind: "damage",
            class: damage.class.as_str(),
            file: &damage.file,
            first_byte: damage.bytes.start,
            end_byte: damage.bytes.end,
            first_position: damage.positions.start.get(),
            end_position: damage.positions.end.get(),
            streams: damage.streams.as_ref().map(|streams| streams.iter().map(StreamLine::from).collect()),
            detail: &damage.detail,
            accepted: damage.is_accepted,
        }
    }
}

#[derive(Serialize)]
struct Note<'a> {
    kind: &'static str,
    note: &'a str,
}

#[derive(Serialize)]
struct Summary {
    kind: &'static str,
    clean: bool,
    events: u64,
    frames: u64,
    segments: u64,
    bytes: u64,
    streams: u64,
    engine_events: u64,
    engine_streams: u64,
    index_blocks_checked: u64,
    seals_checked: u64,
    damage: u64,
    /// How many of these were accepted as lost.
    accepted: u64,
    /// Bytes behind the end of the log, which nobody was ever promised.
    torn_tail_bytes: u64,
    committed: u64,
    durable: u64,
}

/// A bar for what takes long.
pub(crate) struct Bar(pub(crate) ProgressBar);

impl Progress for Bar {
    fn advance(&mut self, done: u64, total: u64) {
        self.0.set_length(total);
        self.0.set_position(done);
    }
}

/// Runs the command.
pub(crate) fn run(args: Args) -> Outcome {
    let mut bar = Bar(bytes_bar(0));
    let report = verify(&args.store, &mut bar);
    bar.0.finish_and_clear();
    let report = report?;
    let mut out = Out::stdout();
    for damage in &report.damage {
        if args.json {
            out.json(&DamageLine::from(damage))?;
        } else {
            out.line(printable(&damage.to_string()))?;
            out.line(format_args!("  {}", damage.meaning()))?;
        }
    }
    for note in &report.notes {
        if args.json {
            out.json(&Note { kind: "note", note })?;
        } else {
            out.line(format_args!("note: {}", printable(note)))?;
        }
    }
    if let (false, Some(torn)) = (args.json, &report.torn_tail) {
        out.line(format_args!("for information: {}", printable(&torn.to_string())))?;
    }
    if args.json {
        out.json(&Summary {
            kind: "summary",
            clean: report.is_clean(),
            events: report.events,
            frames: report.frames,
            segments: report.segments,
            bytes: report.bytes,
            streams: report.streams,
            engine_events: report.engine_events,
            engine_streams: report.engine_streams,
            index_blocks_checked: report.index_blocks_checked,
            seals_checked: report.seals_checked,
            damage: report.damage.len() as u64,
            accepted: report.damage.iter().filter(|damage| damage.is_accepted).count() as u64,
            torn_tail_bytes: report.torn_tail.as_ref().map_or(0, |torn| torn.bytes.end - torn.bytes.start),
            committed: report.committed.get(),
            durable: report.durable.get(),
        })?;
    } else {
        let own = match report.engine_streams {
            0 => String::new(),
            streams => format!(
                ", and {} of {} of the engine's own",
                counted(report.engine_events, "event"),
                counted(streams, "stream")
            ),
        };
        out.line(format_args!(
            "{}: {} of {}{own} in {}, {}, {}; {} and {} checked",
            match (report.is_clean(), report.is_accepted()) {
                (true, _) => "clean",
                (false, true) => "sound but for what was accepted as lost",
                (false, false) => "NOT CLEAN",
            },
            counted(report.events, "event"),
            counted(report.streams, "stream"),
            counted(report.frames, "frame"),
            counted(report.segments, "segment"),
            bytes(report.bytes),
            counted(report.index_blocks_checked, "index block"),
            counted(report.seals_checked, "seal"),
        ))?;
    }
    out.flush()?;
    outcome_of(&report.damage)
}
