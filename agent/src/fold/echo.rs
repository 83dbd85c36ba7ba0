//! Is this said for the second time?
//!
//! Codex writes much of what is said twice, for the model and for the screen, in either order and a few lines apart. The second of
//! the two is left out; where there is only one, it counts.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use crate::event::AgentEvent;
use crate::part::{Part, words};

/// So far apart they stand at most, counted in what is said.
const APART: usize = 16;

const FINGERPRINT_START: u64 = 0xCBF2_9CE4_8422_2325;

/// FNV-1a: the same in every build, since it is saved. Two texts that share it within so few lines do not occur by chance.
fn fingerprint(start: u64, text: &str) -> u64 {
    text.bytes().fold(start, |state, byte| (state ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01B3))
}

/// What was said lately.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Echoes {
    lately: VecDeque<(u64, bool)>,
}

impl Echoes {
    /// Whether the same was said lately, once for the model and once for the screen.
    pub(crate) fn was_said(&mut self, event: &AgentEvent, is_echo: bool) -> bool {
        let (who, content) = match event {
            AgentEvent::UserInput(input) => (0, &input.content),
            AgentEvent::ModelOutput(output) if output.provider.as_deref() == Some("openai") => (1, &output.content),
            _ => return false,
        };
        let mut said = fingerprint(FINGERPRINT_START ^ who, words(content).trim());
        for part in content {
            if let Part::Reasoning(thought) = part {
                said = fingerprint(said, thought.text.trim());
            }
        }
        if let Some(place) = self.lately.iter().position(|other| *other == (said, !is_echo)) {
            self.lately.remove(place);
            return true;
        }
        self.lately.push_back((said, is_echo));
        if self.lately.len() > APART {
            self.lately.pop_front();
        }
        false
    }
}
