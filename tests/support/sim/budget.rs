//! How much the laboratory looks at, and how much it did.

use super::enumerate::Width;

/// How much is looked at.
#[derive(Clone, Copy, Debug)]
pub struct Budget {
    /// So many states of a workload are opened.
    pub states: usize,
    /// So many states of the second life are opened, for each that is chosen for it.
    pub deep_states: usize,
    /// One state in so many is chosen for a crash in its second life.
    pub deep_one_in: usize,
    /// How many are made at each moment.
    pub width: Width,
    /// Whether they are of a second life.
    pub is_second: bool,
}

impl Budget {
    /// What an ordinary run of the tests can afford, times `TREERING_CRASH_BUDGET`.
    #[must_use]
    pub fn of_environment(states: usize) -> Budget {
        let factor = std::env::var("TREERING_CRASH_BUDGET").ok().and_then(|text| text.parse::<usize>().ok());
        match factor {
            None | Some(0 | 1) => Budget {
                states,
                deep_states: 6,
                deep_one_in: 20,
                width: Width { exhaustive: 7, pairs: 40, random: 24, moments_one_in: 1 },
                is_second: false,
            },
            Some(factor) => Budget {
                states: states.saturating_mul(factor),
                deep_states: 40,
                deep_one_in: 20,
                width: Width { exhaustive: 12, pairs: 2000, random: 256, moments_one_in: 1 },
                is_second: false,
            },
        }
    }
}

/// What was looked at.
#[derive(Clone, Copy, Debug, Default)]
pub struct Count {
    /// Calls of the trace.
    pub calls: usize,
    /// States that were made.
    pub made: usize,
    /// Those that look different.
    pub distinct: usize,
    /// Those that were opened.
    pub opened: usize,
    /// States of second lives that were opened.
    pub deep: usize,
}

impl std::ops::AddAssign for Count {
    fn add_assign(&mut self, other: Count) {
        self.calls += other.calls;
        self.made += other.made;
        self.distinct += other.distinct;
        self.opened += other.opened;
        self.deep += other.deep;
    }
}
