//! A subscription reads the log from a place and, at its end, waits for more.
//!
//! There is no hand-over between history and live: both are the same reader over the same log, so nothing can fall
//! between. What a fork shares with its parent comes first, from where it lies; all of it is older than the fork. Waiting is on the watermark (see there for the lost wake-up). On a store that other processes write, it is on a word
//! of the control page; a wake-up that is lost there costs 50 ms, after which the log is looked at anyway.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use crate::follow::view::View;
use crate::format::token::Token;
use crate::ids::{Position, Revision};
use crate::lineage::StreamReader;
use crate::read::{Event, LogReader, ReadAllOptions, ReadOptions};
use crate::sync::now;
use crate::watermark::Visibility;
use crate::{Error, ErrorKind, Result, limits};

/// What a subscription hands out, and from where.
#[derive(Clone, Debug)]
pub struct SubscribeOptions {
    stream: Option<String>,
    stream_prefix: Option<String>,
    event_types: Vec<String>,
    from: Position,
    from_revision: Revision,
    after_token: Option<Token>,
    visibility: Visibility,
}

impl SubscribeOptions {
    /// The events of all streams.
    #[must_use]
    pub fn all() -> SubscribeOptions {
        SubscribeOptions {
            stream: None,
            stream_prefix: None,
            event_types: Vec::new(),
            from: Position::ZERO,
            from_revision: Revision(0),
            after_token: None,
            visibility: Visibility::Durable,
        }
    }

    /// The events of one stream, which need not exist yet.
    #[must_use]
    pub fn stream(name: impl Into<String>) -> SubscribeOptions {
        SubscribeOptions { stream: Some(name.into()), ..SubscribeOptions::all() }
    }

    /// The events of all streams whose names begin with `prefix`, also of those that are made later.
    #[must_use]
    pub fn stream_prefix(prefix: impl Into<String>) -> SubscribeOptions {
        SubscribeOptions { stream_prefix: Some(prefix.into()), ..SubscribeOptions::all() }
    }

    /// As [`stream_prefix`](Self::stream_prefix), of what was asked for so far.
    pub(super) fn in_streams(mut self, prefix: String) -> SubscribeOptions {
        self.stream_prefix = Some(prefix);
        self
    }

    /// Only events of these types; none given asks for all. What holds none of them is not looked at where an index says so.
    #[must_use]
    pub fn event_types(mut self, names: impl IntoIterator<Item = impl Into<String>>) -> SubscribeOptions {
        self.event_types = names.into_iter().map(Into::into).collect();
        self
    }

    /// Only what lies behind this position: that of the last event that was handled.
    #[must_use]
    pub fn after(mut self, position: Position) -> SubscribeOptions {
        self.from = Position(position.0.saturating_add(1));
        self
    }

    /// Only what lies behind the event that this token names: no event is left out, and none comes again. The token may be
    /// of any stream.
    #[must_use]
    pub fn after_token(mut self, token: &Token) -> SubscribeOptions {
        self.after_token = Some(*token);
        self
    }

    /// Only events of this revision and later ones; for a subscription to one stream.
    #[must_use]
    pub fn from(mut self, revision: Revision) -> SubscribeOptions {
        self.from_revision = revision;
        self
    }

    /// Whether events that are not durable yet are handed out. Default: no.
    #[must_use]
    pub fn visibility(mut self, visibility: Visibility) -> SubscribeOptions {
        self.visibility = visibility;
        self
    }
}

/// Events of the log, those that are there and those that come.
#[derive(Debug)]
pub struct Subscription {
    view: Arc<View>,
    options: SubscribeOptions,
    reader: LogReader,
    seen: Position,
    shared: Shared,
    /// Of what is shared, only what lies from here on.
    shared_from: Position,
    /// The first event of the stream's own, which came before what is shared was known.
    own: Option<Event>,
    /// The event that was handed out last, or the one that it was begun behind.
    last: Option<Token>,
    /// The writers know that it waits.
    sleeps: bool,
}

