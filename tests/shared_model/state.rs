//! What the processes of the model share and what each one knows: the log as the page cache and the device have it, control pages,
//! and where in the protocol everybody is.
//!
//! The locks are no fields: who holds one follows from where a process is. So a process that dies lets go of all it held, as the
//! kernel sees to it.

use std::cmp::Ordering;
use std::fmt::{self, Display};
use std::hash::{Hash, Hasher};

/// Segments that there is room for.
pub(super) const SEGMENTS: usize = 4;
/// Frames that fit into a segment behind its open frame.
pub(super) const FRAMES: usize = 8;
/// Processes, some of which may have no work.
pub(super) const PROCESSES: usize = 3;
/// Control pages that are in use at once: one for each process, and the one that the name leads to.
pub(super) const PAGES: usize = PROCESSES + 1;
/// Frames that are ever made, open frames included.
pub(super) const CHECKS: usize = 16;

/// A position: in which segment, behind how many frames of it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub(super) struct Place {
    pub(super) segment: u8,
    pub(super) frame: u8,
}

/// A frame stands for its check, which differs from that of every other frame.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Frame {
    pub(super) check: u8,
    /// Check of the frame before, as the writer knew it.
    pub(super) before: u8,
    /// Events in the log before this one, as the writer believed: what an expected revision is held against.
    pub(super) believed: u8,
    /// How far the log was durable, as the writer knew it.
    pub(super) witness: Place,
    /// The second half of the epoch. It does not fall within a segment, or the chain ends.
    pub(super) takeover: u8,
    /// Marked *last of its segment*, and no event.
    pub(super) is_mark: bool,
}

/// What is at a place in the page cache.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(super) enum Bytes {
    #[default]
    Zeros,
    Half,
    /// The header of a half frame, and zeros where its rest was.
    Stub,
    Whole(Frame),
}

/// A place, in the cache and on the device.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(super) struct Slot {
    pub(super) bytes: Bytes,
    /// The next sync will write it.
    pub(super) is_dirty: bool,
    /// The device holds what the cache holds.
    pub(super) is_on_device: bool,
}

/// A segment. Its open frame is on the device before anybody sees the segment.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(super) struct Segment {
    pub(super) is_made: bool,
    /// The end of the predecessor that the open frame states.
    pub(super) stated: Place,
    /// The check before that end.
    pub(super) before: u8,
    pub(super) check: u8,
    pub(super) witness: Place,
    pub(super) slots: [Slot; FRAMES],
    /// Failed write-backs.
    pub(super) errors: u8,
    /// Somebody was told of the last one.
    pub(super) is_told: bool,
}

/// A control page.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(super) struct Page {
    pub(super) durable: Place,
    pub(super) committed: Place,
    pub(super) is_in_flight: bool,
    pub(super) is_poisoned: bool,
    /// In which segment, and with which takeover, processes append.
    pub(super) epoch: (u8, u8),
}

/// A process's descriptor of a segment.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub(super) struct Descriptor {
    pub(super) is_open: bool,
    /// Failed write-backs that it was told of or need not be.
    pub(super) heard: u8,
    /// Frames that were there when it was opened: it does not vouch for them.
    pub(super) unvouched: u8,
}

/// Where the part of a process is that opens, appends and closes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub(super) enum Writer {
    #[default]
    Closed,
    /// Opening: holds SYNC.
    Opening,
    /// Opening, alone: holds SYNC and TURN here and below. All that is not witnessed was written again.
    Recovering,
    Recovered,
    RecoveredElsewhere,
    /// Opening a store that others have open and whose page is poisoned.
    Rejoining,
    RejoiningHalf,
    RejoiningMarked,
    RejoinedElsewhere,
    /// Open: holds PRESENCE here and below.
    Idle,
    /// Holds TURN here and below; has caught up.
    Turn,
    /// Holds the TURN, and found a torn tail.
    Torn,
    Stubbed,
    StubSynced,
    MarkHalf,
    Marked,
    Half,
    Whole(u8),
}

