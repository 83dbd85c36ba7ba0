//! Which events are asked for? What `cat` and `tail` read: of one stream or of all, by type, by time, the newest so many.
//!
//! The newest are those of what else is asked for: the last five failures, wherever they are. The engine knows the newest of any
//! kind, so it is asked for more and more of these until enough are among them. So the log is read more than once: always as it
//! was at one place, whatever is appended meanwhile.

use treering::{
    EventRef, LogReader, Position, ReadAllOptions, ReadOptions, Revision, Store, StreamReader, Token, Visibility,
};

use crate::exit::Outcome;
use crate::opening;

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
    pub(crate) fn read(&self, store: &Store, take: impl FnMut(treering::Result<EventRef<'_>>) -> Outcome) -> Outcome {
        self.look(store)?.read(store, take)
    }

    /// Looks where in the log it lies.
    fn look(&self, store: &Store) -> Outcome<Found<'_>> {
        let mut at = self.at.map(|time| store.end_at(time, visibility(self.durable))).transpose()?;
        let Some(last) = self.last else { return Ok(Found { wanted: self, at, among: None, before: 0 }) };
        if self.after.is_some() {
            store.refresh()?; // as each reader does that begins behind a token
        }
        let marks = store.watermarks();
        let end = if self.durable { marks.durable } else { marks.committed };
        at = Some(at.map_or(end, |at| at.min(end)));
        let why = "few of the newest are among them, so it is looked further and further back";
        let looking = || self.newest(store, at, last);
        let (among, before) = opening::patiently("looking for the last events that are asked for", why, looking)?;
        Ok(Found { wanted: self, at, among: Some(among), before })
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
        if let Some(begin) = self.begin(store)? {
            options = options.from_position(begin);
        }
        Ok(Reader::Stream(store.read_stream(stream, options)?))
    }

    fn log_reader(&self, store: &Store, at: Option<Position>, last: Option<u64>) -> Outcome<Reader> {
        let visibility = visibility(self.durable);
        let mut options = ReadAllOptions::new().visibility(visibility);
        if let Some(begin) = self.begin(store)? {
            options = options.from(begin);
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

    /// Where that begins which may be new enough: what was recorded long before has not happened since.
    fn begin(&self, store: &Store) -> Outcome<Option<Position>> {
        let Some(since) = self.since else { return Ok(None) };
        let before = since.saturating_sub(AHEAD_NANOS_MAX).saturating_sub(1);
        Ok(Some(store.end_at(before, visibility(self.durable))?))
    }

    /// Whether an event is asked for, by its time.
    fn wants(&self, event: &EventRef<'_>) -> bool {
        let time = event.occurred_at().unwrap_or(event.recorded_at());
        self.since.is_none_or(|since| time >= since) && self.until.is_none_or(|until| time < until)
    }
}

/// Where in the log that lies which is asked for.
struct Found<'a> {
    wanted: &'a Wanted<'a>,
    /// The log as it was when it ended there.
    at: Option<Position>,
    /// Among the newest so many of any kind …
    among: Option<u64>,
    /// … behind so many that are wanted.
    before: u64,
}

impl Found<'_> {
    fn read(&self, store: &Store, mut take: impl FnMut(treering::Result<EventRef<'_>>) -> Outcome) -> Outcome {
        let (mut reader, mut before) = (self.wanted.reader(store, self.at, self.among)?, self.before);
        while let Some(next) = reader.next() {
            match next {
                Ok(event) if !self.wanted.wants(&event) => {}
                Ok(_) if before > 0 => before -= 1,
                Err(error) if before > 0 && error.damage().is_some() => {}
                next => take(next)?,
            }
        }
        Ok(())
    }
}

/// What readers are shown: everything committed, unless told otherwise.
pub(crate) fn visibility(durable: bool) -> Visibility {
    if durable { Visibility::Durable } else { Visibility::Committed }
}

#[cfg(test)]
mod tests {
    use treering::{Batch, Durability, Expected, NewEvent, Options};

    use super::*;

    fn append(store: &Store, stream: &str, event_type: &str, payload: &str) -> Token {
        let event = [NewEvent::new(event_type, payload.as_bytes())];
        let batch = Batch::to(stream, Expected::Any, &event).durability(Durability::Written);
        store.append(&batch).unwrap().token()
    }

    fn payloads(found: &Found<'_>, store: &Store) -> Vec<String> {
        let mut all = Vec::new();
        let take = |next: treering::Result<EventRef<'_>>| {
            all.push(String::from_utf8(next?.payload().to_vec()).unwrap());
            Ok(())
        };
        found.read(store, take).unwrap();
        all
    }

    /// Others append between the look and the reading. What begins behind a token takes that in.
    #[test]
    fn the_newest_are_those_of_one_place_of_the_log() {
        let folder = tempfile::tempdir().unwrap();
        let writer = Store::open(folder.path(), Options::new()).unwrap();
        let token = append(&writer, "a", "failure", "0");
        for number in 1..30 {
            append(&writer, "a", if number % 3 == 0 { "failure" } else { "step" }, &number.to_string());
        }
        let of = |stream, event_type, prefix, after| {
            let (since, last) = (Some(0), Some(3));
            Wanted { stream, event_type, prefix, after, since, last, ..Wanted::default() }
        };
        for wanted in [
            of(Some("a"), Some("failure"), None, Some(&token)),
            of(Some("a"), None, None, Some(&token)),
            of(None, Some("failure"), None, Some(&token)),
            of(None, None, Some("a"), Some(&token)),
            of(None, Some("failure"), None, None),
        ] {
            // The same whatever kind of event comes.
            for comes in ["failure", "step"] {
                let store = Store::open_read_only(folder.path(), Options::new()).unwrap();
                let end = store.watermarks().committed;
                let found = wanted.look(&store).unwrap();
                for number in 0..40 {
                    append(&writer, "a", comes, &format!("later {number}"));
                }
                let shown = payloads(&found, &store);
                let all = Wanted { last: None, after: None, ..wanted };
                let all = payloads(&Found { wanted: &all, at: Some(end), among: None, before: 0 }, &store);
                assert_eq!(shown, all[all.len() - 3..], "{wanted:?}, {comes}");
            }
        }
    }
}
