//! What the writer appends, so that a reader can tell each event from every other, and the lines it prints.
//!
//! An event's metadata is its [`Mark`]: which life of the writer made it, in which batch, and where in it. The payload follows
//! from the mark. So a reader needs nothing but the event to know its bytes, and to know whether its batch is whole.

use std::fmt;

use crate::store::noise;

/// Which event it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    /// The writer's life, counted by the supervisor.
    pub life: u64,
    /// The batch, counted in its life.
    pub batch: u64,
    /// The number of the event in its batch, across the sections.
    pub event: u64,
    /// How many events the batch has.
    pub events: u64,
    /// Bytes of its payload.
    pub len: u64,
}

impl Mark {
    /// The event's bytes.
    #[must_use]
    pub fn payload(&self) -> Vec<u8> {
        let seed = self.life.wrapping_mul(0x9E37_79B9).wrapping_add(self.batch).wrapping_mul(1 << 20) + self.event;
        noise(seed, self.len as usize)
    }

    /// Reads a mark.
    #[must_use]
    pub fn parse(bytes: &[u8]) -> Option<Mark> {
        let text = std::str::from_utf8(bytes).ok()?;
        let numbers: Vec<u64> = text.split(' ').map(str::parse).collect::<Result<_, _>>().ok()?;
        let [life, batch, event, events, len] = numbers[..] else { return None };
        Some(Mark { life, batch, event, events, len })
    }
}

impl fmt::Display for Mark {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(to, "{} {} {} {} {}", self.life, self.batch, self.event, self.events, self.len)
    }
}

/// A line that a writer prints.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Line {
    /// The store is open: the segment and the takeover of its epoch.
    Opened(u64, u64),
    /// A batch was acknowledged.
    Receipt(Receipt),
    /// The store was closed without an error.
    Closed,
    /// Another writer stands in the way: its process, 0 where none was named.
    Locked(u64),
    /// Another writer was first.
    Conflict,
    /// A write or a sync had failed, and nothing was acknowledged any more.
    Stopped,
}

/// What a writer was told of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// Its life and batch.
    pub batch: (u64, u64),
    /// Whether it was acknowledged as Synced.
    pub is_synced: bool,
    /// Its position, and where it ends.
    pub position: u64,
    /// Behind its last byte.
    pub end: u64,
    /// Its sections: stream, first and last revision.
    pub sections: Vec<(String, u64, u64)>,
}

impl fmt::Display for Line {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Line::Opened(segment, takeover) => write!(to, "opened {segment} {takeover}"),
            Line::Closed => write!(to, "closed"),
            Line::Locked(pid) => write!(to, "locked {pid} ."),
            Line::Conflict => write!(to, "conflict"),
            Line::Stopped => write!(to, "stopped"),
            Line::Receipt(receipt) => {
                let level = if receipt.is_synced { "synced" } else { "written" };
                let (life, batch) = receipt.batch;
                write!(to, "{level} {life} {batch} {} {}", receipt.position, receipt.end)?;
                receipt.sections.iter().try_for_each(|(stream, first, last)| write!(to, " {stream} {first} {last}"))?;
                write!(to, " .") // a line that a kill cut short is none
            }
        }
    }
}

impl Line {
    /// Reads a line; `None` where it is not a whole one.
    #[must_use]
    pub fn parse(line: &str) -> Option<Line> {
        let words: Vec<&str> = line.split(' ').collect();
        let number = |word: &str| word.parse::<u64>().ok();
        match words[..] {
            ["closed"] => Some(Line::Closed),
            ["locked", pid, "."] => Some(Line::Locked(number(pid)?)),
            ["conflict"] => Some(Line::Conflict),
            ["stopped"] => Some(Line::Stopped),
            ["opened", segment, takeover] => Some(Line::Opened(number(segment)?, number(takeover)?)),
            [level @ ("synced" | "written"), life, batch, position, end, ref sections @ .., "."] => {
                let section = |words: &[&str]| Some((words[0].to_owned(), number(words[1])?, number(words[2])?));
                Some(Line::Receipt(Receipt {
                    batch: (number(life)?, number(batch)?),
                    is_synced: level == "synced",
                    position: number(position)?,
                    end: number(end)?,
                    sections: sections.chunks_exact(3).map(section).collect::<Option<_>>()?,
                }))
            }
            _ => None,
        }
    }
}

/// Numbers that a seed draws.
#[derive(Clone, Debug)]
pub struct Dice(u64);

impl Dice {
    /// Dice that fall as this seed has them fall.
    #[must_use]
    pub fn new(seed: u64) -> Dice {
        Dice(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ 0x5851_F42D_4C95_7F2D)
    }

    /// A number below `bound`.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (mixed ^ (mixed >> 31)) % bound.max(1)
    }
}
