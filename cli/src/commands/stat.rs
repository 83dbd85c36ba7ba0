//! `treering stat`: how much a store holds, where it ends, what it costs.

use std::path::PathBuf;

use serde::Serialize;
use treering::{Stat, maintain};

use crate::commands::show::outcome_of;
use crate::commands::verify::DamageLine;
use crate::exit::Outcome;
use crate::opening;
use crate::output::{Out, bytes, count, counted, printable};

/// Show how much a store holds, and how its indexes are
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  treering stat s
  treering stat s --json | jq .events

An event that forks share is in the log, and counted, once. What the engine keeps in streams of \
its own, of snapshots and cursors, is counted apart.

Indexes and the directory of streams are made from the log, by whoever writes; without them all is \
found too, later. A finished segment without its index is walked over. What the directory does not \
cover is read whenever the store is opened. `treering reindex` makes both.

`committed` and `durable` are positions: what lies below is in the log, and survives a power loss. \
Damage is what is known without looking for it; `treering verify` looks.")]
pub(crate) struct Args {
    /// The store
    store: PathBuf,
    /// One JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Object<'a> {
    store_id: String,
    incarnation: String,
    epoch: String,
    events: u64,
    streams: u64,
    engine_events: u64,
    engine_streams: u64,
    segments: u64,
    sealed_segments: u64,
    indexed_segments: u64,
    /// Finished ones that have no index that fits, and need one.
    unindexed_segments: u64,
    index_bytes: u64,
    directory: Option<Directory>,
    /// Bytes of the log that are read whenever it is opened: all of them without a directory.
    opening_bytes: u64,
    segment_bytes: u64,
    bytes: u64,
    disk_bytes: u64,
    committed: u64,
    durable: u64,
    coded_raw_bytes: u64,
    coded_stored_bytes: u64,
    writers: Vec<WriterObject<'a>>,
    damage: Vec<DamageLine<'a>>,
}

/// A process that has the store open for writing.
#[derive(Serialize)]
struct WriterObject<'a> {
    pid: u32,
    command: Option<&'a str>,
    state: Option<char>,
    exclusive: bool,
}

/// The stream directory: up to where opening need not read the log.
#[derive(Serialize)]
pub(crate) struct Directory {
    covered: u64,
    /// Bytes of the log behind it.
    behind: u64,
    pub(crate) streams: u64,
    files: u64,
    pub(crate) bytes: u64,
}

impl Directory {
    pub(crate) fn of(stat: &Stat) -> Option<Directory> {
        stat.directory.map(|it| Directory {
            covered: it.covered.get(),
            behind: stat.opening_bytes,
            streams: it.streams,
            files: it.runs,
            bytes: it.bytes,
        })
    }
}