/// What the stream shares with the one that it was forked from.
#[derive(Debug)]
enum Shared {
    /// There is no such stream yet.
    Unknown,
    Reading(Box<StreamReader>),
    /// Nothing, or all of it was handed out.
    Done,
}

impl Subscription {
    pub(crate) fn new(view: &Arc<View>, mut options: SubscribeOptions) -> Result<Subscription> {
        let shared = if options.stream.is_some() { Shared::Unknown } else { Shared::Done };
        let shared_from = options.from;
        let stream = options.stream.as_ref().map_or(Ok(None), |name| view.stream(name))?;
        if let Some(fork) = stream.as_ref().filter(|stream| stream.first.0 > 0) {
            options.from = options.from.max(Position(fork.id.0));
        } else if let Some(name) = &options.stream
            && options.from_revision.0 > 0
        {
            // The place of the revision is looked up once, so that the history before it is not read.
            let one = ReadOptions::new()
                .from(options.from_revision)
                .to(options.from_revision)
                .visibility(Visibility::Committed);
            if let Some(mut reader) = view.stream_reader(name, one)?
                && let Some(Ok(event)) = reader.next()
            {
                options.from = options.from.max(event.position());
            }
        } else if let Some(stream) = stream {
            options.from = options.from.max(Position(stream.id.0));
        }
        let prefix = options.stream_prefix.take();
        let types: Vec<&str> = options.event_types.iter().map(String::as_str).collect();
        let mut read = ReadAllOptions::new().from(options.from).visibility(options.visibility).event_types(&types);
        if let Some(prefix) = &prefix {
            read = read.stream_prefix(prefix);
        }
        if options.stream.as_deref().is_some_and(limits::is_engines) {
            read = read.with_engine_streams();
        }
        if let Some(token) = &options.after_token {
            read = read.after_token(token);
        }
        let reader = view.log_reader(read)?;
        let last = options.after_token;
        Ok(Subscription {
            view: Arc::clone(view),
            options,
            reader,
            seen: Position::ZERO,
            shared,
            shared_from,
            own: None,
            last,
            sleeps: false,
        })
    }

    /// The place behind the event that was handed out last: a later subscription goes on there. `None` before the first,
    /// unless this one was itself begun behind a token.
    #[must_use]
    pub fn token(&self) -> Option<Token> {
        self.last
    }

    /// The next event that is there already; `None` where the visible log ends.
    ///
    /// # Errors
    /// As [`LogReader::next`]; an error that is not passed is met again by the next call, until its cause is gone.
    pub fn try_next(&mut self) -> Result<Option<Event>> {
        self.view.refresh()?;
        // Taken before reading: what is raised later than this wakes the wait.
        self.seen = self.view.visible(self.options.visibility);
        self.reader.try_again();
        if let Some(event) = self.next_shared()?.or_else(|| self.own.take()) {
            self.last = Some(event.token());
            return Ok(Some(event));
        }
        while let Some(event) = self.reader.next() {
            let event = event?;
            let wanted = self
                .options
                .stream
                .as_ref()
                .is_none_or(|name| event.stream() == name && event.revision() >= self.options.from_revision);
            if wanted {
                let mut event = event.hold();
                if matches!(self.shared, Shared::Unknown)
                    && let Some(shared) = self.next_shared()?
                {
                    self.own = Some(std::mem::replace(&mut event, shared));
                }
                self.last = Some(event.token());
                return Ok(Some(event));
            }
        }
        Ok(None)
    }

