//! What processes share beside the log: kernel locks, by which they take turns, and the control page, by which they tell each
//! other what happened.

pub(crate) mod claims;
pub(crate) mod control;
pub(crate) mod sync_turn;
pub(crate) mod turn;
