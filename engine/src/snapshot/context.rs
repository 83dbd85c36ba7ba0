//! The context of a stream at a revision: its snapshots, as far as they reach, and the events behind them.

use std::sync::Arc;

use crate::Result;
use crate::follow::view::View;
use crate::ids::{Position, Revision};
use crate::index::find::Finder;
use crate::index::streams::Stream;
use crate::lineage::StreamReader;
use crate::read::{EventRef, ReadOptions};
use crate::snapshot::find::{self, Wanted};
use crate::snapshot::{ENGINES_LABELS, Ignored, Snapshot, label_of};
use crate::watermark::Visibility;

/// Which context is asked for.
#[derive(Clone, Copy, Debug, Default)]
pub struct ContextOptions<'a> {
    label: Option<&'a str>,
    at: Option<Revision>,
    visibility: Visibility,
    is_proven: bool,
}

impl<'a> ContextOptions<'a> {
    /// That of the head, by the snapshots of any label that reach furthest.
    #[must_use]
    pub fn new() -> ContextOptions<'a> {
        ContextOptions::default()
    }

    /// Only by snapshots with this label.
    #[must_use]
    pub fn label(mut self, label: &'a str) -> ContextOptions<'a> {
        self.label = Some(label);
        self
    }

    /// As it was when this revision was the head. Beyond the head it is that of the head.
    #[must_use]
    pub fn at(mut self, revision: Revision) -> ContextOptions<'a> {
        self.at = Some(revision);
        self
    }

    /// Whether what is not durable yet is shown. Default: no.
    #[must_use]
    pub fn visibility(mut self, visibility: Visibility) -> ContextOptions<'a> {
        self.visibility = visibility;
        self
    }

    /// Folds the chain of the source and holds each snapshot against it, which costs reading the history once. `verify` does it
    /// too.
    #[must_use]
    pub fn proven(mut self) -> ContextOptions<'a> {
        self.is_proven = true;
        self
    }
}

/// What stands in the context, one after the other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ContextPart {
    /// The events of a snapshot in place of its range.
    Snapshot(Snapshot),
    /// Events of the stream, from the first revision to the last, both included.
    Events(Revision, Revision),
}

/// What a stream comes to at a revision.
#[derive(Debug)]
#[non_exhaustive]
pub struct Context {
    /// The stream.
    pub stream: Arc<str>,
    /// The revision; `None` where no event of it is visible.
    pub at: Option<Revision>,
    /// From the first revision on, without gap.
    pub parts: Vec<ContextPart>,
    /// Snapshots that would count and were passed over, and why.
    pub ignored: Vec<Ignored>,
    finder: Arc<Finder>,
    visible: Position,
}

impl Context {
    /// Reads its events, those of snapshots in place of the ranges that they stand for.
    #[must_use]
    pub fn read(&self) -> ContextReader<'_> {
        ContextReader { context: self, next: 0, reader: None }
    }

    /// How many events that is.
    #[must_use]
    pub fn len(&self) -> u64 {
        let len = |part: &ContextPart| match part {
            ContextPart::Snapshot(snapshot) => snapshot.events.end.0 - snapshot.events.start.0,
            ContextPart::Events(first, last) => last.0 - first.0 + 1,
        };
        self.parts.iter().map(len).sum()
    }

    /// Whether there is nothing in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }
}

/// The context of a stream; `None` where there is no such stream.
pub(crate) fn context(view: &View, name: &str, options: ContextOptions<'_>) -> Result<Option<Context>> {
    let Some(stream) = view.stream(name)? else { return Ok(None) };
    let visible = view.visible(options.visibility);
    let mut context = Context {
        stream: Arc::clone(&stream.name),
        at: None,
        parts: Vec::new(),
        ignored: Vec::new(),
        finder: Arc::clone(&view.finder),
        visible,
    };
    let Some(head) = StreamReader::head(&view.finder, name, visible)? else { return Ok(Some(context)) };
    let at = options.at.map_or(head, |at| at.min(head));
    context.at = Some(at);
    let before = match at < head {
        true => place_of(view, &stream, Revision(at.0 + 1))?,
        false => Position::MAX,
    };
    let before = before.min(visible);
    let mut parts = Vec::new();
    let mut end = at.0 + 1;
    while end > 0 {
        let wanted = Wanted { end: Revision(end), before, version: None, is_proven: options.is_proven };
        let Some(snapshot) = furthest(view, &stream, options.label, wanted, &mut context.ignored)? else { break };
        if snapshot.range.end.0 < end {
            parts.push(ContextPart::Events(snapshot.range.end, Revision(end - 1)));
        }
        end = snapshot.range.start.0;
        parts.push(ContextPart::Snapshot(snapshot));
    }
    if end > 0 {
        parts.push(ContextPart::Events(Revision(0), Revision(end - 1)));
    }
    parts.reverse();
    context.parts = parts;
    Ok(Some(context))
}

