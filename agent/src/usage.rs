//! What did a model's work take?
//!
//! Providers count differently. Here the four numbers of tokens add up: `input` is what was read anew, `cache_write` what was
//! read and kept for next time, `cache_read` what was kept from last time, `output` what was written, thoughts included.
//! `reasoning` is the part of `output` that was thoughts. (Anthropic's `input_tokens` leaves the cached out, OpenAI's holds them.)

use serde::{Deserialize, Serialize};

use crate::part::Extra;

/// Tokens, and money where the log says it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Usage {
    /// Tokens read that no cache had.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub input: u64,
    /// Tokens read and put into a cache.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub cache_write: u64,
    /// Tokens read from a cache.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub cache_read: u64,
    /// Tokens written, thoughts included.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub output: u64,
    /// Tokens of thoughts, where the provider tells them apart; a part of `output`.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub reasoning: u64,
    /// Cost in US dollars, where the log says it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost_usd: Option<f64>,
    /// What else is said.
    #[serde(flatten)]
    pub extra: Extra,
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

impl Usage {
    /// Whether nothing was used, as far as is said.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.total() == 0 && self.cost_usd.is_none()
    }

    /// All tokens, read and written.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.input.saturating_add(self.cache_write).saturating_add(self.cache_read).saturating_add(self.output)
    }
}

/// How often what is reported stands in the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Counts {
    /// It is of this event, or of the message that it names, which several events may do: then it counts once.
    #[default]
    Once,
    /// It is the sum of everything since the session began.
    SoFar,
}