/// Where the part of a process is that syncs.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub(super) enum Syncer {
    #[default]
    Idle,
    /// Holds SYNC here and below.
    Held,
    /// Holds TURN too; has read what it will write again, up to there.
    Rewriting(Place),
    /// A sync up to there is marked, and the segments before that number are synced.
    InFlight(Place, u8),
    Synced(Place),
    Failed,
}

/// Tells processes apart for who reads a trace, and nowhere else: states that differ in names alone are one.
#[derive(Clone, Copy, Default)]
pub(super) struct Name(pub(super) u8);

impl PartialEq for Name {
    fn eq(&self, _: &Name) -> bool {
        true
    }
}
impl Eq for Name {}
impl PartialOrd for Name {
    fn partial_cmp(&self, other: &Name) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Name {
    fn cmp(&self, _: &Name) -> Ordering {
        Ordering::Equal
    }
}
impl Hash for Name {
    fn hash<H: Hasher>(&self, _: &mut H) {}
}

/// A process, with all it knows.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub(super) struct Process {
    pub(super) name: Name,
    pub(super) writer: Writer,
    pub(super) syncer: Syncer,
    /// It heard of the poison, and does nothing but close.
    pub(super) is_refused: bool,
    /// The page that it maps.
    pub(super) page: u8,
    /// Its known tail, the check before that, the events before that, and whether a mark is the last frame before that.
    pub(super) tail: Place,
    pub(super) last: u8,
    pub(super) events: u8,
    pub(super) is_behind_mark: bool,
    /// The takeover that it writes with, and that of the last frame before its known tail.
    pub(super) takeover: u8,
    pub(super) last_takeover: u8,
    pub(super) descriptors: [Descriptor; SEGMENTS],
    /// It has to write all again that its page does not call durable.
    pub(super) distrusts: bool,
    /// It has not appended since it joined.
    pub(super) is_new: bool,
    /// Events that are still to be appended.
    pub(super) left: u8,
    /// Its events that wait for a sync, a bit for each check.
    pub(super) unsynced: u16,
}

impl Process {
    pub(super) fn is_opening(&self) -> bool {
        Writer::Opening <= self.writer && self.writer < Writer::Idle
    }

    /// Whether it holds PRESENCE.
    pub(super) fn is_present(&self) -> bool {
        self.writer >= Writer::Idle
    }

    /// Goes on at the beginning of a segment.
    pub(super) fn begin_segment(&mut self, segment: u8, check: u8) {
        self.tail = Place { segment, frame: 0 };
        (self.last, self.is_behind_mark, self.takeover, self.last_takeover) = (check, false, 0, 0);
    }

    /// Writes with the takeover that a page knows of, if it is of this segment.
    pub(super) fn go_on_from(&mut self, (segment, takeover): (u8, u8)) {
        if segment == self.tail.segment {
            self.takeover = self.takeover.max(takeover);
        }
    }

    fn maps_its_page(&self) -> bool {
        self.is_present()
    }
}

/// What was acknowledged of a frame, which outlives everybody.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(super) struct Acknowledged {
    pub(super) is_written: bool,
    pub(super) is_synced: bool,
    pub(super) place: Place,
    /// Not to be found since the cache lost what the device did not take: no mere kill.
    pub(super) is_lost: bool,
}

/// What looks like a frame, in the bytes that a caller appended: behind the place where a process died in the middle of them. The
/// device holds it, and does so until a sync has written zeros or a frame over it.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Lookalike {
    pub(super) place: Place,
    /// The next sync will write zeros there.
    pub(super) is_zeroed: bool,
}

/// Faults and choices that may still happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub(super) struct Budget {
    pub(super) rolls: u8,
    pub(super) deaths: u8,
    pub(super) failures: u8,
    pub(super) vanishings: u8,
    /// The cache lets go of what it failed to write, and reads what the device has.
    pub(super) losses: u8,
}