/// Of the newest usable snapshots of the stream and its ancestors, label by label, the one that reaches furthest; of several
/// the one nearest to the stream, then the newest.
fn furthest(
    view: &View,
    stream: &Stream,
    label: Option<&str>,
    mut wanted: Wanted<'_>,
    ignored: &mut Vec<Ignored>,
) -> Result<Option<Snapshot>> {
    let mut best: Option<Snapshot> = None;
    let mut source = stream.clone();
    loop {
        for side in find::side_streams(view, source.id, label)? {
            if label.is_none() && label_of(&side.name, source.id).is_some_and(|of| of.starts_with(ENGINES_LABELS)) {
                continue;
            }
            let found = find::newest(view, &source, &side, wanted, ignored)?;
            let reaches = |snapshot: &Snapshot| (snapshot.range.end, snapshot.position);
            if let Some(found) = found {
                let is_better = best.as_ref().is_none_or(|best| match best.source == found.source {
                    true => reaches(&found) > reaches(best),
                    false => found.range.end > best.range.end,
                });
                best = if is_better { Some(found) } else { best };
            }
        }
        if source.first.0 == 0 {
            return Ok(best);
        }
        // A fork has the snapshots of its parent that lie before it leaves it.
        let link = match view.finder.forks.of(source.id) {
            Ok(Some(link)) => link,
            Ok(None) => return Ok(best),
            Err(error) if error.damage().is_some() => return Ok(best),
            Err(error) => return Err(error),
        };
        wanted.end = wanted.end.min(Revision(link.revision.0 + 1));
        if best.as_ref().is_some_and(|best| best.range.end >= wanted.end) {
            return Ok(best);
        }
        let Some(parent) = view.finder.streams.of_id(link.parent, Stream::clone)? else { return Ok(best) };
        source = parent;
    }
}

/// The newest snapshot of a stream, or of its ancestors before it leaves them, with this label and version, of those that
/// are visible and lie before a place.
pub(crate) fn newest_of(
    view: &View,
    name: &str,
    (label, version): (&str, &str),
    (visibility, before): (Visibility, Position),
    ignored: &mut Vec<Ignored>,
) -> Result<Option<Snapshot>> {
    let Some(stream) = view.stream(name)? else { return Ok(None) };
    let visible = view.visible(visibility);
    let Some(head) = StreamReader::head(&view.finder, name, visible)? else { return Ok(None) };
    let end = Revision(head.0 + 1);
    let wanted = Wanted { end, before: before.min(visible), version: Some(version), is_proven: false };
    furthest(view, &stream, Some(label), wanted, ignored)
}

/// Where an event of the stream lies; where it is lost, where that begins.
fn place_of(view: &View, stream: &Stream, revision: Revision) -> Result<Position> {
    let owner = view
        .finder
        .forks
        .owner_of(stream.id, revision)
        .and_then(|owner| view.finder.streams.of_id(owner, Stream::clone));
    let placed = owner.and_then(|owner| match owner {
        Some(owner) => view.finder.frame_holding(&owner, revision),
        None => Ok(Position::MAX),
    });
    placed.or_else(|error| match error.damage() {
        Some(damage) => Ok(damage.positions.start),
        None => Err(error),
    })
}

/// Reads the events of a context.
#[derive(Debug)]
pub struct ContextReader<'c> {
    context: &'c Context,
    /// The part that comes next.
    next: usize,
    reader: Option<StreamReader>,
}

impl ContextReader<'_> {
    /// The next event; `None` behind the last. Events of a snapshot have its stream as theirs.
    ///
    /// # Errors
    /// As [`StreamReader::next`].
    #[allow(clippy::should_implement_trait)]
    pub fn next(&mut self) -> Option<Result<EventRef<'_>>> {
        loop {
            match self.reader.as_mut().and_then(StreamReader::step) {
                Some(Ok(())) => break,
                Some(Err(error)) => return Some(Err(error)),
                None => {
                    if let Err(error) = self.next_part()? {
                        return Some(Err(error));
                    }
                }
            }
        }
        self.reader.as_ref().map(|reader| Ok(reader.event()))
    }

    /// The part of the context to which the event belongs that was handed out last.
    #[must_use]
    pub fn part(&self) -> Option<&ContextPart> {
        self.context.parts.get(self.next.checked_sub(1)?)
    }

    fn next_part(&mut self) -> Option<Result<()>> {
        let part = self.context.parts.get(self.next)?;
        self.next += 1;
        let (stream, first, last) = match part {
            ContextPart::Events(first, last) => (&self.context.stream, *first, *last),
            ContextPart::Snapshot(snapshot) => {
                (&snapshot.stream, snapshot.events.start, Revision(snapshot.events.end.0 - 1))
            }
        };
        let options = ReadOptions::new().from(first).to(last);
        match StreamReader::new(&self.context.finder, stream, self.context.visible, options) {
            Ok(reader) => {
                self.reader = reader;
                Some(Ok(()))
            }
            Err(error) => Some(Err(error)),
        }
    }
}
