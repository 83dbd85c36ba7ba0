//! What processes tell each other about a store beside the log: the control page.

pub(crate) mod control;
