//! Finding snapshots: the newest of a stream that is of use, from the end of those with its label.

use std::sync::Arc;

use crate::follow::view::View;
use crate::format::Fault;
use crate::format::batch::Sections;
use crate::format::frame::Frame;
use crate::format::item::Item;
use crate::ids::{Position, Revision, StreamId};
use crate::index::find::{Finder, damage_at, section_of};
use crate::index::streams::Stream;
use crate::lineage::{ChainValue, StreamReader};
use crate::read::ReadOptions;
use crate::snapshot::{Ignored, Snapshot, label_of, side_stream};
use crate::{DamageClass, Error, ErrorKind, Result};

/// What a snapshot must be to be used.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted<'a> {
    /// It stands for revisions below this one.
    pub(super) end: Revision,
    /// It lies before this place.
    pub(super) before: Position,
    /// It is of this version, where one is given; others are passed over in silence.
    pub(super) version: Option<&'a str>,
    /// Its chain is folded and compared.
    pub(super) is_proven: bool,
}

/// The streams that hold snapshots of a stream: that with the label, or those with any.
pub(super) fn side_streams(view: &View, source: StreamId, label: Option<&str>) -> Result<Vec<Stream>> {
    if let Some(label) = label {
        return Ok(view.stream(&side_stream(source, label))?.into_iter().collect());
    }
    let mut all = Vec::new();
    view.streams.with_prefix(&side_stream(source, ""), |side| all.push(side.clone()))?;
    all.sort_unstable_by_key(|side| side.id);
    // They are read by their places in the table.
    for side in &mut all {
        if let Some(loaded) = view.stream(&side.name)? {
            *side = loaded;
        }
    }
    Ok(all)
}

/// The newest snapshot in a side stream that is as wanted. Those that are passed over though they would count are told.
pub(super) fn newest(
    view: &View,
    source: &Stream,
    side: &Stream,
    wanted: Wanted<'_>,
    ignored: &mut Vec<Ignored>,
) -> Result<Option<Snapshot>> {
    let mut found = None;
    each(view, source.id, side, |step| {
        match step {
            Err(error) => ignored.push(Ignored { stream: Arc::clone(&side.name), snapshot: None, why: error }),
            Ok(snapshot) if snapshot.position >= wanted.before || snapshot.range.end > wanted.end => {}
            Ok(snapshot) if wanted.version.is_some_and(|version| *snapshot.version != *version) => {}
            Ok(snapshot) => match check(view, source, &snapshot, wanted.is_proven)? {
                None => {
                    found = Some(snapshot);
                    return Ok(false);
                }
                Some(why) => {
                    ignored.push(Ignored { stream: Arc::clone(&side.name), snapshot: Some(snapshot), why });
                }
            },
        }
        Ok(true)
    })?;
    Ok(found)
}

/// All snapshots of a stream, the oldest of each label first; those that are lost are errors.
pub(crate) fn of_stream(view: &View, name: &str) -> Result<Vec<std::result::Result<Snapshot, Ignored>>> {
    let source = view.stream(name)?.ok_or_else(|| Error::no_stream(name))?;
    let mut all = Vec::new();
    for side in side_streams(view, source.id, None)? {
        let begun = all.len();
        each(view, source.id, &side, |step| {
            let lost = |why| Ignored { stream: Arc::clone(&side.name), snapshot: None, why };
            all.push(step.map_err(lost));
            Ok(true)
        })?;
        all[begun..].reverse();
    }
    Ok(all)
}

/// The snapshot that an event belongs to; `None` where it is an event of no snapshot.
pub(crate) fn of_event(view: &View, stream: &str, revision: Revision) -> Result<Option<Snapshot>> {
    let Some(source) = stream.strip_prefix(crate::limits::SNAPSHOT_PREFIX) else { return Ok(None) };
    let source = source.get(..16).and_then(|digits| u64::from_str_radix(digits, 16).ok());
    let (Some(source), Some(side)) = (source, view.stream(stream)?) else { return Ok(None) };
    if revision > side.last_event {
        return Ok(None);
    }
    let place = view.finder.frame_holding(&side, revision)?;
    let (snapshot, _) = read(view, StreamId(source), &side, place)?;
    Ok(Some(snapshot))
}

/// A value of the source's chain that covers at most `count` events, as a snapshot says it.
pub(super) fn newest_value(view: &View, source: &Stream, count: u64) -> Result<Option<ChainValue>> {
    let mut newest: Option<ChainValue> = None;
    for side in side_streams(view, source.id, None)? {
        let mut left = 8;
        each(view, source.id, &side, |step| {
            left -= 1;
            if let Ok(snapshot) = step
                && snapshot.range.end.0 <= count
                && check_place(view, &snapshot)?.is_none()
            {
                newest = newest.max(Some((snapshot.range.end.0, snapshot.chain[1])));
                return Ok(false);
            }
            Ok(left > 0)
        })?;
    }
    Ok(newest)
}

/// Hands out the snapshots of a side stream, the newest first, until told that it is enough.
fn each(
    view: &View,
    source: StreamId,
    side: &Stream,
    mut take: impl FnMut(Result<Snapshot>) -> Result<bool>,
) -> Result<()> {
    let mut revision = side.last_event;
    let mut told = None;
    loop {
        let found = view.finder.frame_holding(side, revision).and_then(|place| read(view, source, side, place));
        let first = match found {
            Ok((snapshot, first)) => {
                if !take(Ok(snapshot))? {
                    return Ok(());
                }
                first
            }
            Err(error) => {
                let Some(damage) = error.damage() else { return Err(error) };
                let positions = damage.positions.clone();
                // What is lost together is told once.
                if told.replace(positions.clone()) != Some(positions) && !take(Err(error))? {
                    return Ok(());
                }
                revision
            }
        };
        match first.0.checked_sub(1) {
            Some(before) => revision = Revision(before),
            None => return Ok(()),
        }
    }
}