    /// The next event that the stream shares with its parent.
    fn next_shared(&mut self) -> Result<Option<Event>> {
        if let (Shared::Unknown, Some(name)) = (&self.shared, &self.options.stream) {
            let visible = self.view.visible(self.options.visibility);
            self.shared = match self.view.stream(name)? {
                None => return Ok(None),
                Some(stream) if stream.first.0 == 0 => Shared::Done,
                Some(fork) if fork.id.0 >= visible.0 => return Ok(None),
                Some(fork) => {
                    let mut options = ReadOptions::new().from(self.options.from_revision);
                    options = options.to(Revision(fork.first.0 - 1)).visibility(self.options.visibility);
                    if let Some(token) = &self.options.after_token {
                        options = options.after_token(token);
                    }
                    let reader = self.view.stream_reader(name, options)?;
                    reader.map_or(Shared::Done, |reader| Shared::Reading(Box::new(reader)))
                }
            };
        }
        let Shared::Reading(reader) = &mut self.shared else { return Ok(None) };
        while let Some(event) = reader.next() {
            let event = event?;
            if event.position() >= self.shared_from {
                return Ok(Some(event.hold()));
            }
        }
        self.shared = Shared::Done;
        Ok(None)
    }

    /// The next event; blocks until there is one.
    ///
    /// # Errors
    /// As [`LogReader::next`]; [`Closed`](ErrorKind::Closed) once the store was closed and everything was handed out.
    #[allow(clippy::should_implement_trait)]
    pub fn next(&mut self) -> Result<Event> {
        loop {
            if let Some(event) = self.next_timeout(Duration::from_secs(3600))? {
                return Ok(event);
            }
        }
    }

    /// The next event, or `None` if none came within `timeout`.
    ///
    /// # Errors
    /// As [`next`](Self::next).
    pub fn next_timeout(&mut self, timeout: Duration) -> Result<Option<Event>> {
        let until = now() + timeout;
        loop {
            let was_closed = self.view.marks.is_closed();
            if let Some(event) = self.try_next()? {
                return Ok(Some(event));
            }
            if was_closed {
                return Err(Error::new(
                    ErrorKind::Closed,
                    "the store was closed; everything that it held was handed out",
                ));
            }
            if now() >= until {
                return Ok(None);
            }
            if !self.sleeps {
                self.sleeps = true;
                self.view.sleep_from_now();
            }
            self.view.wait_above(self.options.visibility, self.seen, until);
        }
    }

    /// The next event, for a task. Needs no runtime: the writer's threads wake the task, and hold no lock then. So a waker may append
    /// and read, but whoever woke it waits for it; one that panics is as one that does nothing.
    ///
    /// # Errors
    /// As [`next`](Self::next); [`Unsupported`](ErrorKind::Unsupported) on a store opened for reading, which has nobody to
    /// wake a task: use [`next_timeout`](Self::next_timeout) there.
    pub async fn next_async(&mut self) -> Result<Event> {
        if self.view.is_follower() {
            return Err(Error::new(
                ErrorKind::Unsupported,
                "a store opened for reading cannot wake tasks; use next_timeout",
            ));
        }
        self.view.watch_for_tasks()?;
        let marks = Arc::clone(&self.view.marks);
        let visibility = self.options.visibility;
        let _watch = Watch::new(&marks);
        loop {
            let was_closed = self.view.marks.is_closed();
            if let Some(event) = self.try_next()? {
                return Ok(event);
            }
            if was_closed {
                return Err(Error::new(
                    ErrorKind::Closed,
                    "the store was closed; everything that it held was handed out",
                ));
            }
            let seen = self.seen;
            poll_fn(|context| match marks.poll_above(visibility, seen, context.waker()) {
                Some(_) => Poll::Ready(()),
                None => Poll::Pending,
            })
            .await;
        }
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        if self.sleeps {
            self.view.sleep_no_more();
        }
    }
}

/// Counts a task among the watchers for as long as it may be polled.
struct Watch<'m>(&'m crate::watermark::Marks);

impl<'m> Watch<'m> {
    fn new(marks: &'m crate::watermark::Marks) -> Watch<'m> {
        marks.watch();
        Watch(marks)
    }
}

impl Drop for Watch<'_> {
    fn drop(&mut self) {
        self.0.unwatch();
    }
}
