//! Following: history, then live, without gap, duplicate or seam.

mod intents;
mod subscription;
pub(crate) mod view;
mod work;

pub(crate) use intents::open_intents;
pub use subscription::{SubscribeOptions, Subscription};
pub use work::{Work, WorkFinder, WorkOptions};
