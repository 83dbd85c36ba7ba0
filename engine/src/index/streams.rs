//! The streams in memory: name to identity, head and places.
//!
//! For each stream: where its last section lies, and every so many sections a place to start from; the sections between are
//! reached by the link that each section has to the one before. The places of a stream that was loaded from the directory
//! begin with the first section that came since; those in segments that have an index are forgotten. So memory grows with
//! the streams in use, and with a small fraction of the sections of what is not indexed yet.

use std::collections::VecDeque;
use std::collections::hash_map::Entry;
use std::ops::Range;
use std::sync::Arc;

use foldhash::{HashMap, HashSet};
use smallvec::{SmallVec, smallvec};

use crate::ids::{Position, Revision, StreamId};
use crate::index::directory;

/// Every so many sections of a stream its place is remembered.
const PLACE_EVERY: u32 = 32;

/// A stream, as the table knows it.
#[derive(Clone, Debug)]
pub(crate) struct Stream {
    pub(crate) name: Arc<str>,
    pub(crate) id: StreamId,
    /// Its place in the table, which it keeps while no stream is let go of.
    pub(crate) slot: u32,
    /// The first revision of its own: above 0 for a fork.
    pub(crate) first: Revision,
    /// The last revision that was given. No event has it where it was accepted that the stream ends there.
    pub(crate) head: Revision,
    /// Position of the event with that revision, or of the accept.
    pub(crate) head_position: Position,
    /// Revision of its last event; below `head` where what lies between was accepted as lost.
    pub(crate) last_event: Revision,
    /// The frame that holds its last section; of a fork that has none yet, the one that made it.
    pub(crate) last_place: Position,
    /// First revision and frame of every so many sections, in order, as far back as the indexes of segments do not reach.
    places: Places,
    sections: u32,
}

/// Most streams have one place: it lies in the stream.
type Places = SmallVec<[(Revision, Position); 1]>;

impl From<directory::Entry> for Stream {
    /// A stream that is not in the table: its slot is none.
    fn from(entry: directory::Entry) -> Stream {
        let directory::Entry { stream, name, first, head, head_position, last_place } = entry;
        let (places, sections) = (Places::new(), 0);
        let (name, slot) = (name.into(), Stream::NO_SLOT);
        Stream { name, id: stream, slot, first, head, head_position, last_event: head, last_place, places, sections }
    }
}

impl Stream {
    /// The slot of a stream that is not in the table.
    const NO_SLOT: u32 = u32::MAX;

    /// A stream of which `placed` is the first section that is known.
    fn begun(name: Arc<str>, slot: u32, first: Revision, placed: Placed) -> Stream {
        let head = placed.head();
        Stream {
            name,
            id: placed.stream,
            slot,
            first,
            head,
            head_position: placed.head_position(),
            last_event: head,
            last_place: placed.frame,
            places: smallvec![(placed.first_revision, placed.frame)],
            sections: 1,
        }
    }

    /// Takes in a section; `false`, and nothing changed, where it does not continue the stream.
    #[inline]
    fn extend(&mut self, placed: Placed) -> bool {
        if self.head.next() != Some(placed.first_revision) {
            return false;
        }
        if self.sections.is_multiple_of(PLACE_EVERY) {
            self.places.push((placed.first_revision, placed.frame));
        }
        self.sections += 1;
        self.head = placed.head();
        self.last_event = placed.head();
        self.head_position = placed.head_position();
        self.last_place = placed.frame;
        true
    }

    /// Whether the section just taken in is the second place that is remembered.
    #[inline]
    fn has_second_place(&self, placed: Placed) -> bool {
        matches!(self.places[..], [_, (_, second)] if second == placed.frame)
    }

    /// The stream with what came behind its head, or some of it before.
    fn continued_by(self, since: Stream) -> Stream {
        let mut places = self.places;
        let last = places.last().map_or(Position::ZERO, |(_, place)| *place);
        places.extend(since.places.iter().copied().filter(|(_, place)| *place > last));
        Stream { name: self.name, first: self.first, places, ..since }
    }

    /// Whether a directory has it just as it is; of what came since it was loaded, all but the name is held against it.
    pub(crate) fn is_as_in(&self, entry: &directory::Entry) -> bool {
        let is_same_stream = self.name.is_empty() || (&*self.name, self.first) == (&*entry.name, entry.first);
        let (head, place) = ((self.head, self.last_event, self.head_position), self.last_place);
        is_same_stream && (head, place) == ((entry.head, entry.head, entry.head_position), entry.last_place)
    }