/// Runs the command.
pub(crate) fn run(args: Args) -> Outcome {
    let store = opening::for_reading(&args.store)?;
    let stat = store.stat()?;
    let directory = Directory::of(&stat);
    let writers = maintain::writers(&args.store)?.processes;
    let mut out = Out::stdout();
    if args.json {
        out.json(&Object {
            store_id: stat.store.to_string(),
            incarnation: stat.incarnation.to_string(),
            epoch: stat.epoch.to_string(),
            events: stat.events,
            streams: stat.streams,
            engine_events: stat.engine_events,
            engine_streams: stat.engine_streams,
            segments: stat.segments,
            sealed_segments: stat.sealed_segments,
            indexed_segments: stat.indexed_segments,
            unindexed_segments: stat.unindexed_segments,
            index_bytes: stat.index_bytes,
            directory,
            opening_bytes: stat.opening_bytes,
            segment_bytes: stat.segment_bytes,
            bytes: stat.bytes,
            disk_bytes: stat.disk_bytes,
            committed: stat.watermarks.committed.get(),
            durable: stat.watermarks.durable.get(),
            coded_raw_bytes: stat.coded_raw_bytes,
            coded_stored_bytes: stat.coded_stored_bytes,
            writers: writers
                .iter()
                .map(|it| WriterObject {
                    pid: it.pid,
                    command: it.command.as_deref(),
                    state: it.state,
                    exclusive: it.is_exclusive,
                })
                .collect(),
            damage: stat.damage.iter().map(DamageLine::from).collect(),
        })?;
    } else {
        let per_event = stat.bytes.checked_div(stat.events + stat.engine_events).unwrap_or(0);
        out.line(format_args!("store       {}", stat.store))?;
        out.line(format_args!("events      {}", count(stat.events)))?;
        out.line(format_args!("streams     {}", count(stat.streams)))?;
        if stat.engine_streams > 0 {
            out.line(format_args!(
                "and         {} in {} of the engine's own",
                counted(stat.engine_events, "event"),
                counted(stat.engine_streams, "stream")
            ))?;
        }
        out.line(format_args!(
            "segments    {} of {}, {} sealed",
            count(stat.segments),
            bytes(stat.segment_bytes),
            count(stat.sealed_segments)
        ))?;
        out.line(format_args!("log         {} ({} B an event)", bytes(stat.bytes), count(per_event)))?;
        derived(&mut out, &stat, directory.as_ref())?;
        out.line(format_args!("on disk     {}", bytes(stat.disk_bytes)))?;
        out.line(format_args!("committed   position {}", count(stat.watermarks.committed.get())))?;
        out.line(format_args!("durable     position {}", count(stat.watermarks.durable.get())))?;
        if stat.coded_stored_bytes > 0 {
            out.line(format_args!(
                "compressed  {} to {}",
                bytes(stat.coded_raw_bytes),
                bytes(stat.coded_stored_bytes)
            ))?;
        }
        for writer in &writers {
            let how = if writer.is_exclusive { "alone" } else { "together with others" };
            let stopped = if writer.state == Some('T') { ", stopped" } else { "" };
            let command = writer.command.as_deref().unwrap_or("?");
            out.line(format_args!(
                "open        process {} ({}){stopped}, writes {how}",
                writer.pid,
                printable(command)
            ))?;
        }
        for damage in &stat.damage {
            out.line(format_args!("damage      {}", printable(&damage.to_string())))?;
            out.line(format_args!("            {}", damage.meaning()))?;
        }
        if stat.damage.is_empty() {
            out.line("damage      none known")?;
        }
    }
    out.flush()?;
    outcome_of(&stat.damage)
}

/// How the files are that are made from the log.
fn derived(out: &mut Out, stat: &Stat, directory: Option<&Directory>) -> Outcome {
    match stat.indexed_segments {
        0 if stat.unindexed_segments == 0 => out.line("indexes     none needed yet")?,
        0 => out.line("indexes     none")?,
        indexed => out.line(format_args!(
            "indexes     {} of {} ({:.1} % of the log)",
            counted(indexed, "segment"),
            bytes(stat.index_bytes),
            stat.index_bytes as f64 * 100.0 / stat.bytes.max(1) as f64
        ))?,
    }
    if stat.unindexed_segments > 0 {
        let segments = counted(stat.unindexed_segments, "segment");
        out.line(format_args!("            {segments} without; `treering reindex` makes them"))?;
    }
    let opening = bytes(stat.opening_bytes);
    match directory {
        None => out.line(format_args!("directory   none; opening reads all of the log, {opening}"))?,
        Some(Directory { streams, files, bytes: len, .. }) => out.line(format_args!(
            "directory   {} in {} of {}; opening reads {opening} of the log",
            counted(*streams, "stream"),
            counted(*files, "file"),
            bytes(*len),
        ))?,
    }
    // A writer that was closed leaves less than that behind.
    if stat.opening_bytes > stat.segment_bytes {
        out.line(match stat.damage.is_empty() {
            true => "            `treering reindex` makes it anew",
            false => "            it ends before the first damage, accepted or not",
        })?;
    }
    Ok(())
}
