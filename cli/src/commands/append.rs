//! `treering append`: lines of standard input become events; a receipt a batch, printed when its level is reached.
//!
//! One thread reads lines, the other appends. Batches are submitted as they come, without waiting for those before them,
//! and whoever waits for the oldest syncs all that were submitted meanwhile: a pipe is stored at the rate of group
//! commits, a line typed by hand is stored at once. Receipts come out in order, never before their level is reached, and
//! are flushed before anything is waited for, so a receipt that was seen is a promise kept, whatever is killed then.

mod queue;

use std::collections::VecDeque;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use serde::Serialize;
use treering::{Batch, Expected, FencingToken, NewEvent, Options, Pending, Position, Receipt, Store};

use crate::args::{Level, expectation, level_word};
use crate::commands::show::DamageMet;
use crate::exit::{Failure, Outcome};
use crate::import::lines::Lines;
use crate::names::{event_type, stream_name};
use crate::opening;
use crate::output::{Out, printable};
use queue::{Queue, Taken};

/// How many batches may wait for their level.
const PENDING_MAX: usize = 1024;
/// How many bytes of payload may.
const PENDING_BYTES_MAX: usize = 64 << 20;
/// How many bytes of lines that came together are handed over at once.
const LOAD_BYTES: usize = 128 << 10;

/// Append lines of standard input as events
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  echo '{\"note\":\"hello\"}' | treering append s notes
  treering append s notes --type note < notes.jsonl
  treering append s log --batch 100 < big.jsonl
                a hundred lines together or not at all
  treering append s agent --expect 41 < turn.jsonl
                only if 41 is the head; else exit code 3
  treering append s agent --expect none < start.jsonl
                only if the stream does not exist
  treering append s agent --fence 81924 < turn.jsonl
                only under the newest claim (claim --fenced); else 3
  tail -F app.log | treering append s app --durability written

Every line is one event; its payload is the line without its LF. Each batch prints a receipt once \
its level is reached: what was printed is found again, whatever is killed (with synced, also after \
a power loss). Standard output is the receipts; without them, the batch may or may not be in the \
log. Others may append to the same store meanwhile.")]
pub(crate) struct Args {
    /// The store; made where it is missing
    store: PathBuf,
    /// The stream; made by its first event
    #[arg(value_parser = stream_name)]
    stream: String,
    /// The type of the events
    #[arg(long = "type", value_name = "T", value_parser = event_type, default_value = "line")]
    event_type: String,
    /// What the stream must be like: any, none, exists, or the revision of its head. With a revision (or none) every
    /// further batch expects the head that the one before left
    #[arg(long, value_name = "any|none|exists|N", value_parser = expectation, default_value = "any")]
    expect: Expected,
    /// Append only while this is the fencing token of the stream's newest claim
    #[arg(long, value_name = "TOKEN", value_parser = fencing_token)]
    fence: Option<FencingToken>,
    /// When an append counts as done
    #[arg(long, value_enum, default_value = "synced")]
    durability: Level,
    /// How many lines make an atomic append
    #[arg(long, value_name = "N", default_value_t = 1,
          value_parser = clap::value_parser!(u32).range(1..=treering::limits::BATCH_EVENTS_MAX as i64))]
    batch: u32,
    /// Nobody else may write meanwhile: fails where somebody has the store open for writing, and has others fail
    #[arg(long)]
    exclusive: bool,
    /// Receipts as one JSON object a line
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct ReceiptLine<'a> {
    stream: &'a str,
    first_revision: u64,
    last_revision: u64,
    events: u64,
    position: u64,
    end: u64,
    level: &'static str,
    batch: String,
    epoch: String,
    incarnation: String,
    token: String,
}

fn fencing_token(text: &str) -> Result<FencingToken, String> {
    text.parse().map(FencingToken).map_err(|_| "it is a number, as `claim --fenced` hands it to its program".to_owned())
}

/// Runs the command.
pub(crate) fn run(args: Args) -> Outcome {
    let store = opening::for_writing(&args.store, Options::new().exclusive(args.exclusive))?;
    // Told, and no reason to stop: each stream says for itself whether it goes on.
    let _told = DamageMet::at_opening(&store);
    let queue = Arc::new(Queue::default());
    let reader = {
        let queue = Arc::clone(&queue);
        let batch_lines = args.batch as usize;
        // Not a scoped thread: when appending fails, this one may wait for a line that never comes.
        std::thread::spawn(move || {
            let _end = EndOnDrop(&queue);
            read_batches(&queue, batch_lines)
        })
    };
    let mut out = Out::stdout();
    let appended = append_all(&args, &store, &queue, &mut out);
    queue.abandon();
    match appended {
        Ok(()) => {
            let read = reader.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            store.close()?;
            read
        }
        Err(Failure::OutputClosed) => Err(Failure::Error(
            "standard output was closed, so receipts cannot be given; what came behind the last one that was seen may or \
             may not be in the log"
                .to_owned(),
        )),
        Err(failure) => Err(failure),
    }
}

struct EndOnDrop<'a>(&'a Queue);

impl Drop for EndOnDrop<'_> {
    fn drop(&mut self) {
        self.0.end();
    }
}

