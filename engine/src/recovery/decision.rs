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

/// How many copies of the head block of a segment file prove themselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Blocks {
    /// Both, and they are equal.
    Both,
    /// One; or both, and they differ.
    One,
    /// Neither.
    None,
    /// Neither, and no byte of them is set or there.
    Zero,
}

/// To what the copy that serves says that the file belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Owner {
    /// This store, under this name, at this moment.
    Ours,
    /// Another store.
    Foreign,
    /// Another moment of this store, or another place in it.
    Stale,
}

/// What is observed of the file of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FileSeen {
    /// The name leads to a regular file.
    pub(crate) is_present: bool,
    /// How many copies of the head block prove themselves.
    pub(crate) blocks: Blocks,
    /// To what it belongs; [`Owner::Ours`] where neither copy serves.
    pub(crate) owner: Owner,
    /// It lies behind a stated end and before the segment that states it.
    pub(crate) is_void: bool,
    /// Where the store lies.
    pub(crate) place: Place,
}

/// What a segment file is to the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FileMeaning {
    /// Nothing: it was passed over.
    Void,
    /// It should be there and is not.
    Missing,
    /// The copy ends before it.
    CopyIncomplete,
    /// A segment of the log; whether one copy of its head block is damage.
    Use {
        /// One copy of the head block is bad or different.
        is_block_damaged: bool,
    },
    /// It belongs to another store.
    Foreign,
    /// It belongs to another moment of this store.
    Stale,
    /// Its head is lost.
    Damage,
}

impl FileSeen {
    /// The row of the table `recovery_file` that fits, and what it says.
    #[must_use]
    pub(crate) fn decide(self) -> (&'static str, FileMeaning) {
        use Blocks::{Both, One};
        use Place::{Home, Moved};
        if self.is_void {
            return ("F1", FileMeaning::Void);
        }
        if !self.is_present {
            return match self.place {
                Home => ("F2", FileMeaning::Missing),
                Moved => ("F3", FileMeaning::CopyIncomplete),
            };
        }
        match (self.blocks, self.owner, self.place) {
            (Both, Owner::Ours, _) => ("F4", FileMeaning::Use { is_block_damaged: false }),
            (One, Owner::Ours, _) => ("F5", FileMeaning::Use { is_block_damaged: true }),
            (Both | One, Owner::Foreign, _) => ("F6", FileMeaning::Foreign),
            (Both | One, Owner::Stale, _) => ("F7", FileMeaning::Stale),
            (Blocks::None, _, _) => ("F8", FileMeaning::Damage),
            (Blocks::Zero, _, Home) => ("F9", FileMeaning::Damage),
            (Blocks::Zero, _, Moved) => ("F10", FileMeaning::CopyIncomplete),
        }
    }
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

/// What the control page says of how the last writer ended, as far as the log agrees with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ControlState {
    /// The kernel and the mount live, nothing had failed, and no sync was under way.
    Idle,
    /// The same, but a sync was under way whose result nobody knows.
    InFlight,
    /// A write or sync had an unknown effect.
    Poisoned,
    /// Nothing that can be believed.
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
    /// What the control page says.
    pub(crate) control: ControlState,
    /// Where the store lies.
    pub(crate) place: Place,
}