    /// A remembered frame from which going back reaches the section that holds `revision`: the first whose section begins
    /// behind it, else the last section of the stream.
    pub(crate) fn place_behind(&self, revision: Revision) -> Position {
        let index = self.places.partition_point(|(first, _)| *first <= revision);
        self.places.get(index).map_or(self.last_place, |(_, place)| *place)
    }

    /// The stretch of its sections that holds `revision`.
    #[inline]
    pub(crate) fn stretch(&self, revision: Revision) -> Stretch {
        let index = self.places.partition_point(|(first, _)| *first <= revision);
        Stretch {
            stream: self.id,
            first: self.first,
            head: self.head,
            start: index.checked_sub(1).map(|index| self.places[index]),
            next: self.places.get(index).copied(),
            last_place: self.last_place,
        }
    }

    /// The last remembered frame whose section does not begin behind `revision`.
    pub(crate) fn place_before(&self, revision: Revision) -> Option<(Revision, Position)> {
        let index = self.places.partition_point(|(first, _)| *first <= revision);
        index.checked_sub(1).map(|index| self.places[index])
    }
}

/// The sections of a stream from one remembered place to the next, or to the stream's last section.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stretch {
    pub(crate) stream: StreamId,
    /// The first revision of the stream's own, and its head.
    pub(crate) first: Revision,
    pub(crate) head: Revision,
    /// Its first section; `None` where that is not known.
    pub(crate) start: Option<(Revision, Position)>,
    /// The first section behind it; `None` where it is the stream's last stretch, which may grow.
    pub(crate) next: Option<(Revision, Position)>,
    /// The stream's last section.
    pub(crate) last_place: Position,
}

impl Stretch {
    /// The section from which the links lead back through the stretch.
    #[inline]
    pub(crate) fn upto(&self) -> Position {
        self.next.map_or(self.last_place, |(_, place)| place)
    }
}

/// A section that was appended or found.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Placed {
    pub(crate) stream: StreamId,
    pub(crate) first_revision: Revision,
    pub(crate) count: u32,
    pub(crate) frame: Position,
    pub(crate) first_position: Position,
}

impl Placed {
    /// Revision of its last event.
    fn head(&self) -> Revision {
        Revision(self.first_revision.0 + u64::from(self.count) - 1)
    }

    /// Position of its last event.
    fn head_position(&self) -> Position {
        Position(self.first_position.0 + u64::from(self.count) - 1)
    }
}

/// The streams in memory.
#[derive(Debug, Default)]
pub(crate) struct StreamTable {
    streams: Vec<Stream>,
    by_name: HashMap<Arc<str>, u32>,
    by_id: HashMap<StreamId, u32>,
    /// Streams whose name is lost to damage; they go by `$` and their identity until something names them.
    nameless: HashSet<StreamId>,
    /// How many streams of the store are not in the table.
    elsewhere: u64,
    /// Of some of those, what came since: all but their names and first revisions.
    continued: HashMap<StreamId, Stream>,
    /// The directory is a later one than when these were begun: it may know some of what came since.
    is_base_moved: bool,
    /// No stream leaves the table.
    keeps_all: bool,
    /// Those in either with more than one remembered place.
    placed: VecDeque<StreamId>,
    /// The newest claims that fencing tokens were given for, as far as they were met.
    claims: HashMap<StreamId, Position>,
}

impl StreamTable {
    /// A table without any of the `count` streams that there are.
    pub(crate) fn on_top_of(count: u64) -> StreamTable {
        StreamTable { elsewhere: count, ..StreamTable::default() }
    }

    /// Takes in a stream that was elsewhere. `false` where it is there already; `None`, and nothing changed, where what came since
    /// does not continue it.
    pub(crate) fn load(&mut self, entry: directory::Entry) -> Option<bool> {
        let stream = self.newest(entry)?;
        self.continued.remove(&stream.id);
        Some(self.insert(stream))
    }

    /// A stream that is elsewhere, with what came since; `None` where that does not continue it.
    pub(crate) fn newest(&self, entry: directory::Entry) -> Option<Stream> {
        let is_continued = self.is_continued(&entry);
        let stream = Stream::from(entry);
        is_continued.then(|| match self.continued.get(&stream.id) {
            Some(since) => stream.continued_by(since.clone()),
            None => stream,
        })
    }

