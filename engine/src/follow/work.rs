//! Which streams have something to do? For a pool of workers that know nothing but the log.
//!
//! A stream has something to do from an event that asks for it (a *trigger*) until the next one that ends it (an *outcome*). The
//! finder follows the events of these types, in all streams, and keeps what is open: history first, then live.
//!
//! Invariants, whenever a look has come to the end of the log:
//! 1. What is kept is open, and it is the oldest of all that is: by the position of the first trigger since the last outcome.
//! 2. It is no more than `most`. What had no place is read again, from the first of it on, once half of the places are free: so
//!    memory is bounded, and what is open is found however much of it there is.
//! 3. The token leads to where a later finder finds all that is open: behind the last event before the oldest of it.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use crate::follow::subscription::{SubscribeOptions, Subscription};
use crate::follow::view::View;
use crate::format::token::Token;
use crate::ids::{Position, Revision};
use crate::read::{Event, place};
use crate::watermark::Visibility;
use crate::{Error, ErrorKind, Result};

/// So many streams are kept unless it is said otherwise.
const MOST: usize = 1 << 16;

/// What is work, and where to begin to look for it.
#[derive(Clone, Debug)]
pub struct WorkOptions {
    triggers: Vec<String>,
    outcomes: Vec<String>,
    events: SubscribeOptions,
    after_token: Option<Token>,
    most: usize,
}

impl WorkOptions {
    /// A stream has something to do from an event of one of the types `triggers` until one of the types `outcomes`. From the
    /// beginning of the log, durable events alone.
    #[must_use]
    pub fn new<T: Into<String>>(
        triggers: impl IntoIterator<Item = T>,
        outcomes: impl IntoIterator<Item = T>,
    ) -> WorkOptions {
        WorkOptions {
            triggers: triggers.into_iter().map(Into::into).collect(),
            outcomes: outcomes.into_iter().map(Into::into).collect(),
            events: SubscribeOptions::all(),
            after_token: None,
            most: MOST,
        }
    }

    /// Only streams whose names begin with `prefix`.
    #[must_use]
    pub fn stream_prefix(mut self, prefix: impl Into<String>) -> WorkOptions {
        self.events = self.events.in_streams(prefix.into());
        self
    }

    /// Begins behind the event that this token names, such as that of an earlier finder
    /// ([`WorkFinder::token`]). What was asked for before it is not found.
    #[must_use]
    pub fn after_token(mut self, token: &Token) -> WorkOptions {
        self.after_token = Some(*token);
        self
    }

    /// Begins at this position: [`Store::end_at`](crate::Store::end_at) makes one of a time. What was asked for before it is
    /// not found.
    #[must_use]
    pub fn from(mut self, position: Position) -> WorkOptions {
        self.events = self.events.after(Position(position.0.saturating_sub(1)));
        self
    }

    /// Whether events count that are not durable yet. Default: no.
    #[must_use]
    pub fn visibility(mut self, visibility: Visibility) -> WorkOptions {
        self.events = self.events.visibility(visibility);
        self
    }

    /// So many streams are kept in memory, the oldest of those that have something to do; one at least. Default: 65,536. Of more, parts
    /// of the log are read again.
    #[must_use]
    pub fn most(mut self, streams: usize) -> WorkOptions {
        self.most = streams.max(1);
        self
    }
}

/// A stream that has something to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Work {
    /// The stream.
    pub stream: Arc<str>,
    /// Revision of the first event since the last outcome that asked for it.
    pub revision: Revision,
    /// Its position.
    pub position: Position,
    /// Its type.
    pub event_type: String,
    /// The event before it of the types that are followed.
    before: Position,
}

/// Finds the streams that have something to do, by the types of their events, and follows what other processes append.
///
/// It says what the log says, to every worker the same: which of them does the work is settled by
/// [claims](crate::Store::try_claim), and what is safe by the expected revision of what they append. A worker that is given a stream
/// reads it before it begins, since another may have done the work meanwhile.
///
/// Where an index says that a segment holds none of the types, it is not looked at; and a worker that begins behind the
/// [`token`](WorkFinder::token) of an earlier one does not read what lies before.
///
/// ```
/// use treering::{Batch, Expected, NewEvent, Options, Store, Visibility, WorkOptions};
///
/// # let folder = std::env::temp_dir().join(format!("treering-work-{}", std::process::id()));
/// # let store = Store::open(&folder, Options::new())?;
/// let asked = [NewEvent::new("question", "what is the time?")];
/// let _ = store.append(&Batch::to("session-1", Expected::Any, &asked))?;
/// let mut finder = store.find_work(WorkOptions::new(["question"], ["answer"]))?;
/// finder.look()?;
/// assert_eq!(finder.open().map(|work| &*work.stream).collect::<Vec<_>>(), ["session-1"]);
///
/// let _ = store.append(&Batch::to("session-1", Expected::Any, &[NewEvent::new("answer", "late")]))?;
/// finder.look()?;
/// assert_eq!(finder.open().count(), 0);
/// # drop((finder, store));
/// # std::fs::remove_dir_all(&folder).ok();
/// # Ok::<(), treering::Error>(())
/// ```
#[derive(Debug)]
pub struct WorkFinder {
    view: Arc<View>,
    options: WorkOptions,
    subscription: Subscription,
    open: BTreeMap<Position, Work>,
    by_stream: HashMap<Arc<str>, Position>,
    /// The event that was taken in last; zero before the first.
    last: Position,
    /// The last event before the first work that had no place.
    passed: Option<Position>,
}

