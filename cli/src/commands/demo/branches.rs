//! The part of the demo in which two models go on from one history, and a summary is put beside what it sums up.

use std::path::Path;

use treering::{
    Batch, ContextOptions, Expected, Fork, NewEvent, NewSnapshot, Options, ReadOptions, Revision, Store, Visibility,
};

use super::story::{Branches, Story};
use super::worker::STREAM;
use crate::exit::{Failure, Outcome};

/// What each of the two models says.
const MODELS: [(&str, &str); 2] = [
    ("one-model", r#"{"type":"assistant","message":{"content":[{"type":"text","text":"I would ship it."}]}}"#),
    (
        "another-model",
        r#"{"type":"assistant","message":{"content":[{"type":"text","text":"I would test it first."}]}}"#,
    ),
];

/// Forks the session for two models, appends what each says, and puts a summary beside the session's beginning.
pub(super) fn grow(path: &Path, story: &mut Story) -> Outcome {
    let store = Store::open(path, Options::new())?;
    let raw = payloads(&store, STREAM)?;
    let at = Revision(raw.len() as u64 / 2);
    let (mut names, mut fork_bytes) = (Vec::new(), 0);
    for (model, says) in MODELS {
        let name = format!("{STREAM}/{model}");
        let forked = store.fork(&Fork::new(STREAM, &name).at(at))?;
        fork_bytes = forked.receipt.end.get() - forked.receipt.position.get();
        let events = [NewEvent::new("assistant", says)];
        let _receipt = store.append(&Batch::to(&name, Expected::Exactly(at), &events))?;
        names.push(name);
    }
    let parting = store.parting(&names[0], &names[1])?;
    let end = Revision(raw.len() as u64 - 2);
    let summary = [NewEvent::new("summary", r#"{"summary":"what was asked, tried and found so far"}"#)];
    let made = store.snapshot(&NewSnapshot::new(STREAM, Revision(0)..end, "summary", &summary))?;
    let context = store.context(STREAM, ContextOptions::new())?;
    if payloads(&store, STREAM)? != raw {
        return Err(Failure::Damage("the session is not what it was before the summary, which is a bug".to_owned()));
    }
    story.branched(&Branches {
        at: at.get(),
        names: &names,
        fork_bytes,
        shared: parting.shared_events(),
        added: parting.added(),
        stands_for: made.snapshot.range.end.get(),
        context_events: context.len(),
        raw_events: raw.len() as u64,
    })?;
    store.close()?;
    Ok(())
}

fn payloads(store: &Store, stream: &str) -> Outcome<Vec<Vec<u8>>> {
    let mut reader = store.read_stream(stream, ReadOptions::new().visibility(Visibility::Committed))?;
    let mut all = Vec::new();
    while let Some(event) = reader.next() {
        all.push(event?.payload().to_vec());
    }
    Ok(all)
}