/// All there is at one moment.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(super) struct State {
    pub(super) segments: [Segment; SEGMENTS],
    pub(super) pages: [Page; PAGES],
    /// The page that the name leads to.
    pub(super) named: Option<u8>,
    pub(super) processes: [Process; PROCESSES],
    pub(super) acknowledged: [Acknowledged; CHECKS],
    pub(super) next_check: u8,
    pub(super) budget: Budget,
    /// An acknowledgement was given although the page of who gave it was poisoned.
    pub(super) was_given_in_poison: bool,
    pub(super) lookalike: Option<Lookalike>,
}

/// Where a walk over the log ended.
#[derive(Clone, Copy)]
pub(super) struct End {
    pub(super) tail: Place,
    pub(super) last: u8,
    pub(super) events: u8,
    pub(super) is_behind_mark: bool,
    pub(super) takeover: u8,
    /// The highest witness on the way.
    pub(super) witness: Place,
}

impl State {
    pub(super) fn is_sync_free(&self) -> bool {
        self.processes.iter().all(|process| !process.is_opening() && process.syncer == Syncer::Idle)
    }

    pub(super) fn slot(&mut self, place: Place) -> &mut Slot {
        &mut self.segments[usize::from(place.segment)].slots[usize::from(place.frame)]
    }

    /// Bytes that go into the cache.
    pub(super) fn write(&mut self, place: Place, bytes: Bytes) {
        *self.slot(place) = Slot { bytes, is_dirty: true, is_on_device: false };
    }

    /// Zeros that go into the cache. On the device something torn may stay, which reads the same: not whole.
    pub(super) fn clear(&mut self, place: Place) {
        *self.slot(place) = Slot::default();
    }

    /// Notes which acknowledged events a reader does not find any more.
    pub(super) fn note_losses(&mut self) {
        let mut is_there = [false; CHECKS];
        self.walk(false, |_, frame, _| is_there[usize::from(frame.check)] = true);
        for (acknowledged, is_there) in self.acknowledged.iter_mut().zip(is_there) {
            acknowledged.is_lost |= acknowledged.is_written && !is_there;
        }
    }

    pub(super) fn new_check(&mut self) -> u8 {
        self.next_check += 1;
        assert!(usize::from(self.next_check) <= CHECKS, "the bounds allow more frames than the model has room for");
        self.next_check - 1
    }

    /// The first ordinal above every segment.
    pub(super) fn free_segment(&self) -> Option<usize> {
        self.segments.iter().position(|segment| !segment.is_made)
    }

    /// The segment whose open frame states that end.
    pub(super) fn successor(&self, end: Place, last: u8) -> Option<u8> {
        let follows = |segment: &Segment| segment.is_made && segment.stated == end && segment.before == last;
        self.segments[1..].iter().position(follows).map(|before| before as u8 + 1)
    }

    /// The log as a reader finds it who knows nothing: by what the open frames state, along the chain. `on_device` leaves out
    /// what the device does not hold.
    pub(super) fn walk(&self, on_device: bool, mut visit: impl FnMut(Place, &Frame, u8)) -> End {
        let newest = self.segments.iter().rposition(|segment| segment.is_made).expect("a log has a segment");
        let mut is_in_log = [false; SEGMENTS];
        let mut at = newest;
        loop {
            is_in_log[at] = true;
            if at == 0 {
                break;
            }
            at = usize::from(self.segments[at].stated.segment);
        }
        let mut end = End {
            tail: Place::default(),
            last: 0,
            events: 0,
            is_behind_mark: false,
            takeover: 0,
            witness: Place::default(),
        };
        for number in (0..SEGMENTS).filter(|&number| is_in_log[number]) {
            let segment = &self.segments[number];
            if number > 0 {
                if segment.stated != end.tail || segment.before != end.last {
                    break;
                }
                end.tail = Place { segment: number as u8, frame: 0 };
                end.last = segment.check;
                (end.is_behind_mark, end.takeover) = (false, 0);
                end.witness = end.witness.max(segment.witness);
            }
            // What lies behind the end that the next segment states is void.
            let next = (number + 1..SEGMENTS).find(|&next| is_in_log[next]);
            let frames = next.map_or(FRAMES, |next| usize::from(self.segments[next].stated.frame));
            for slot in &segment.slots[..frames] {
                let Bytes::Whole(frame) = &slot.bytes else { break };
                if frame.before != end.last || frame.takeover < end.takeover || on_device && !slot.is_on_device {
                    break;
                }
                visit(end.tail, frame, end.events);
                end.tail.frame += 1;
                end.last = frame.check;
                end.events += u8::from(!frame.is_mark);
                (end.is_behind_mark, end.takeover) = (frame.is_mark, frame.takeover);
                end.witness = end.witness.max(frame.witness);
            }
        }
        end
    }

