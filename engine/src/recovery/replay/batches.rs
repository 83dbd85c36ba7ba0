//! Batch frames: what they add to the streams, to the window of retries, and to the index.

use std::sync::Arc;

use super::{Lost, Replay};
use crate::commit::index_state::Noted;
use crate::format::Fault;
use crate::format::batch::{Origin, Sections};
use crate::format::frame::Frame;
use crate::format::item::Item;
use crate::format::wire::text;
use crate::ids::{Position, Revision, StreamId};
use crate::index::streams::Placed;
use crate::planted::{Plant, planted};

impl Replay {
    /// Takes in the sections and items of a batch of the log.
    pub(super) fn take_batch(&mut self, frame: &Frame<'_>, is_behind_damage: bool) -> Result<(), Fault> {
        // Who reads for what is derived alone writes no index block.
        let is_noted = self.gather.is_none();
        let mut streams = self.streams.write();
        let mut noted = Vec::new();
        let mut sections = Sections::new(*frame)?;
        while let Some(section) = sections.next()? {
            // Behind damage it must be known what it continues; else the section says it.
            if is_behind_damage && streams.by_id(section.stream).is_none() && streams.has_others() {
                drop(streams);
                self.load(section.stream)?;
                streams = self.streams.write();
            }
            if let Some(gather) = &mut self.gather {
                gather.begin_section(&section);
            }
            let previous = match (is_noted.then(|| streams.by_id(section.stream)).flatten(), section.origin()) {
                (Some(stream), _) => Some(stream.last_place),
                (None, Origin::Continues { previous, .. }) => Some(previous),
                (None, Origin::Creates { .. }) => None,
            };
            let name = match section.origin() {
                Origin::Creates { name } => Some(text(name, "the name of a stream")?),
                Origin::Continues { .. } => None,
            };
            let placed = Placed {
                stream: section.stream,
                first_revision: section.first_revision,
                count: section.count,
                frame: frame.position,
                first_position: section.position(0),
            };
            let mut entries = section.entries_from(0)?;
            while let Some(entry) = entries.next()? {
                let recorded_at = entry.recorded_at.unwrap_or(frame.recorded_at());
                self.max_recorded_at = self.max_recorded_at.max(recorded_at);
                if let Some(gather) = &mut self.gather {
                    gather.take_entry(&entry);
                }
            }
            sections.walked_to(entries.at());
            if let Some(coding) = section.coding {
                self.coded.0 += coding.raw_len;
                self.coded.1 += section.stored_body().len() as u64;
            }
            let is_placed =
                if is_behind_damage { streams.place_behind_gap(name, placed) } else { streams.place(name, placed) };
            if !is_placed && !is_behind_damage {
                return Err(Fault::bad(format!("a section of stream {} does not continue it", section.stream)));
            }
            if !is_noted {
                continue;
            }
            // The block says the parent of a fork beside its name: both are looked up when it is written.
            let known = streams.by_id(section.stream).filter(|stream| stream.first.0 == 0);
            let name = known.map(|stream| Arc::clone(&stream.name));
            if is_placed {
                noted.push((section.stream, name, previous, section.first_revision, section.count));
            }
        }
        let (mut items, count) = sections.items()?;
        let mut forks = Vec::new();
        for number in 0..u64::from(count) {
            let position = Position(frame.position.0 + u64::from(frame.events()) + number);
            match Item::decode(&mut items, frame.position, position)? {
                Item::Fork { name, parent, revision, .. } => {
                    let stream = StreamId(position.0);
                    let head = if planted(Plant::ForkHeadRestarts) { Revision(0) } else { revision };
                    let is_placed = streams.place_fork(name, stream, head, frame.position);
                    forks.push((stream, name, (parent, revision)));
                    if !is_placed && !is_behind_damage {
                        return Err(Fault::bad(format!("a fork makes the stream {name:?}, which exists")));
                    }
                }
                Item::Accept(accept) => {
                    let (ranges, heads) = accept.decode()?;
                    for (stream, head) in heads {
                        if let Some(head) = head {
                            drop(streams);
                            self.load(stream)?;
                            streams = self.streams.write();
                            streams.accept_head(stream, head, position);
                        }
                    }
                    self.set.accept(&ranges);
                    let is_in = |lost: &Lost| ranges.iter().any(|range| range.holds(&lost.positions));
                    self.lost.retain(|lost| !is_in(lost));
                }
                Item::Claim { .. } if planted(Plant::ClaimNotNoted) => {}
                Item::Claim { stream, .. } => streams.note_claim(stream, position),
                Item::Snapshot { .. } | Item::Cursor { .. } | Item::Fence { .. } | Item::Unknown { .. } => {}
            }
        }
        if !is_noted {
            return Ok(());
        }
        let noted = noted.iter().map(|(stream, name, previous, first_revision, count)| Noted {
            stream: *stream,
            name: name.as_deref(),
            parent: None,
            previous: *previous,
            first_revision: *first_revision,
            count: *count,
        });
        self.index.note_batch(frame.frame_len(), noted);
        for (stream, name, parent) in forks {
            self.index.note_fork(stream, name, parent);
        }
        Ok(())
    }

    /// Sees to it that a stream is in memory, if there is one. Where it cannot be looked up, the error stays behind.
    fn load(&mut self, stream: StreamId) -> Result<(), Fault> {
        match self.streams.load_id(stream) {
            Ok(_) => Ok(()),
            Err(error) => {
                self.failed = Some(error);
                Err(Fault::bad("a stream cannot be looked up"))
            }
        }
    }
}
