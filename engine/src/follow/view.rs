//! An open store as readers see it: its segments, its streams, how far it reaches.
//!
//! In a process that writes alone, the writer keeps all of it up to date. In any other, [`View::refresh`] reads what was
//! appended since.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::Result;
use crate::commit::keeper;
use crate::commit::watch;
use crate::commit::writer::Writer;
use crate::ids::{Position, Revision};
use crate::index::find::Finder;
use crate::index::on_demand::{Room, Streams};
use crate::index::streams::Stream;
use crate::index::time;
use crate::lineage::{Chains, StreamReader, read_one};
use crate::process::control::{ControlPage, word};
use crate::process::turn::Turns;
use crate::read::{Event, LogReader, Only, ReadAllOptions, ReadOptions, place};
use crate::recovery::checkpoint;
use crate::recovery::open::slot_counts;
use crate::recovery::replay::Replay;
use crate::segment::set::SegmentSet;
use crate::storage::{Storage, StorageFile};
use crate::sync::{Mutex, now};
use crate::watermark::{Marks, Visibility, Watermarks};

/// A wake-up that was lost, or that nobody can give, costs so much.
const LOST: Duration = Duration::from_millis(50);

/// An open store, to be read.
pub(crate) struct View {
    pub(crate) set: Arc<SegmentSet>,
    pub(crate) streams: Arc<Streams>,
    pub(crate) marks: Arc<Marks>,
    pub(crate) finder: Arc<Finder>,
    pub(crate) chains: Chains,
    /// What goes on reading where others write; `None` in a process that is the only one.
    others: Option<Others>,
}

/// What takes in what other processes append.
#[derive(Debug)]
pub(crate) enum Others {
    /// This process only reads.
    Writer(Box<Following>),
    /// This process writes too.
    Writers(Arc<Writer>),
}

/// What goes on reading in a process that does not write.
#[derive(Debug)]
pub(crate) struct Following {
    replay: Mutex<Replay>,
    control: ControlPage,
    /// The locks of the writers, of which this process takes one: that it is to be woken.
    turns: Turns,
}

impl Following {
    /// Behind what opening has read.
    pub(crate) fn new(storage: &dyn Storage, replay: Replay, identity: Arc<dyn StorageFile>) -> Following {
        let control = ControlPage::watch(storage).unwrap_or_default();
        Following { replay: Mutex::new(replay), control, turns: Turns::new(storage, identity, true, Duration::ZERO) }
    }
}

impl fmt::Debug for View {
    /// Without what grows with the log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("View").field("set", &self.set).field("marks", &self.marks.get()).finish_non_exhaustive()
    }
}

impl View {
    pub(crate) fn new(
        set: Arc<SegmentSet>,
        streams: Arc<Streams>,
        marks: Arc<Marks>,
        finder: Arc<Finder>,
        others: Option<Others>,
    ) -> View {
        View { set, streams, marks, finder, chains: Chains::default(), others }
    }

    /// Whether this process only reads.
    pub(crate) fn is_follower(&self) -> bool {
        matches!(self.others, Some(Others::Writer(_)))
    }

    /// Takes in what another process appended. Costs a look at the next frame's place, and reading what is new.
    pub(crate) fn refresh(&self) -> Result<()> {
        self.set.check_process()?;
        let following = match &self.others {
            None => return Ok(()),
            Some(Others::Writers(writer)) => {
                let _waking = self.marks.waking();
                return writer.refresh();
            }
            Some(Others::Writer(following)) => following,
        };
        let mut replay = following.replay.lock();
        let mut room = self.streams.stay();
        let segment = |replay: &Replay| replay.segment.as_ref().map(|segment| segment.ordinal());
        let before = segment(&replay);
        replay.follow()?;
        self.finder.indexes.look_for_more();
        let durable = replay.witness.max(self.witnessed_by_file(&replay)).min(replay.at);
        self.marks.commit(replay.log_end());
        self.marks.make_durable(durable);
        // Once a segment, as a writer does; again where the directory may have come later than the segment.
        if segment(&replay) != before || room.is_wanted(self.streams.counts().1) {
            self.forget(&mut room, replay.at);
        }
        Ok(())
    }

    /// Forgets of streams what indexes and the newest directory have of what was read up to `end`.
    fn forget(&self, room: &mut Room, end: Position) {
        let (begun, kept) = (now(), room.kept);
        let newest = || {
            let newest = checkpoint::newest(&self.set, end);
            room.looked_since(begun);
            newest.map(|newest| newest.directory)
        };
        self.streams.forget(self.finder.indexes.indexed_end(), kept, newest, || ());
    }

    /// Global number of the next event, and the bytes in coded sections before and after coding; for a follower.
    pub(crate) fn replayed<T>(&self, look: impl FnOnce(&Replay) -> T) -> Option<T> {
        match &self.others {
            Some(Others::Writer(following)) => Some(look(&following.replay.lock())),
            _ => None,
        }
    }

