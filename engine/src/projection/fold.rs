//! How far has a projection come, and how does it go on?

use crate::follow::view::View;
use crate::format::token::Token;
use crate::projection::saved::{Read, Saved, Unusable};
use crate::projection::{EventView, Projection};
use crate::read::{Event, EventRef, ReadAllOptions, ReadOptions};
use crate::watermark::Visibility;
use crate::{Error, ErrorKind, Result};

/// What a projection folds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// The stream of this name; it need not exist yet.
    Stream(String),
    /// The whole log.
    Log,
}

/// A projection and the place up to which it has taken events.
///
/// [`Store::catch_up`](crate::Store::catch_up) reads on from there; what a subscription hands out is taken by
/// [`apply_held`](Self::apply_held). [`save`](Self::save) gives both as bytes, [`resume`](Self::resume) takes them up. A fold
/// is rebuilt by making it anew and catching up.
#[derive(Clone, Debug)]
pub struct Fold<P> {
    projection: P,
    source: Source,
    after: Option<Token>,
    events: u64,
    has_gaps: bool,
}

impl<P: Projection> Fold<P> {
    /// Over a stream, from its first event on.
    pub fn over_stream(stream: impl Into<String>, projection: P) -> Fold<P> {
        Fold::over(Source::Stream(stream.into()), projection)
    }

    /// Over the whole log, in its order.
    pub fn over_log(projection: P) -> Fold<P> {
        Fold::over(Source::Log, projection)
    }

    /// Over a source, from its first event on.
    pub fn over(source: Source, projection: P) -> Fold<P> {
        Fold { projection, source, after: None, events: 0, has_gaps: false }
    }

    /// Takes up what [`save`](Self::save) gave, in place of what was taken so far. Whether this log holds the event that the
    /// state ends with is found out by who reads on.
    ///
    /// # Errors
    /// Why the bytes are of no use; then the fold is to be made anew, and built from the first event.
    pub fn resume(&mut self, saved: &[u8]) -> Result<(), Unusable> {
        let saved = Saved::decode(saved)?;
        saved.is_of(self.projection.name(), &self.projection.version(), Some(&self.source))?;
        self.take_up(&saved)
    }

    /// The same for a state whose source was proven in another way: a fork has that of its parent.
    pub(super) fn resume_kept(&mut self, saved: &[u8]) -> Result<(), Unusable> {
        let saved = Saved::decode(saved)?;
        saved.is_of(self.projection.name(), &self.projection.version(), None)?;
        self.take_up(&saved)
    }

    fn take_up(&mut self, saved: &Read<'_>) -> Result<(), Unusable> {
        self.projection.load(saved.state).map_err(Unusable::State)?;
        (self.after, self.events, self.has_gaps) = (saved.after, saved.events, saved.has_gaps);
        Ok(())
    }

    /// State and place as bytes, with what they belong to and a check over all of it. A few hundred bytes more than the state.
    ///
    /// Kept together with what came of the state, it makes each event count once; where the state was of events that were
    /// not durable and are lost with the power, reading on says so.
    #[must_use]
    pub fn save(&self) -> Vec<u8> {
        let state = self.projection.save();
        Saved { after: self.after, events: self.events, has_gaps: self.has_gaps, state: &state }.encode(
            self.projection.name(),
            &self.projection.version(),
            &self.source,
        )
    }

    /// Takes an event that a reader has lent: the next one of the source, which is for the caller to see to.
    pub fn apply(&mut self, event: &EventRef<'_>) {
        self.projection.apply(&EventView::from(event));
        self.events += 1;
        self.after = Some(event.token());
    }

    /// Takes an event that is held, as subscriptions hand them out.
    pub fn apply_held(&mut self, event: &Event) {
        self.projection.apply(&EventView::from(event));
        self.events += 1;
        self.after = Some(event.token());
    }

    /// The projection with its state.
    pub fn projection(&self) -> &P {
        &self.projection
    }

    /// The same, to take out of it what it has ready.
    pub fn projection_mut(&mut self) -> &mut P {
        &mut self.projection
    }

    /// What it folds.
    pub fn source(&self) -> &Source {
        &self.source
    }

    /// The place behind the last event that was taken; `None` before the first.
    pub fn token(&self) -> Option<Token> {
        self.after
    }

    /// How many events were taken.
    pub fn events(&self) -> u64 {
        self.events
    }

    /// Whether events were lost to damage among those that were taken: then the state is that of the others.
    pub fn has_gaps(&self) -> bool {
        self.has_gaps
    }

    /// What [`Store::catch_up`](crate::Store::catch_up) says.
    pub(crate) fn catch_up(
        &mut self,
        view: &View,
        visibility: Visibility,
        mut damage: impl FnMut(Error) -> Result<()>,
    ) -> Result<u64> {
        let begun = self.events;
        // Two readers of one shape: what they lend borrows from them, so no closure serves both.
        macro_rules! take_all {
            ($reader:expr) => {{
                let mut reader = $reader;
                loop {
                    match reader.next() {
                        None => break Ok(()),
                        Some(Ok(event)) => {
                            self.projection.apply(&EventView::from(&event));
                            self.events += 1;
                        }
                        Some(Err(error)) => {
                            self.after = reader.token();
                            if error.damage().is_none() {
                                break Err(error);
                            }
                            if let Err(error) = damage(error) {
                                break Err(error);
                            }
                            self.has_gaps = true;
                        }
                    }
                }
                .map(|()| self.after = reader.token())
            }};
        }
        match &self.source {
            Source::Stream(name) => {
                let mut options = ReadOptions::new().visibility(visibility);
                if let Some(after) = &self.after {
                    options = options.after_token(after);
                }
                match view.stream_reader(name, options)? {
                    Some(reader) => take_all!(reader)?,
                    None if self.after.is_none() => {}
                    None => {
                        return Err(Error::new(ErrorKind::NotFound, format!("there is no stream {name:?} any more")));
                    }
                }
            }
            Source::Log => {
                let mut options = ReadAllOptions::new().visibility(visibility);
                if let Some(after) = &self.after {
                    options = options.after_token(after);
                }
                take_all!(view.log_reader(options)?)?;
            }
        }
        Ok(self.events - begun)
    }
}
