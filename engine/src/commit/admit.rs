//! Admission: what a batch expects of its streams, and whether it was appended before.

use crate::append::encode::{Continued, Existing};
use crate::append::{Batch, BatchSection, Expected, FrameProof, Receipt, SectionReceipt, SectionReceipts};
use crate::commit::tail::Tail;
use crate::commit::writer::Writer;
use crate::error::Conflict;
use crate::format::Fault;
use crate::format::batch::Sections;
use crate::format::frame::Frame;
use crate::ids::{Epoch, Position, Revision};
use crate::index::streams::{Stream, StreamTable};
use crate::options::Durability;
use crate::planted::{Plant, planted};
use crate::{Error, Result};

impl Writer {
    /// Admits a batch, under the tail's lock: `true` where it may be appended, with the streams that it continues in
    /// `existing`; `false` where it is in the log already, with what its first receipt said in `receipt`.
    pub(crate) fn admit(
        &self,
        tail: &Tail,
        batch: &Batch<'_>,
        existing: &mut Continued,
        receipt: &mut Receipt,
    ) -> Result<bool> {
        if batch.is_id_given
            && let Some(first) = batch.sections.first()
            && !planted(Plant::RetryForgotten)
        {
            let frame = match tail.retries.frame_of(batch.id) {
                None => self.streams.retry_of(batch.id, tail.retries.len())?,
                known => known,
            };
            if let Some(frame) = frame {
                for section in batch.sections.iter() {
                    self.streams.load(section.stream)?;
                }
                *receipt = self.repeated(&self.streams.read(), batch, frame, first)?;
                return Ok(false);
            }
        }
        let mut streams = self.streams.read();
        for section in batch.sections.iter() {
            let mut stream = streams.by_name(section.stream);
            if stream.is_none() && streams.has_others() {
                drop(streams);
                self.streams.load(section.stream)?;
                streams = self.streams.read();
                stream = streams.by_name(section.stream);
            }
            let unknown_until = self.doubts.unknown_until.max(self.streams.unknown_until());
            if stream.map_or(Position::ZERO, |stream| stream.head_position) < unknown_until {
                return Err(head_unknown(section.stream));
            }
            let head = stream.map(|stream| stream.head);
            // The revision that the batch would own here, had an earlier try of it been appended.
            let (is_met, owned) = match section.expected {
                Expected::Any => (true, None),
                Expected::Exists => (head.is_some(), None),
                Expected::NoStream => (head.is_none(), Some(Revision(0))),
                Expected::Exactly(revision) => (head == Some(revision), revision.next()),
            };
            if !is_met && !planted(Plant::ExpectationsIgnored) {
                // A revision that was accepted as lost belongs to no batch that could be recognised, nor does one that a fork
                // shares with its parent: what owns that was appended there.
                let is_own = |stream: &Stream, owned| (stream.first..=stream.last_event).contains(&owned);
                if let (Some(stream), Some(owned)) =
                    (stream, owned.filter(|owned| stream.is_some_and(|stream| is_own(stream, *owned))))
                {
                    let frame = self.finder.frame_holding(stream, owned)?;
                    *receipt = self.repeated(&streams, batch, frame, section)?;
                    return Ok(false);
                }
                return Err(conflict(section, stream));
            }
            existing.push(stream.map(|stream| Existing {
                stream: stream.id,
                slot: stream.slot,
                first: stream.first,
                head: stream.head,
                last_place: stream.last_place,
            }));
        }
        Ok(true)
    }