/// How a writer goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Proceed {
    /// In the same segment, with a new takeover.
    Continue,
    /// In a new segment, since a write or sync had failed.
    RollAfterError,
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
        let Opening { tail, watermark, is_same_boot, control, place } = self;
        let is_whole = matches!(tail, TailState::End | TailState::Torn);
        let is_clean = tail == TailState::End && watermark == WatermarkState::Clean;
        match (place, control) {
            _ if tail == TailState::Copy => ("O8", Proceed::AcceptFirst),
            (Place::Moved, _) if is_whole => ("O5", roll(true, false)),
            (Place::Home, _) if !is_whole => ("O6", roll(false, true)),
            (Place::Moved, _) => ("O7", roll(true, true)),
            (Place::Home, ControlState::Poisoned) => ("O12", Proceed::RollAfterError),
            (Place::Home, _) if is_clean && !is_same_boot => ("O2", roll(false, false)),
            (Place::Home, ControlState::Idle | ControlState::None) if is_clean => ("O1", Proceed::Continue),
            (Place::Home, ControlState::InFlight) if is_clean => ("O11", roll(false, false)),
            (Place::Home, ControlState::Idle) if tail == TailState::End => ("O9", Proceed::Continue),
            (Place::Home, ControlState::Idle) => ("O10", Proceed::Continue),
            (Place::Home, _) if tail == TailState::End => ("O3", roll(false, false)),
            (Place::Home, _) => ("O4", roll(false, false)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = include_str!("../../../format-spec/11-recovery.md");

    /// The values of each observation, in the order of the columns, and the cells of each row.
    struct Table {
        domain: Vec<Vec<&'static str>>,
        rows: Vec<Vec<&'static str>>,
    }

    fn table(name: &str) -> Table {
        let (_, rest) = PAGE.split_once(&format!("<!-- table: {name} -->\n")).expect("the page has the table");
        let (observations, rest) = rest.split_once(" -->\n").expect("the values of the observations follow");
        let observations = observations.strip_prefix("<!-- observations: ").expect("they are named");
        let domain = observations.split(' ').map(|one| {
            let (_, values) = one.split_once('=').expect("a name and its values");
            values.split(',').collect()
        });
        let lines = rest.lines().take_while(|line| line.starts_with('|')).skip(2);
        let rows = lines.map(|line| line.trim_matches('|').split('|').map(str::trim).collect());
        Table { domain: domain.collect(), rows: rows.collect() }
    }

    /// For every combination of observations exactly one row matches, and the engine decides as that row says; every row
    /// is met. `decide` gives the row and the result for the indexes of the observed values.
    fn agree(name: &str, decide: impl Fn(&[usize]) -> (&'static str, &'static str)) {
        let Table { domain, rows } = table(name);
        let mut met = std::collections::BTreeSet::new();
        let combinations: usize = domain.iter().map(Vec::len).product();
        for number in 0..combinations {
            let (mut seen, mut rest) = (Vec::new(), number);
            for values in &domain {
                seen.push(rest % values.len());
                rest /= values.len();
            }
            let fits = |row: &&Vec<&str>| {
                domain.iter().zip(&seen).zip(&row[1..]).all(|((values, index), cell)| {
                    *cell == "*" || cell.split('/').any(|allowed| allowed == values[*index])
                })
            };
            let fitting: Vec<_> = rows.iter().filter(fits).collect();
            assert_eq!(fitting.len(), 1, "{name}: {seen:?} meets {fitting:?}");
            let row = fitting[0];
            assert_eq!(decide(&seen), (row[0], row[1 + domain.len()]), "{name}: {seen:?}");
            met.insert(row[0]);
        }
        assert_eq!(met.len(), rows.len(), "a row of {name} is never met");
    }

    fn place(index: usize) -> Place {
        [Place::Home, Place::Moved][index]
    }

    #[test]
    fn p08_files_are_judged_by_the_table_of_the_page() {
        agree("recovery_file", |seen| {
            let observed = FileSeen {
                is_present: seen[0] == 0,
                blocks: [Blocks::Both, Blocks::One, Blocks::None, Blocks::Zero][seen[1]],
                owner: [Owner::Ours, Owner::Foreign, Owner::Stale][seen[2]],
                is_void: seen[3] == 1,
                place: place(seen[4]),
            };
            let (row, meaning) = observed.decide();
            let word = match meaning {
                FileMeaning::Void => "void",
                FileMeaning::Missing => "missing",
                FileMeaning::CopyIncomplete => "copy_incomplete",
                FileMeaning::Use { is_block_damaged: false } => "use",
                FileMeaning::Use { is_block_damaged: true } => "use_reporting_block",
                FileMeaning::Foreign => "foreign",
                FileMeaning::Stale => "stale",
                FileMeaning::Damage => "damage",
            };
            (row, word)
        });
    }

    #[test]
    fn p08_chain_ends_are_judged_by_the_table_of_the_page() {
        agree("recovery", |seen| {
            let observed = ChainEnd {
                stop: [Stop::Reached, Stop::Crossing, Stop::Zero, Stop::Cut, Stop::Body, Stop::Bytes][seen[0]],
                is_end_stated: seen[1] == 1,
                is_below_witness: seen[2] == 0,
                has_frames_behind: seen[3] == 1,
                place: place(seen[4]),
            };
            let (row, meaning) = observed.decide();
            let word = match meaning {
                EndMeaning::Log => "log",
                EndMeaning::End => "end",
                EndMeaning::Torn => "torn",
                EndMeaning::Damage => "damage",
                EndMeaning::CopyIncomplete => "copy_incomplete",
            };
            (row, word)
        });
    }

    #[test]
    fn p08_openings_are_judged_by_the_table_of_the_page() {
        agree("recovery_opening", |seen| {
            let observed = Opening {
                tail: [TailState::End, TailState::Torn, TailState::Damage, TailState::Copy][seen[0]],
                watermark: [WatermarkState::Clean, WatermarkState::Open, WatermarkState::None][seen[1]],
                is_same_boot: seen[2] == 0,
                control: [ControlState::Idle, ControlState::InFlight, ControlState::Poisoned, ControlState::None]
                    [seen[3]],
                place: place(seen[4]),
            };
            let (row, proceed) = observed.decide();
            let word = match proceed {
                Proceed::Continue => "continue",
                Proceed::RollAfterError => "roll_io_error",
                Proceed::Roll { new_incarnation: false, is_guarded: false } => "roll",
                Proceed::Roll { new_incarnation: true, is_guarded: false } => "roll_incarnation",
                Proceed::Roll { new_incarnation: false, is_guarded: true } => "roll_guarded",
                Proceed::Roll { new_incarnation: true, is_guarded: true } => "roll_incarnation_guarded",
                Proceed::AcceptFirst => "accept_first",
            };
            (row, word)
        });
    }
}
