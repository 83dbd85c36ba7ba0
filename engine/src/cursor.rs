//! Cursors: named durable places of consumers, kept in the log.
//!
//! A consumer that keeps its results in the log moves its cursor in the batch that holds them ([`Batch::cursor`]): both are there
//! or neither is, so every event counts once. One that works elsewhere holds a [`Cursor`], which writes its place now and then:
//! what it had dealt with since comes again after a crash, so every event counts at least once. How often it writes is bounded by
//! time, not by the number of events, so that acknowledging does not fill the log.
//!
//! A place is expected to be the one that was there before. So two consumers that take each other for dead do not both go on:
//! the second one is told ([`Conflict`](ErrorKind::Conflict)).

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::append::{Batch, Expected};
use crate::commit::cursor::{check_cursor_name, stream_of};
use crate::error::DamageClass;
use crate::format::Fault;
use crate::format::batch::Sections;
use crate::format::frame::Frame;
use crate::format::item::Item;
use crate::format::token::Token;
use crate::ids::{Position, Revision};
use crate::index::find::section_of;
use crate::index::streams::Stream;
use crate::limits::{CURSOR_PREFIX, RESERVED_NAME_PREFIX};
use crate::options::Durability;
use crate::store::Store;
use crate::sync::now;
use crate::{Error, Result};

/// A cursor writes its place at most so often unless told otherwise.
const INTERVAL: Duration = Duration::from_secs(1);

/// Where a cursor stands.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CursorPlace {
    /// Its name.
    pub name: Arc<str>,
    /// The place behind the event that was dealt with last.
    pub token: Token,
    /// How often its place was written before: what the next one expects.
    pub revision: Revision,
    /// When it was written, in nanoseconds since 1970 UTC.
    pub written_at: i64,
    /// How many events are in the log behind its place, those that it may not care for included. What the engine keeps in streams
    /// of its own (snapshots, the places of cursors) does not count: who has read the whole log is 0 behind. Only where
    /// damage hides where such an event lies it may count.
    pub lag_events: u64,
}

/// A consumer's place in the log, written now and then.
///
/// Dropping it writes the place once more, Written, and tells nobody of an error; [`save`](Self::save) does.
#[derive(Debug)]
pub struct Cursor<'s> {
    store: &'s Store,
    name: Arc<str>,
    token: Option<Token>,
    /// The revision of the place that was written last.
    written: Option<Revision>,
    is_dirty: bool,
    written_at: Option<Instant>,
    interval: Duration,
}

impl Cursor<'_> {
    /// The place behind the event that was dealt with last; `None` before the first. Readers and subscriptions begin there, with
    /// `after_token`.
    #[must_use]
    pub fn token(&self) -> Option<Token> {
        self.token
    }

    /// Writes at most so often, unless asked to. Default: a second.
    #[must_use]
    pub fn interval(mut self, interval: Duration) -> Self {
        self.interval = interval;
        self
    }

    /// What lies up to this place was dealt with. It is written where the last time is long enough ago, Written: what a loss of
    /// power takes of it comes again.
    ///
    /// # Errors
    /// As [`save`](Self::save).
    pub fn advance(&mut self, token: &Token) -> Result<()> {
        self.token = Some(*token);
        self.is_dirty = true;
        let is_due = self.written_at.is_none_or(|at| now().saturating_duration_since(at) >= self.interval);
        if is_due { self.write(Durability::Written) } else { Ok(()) }
    }

    /// Writes the place now, Synced, if it moved since it was written last.
    ///
    /// # Errors
    /// [`Conflict`](crate::ErrorKind::Conflict): somebody else has moved the cursor since; it is to be opened again.
    /// [`ForeignToken`](crate::ErrorKind::ForeignToken): the place is one of another store. Else as
    /// [`Store::append`](crate::Store::append).
    pub fn save(&mut self) -> Result<()> {
        if self.is_dirty { self.write(Durability::Synced) } else { self.store.sync().map(|_| ()) }
    }

    fn write(&mut self, level: Durability) -> Result<()> {
        let Some(token) = self.token else { return Ok(()) };
        let expected = self.written.map_or(Expected::NoStream, Expected::Exactly);
        let _ = self.store.append(&Batch::new().cursor(&self.name, &token, expected).durability(level))?;
        self.written = Some(self.written.map_or(Revision(0), |written| Revision(written.0 + 1)));
        self.is_dirty = false;
        self.written_at = Some(now());
        Ok(())
    }
}

impl Drop for Cursor<'_> {
    fn drop(&mut self) {
        if self.is_dirty {
            let _ = self.write(Durability::Written); // `save` is there for who wants to know
        }
    }
}