    /// Gives states that mean the same one form: processes in an order of what they know, pages that nobody uses away.
    pub(super) fn normalize(&mut self) {
        self.processes.sort();
        let mut order = [0_u8; PAGES];
        let mut pages = [Page::default(); PAGES];
        let mut used = 0;
        for page in self.named.into_iter().chain(0..PAGES as u8) {
            let is_named = self.named == Some(page);
            let is_known = order[..used].contains(&page);
            let is_mapped = self.processes.iter().any(|process| process.maps_its_page() && process.page == page);
            if !is_known && (is_named || is_mapped) {
                pages[used] = self.pages[usize::from(page)];
                order[used] = page;
                used += 1;
            }
        }
        let number = |page: u8| order[..used].iter().position(|&old| old == page).unwrap_or_default() as u8;
        for process in &mut self.processes {
            process.page = number(process.page);
        }
        self.named = self.named.map(number);
        self.pages = pages;
    }

    /// A page that nobody uses. States are in normal form between steps, so that those in use come first.
    pub(super) fn new_page(&mut self, page: Page) -> u8 {
        let is_used = |number: u8| {
            let mapped = |process: &Process| process.maps_its_page() && process.page == number;
            self.named == Some(number) || self.processes.iter().any(mapped)
        };
        let number =
            (0..PAGES as u8).find(|&number| !is_used(number)).expect("there is a page more than there are users");
        self.pages[usize::from(number)] = page;
        self.named = Some(number);
        number
    }
}

impl Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.segment, self.frame)
    }
}

/// The log, then the pages; `*` is what the device does not hold, `#` a page that is poisoned, `~` one with a sync in flight.
impl Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, segment) in self.segments.iter().enumerate().filter(|(_, segment)| segment.is_made) {
            write!(f, " {number}[")?;
            if number > 0 {
                write!(f, "behind {}", segment.stated)?;
            }
            for slot in &segment.slots {
                match slot.bytes {
                    Bytes::Zeros => continue,
                    Bytes::Half => write!(f, " half")?,
                    Bytes::Stub => write!(f, " stub")?,
                    Bytes::Whole(frame) if frame.is_mark => write!(f, " mark")?,
                    Bytes::Whole(frame) => write!(f, " e{}", frame.check)?,
                }
                if !slot.is_on_device {
                    write!(f, "*")?;
                }
            }
            write!(f, "]")?;
        }
        for (number, page) in self.pages.iter().enumerate() {
            let is_mapped =
                self.processes.iter().any(|process| process.maps_its_page() && usize::from(process.page) == number);
            let is_named = self.named.is_some_and(|named| usize::from(named) == number);
            if is_mapped || is_named {
                let name = if is_named { "page" } else { "lost page" };
                let flight = if page.is_in_flight { "~" } else { "" };
                let poison = if page.is_poisoned { "#" } else { "" };
                write!(f, " {name}({} of {}{flight}{poison})", page.durable, page.committed)?;
            }
        }
        Ok(())
    }
}