    /// Whether what came since continues a stream that is elsewhere.
    pub(crate) fn is_continued(&self, entry: &directory::Entry) -> bool {
        self.continued.get(&entry.stream).is_none_or(|since| self.continues(since, entry.head))
    }

    /// Whether what came since continues a stream with this head.
    fn continues(&self, since: &Stream, head: Revision) -> bool {
        let is_known = || self.is_base_moved && (since.first..=since.head).contains(&head);
        head.next() == Some(since.first) || is_known()
    }

    /// What came since the directory was written, of streams that were not asked for.
    pub(crate) fn continued(&self) -> impl Iterator<Item = &Stream> {
        self.continued.values()
    }

    /// Takes in all streams that were elsewhere, as the log has them up to where the directory reached.
    pub(crate) fn load_all(&mut self, streams: Vec<Stream>) {
        let mut continued = std::mem::take(&mut self.continued);
        for stream in streams {
            let since = continued.remove(&stream.id).filter(|since| self.continues(since, stream.head));
            self.insert(match since {
                Some(since) => stream.continued_by(since),
                None => stream,
            });
        }
        self.elsewhere = 0;
        // Those that the log no longer begins.
        for stream in continued.into_values() {
            let name: Arc<str> = format!("${}", stream.id).into();
            self.nameless.insert(stream.id);
            self.insert(Stream { name, first: Revision(0), ..stream });
        }
    }

    fn insert(&mut self, stream: Stream) -> bool {
        if self.by_id.contains_key(&stream.id) || self.by_name.contains_key(&stream.name) {
            return false;
        }
        let slot = self.streams.len() as u32;
        self.by_name.insert(Arc::clone(&stream.name), slot);
        self.by_id.insert(stream.id, slot);
        if stream.places.len() > 1 {
            self.placed.push_back(stream.id);
        }
        self.streams.push(Stream { slot, ..stream });
        self.elsewhere = self.elsewhere.saturating_sub(1);
        true
    }

    /// Whether there may be streams that are not in the table.
    #[inline]
    pub(crate) fn has_others(&self) -> bool {
        self.elsewhere > 0
    }

    /// How many streams are in the table.
    pub(crate) fn loaded(&self) -> usize {
        self.streams.len()
    }

    /// Some of those in the table, as far as there are so many.
    pub(crate) fn some(&self, slots: Range<usize>) -> &[Stream] {
        &self.streams[slots.start.min(self.streams.len())..slots.end.min(self.streams.len())]
    }

    /// A stream, or what came since of one that is elsewhere.
    pub(crate) fn newest_of(&self, stream: StreamId) -> Option<&Stream> {
        self.by_id(stream).or_else(|| self.continued.get(&stream))
    }

    /// How many streams are in memory.
    pub(crate) fn in_memory(&self) -> usize {
        self.streams.len() + self.continued.len()
    }

    /// The stream of this name.
    #[inline]
    pub(crate) fn by_name(&self, name: &str) -> Option<&Stream> {
        self.by_name.get(name).map(|index| &self.streams[*index as usize])
    }

    /// The stream of this identity.
    pub(crate) fn by_id(&self, id: StreamId) -> Option<&Stream> {
        self.by_id.get(&id).map(|index| &self.streams[*index as usize])
    }