impl WorkFinder {
    pub(crate) fn new(view: &Arc<View>, options: WorkOptions) -> Result<WorkFinder> {
        let WorkOptions { triggers, outcomes, .. } = &options;
        if triggers.is_empty() || outcomes.is_empty() {
            let message = "work needs a type of event that asks for it, and one that ends it";
            return Err(Error::new(ErrorKind::Invalid, message));
        }
        if let Some(both) = triggers.iter().find(|name| outcomes.contains(name)) {
            let message = format!("events of type {both:?} cannot both ask for work and end it");
            return Err(Error::new(ErrorKind::Invalid, message));
        }
        let mut events = options.events.clone().event_types(triggers.iter().chain(outcomes).cloned());
        if let Some(token) = &options.after_token {
            events = events.after_token(token);
        }
        let subscription = Subscription::new(view, events.clone())?;
        let options = WorkOptions { events, ..options };
        let (open, by_stream) = (BTreeMap::new(), HashMap::new());
        let last = Position::ZERO;
        Ok(WorkFinder { view: Arc::clone(view), options, subscription, open, by_stream, last, passed: None })
    }

    /// What is open, the oldest first.
    pub fn open(&self) -> impl Iterator<Item = &Work> {
        self.open.values()
    }

    /// Whether more may be open than is kept.
    #[must_use]
    pub fn has_more(&self) -> bool {
        self.passed.is_some()
    }

    /// Takes in what the log holds by now.
    ///
    /// # Errors
    /// As [`Subscription::try_next`]: of damage it is told once, and the next look goes on behind it. A trigger or an outcome
    /// may be lost there.
    pub fn look(&mut self) -> Result<()> {
        loop {
            while let Some(event) = self.subscription.try_next()? {
                self.take(&event);
            }
            let Some(before) = self.passed.filter(|_| self.open.len() <= self.options.most / 2) else {
                return Ok(());
            };
            // All that is kept was asked for before it: of that nothing is read again.
            let mut events = self.options.events.clone();
            if before > Position::ZERO {
                events = events.after(before);
            }
            self.subscription = Subscription::new(&self.view, events)?;
            (self.passed, self.last) = (None, before);
        }
    }

    /// Waits until an event of one of the types comes, at most for `timeout`, and takes in what is there then. Whether one came.
    ///
    /// # Errors
    /// As [`look`](WorkFinder::look); [`Closed`](ErrorKind::Closed) once the store was closed.
    pub fn wait(&mut self, timeout: Duration) -> Result<bool> {
        let Some(event) = self.subscription.next_timeout(timeout)? else { return Ok(false) };
        self.take(&event);
        self.look()?;
        Ok(true)
    }

    /// A place from which a later finder finds all that is open now. `None` where that is the beginning.
    #[must_use]
    pub fn token(&self) -> Option<Token> {
        let oldest = self.open.values().next().map(|work| work.before);
        match oldest.into_iter().chain(self.passed).min() {
            None => self.subscription.token(),
            Some(Position::ZERO) => self.options.after_token,
            Some(before) => place::token_at(&self.view.set, before).or(self.options.after_token),
        }
    }

    fn take(&mut self, event: &Event) {
        let before = std::mem::replace(&mut self.last, event.position);
        let known = self.by_stream.get(&event.stream).copied();
        if self.options.outcomes.iter().any(|name| **name == *event.event_type) {
            if let Some(position) = known {
                self.by_stream.remove(&event.stream);
                self.open.remove(&position);
            }
        } else if known.is_none() {
            if self.passed.is_some() || self.open.len() >= self.options.most {
                self.passed.get_or_insert(before);
                return;
            }
            let work = Work {
                stream: Arc::clone(&event.stream),
                revision: event.revision,
                position: event.position,
                event_type: event.event_type.to_string(),
                before,
            };
            self.by_stream.insert(Arc::clone(&work.stream), work.position);
            self.open.insert(work.position, work);
        }
    }
}