    fn witnessed_by_file(&self, replay: &Replay) -> Position {
        let slot = || {
            let slot = keeper::read_slots(&*self.set.storage, self.set.store.store).into_iter().next()?;
            let is_news = slot.incarnation == replay.incarnation && slot.durable > replay.witness;
            (is_news && slot_counts(&slot, &*self.set.holding(slot.last_frame).ok()?)).then_some(slot.durable)
        };
        slot().unwrap_or(Position::ZERO)
    }

    pub(crate) fn watermarks(&self) -> Watermarks {
        self.marks.get()
    }

    pub(crate) fn visible(&self, visibility: Visibility) -> Position {
        self.marks.visible(visibility)
    }

    pub(crate) fn end_at(&self, recorded: i64, visibility: Visibility) -> Result<Position> {
        self.set.check_process()?;
        time::end_at(&self.set, recorded, self.visible(visibility))
    }

    pub(crate) fn stream(&self, name: &str) -> Result<Option<Stream>> {
        self.set.check_process()?;
        self.streams.of_name(name, Stream::clone)
    }

    pub(crate) fn stream_reader(&self, name: &str, options: ReadOptions<'_>) -> Result<Option<StreamReader>> {
        self.set.check_process()?;
        if let Some(token) = &options.after_token {
            self.refresh()?;
            place::behind(&self.set, token, self.visible(Visibility::Committed))?;
        }
        let visible = self.visible(options.visibility);
        StreamReader::new(&self.finder, name, visible, options)
    }

    pub(crate) fn log_reader(&self, options: ReadAllOptions<'_>) -> Result<LogReader> {
        self.set.check_process()?;
        if options.after_token.is_some() {
            // Its event may be one that another process has appended just now.
            self.refresh()?;
        }
        let (set, streams, marks) = (Arc::clone(&self.set), Arc::clone(&self.streams), Arc::clone(&self.marks));
        let reader = LogReader::new(set, streams, marks, options)?;
        if options.event_type.is_none() && options.event_types.is_empty() && options.stream_prefix.is_none() {
            return Ok(reader);
        }
        let types = options.event_types.iter().copied().chain(options.event_type);
        let mut only = types.fold(Only::new(&self.finder.indexes), Only::of_type);
        if let Some(prefix) = options.stream_prefix {
            only = only.of_streams(prefix, &self.streams, &self.marks)?;
        }
        Ok(reader.of(only))
    }

    pub(crate) fn event(&self, name: &str, revision: Revision, visibility: Visibility) -> Result<Option<Event>> {
        self.set.check_process()?;
        read_one(&self.finder, name, revision, self.visible(visibility))
    }

    /// Waits until the mark lies above `seen`, at most until `until`. Where other processes write it may return before: a wake-up
    /// that was lost costs [`LOST`].
    pub(crate) fn wait_above(&self, visibility: Visibility, seen: Position, until: Instant) {
        let control = match &self.others {
            None => {
                self.marks.wait_above(visibility, seen, Some(until));
                return;
            }
            Some(Others::Writer(following)) => &following.control,
            Some(Others::Writers(writer)) => &writer.control,
        };
        let word = match visibility {
            Visibility::Durable => word::SYNCED,
            Visibility::Committed => word::GROWN,
        };
        let left = until.saturating_duration_since(now()).min(LOST);
        let mut is_over = false;
        control.wait(word, left, || {
            is_over = self.refresh().is_err() || self.visible(visibility) > seen || self.marks.is_closed();
            !is_over
        });
        if let Some(Others::Writer(following)) = &self.others
            && !is_over
            && (control.words().is_none() || !control.is_current())
            && let Some(newer) = ControlPage::watch(&*self.set.storage)
        {
            following.control.replace(newer);
        }
    }

    /// Has the writers wake this process when the log grows, until as often [`sleep_no_more`](Self::sleep_no_more) was called.
    pub(crate) fn sleep_from_now(&self) {
        if let Some(turns) = self.turns() {
            turns.sleep_from_now();
        }
    }

    /// See [`sleep_from_now`](Self::sleep_from_now).
    pub(crate) fn sleep_no_more(&self) {
        if let Some(turns) = self.turns() {
            turns.sleep_no_more();
        }
    }

    fn turns(&self) -> Option<&Turns> {
        match &self.others {
            None => None,
            Some(Others::Writer(following)) => Some(&following.turns),
            Some(Others::Writers(writer)) => Some(&writer.turns),
        }
    }

    /// Sees to it that tasks are woken by what other processes append.
    pub(crate) fn watch_for_tasks(&self) -> Result<()> {
        match &self.others {
            Some(Others::Writers(writer)) => watch::for_tasks(writer),
            _ => Ok(()),
        }
    }
}

#[cfg(all(test, feature = "unstable"))]
mod tests {
    use super::*;
    use crate::storage::mem::MemStorage;
    use crate::{Batch, Expected, NewEvent, Options, Store};