impl Store {
    /// Opens a cursor where it stands; a new one where there is none of this name yet, which is in the log once it was moved.
    ///
    /// # Errors
    /// [`Invalid`](crate::ErrorKind::Invalid), [`Limit`](crate::ErrorKind::Limit) for the name;
    /// [`Damage`](crate::ErrorKind::Damage) where its newest place is lost: move it to a place of your choice
    /// ([`Batch::cursor`]).
    pub fn cursor(&self, name: &str) -> Result<Cursor<'_>> {
        let place = self.newest_place(name)?;
        Ok(Cursor {
            store: self,
            name: name.into(),
            token: place.as_ref().map(|place| place.token),
            written: place.map(|place| place.revision),
            is_dirty: false,
            written_at: None,
            interval: INTERVAL,
        })
    }

    /// Where a cursor stands; `None` where there is none of this name.
    ///
    /// Its lag is counted without reading the log, but all streams of the engine's own are looked at for it: one for each cursor,
    /// and one for each source and label of snapshots. In each that was written to since the cursor was, the place of the cursor is
    /// found by halving, which reads as many events as the binary digits of its length. Who goes on from a cursor and wants no lag
    /// asks for [`cursor`](Store::cursor), which looks at one stream.
    ///
    /// # Errors
    /// As [`cursor`](Store::cursor).
    pub fn cursor_place(&self, name: &str) -> Result<Option<CursorPlace>> {
        let Some(place) = self.newest_place(name)? else { return Ok(None) };
        self.with_lag(name.into(), &place, &self.engine_streams()?).map(Some)
    }

    /// All cursors, in the order of their making. Those whose places are lost are errors.
    ///
    /// Costs for each of them what [`cursor_place`](Store::cursor_place) does: with many cursors the square of their number.
    ///
    /// # Errors
    /// As [`stream`](Store::stream).
    pub fn cursors(&self) -> Result<Vec<(Arc<str>, Result<CursorPlace>)>> {
        let streams = self.streams_with_prefix(CURSOR_PREFIX)?;
        let engines = self.engine_streams()?;
        let place = |name: &str| match self.newest_place(name) {
            Ok(place) => place.map(|place| self.with_lag(name.into(), &place, &engines)),
            Err(error) => Some(Err(error)),
        };
        let names = streams.iter().filter_map(|stream| stream.name.strip_prefix(CURSOR_PREFIX));
        Ok(names.filter_map(|name| Some((name.into(), place(name)?))).collect())
    }

    /// The place of a cursor that was written last.
    fn newest_place(&self, name: &str) -> Result<Option<Written>> {
        check_cursor_name(name)?;
        self.view().refresh()?;
        let stream = stream_of(name);
        let view = self.view();
        let Some(stream) = view.stream(&stream)? else { return Ok(None) };
        let place = view.finder.frame_holding(&stream, stream.last_event)?;
        let segment = view.set.holding(place)?;
        let lost = |fault: &Fault| {
            let detail = format!("the place of the cursor {name:?}: {fault}");
            Error::from_damage(segment.damage(place, place, DamageClass::Damage, detail))
        };
        let frame = segment.frame(place, segment.file_end()).map_err(|fault| lost(&fault))?;
        let token = token_in(&frame, name).map_err(|fault| lost(&fault))?;
        let token = token.ok_or_else(|| lost(&Fault::bad("its frame does not say it")))?;
        Ok(Some(Written { token, revision: stream.last_event, at: frame.recorded_at() }))
    }

    /// `engines` are the streams of the engine, looked at before: what was appended since counts rather than is left out.
    fn with_lag(&self, name: Arc<str>, place: &Written, engines: &[Stream]) -> Result<CursorPlace> {
        let token = place.token;
        let events = self.stat_events()?;
        let behind = events.saturating_sub(if token.is_origin() { 0 } else { token.number + 1 });
        let mut of_engine = 0;
        for stream in engines {
            of_engine += self.events_behind(stream, &token)?;
        }
        Ok(CursorPlace {
            name,
            token,
            revision: place.revision,
            written_at: place.at,
            lag_events: behind.saturating_sub(of_engine),
        })
    }

    fn engine_streams(&self) -> Result<Vec<Stream>> {
        let mut streams = Vec::new();
        self.view()
            .streams
            .with_prefix(RESERVED_NAME_PREFIX.encode_utf8(&mut [0; 4]), |stream| streams.push(stream.clone()))?;
        Ok(streams)
    }

    /// How many events of a stream lie behind a token, found by halving: a consumer that stood still for long has many moves of
    /// others behind it.
    fn events_behind(&self, stream: &Stream, token: &Token) -> Result<u64> {
        let (mut low, end) = (stream.first.0, stream.last_event.0.saturating_add(1));
        let mut high = end;
        if stream.head_position <= token.position() {
            return Ok(0);
        }
        while low < high {
            let middle = low + (high - low) / 2;
            match self.position_of(stream, Revision(middle)) {
                Ok(position) if position > token.position() => high = middle,
                Err(error) if error.damage().is_none() => return Err(error),
                _ => low = middle + 1,
            }
        }
        Ok(end - low)
    }

    fn position_of(&self, stream: &Stream, revision: Revision) -> Result<Position> {
        let view = self.view();
        let place = view.finder.frame_holding(stream, revision)?;
        let segment = view.set.holding(place)?;
        let section = segment.frame(place, segment.file_end()).and_then(|frame| section_of(frame, stream.id));
        let lost = |fault| Error::from_damage(segment.damage(place, place, DamageClass::Damage, fault));
        let section = section.map_err(|fault| lost(fault.to_string()))?;
        let section = section.ok_or_else(|| lost(format!("its frame has no section of {:?}", stream.name)))?;
        Ok(Position(place.0 + u64::from(section.first_ordinal) + (revision.0 - section.first_revision.0)))
    }
}

/// A place as it was written.
struct Written {
    token: Token,
    revision: Revision,
    at: i64,
}

/// The place of a cursor that a frame says.
fn token_in(frame: &Frame<'_>, name: &str) -> std::result::Result<Option<Token>, Fault> {
    let (mut items, count) = Sections::new(*frame)?.items()?;
    let mut found = None;
    for number in 0..u64::from(count) {
        let position = Position(frame.position.0 + u64::from(frame.events()) + number);
        match Item::decode(&mut items, frame.position, position)? {
            Item::Cursor { name: of, token } if of == name => found = Some(token),
            _ => {}
        }
    }
    Ok(found)
}
