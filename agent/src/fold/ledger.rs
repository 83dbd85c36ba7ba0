//! What did it take, in tokens and money, by model?
//!
//! Each token counts once. Usage that names a message counts with the greatest numbers that are said of that message, however many
//! events repeat it (Claude Code writes a line for each block, with the usage as it stood then). Sums since the session began
//! count by what they grew; where one falls, a new count began, and its last step counts. Money is what the log says it is;
//! what it would be at given prices is [`Prices`](crate::Prices)' matter.
//!
//! The state keeps the numbers of each message: some hundred bytes for each.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use treering::{EventView, Projection};

use crate::event::{AgentEvent, UsageReport};
use crate::fold::passed::Passed;
use crate::fold::{load, save};
use crate::usage::{Counts, Usage};

/// What one model took.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spent {
    /// Who serves it, where that is said.
    pub provider: Option<String>,
    /// The model, where that is said.
    pub model: Option<String>,
    /// Messages or steps that took something.
    pub messages: u64,
    /// What they took.
    #[serde(flatten)]
    pub numbers: Numbers,
}

/// Tokens as [`Usage`] divides them, and money in billionths of a US dollar.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Numbers {
    /// Tokens read that no cache had.
    pub input: u64,
    /// Tokens read and put into a cache.
    pub cache_write: u64,
    /// Tokens read from a cache.
    pub cache_read: u64,
    /// Tokens written, thoughts included.
    pub output: u64,
    /// Tokens of thoughts, as far as they are told apart; a part of `output`.
    pub reasoning: u64,
    /// Cost, as far as the log says it, in billionths of a US dollar.
    pub cost_nano_usd: u64,
}

impl Numbers {
    fn of(usage: &Usage) -> Numbers {
        // A float as it comes out of JSON: finite. What is below nothing, or beyond all money, is not believed.
        let cost = usage.cost_usd.map_or(0.0, |cost| (cost * 1e9).round());
        Numbers {
            input: usage.input,
            cache_write: usage.cache_write,
            cache_read: usage.cache_read,
            output: usage.output,
            reasoning: usage.reasoning,
            cost_nano_usd: if (0.0..1e18).contains(&cost) { cost as u64 } else { 0 },
        }
    }

    fn each(self, other: Numbers, with: impl Fn(u64, u64) -> u64) -> Numbers {
        Numbers {
            input: with(self.input, other.input),
            cache_write: with(self.cache_write, other.cache_write),
            cache_read: with(self.cache_read, other.cache_read),
            output: with(self.output, other.output),
            reasoning: with(self.reasoning, other.reasoning),
            cost_nano_usd: with(self.cost_nano_usd, other.cost_nano_usd),
        }
    }

    /// All tokens, read and written.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.input.saturating_add(self.cache_write).saturating_add(self.cache_read).saturating_add(self.output)
    }
}

/// The fold.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Ledger {
    state: State,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct State {
    spent: Vec<Spent>,
    /// Each message that was named: whose it is in `spent`, and its numbers.
    messages: BTreeMap<String, (usize, Numbers)>,
    /// The last sum since the session began.
    so_far: Option<Numbers>,
    /// The model of the session, for what names none.
    model: Option<String>,
    passed: Passed,
}

impl Ledger {
    /// Nothing spent yet.
    #[must_use]
    pub fn new() -> Ledger {
        Ledger::default()
    }

    /// What each model took, in the order in which they came.
    #[must_use]
    pub fn spent(&self) -> &[Spent] {
        &self.state.spent
    }

    /// All of it.
    #[must_use]
    pub fn total(&self) -> Numbers {
        self.state.spent.iter().fold(Numbers::default(), |sum, spent| sum.each(spent.numbers, u64::saturating_add))
    }

    /// What said nothing.
    #[must_use]
    pub fn passed(&self) -> &Passed {
        &self.state.passed
    }

    fn place(&mut self, provider: Option<String>, model: Option<String>) -> usize {
        let spent = &mut self.state.spent;
        let known = spent.iter().position(|known| known.provider == provider && known.model == model);
        known.unwrap_or_else(|| {
            spent.push(Spent { provider, model, ..Spent::default() });
            spent.len() - 1
        })
    }

    fn add(&mut self, place: usize, numbers: Numbers, messages: u64) {
        let spent = &mut self.state.spent[place];
        spent.numbers = spent.numbers.each(numbers, u64::saturating_add);
        spent.messages += messages;
    }

    fn take(&mut self, report: UsageReport) {
        let UsageReport { provider, model, message, usage, counts, step, .. } = report;
        let said = Numbers::of(&usage);
        let model = model.or_else(|| self.state.model.clone());
        match (counts, message) {
            (Counts::Once, Some(message)) => {
                let key = format!("{} {message}", provider.as_deref().unwrap_or_default());
                let known = self.state.messages.get(&key).copied();
                let (place, before) = known.unwrap_or_else(|| (self.place(provider, model), Numbers::default()));
                let now = before.each(said, u64::max);
                self.state.messages.insert(key, (place, now));
                self.add(place, now.each(before, u64::saturating_sub), u64::from(known.is_none()));
            }
            (Counts::Once, None) => {
                let place = self.place(provider, model);
                self.add(place, said, 1);
            }
            (Counts::SoFar, _) => {
                let before = self.state.so_far.replace(said).unwrap_or_default();
                let has_fallen = said.total() < before.total();
                let grown = match has_fallen {
                    true => step.as_ref().map_or(said, Numbers::of),
                    false => said.each(before, u64::saturating_sub),
                };
                if grown != Numbers::default() {
                    let place = self.place(provider, model);
                    self.add(place, grown, 1);
                }
            }
        }
    }
}

impl Projection for Ledger {
    fn name(&self) -> &str {
        "agent-ledger"
    }

    fn version(&self) -> String {
        "1".to_owned()
    }

    fn apply(&mut self, event: &EventView<'_>) {
        for said in self.state.passed.read(event).events {
            match said {
                AgentEvent::Session(session) => self.state.model = session.model.or(self.state.model.take()),
                AgentEvent::Usage(report) => self.take(report),
                AgentEvent::ModelOutput(output) => {
                    if let Some(usage) = output.usage {
                        let (provider, model, message) = (output.provider, output.model, output.message);
                        self.take(UsageReport { provider, model, message, usage, ..UsageReport::default() });
                    }
                }
                _ => {}
            }
        }
    }

    fn save(&self) -> Vec<u8> {
        save(&self.state)
    }

    fn load(&mut self, state: &[u8]) -> Result<(), String> {
        load(&mut self.state, state)?;
        let places = self.state.spent.len();
        match self.state.messages.values().all(|(place, _)| *place < places) {
            true => Ok(()),
            false => Err("a message is of a model that is not there".to_owned()),
        }
    }
}
