//! Following: history, then live, without gap, duplicate or seam.

mod subscription;
pub(crate) mod view;

pub use subscription::{SubscribeOptions, Subscription};