    const SEGMENT_BYTES: u64 = 16 << 10;
    const SELDOM: u64 = 300;
    /// How long a test waits for what others bring about: longer than it takes on a slow machine that is busy, and not for ever.
    const PATIENCE: Duration = Duration::from_secs(60);

    /// A store that is written, and one beside it that only reads.
    fn written_and_read(kept: usize) -> (Store, Store) {
        let storage: Arc<dyn Storage> = Arc::new(MemStorage::new());
        let options = Options::new().segment_bytes(SEGMENT_BYTES).index_stride_bytes(4 << 10).streams_kept(kept);
        let store = Store::open_on(Arc::clone(&storage), options.clone().background_threads(false));
        let reader = Store::open_read_only_on(storage, options);
        (store.expect("it opens"), reader.expect("it opens"))
    }

    /// Appends to streams in turn, with all background work done as it comes.
    fn append(store: &Store, number: u64) {
        for stream in ["often", &format!("seldom {}", number % SELDOM)] {
            let event = [NewEvent::new("t", &[7; 100])];
            let _ = store.append(&Batch::to(stream, Expected::Any, &event)).expect("it is appended");
        }
        store.work_in_background().expect("the background works");
    }

    /// Between what is read and the look at the directory others go on.
    #[test]
    fn p12_a_directory_that_reaches_further_than_a_reader_is_not_taken_up() {
        let (store, reader) = written_and_read(0);
        // Of those that went on last: before that they were left alone for long enough to leave.
        let heads = |store: &Store, number: u64| -> Vec<Option<Revision>> {
            let names = (number..number + 20).map(|number| format!("seldom {}", number % SELDOM));
            names.map(|name| store.stream(&name).expect("it is looked up").map(|it| it.head)).collect()
        };
        let mut further = 0;
        for number in 0..2000 {
            append(&store, number);
            let read = reader.watermarks().committed;
            let covered = checkpoint::stat(&reader.view().set).map_or(Position::ZERO, |stat| stat.covered);
            further += u64::from(covered > read);
            let mut room = reader.view().streams.stay();
            reader.view().forget(&mut room, read);
            if number % 20 == 19 {
                let known = heads(&reader, number - 19); // they stay
                drop(room);
                reader.refresh().expect("the log is read");
                assert_eq!(heads(&reader, number - 19), heads(&store, number - 19), "it knew {known:?}");
            }
        }
        assert!(further > 10, "{further} times the directory reached further");
    }

    /// It has to find again what it looked up for what it takes in.
    #[test]
    fn p12_no_stream_leaves_while_a_reader_takes_in_what_others_append() {
        let (store, reader) = written_and_read(0);
        (0..1000).for_each(|number| append(&store, number));
        reader.refresh().expect("the log is read");
        let streams = &reader.view().streams;
        let load = |number: u64| streams.load(&format!("seldom {number}")).expect("it is looked up");
        let before = streams.counts().1;
        let room = streams.stay();
        (0..20).for_each(load);
        assert!(streams.counts().1 > before + 5, "{before} streams before, {} with them", streams.counts().1);
        drop(room);
        (20..30).for_each(load);
        assert!(streams.counts().1 <= before, "{before} streams before, {} behind it", streams.counts().1);
    }

    /// What makes it waits for bursts of appends to end.
    #[test]
    fn p20_streams_leave_a_reader_also_where_the_directory_comes_later_than_the_segment() {
        let (store, reader) = written_and_read(0);
        let event = [NewEvent::new("t", &[7; 100])];
        for number in 0..SELDOM {
            let _ = store.append(&Batch::to(&format!("{number}"), Expected::Any, &event)).expect("it is appended");
            reader.refresh().expect("the log is read");
        }
        let in_memory = || reader.view().streams.counts().1;
        assert_eq!(in_memory(), SELDOM);
        store.work_in_background().expect("the background works");
        let until = now() + PATIENCE;
        while in_memory() > SELDOM / 2 && now() < until {
            reader.refresh().expect("the log is read");
        }
        assert!(in_memory() <= SELDOM / 2, "{} streams are in memory", in_memory());
    }

    /// Where the sections of a stream lie is remembered no longer than no index says it.
    #[test]
    fn p20_a_reader_forgets_places_in_segments_that_have_an_index() {
        const SECTIONS: u64 = 2000;
        let (store, reader) = written_and_read(usize::MAX);
        for number in 0..SECTIONS {
            append(&store, number);
            reader.refresh().expect("the log is read");
        }
        let stream = reader.view().stream("often").expect("it is looked up").expect("it is there");
        let is_remembered = |revision: &u64| stream.place_before(Revision(*revision)).is_some();
        let from = (0..SECTIONS).find(is_remembered).expect("the last one is");
        assert!(from > SECTIONS - 300, "places are remembered from revision {from} on");
    }
}