/// The snapshot whose events stand in a frame, and the first of their revisions.
fn read(view: &View, source: StreamId, side: &Stream, place: Position) -> Result<(Snapshot, Revision)> {
    let segment = view.set.holding(place)?;
    let lost = |fault: &Fault| {
        Error::from_damage(segment.damage(place, place, DamageClass::Damage, format!("a snapshot's frame: {fault}")))
    };
    let frame = segment.frame(place, segment.file_end()).map_err(|fault| lost(&fault))?;
    let parsed = parse(&frame, source, side).map_err(|fault| lost(&fault))?;
    parsed.ok_or_else(|| lost(&Fault::bad("no item says what its events stand for")))
}

fn parse(frame: &Frame<'_>, source: StreamId, side: &Stream) -> Result<Option<(Snapshot, Revision)>, Fault> {
    let mut sections = Sections::new(*frame)?;
    let (mut index, mut events) = (0, None);
    while let Some(section) = sections.next()? {
        if section.stream == side.id {
            events = Some((index, section.first_revision, Revision(section.last_revision().0 + 1)));
        }
        index += 1;
    }
    let Some((index, first_event, events_end)) = events else { return Ok(None) };
    let (mut items, count) = sections.items()?;
    for number in 0..u64::from(count) {
        let position = Position(frame.position.0 + u64::from(frame.events()) + number);
        if let Item::Snapshot { section, source: of, first, end, place, chain_before, chain_end, label, version } =
            Item::decode(&mut items, frame.position, position)?
            && section == index
        {
            if of != source || label_of(&side.name, of) != Some(label) {
                return Err(Fault::bad("the item of a snapshot names another source or label than its stream"));
            }
            let snapshot = Snapshot {
                source: of,
                range: first..end,
                label: label.into(),
                version: version.into(),
                stream: Arc::clone(&side.name),
                events: first_event..events_end,
                position: frame.position,
                chain: [chain_before, chain_end],
                place,
            };
            return Ok(Some((snapshot, first_event)));
        }
    }
    Ok(None)
}

/// Why a snapshot is of no use; `None` where it is.
fn check(view: &View, source: &Stream, snapshot: &Snapshot, is_proven: bool) -> Result<Option<Error>> {
    if let Some(why) = check_place(view, snapshot)? {
        return Ok(Some(why));
    }
    if is_proven {
        for (count, said) in [snapshot.range.start, snapshot.range.end].into_iter().zip(snapshot.chain) {
            match view.chains.behind(&view.finder, (source.id, &source.name), count.0, None) {
                Ok(chain) if chain == said => {}
                Ok(_) => return Ok(Some(mismatch(snapshot, "its chain is not that of the range"))),
                Err(error) if error.damage().is_some() => return Ok(Some(error)),
                Err(error) => return Err(error),
            }
        }
    }
    let last = Revision(snapshot.events.end.0 - 1);
    let options = ReadOptions::new().from(snapshot.events.start).to(last);
    let Some(mut reader) = StreamReader::new(&view.finder, &snapshot.stream, Position::MAX, options)? else {
        return Ok(None);
    };
    while let Some(event) = reader.next() {
        match event {
            Ok(_) => {}
            Err(error) if error.damage().is_some() => return Ok(Some(error)),
            Err(error) => return Err(error),
        }
    }
    Ok(None)
}

/// Why the frame that a snapshot names is not the one that holds the last event of its range; `None` where it is.
fn check_place(view: &View, snapshot: &Snapshot) -> Result<Option<Error>> {
    let holds = holds_last(&view.finder, snapshot.source, snapshot.range.end, snapshot.place)?;
    Ok((!holds).then(|| mismatch(snapshot, NOT_THERE)))
}

/// What is wrong with a snapshot where [`holds_last`] says no.
pub(crate) const NOT_THERE: &str = "the frame that it names does not hold the last event of the range";

/// Whether the frame at `place` really holds the last event before `end` of the source. Where that is lost nothing speaks against
/// the snapshot, which may be all that is left.
///
/// # Errors
/// As reading the log, where that is not damage.
pub(crate) fn holds_last(finder: &Finder, source: StreamId, end: Revision, place: Position) -> Result<bool> {
    let last = Revision(end.0 - 1);
    let owner = match finder.forks.owner_of(source, last) {
        Ok(owner) => owner,
        Err(error) if error.damage().is_some() => return Ok(true),
        Err(error) => return Err(error),
    };
    let Ok(segment) = finder.set.holding(place) else { return Ok(true) };
    let frame = segment.frame(place, segment.file_end()).ok();
    if frame.is_none() && damage_at(&finder.set, place).is_some() {
        return Ok(true);
    }
    let section = frame.and_then(|frame| section_of(frame, owner).ok().flatten());
    Ok(section.is_some_and(|section| (section.first_revision..=section.last_revision()).contains(&last)))
}

fn mismatch(snapshot: &Snapshot, why: &str) -> Error {
    let Snapshot { label, range, position, .. } = snapshot;
    let message = format!(
        "the snapshot {label:?} of revisions {}..{} at position {position} does not stand for what is there: {why}; it is \
         ignored, and the events themselves are read. Make it again",
        range.start, range.end
    );
    Error::new(ErrorKind::Invalid, message)
}
