//! Which events are asked for? What `cat` and `tail` read: of one stream or of all, by type, by time, the newest so many.
//!
//! The newest are those of what else is asked for: the last five failures, wherever they are. The engine knows the newest of any
//! kind, so it is asked for more and more of these until enough are among them.

use treering::{
    EventRef, LogReader, Position, ReadAllOptions, ReadOptions, Revision, Store, StreamReader, Token, Visibility,
};

use crate::exit::Outcome;

/// By so much the clock by which an event happened may be ahead of the one that recorded it: whole time zones, not years.
const AHEAD_NANOS_MAX: i64 = 24 * 3600 * 1_000_000_000;
/// So many times as many are asked for, where too few are among them.
const STRIDE: u64 = 8;

/// What is asked for; everything unless it says so.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Wanted<'a> {
    /// Of this stream, else of all …
    pub(crate) stream: Option<&'a str>,
    /// … or of all whose names begin so.
    pub(crate) prefix: Option<&'a str>,
    /// Of one stream, these revisions.
    pub(crate) from: Option<u64>,
    pub(crate) to: Option<u64>,
    pub(crate) event_type: Option<&'a str>,
    pub(crate) after: Option<&'a Token>,
    /// What happened then or later, and before.
    pub(crate) since: Option<i64>,
    pub(crate) until: Option<i64>,
    /// What was recorded up to then.
    pub(crate) at: Option<i64>,
    /// The newest so many of all that.
    pub(crate) last: Option<u64>,
    pub(crate) durable: bool,
}

enum Reader {
    Stream(StreamReader),
    Log(LogReader),
}

impl Reader {
    fn next(&mut self) -> Option<treering::Result<EventRef<'_>>> {
        match self {
            Reader::Stream(reader) => reader.next(),
            Reader::Log(reader) => reader.next(),
        }
    }
}

impl Wanted<'_> {
    /// Hands out each event, and what is met in place of one.
    pub(crate) fn read(
        &self,
        store: &Store,
        mut take: impl FnMut(treering::Result<EventRef<'_>>) -> Outcome,
    ) -> Outcome {
        let at = self.at.map(|time| store.end_at(time, visibility(self.durable))).transpose()?;
        let (among, mut before) = match self.last {
            None => (None, 0),
            Some(last) => self.newest(store, at, last).map(|(among, before)| (Some(among), before))?,
        };
        let mut reader = self.reader(store, at, among)?;
        while let Some(next) = reader.next() {
            match next {
                Ok(event) if !self.wants(&event) => {}
                Ok(_) if before > 0 => before -= 1,
                Err(error) if before > 0 && error.damage().is_some() => {}
                next => take(next)?,
            }
        }
        Ok(())
    }

    /// Among how many of any kind the newest so many are that are wanted, and how many wanted ones among these come before them.
    fn newest(&self, store: &Store, at: Option<Position>, last: u64) -> Outcome<(u64, u64)> {
        let all = match self.stream {
            Some(name) => store.stream(name)?.map_or(0, |stream| stream.last_event.get() + 1),
            None => store.stat().map(|stat| stat.events + stat.engine_events)?,
        };
        let mut among = last;
        loop {
            let (mut reader, mut wanted) = (self.reader(store, at, Some(among))?, 0);
            while let Some(next) = reader.next() {
                match next {
                    Ok(event) => wanted += u64::from(self.wants(&event)),
                    // Told when it is read again.
                    Err(error) if error.damage().is_some() => {}
                    Err(error) => return Err(error.into()),
                }
            }
            if wanted >= last || among >= all {
                return Ok((among, wanted.saturating_sub(last)));
            }
            among = among.saturating_mul(STRIDE);
        }
    }

    fn reader(&self, store: &Store, at: Option<Position>, last: Option<u64>) -> Outcome<Reader> {
        match self.stream {
            Some(stream) => self.stream_reader(store, stream, at, last),
            None => self.log_reader(store, at, last),
        }
    }

    fn stream_reader(&self, store: &Store, stream: &str, at: Option<Position>, last: Option<u64>) -> Outcome<Reader> {
        let mut options = ReadOptions::new().visibility(visibility(self.durable));
        if let Some(from) = self.from {
            options = options.from(Revision(from));
        }
        if let Some(to) = self.to {
            options = options.to(Revision(to));
        }
        if let Some(last) = last {
            options = options.last(last);
        }
        if let Some(event_type) = self.event_type {
            options = options.event_type(event_type);
        }
        if let Some(after) = self.after {
            options = options.after_token(after);
        }
        if let Some(at) = at {
            options = options.at(at);
        }
        Ok(Reader::Stream(store.read_stream(stream, options)?))
    }

    fn log_reader(&self, store: &Store, at: Option<Position>, last: Option<u64>) -> Outcome<Reader> {
        let visibility = visibility(self.durable);
        let mut options = ReadAllOptions::new().visibility(visibility);
        if let Some(since) = self.since {
            // What was recorded long before has not happened since.
            options = options.from(store.end_at(since.saturating_sub(AHEAD_NANOS_MAX), visibility)?);
        }
        if let Some(prefix) = self.prefix {
            options = options.stream_prefix(prefix);
        }
        if let Some(last) = last {
            options = options.last(last);
        }
        if let Some(event_type) = self.event_type {
            options = options.event_type(event_type);
        }
        if let Some(after) = self.after {
            options = options.after_token(after);
        }
        if let Some(at) = at {
            options = options.at(at);
        }
        Ok(Reader::Log(store.read_all(options)?))
    }

    /// Whether an event is asked for, by its time.
    fn wants(&self, event: &EventRef<'_>) -> bool {
        let time = event.occurred_at().unwrap_or(event.recorded_at());
        self.since.is_none_or(|since| time >= since) && self.until.is_none_or(|until| time < until)
    }
}

/// What readers are shown: everything committed, unless told otherwise.
pub(crate) fn visibility(durable: bool) -> Visibility {
    if durable { Visibility::Durable } else { Visibility::Committed }
}
