//! The recovery tables of the format specification, as code.
//!
//! Every combination of what can be observed meets exactly one row; the rows carry the names that they have in
//! `format-spec/11-recovery.md`, and a test holds the two against each other, combination by combination.

/// Where a store lies, by its identity file and its newest open frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// Where it was.
    Home,
    /// Somewhere else: it is a copy, or was restored.
    Moved,
}

/// What stands where the chain of a segment stops. The first that fits, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    /// The stated end; or the end of the file, where none is stated.
    Reached,
    /// A frame crosses the stated end, or the last one is another than stated.
    Crossing,
    /// Nothing but zeros up to the stated end, or the end of the file.
    Zero,
    /// Something, but nothing behind it up to a place below the witness.
    Cut,
    /// A frame that continues the chain, whose bodies are not what was written.
    Body,
    /// Anything else.
    Bytes,
}

/// What is observed where the chain of a segment stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ChainEnd {
    /// What stands there.
    pub(crate) stop: Stop,
    /// A later open frame states this segment's end.
    pub(crate) is_end_stated: bool,
    /// The place lies below the highest witness.
    pub(crate) is_below_witness: bool,
    /// Whole frames of this segment lie behind it.
    pub(crate) has_frames_behind: bool,
    /// Where the store lies.
    pub(crate) place: Place,
}

/// What the place where a chain stops means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EndMeaning {
    /// Finished; the log goes on in the next segment.
    Log,
    /// The end of the log.
    End,
    /// The end of the log; what lies behind was never promised to anyone.
    Torn,
    /// Something that was durable is lost; reading goes on behind it.
    Damage,
    /// The copy ends here.
    CopyIncomplete,
}

impl ChainEnd {
    /// The row of the table `recovery` that fits, and what it says.
    #[must_use]
    pub(crate) fn decide(self) -> (&'static str, EndMeaning) {
        use EndMeaning::{CopyIncomplete, Damage, End, Log, Torn};
        use Place::{Home, Moved};
        let ChainEnd { stop, is_end_stated, is_below_witness, has_frames_behind, place } = self;
        match (stop, is_end_stated, is_below_witness, place) {
            (Stop::Reached, true, _, _) => ("C1", Log),
            (Stop::Reached, false, _, _) => ("C2", End),
            (Stop::Crossing, _, _, _) => ("C3", Damage),
            (Stop::Zero, false, false, _) => ("C4", End),
            (Stop::Zero, true, false, Home) => ("C5", Torn),
            (Stop::Zero, true, false, Moved) => ("C6", CopyIncomplete),
            (Stop::Zero | Stop::Cut, _, true, Home) => ("C7", Damage),
            (Stop::Zero | Stop::Cut, _, true, Moved) => ("C8", CopyIncomplete),
            (Stop::Body, _, true, _) => ("C9", Damage),
            (Stop::Bytes, _, true, _) => ("C10", Damage),
            (Stop::Cut | Stop::Body | Stop::Bytes, false, false, _) if !has_frames_behind => ("C11", Torn),
            (Stop::Cut | Stop::Body | Stop::Bytes, false, false, _) => ("C12", Torn),
            (Stop::Cut | Stop::Body | Stop::Bytes, true, false, Home) => ("C13", Torn),
            (Stop::Cut | Stop::Body | Stop::Bytes, true, false, Moved) => ("C14", CopyIncomplete),
        }
    }
}

/// The worst that was met at the end of any segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum TailState {
    /// Every chain ends as it should.
    End,
    /// The log ends in a torn tail.
    Torn,
    /// Something is damaged, missing, foreign or stale.
    Damage,
    /// The copy ends early.
    Copy,
}

/// What the watermark file says about the end of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WatermarkState {
    /// The log ends there, and nobody was writing.
    Clean,
    /// Anything else that counts.
    Open,
    /// Nothing.
    None,
}

/// What is observed when a writer opens a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Opening {
    /// The worst that was met.
    pub(crate) tail: TailState,
    /// What the watermark file says.
    pub(crate) watermark: WatermarkState,
    /// The kernel has run since the watermark was written.
    pub(crate) is_same_boot: bool,
    /// Where the store lies.
    pub(crate) place: Place,
}

/// How a writer goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Proceed {
    /// In the same segment, with a new takeover.
    Continue,
    /// In a new segment.
    Roll {
        /// In a new life of the store.
        new_incarnation: bool,
        /// Streams whose head may be damaged wait for an accept.
        is_guarded: bool,
    },
    /// Not before an accept.
    AcceptFirst,
}

impl Opening {
    /// The row of the table `recovery_opening` that fits, and what it says.
    #[must_use]
    pub(crate) fn decide(self) -> (&'static str, Proceed) {
        let roll = |new_incarnation, is_guarded| Proceed::Roll { new_incarnation, is_guarded };
        match (self.tail, self.watermark, self.is_same_boot, self.place) {
            (TailState::End, WatermarkState::Clean, true, Place::Home) => ("O1", Proceed::Continue),
            (TailState::End, WatermarkState::Clean, false, Place::Home) => ("O2", roll(false, false)),
            (TailState::End, WatermarkState::Open | WatermarkState::None, _, Place::Home) => ("O3", roll(false, false)),
            (TailState::Torn, _, _, Place::Home) => ("O4", roll(false, false)),
            (TailState::End | TailState::Torn, _, _, Place::Moved) => ("O5", roll(true, false)),
            (TailState::Damage, _, _, Place::Home) => ("O6", roll(false, true)),
            (TailState::Damage, _, _, Place::Moved) => ("O7", roll(true, true)),
            (TailState::Copy, _, _, _) => ("O8", Proceed::AcceptFirst),
        }
    }
}