    /// What the receipt of the first try said, where the frame holds this very batch; else the conflict on `section`.
    fn repeated(
        &self,
        streams: &StreamTable,
        batch: &Batch<'_>,
        position: Position,
        section: &BatchSection<'_>,
    ) -> Result<Receipt> {
        let segment = self.set.holding(position)?;
        let frame = segment.frame(position, segment.file_end()).map_err(|fault| {
            Error::from_damage(segment.damage(position, position, crate::DamageClass::Damage, fault.to_string()))
        })?;
        let is_same_id = frame.batch() == batch.id;
        let same = if is_same_id {
            self.same_content(streams, &frame, batch).map_err(|fault| damaged(&segment, &frame, &fault))?
        } else {
            None
        };
        let Some(sections) = same else {
            let stream = streams.by_name(section.stream);
            if !is_same_id {
                return Err(conflict(section, stream));
            }
            return Err(conflict_with(
                section.stream,
                stream,
                format!("the batch id {} was used before for other events; give each batch an id of its own", batch.id),
            ));
        };
        let is_durable = self.marks.get().durable >= frame.end();
        Ok(Receipt {
            batch: batch.id,
            epoch: Epoch { segment: segment.ordinal(), takeover: frame.takeover() },
            incarnation: segment.head.open.incarnation,
            position,
            end: frame.end(),
            level: if is_durable { Durability::Synced } else { Durability::Written },
            is_repeated: true,
            sections,
            proof: FrameProof {
                store: self.set.store.store,
                first_number: frame.first_number(),
                check: frame.frame_check(),
            },
        })
    }

    /// The sections of the frame as receipts, where they hold what the batch holds.
    fn same_content(
        &self,
        streams: &StreamTable,
        frame: &Frame<'_>,
        batch: &Batch<'_>,
    ) -> Result<Option<SectionReceipts>, Fault> {
        let seeds = self.set.holding(frame.position).map_err(|error| Fault::bad(error.to_string()))?.seeds;
        let mut receipts = SectionReceipts::default();
        let mut sections = Sections::new(*frame)?;
        for given in batch.sections.iter() {
            let Some(section) = sections.next()? else { return Ok(None) };
            let Some(stream) = streams.by_id(section.stream) else { return Ok(None) };
            if *stream.name != *given.stream || section.count as usize != given.events.len() {
                return Ok(None);
            }
            let body = section.raw_body(seeds)?;
            let mut entries = section.entries_from(0)?;
            for event in given.events {
                let Some(entry) = entries.next()? else { return Ok(None) };
                let (metadata, payload) = entry.body(&section, seeds, &body)?;
                let same = metadata == event.metadata
                    && payload == event.payload
                    && section.type_name(entry.type_index)? == event.event_type.as_bytes()
                    && entry.id == event.id.map(str::as_bytes)
                    && entry.occurred_at == event.occurred_at
                    && entry.recorded_at == event.recorded_at;
                if !same {
                    return Ok(None);
                }
            }
            receipts.push(|| SectionReceipt {
                stream: stream.name.clone(),
                first_revision: section.first_revision,
                last_revision: section.last_revision(),
                first_position: section.position(0),
            });
        }
        Ok(sections.next()?.is_none().then_some(receipts))
    }
}

fn damaged(segment: &crate::segment::one::Segment, frame: &Frame<'_>, fault: &Fault) -> Error {
    match segment.check_readable() {
        Ok(()) => {
            let detail = fault.to_string();
            Error::from_damage(segment.damage(frame.position, frame.end(), crate::DamageClass::Damage, detail))
        }
        Err(unreadable) => unreadable,
    }
}

/// Damage may hide later events of the stream, or the stream itself: nothing is given twice.
pub(crate) fn head_unknown(name: &str) -> Error {
    let message = format!(
        "damage hides where the stream {name:?} ends, so nothing can be appended to it; reading works. `verify` names the \
         damage; `accept` (--dry-run first) takes it as lost, and appending goes on"
    );
    Error::new(crate::ErrorKind::HeadUnknown, message)
}

fn conflict(section: &BatchSection<'_>, stream: Option<&Stream>) -> Error {
    let name = section.stream;
    let expected = match section.expected {
        Expected::Any => "anything".into(),
        Expected::NoStream => "no stream".into(),
        Expected::Exists => "a stream that exists".into(),
        Expected::Exactly(revision) => format!("revision {revision}"),
    };
    let actual = match stream {
        Some(stream) => format!("its head is revision {}", stream.head),
        None => "there is no such stream".into(),
    };
    conflict_with(
        name,
        stream,
        format!("the append to {name:?} expected {expected}, but {actual}; read what is new and decide again"),
    )
}

fn conflict_with(name: &str, stream: Option<&Stream>, message: String) -> Error {
    let position = stream.map_or(Position::ZERO, |stream| Position(stream.head_position.0 + 1));
    Error::from_conflict(Conflict { stream: name.into(), actual: stream.map(|stream| stream.head), position }, message)
}