    /// All streams in the table.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Stream> {
        self.streams.iter()
    }

    /// How many streams there are, those elsewhere included.
    pub(crate) fn count(&self) -> u64 {
        self.streams.len() as u64 + self.elsewhere
    }

    /// Takes in a section; `name` where it makes the stream. `false`, and nothing changed, where it does not continue what
    /// is known: the name or the stream exists already, is not known, or the revision leaves a gap behind the head.
    pub(crate) fn place(&mut self, name: Option<&str>, placed: Placed) -> bool {
        if let Some(name) = name {
            if self.by_name.contains_key(name)
                || self.by_id.contains_key(&placed.stream)
                || placed.first_revision.0 != 0
            {
                return false;
            }
            let name: Arc<str> = name.into();
            let index = self.streams.len() as u32;
            self.streams.push(Stream::begun(Arc::clone(&name), index, placed.first_revision, placed));
            self.by_name.insert(name, index);
            self.by_id.insert(placed.stream, index);
            return true;
        }
        match self.by_id.get(&placed.stream).copied() {
            Some(slot) => self.extend(slot, placed).is_some(),
            None => self.has_others() && self.go_on(placed),
        }
    }

    /// A section of a stream that is elsewhere: what it continues is looked up when somebody asks for the stream.
    fn go_on(&mut self, placed: Placed) -> bool {
        match self.continued.entry(placed.stream) {
            Entry::Occupied(mut known) => {
                let is_next = known.get_mut().extend(placed);
                if is_next && known.get().has_second_place(placed) {
                    self.placed.push_back(placed.stream);
                }
                is_next
            }
            Entry::Vacant(vacant) => {
                vacant.insert(Stream::begun(Arc::default(), Stream::NO_SLOT, placed.first_revision, placed));
                true
            }
        }
    }

    /// As [`place`](Self::place), for the stream at a known place of the table. Returns the stream; `None` where the
    /// section does not continue it.
    #[inline]
    pub(crate) fn extend(&mut self, slot: u32, placed: Placed) -> Option<&Stream> {
        let stream = &mut self.streams[slot as usize];
        if stream.id != placed.stream || !stream.extend(placed) {
            return None;
        }
        if stream.has_second_place(placed) {
            self.placed.push_back(placed.stream);
        }
        Some(&self.streams[slot as usize])
    }

    /// Takes in a fork: a stream whose events up to `revision` are its parent's. `false` where the name or the stream exists.
    pub(crate) fn place_fork(&mut self, name: &str, stream: StreamId, revision: Revision, frame: Position) -> bool {
        if self.by_name.contains_key(name) || self.by_id.contains_key(&stream) {
            return false;
        }
        let name: Arc<str> = name.into();
        let index = self.streams.len() as u32;
        self.streams.push(Stream {
            name: Arc::clone(&name),
            id: stream,
            slot: index,
            first: Revision(revision.0 + 1),
            head: revision,
            head_position: Position(stream.0),
            last_event: revision,
            last_place: frame,
            places: Places::new(),
            sections: 0,
        });
        self.by_name.insert(name, index);
        self.by_id.insert(stream, index);
        true
    }

    /// The newest claim of the stream that was met.
    pub(crate) fn newest_claim(&self, stream: StreamId) -> Option<Position> {
        self.claims.get(&stream).copied()
    }

    /// Takes in a claim of the stream, wherever in the log it was met.
    pub(crate) fn note_claim(&mut self, stream: StreamId, claim: Position) {
        let newest = self.claims.entry(stream).or_insert(claim);
        *newest = claim.max(*newest);
    }

    /// From here on the stream goes on behind `head`, whatever is known of it: that was accepted at `position`. Nothing
    /// happens where the stream is not known, or known to go further.
    pub(crate) fn accept_head(&mut self, stream: StreamId, head: Revision, position: Position) {
        let Some(slot) = self.by_id.get(&stream) else { return };
        let stream = &mut self.streams[*slot as usize];
        if head >= stream.head {
            stream.head = head;
            stream.head_position = stream.head_position.max(position);
            stream.sections = stream.sections.next_multiple_of(PLACE_EVERY);
        }
    }

    /// As [`place`](Self::place), behind damage: what lies between the head and the section is lost, and so may be the
    /// section that made the stream.
    pub(crate) fn place_behind_gap(&mut self, name: Option<&str>, placed: Placed) -> bool {
        if placed.first_revision.0 == 0 && (name.is_some() || self.by_id.contains_key(&placed.stream)) {
            return self.place(name, placed);
        }
        match self.by_id.get(&placed.stream) {
            Some(slot) => {
                let slot = *slot;
                let stream = &mut self.streams[slot as usize];
                if placed.first_revision.0 > stream.head.0 + 1 {
                    stream.head = Revision(placed.first_revision.0 - 1);
                    // The link of this section leads nowhere: it is remembered.
                    stream.sections = stream.sections.next_multiple_of(PLACE_EVERY);
                }
                self.extend(slot, placed).is_some()
            }
            None => self.place_headless(name, placed),
        }
    }

    /// A stream of which only later sections are left.
    fn place_headless(&mut self, name: Option<&str>, placed: Placed) -> bool {
        let free = name.filter(|name| !self.by_name.contains_key(*name));
        let name: Arc<str> = free.map_or_else(|| format!("${}", placed.stream).into(), Into::into);
        let index = self.streams.len() as u32;
        self.streams.push(Stream::begun(Arc::clone(&name), index, Revision(0), placed));
        self.by_name.insert(name, index);
        self.by_id.insert(placed.stream, index);
        if free.is_none() {
            self.nameless.insert(placed.stream);
        }
        true
    }

    /// How many streams [`forget_places`](Self::forget_places) may find something to forget of.
    pub(crate) fn with_places(&self) -> usize {
        self.placed.len()
    }

    /// Forgets the places before `border`, but for the last of each stream, of the next `count` of those that have several:
    /// indexes of segments lead to what lies there.
    pub(crate) fn forget_places(&mut self, border: Position, count: usize) {
        for _ in 0..count {
            let Some(id) = self.placed.pop_front() else { return };
            let stream = match self.by_id.get(&id) {
                Some(slot) => Some(&mut self.streams[*slot as usize]),
                None => self.continued.get_mut(&id),
            };
            let Some(stream) = stream else { continue };
            let before = stream.places.partition_point(|(_, place)| *place < border);
            if before > 1 {
                stream.places.drain(..before - 1);
                if stream.places.len() == 1 || stream.places.capacity() > 4 + 2 * stream.places.len() {
                    stream.places.shrink_to_fit();
                }
            }
            if stream.places.len() > 1 {
                self.placed.push_back(id);
            }
        }
    }

    /// From here on a later directory is asked for those that are elsewhere; `false`, and nothing changed, where none is to be.
    pub(crate) fn move_base(&mut self) -> bool {
        self.is_base_moved |= !self.keeps_all;
        !self.keeps_all
    }

    /// Whether no stream leaves the table.
    pub(crate) fn keep_all(&mut self, all: bool) {
        self.keeps_all = all;
    }

    /// A stream leaves, which is elsewhere as it was here; it stays where it is not as it was.
    pub(crate) fn let_go(&mut self, was: &Stream) {
        let is_as_it_was = |stream: &Stream| {
            (stream.head, stream.head_position, stream.last_place) == (was.head, was.head_position, was.last_place)
        };
        if self.keeps_all || self.nameless.contains(&was.id) {
            return;
        }
        match self.by_id.get(&was.id).copied() {
            Some(slot) if is_as_it_was(&self.streams[slot as usize]) => {
                let gone = self.streams.swap_remove(slot as usize);
                self.by_id.remove(&gone.id);
                self.by_name.remove(&gone.name);
                self.elsewhere += 1;
                if let Some(moved) = self.streams.get_mut(slot as usize) {
                    moved.slot = slot;
                    self.by_id.insert(moved.id, slot);
                    *self.by_name.get_mut(&moved.name).expect("each stream goes by its name") = slot;
                }
            }
            Some(_) => {}
            None => {
                if self.continued.get(&was.id).is_some_and(is_as_it_was) {
                    self.continued.remove(&was.id);
                }
            }
        }
    }

    /// Gives memory back, once many have left.
    pub(crate) fn shrink(&mut self) {
        let room = |len: usize| len + len / 4;
        if self.streams.capacity() > 2 * self.streams.len() {
            let room = room(self.streams.len());
            self.streams.shrink_to(room);
            self.by_name.shrink_to(room);
            self.by_id.shrink_to(room);
        }
        if self.continued.capacity() > 4 * self.continued.len() {
            self.continued.shrink_to(room(self.continued.len()));
        }
    }

    /// Whether any stream has lost its name.
    pub(crate) fn has_nameless(&self) -> bool {
        !self.nameless.is_empty()
    }

    /// Gives a stream that has lost its name the one that an index block knows; not one that another stream has. `shared` is the
    /// last revision that it shares with its parent, where it is a fork.
    pub(crate) fn name(&mut self, id: StreamId, name: &str, shared: Option<Revision>) {
        if !self.nameless.contains(&id) || self.by_name.contains_key(name) {
            return;
        }
        let slot = self.by_id[&id];
        let stream = &mut self.streams[slot as usize];
        self.by_name.remove(&stream.name);
        stream.name = name.into();
        if let Some(first) = shared.and_then(Revision::next).filter(|first| *first <= stream.head) {
            stream.first = first;
        }
        self.by_name.insert(Arc::clone(&stream.name), slot);
        self.nameless.remove(&id);
    }
}

#[cfg(test)]
mod tests;