/// Reads standard input to its end, or until nobody takes what is read.
fn read_batches(queue: &Queue, batch_lines: usize) -> Outcome {
    let mut lines = Lines::new(io::stdin().lock());
    let (mut load, mut batch) = (Vec::new(), Vec::new());
    let (mut load_bytes, mut batch_bytes) = (0, 0);
    loop {
        let next = lines.next_line().map_err(|error| Failure::Error(format!("standard input: {error}")));
        let is_last = !matches!(next, Ok(Some(_)));
        match next {
            Ok(Some(line)) => {
                batch_bytes += line.bytes.len();
                batch.push(line.bytes);
                // A batch beyond the limit is passed on as it is: the engine says what is wrong with it.
                if batch.len() == batch_lines || batch_bytes > treering::limits::BATCH_BYTES_MAX {
                    load.push(std::mem::take(&mut batch));
                    load_bytes += std::mem::take(&mut batch_bytes);
                }
            }
            Ok(None) if !batch.is_empty() => load.push(std::mem::take(&mut batch)),
            Ok(None) => {}
            // The lines of a batch belong together: those before a failed read are not appended without the rest.
            Err(failure) => {
                queue.put(load);
                return Err(failure);
            }
        }
        // Nothing whole is held back while more is waited for.
        let is_due = is_last || load_bytes >= LOAD_BYTES || !lines.is_next_here();
        if is_due && !load.is_empty() {
            load_bytes = 0;
            if !queue.put(std::mem::take(&mut load)) {
                return Ok(());
            }
        }
        if is_last {
            return Ok(());
        }
    }
}

/// Batches that are in the log and wait for their level.
#[derive(Default)]
struct Waiting {
    /// Each with the bytes of its lines.
    batches: VecDeque<(Pending, usize)>,
    bytes: usize,
}

impl Waiting {
    fn push(&mut self, pending: Pending, bytes: usize) {
        self.bytes += bytes;
        self.batches.push_back((pending, bytes));
    }

    /// Takes the oldest batch where `is_due` says so.
    fn pop_if(&mut self, is_due: impl FnOnce(&Pending) -> bool) -> Option<Pending> {
        if !is_due(&self.batches.front()?.0) {
            return None;
        }
        let (pending, bytes) = self.batches.pop_front()?;
        self.bytes -= bytes;
        Some(pending)
    }
}

fn append_all(args: &Args, store: &Store, queue: &Queue, out: &mut Out) -> Outcome {
    let mut waiting = Waiting::default();
    let mut expected = args.expect;
    loop {
        match queue.take(waiting.batches.is_empty()) {
            Taken::Load(load) => {
                for lines in load {
                    if let Err(error) = submit(args, store, &mut expected, &lines, &mut waiting) {
                        // What went in before is told before the failure is.
                        settle_all(args, store, &mut waiting, out)?;
                        return Err(error.into());
                    }
                    if waiting.batches.len() >= PENDING_MAX || waiting.bytes >= PENDING_BYTES_MAX {
                        settle(args, store, &mut waiting, out)?;
                    }
                }
            }
            Taken::NotYet => settle(args, store, &mut waiting, out)?,
            Taken::Ended => return settle_all(args, store, &mut waiting, out),
        }
    }
}

/// Puts one batch into the log; its level is waited for later.
fn submit(
    args: &Args,
    store: &Store,
    expected: &mut Expected,
    lines: &[Vec<u8>],
    waiting: &mut Waiting,
) -> treering::Result<()> {
    let events: Vec<_> = lines.iter().map(|line| NewEvent::new(&args.event_type, line)).collect();
    let mut batch = Batch::to(&args.stream, *expected, &events).durability(args.durability.durability());
    if let Some(token) = args.fence {
        batch = batch.fenced(&args.stream, token);
    }
    let pending = store.submit(&batch)?;
    if matches!(expected, Expected::Exactly(_) | Expected::NoStream) {
        *expected = Expected::Exactly(pending.receipt().sections[0].last_revision);
    }
    waiting.push(pending, lines.iter().map(Vec::len).sum());
    Ok(())
}

fn settle_all(args: &Args, store: &Store, waiting: &mut Waiting, out: &mut Out) -> Outcome {
    while !waiting.batches.is_empty() {
        settle(args, store, waiting, out)?;
    }
    Ok(())
}

/// Waits for the oldest batch, then prints its receipt and those of all others that have reached their level with it.
fn settle(args: &Args, store: &Store, waiting: &mut Waiting, out: &mut Out) -> Outcome {
    let mut reached = Position::ZERO;
    while let Some(pending) = waiting.pop_if(|pending| {
        reached == Position::ZERO || args.durability == Level::Written || pending.receipt().end <= reached
    }) {
        let receipt = pending.wait()?;
        reached = store.watermarks().durable.max(receipt.end);
        print(args, &receipt, out)?;
    }
    out.flush()
}

fn print(args: &Args, receipt: &Receipt, out: &mut Out) -> Outcome {
    let section = &receipt.sections[0];
    let (first, last) = (section.first_revision.get(), section.last_revision.get());
    let position = section.first_position.get();
    let level = level_word(receipt.level);
    if args.json {
        return out.json(&ReceiptLine {
            stream: &section.stream,
            first_revision: first,
            last_revision: last,
            events: last - first + 1,
            position,
            end: receipt.end.get(),
            level,
            batch: receipt.batch.to_string(),
            epoch: format!("{}", receipt.epoch),
            incarnation: receipt.incarnation.to_string(),
            token: receipt.token().to_string(),
        });
    }
    let name = printable(&section.stream);
    if first == last {
        out.line(format_args!("{name} revision {first} position {position} {level}"))
    } else {
        out.line(format_args!("{name} revisions {first}..={last} position {position} {level}"))
    }
}
