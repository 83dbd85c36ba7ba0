//! Accepting: what is lost is lost, the log goes on.
//!
//! Two steps, so that nothing is accepted unseen: a plan, made by reading and verifying only, says what is lost and what
//! accepting means; applying it records that in the log. See [`recovery::accept`](crate::recovery::accept) for why nothing
//! is ever given twice by it.

use std::path::Path;
use std::sync::Arc;

use super::report::Progress;
use super::verify;
use crate::Result;
use crate::recovery::AcceptPlan;
use crate::recovery::accept::apply;
use crate::storage::Storage;

/// What accepting would mean for the store in the directory `path`: verifies it, writes nothing.
///
/// # Errors
/// As [`verify`](fn@super::verify).
pub fn accept_plan(path: impl AsRef<Path>, progress: &mut dyn Progress) -> Result<AcceptPlan> {
    accept_plan_on(super::open_folder(path.as_ref())?, progress)
}

/// As [`accept_plan`], on any storage.
///
/// # Errors
/// As [`accept_plan`].
pub fn accept_plan_on(storage: Arc<dyn Storage>, progress: &mut dyn Progress) -> Result<AcceptPlan> {
    let (found, report) = verify::run(storage, progress)?;
    Ok(match found {
        Some(found) => AcceptPlan::of(&found, &report.damage),
        None => AcceptPlan::nothing(&report.damage),
    })
}

/// Accepts what `plan` lists as lost, and records that durably in the log of the store in the directory `path`: streams whose
/// head was not known are appended to from behind the accepted head on, a copy that ends early can be written. Nothing that
/// is there is changed; the damage stays reported, marked as accepted. Returns whether there was anything to accept.
///
/// It takes effect as a whole or not at all, whatever ends the process.
///
/// # Errors
/// [`Invalid`](crate::ErrorKind::Invalid) where the store is not as it was when the plan was made;
/// [`Locked`](crate::ErrorKind::Locked) where somebody writes to it; [`Damage`](crate::ErrorKind::Damage) where its identity
/// file is damaged (salvage it); [`Unsupported`](crate::ErrorKind::Unsupported); [`Io`](crate::ErrorKind::Io),
/// [`NoSpace`](crate::ErrorKind::NoSpace) from the system.
///
/// # Example
/// ```
/// # fn main() -> treering::Result<()> {
/// # let folder = std::env::temp_dir().join(format!("treering-accept-{}", std::process::id()));
/// # treering::Store::open(&folder, treering::Options::new())?.close()?;
/// let plan = treering::maintain::accept_plan(&folder, &mut ())?;
/// for damage in &plan.damage {
///     println!("lost: {damage}");
/// }
/// let is_new = treering::maintain::accept(&folder, &plan)?;
/// assert!(!is_new, "nothing is wrong with this store");
/// # std::fs::remove_dir_all(&folder).ok();
/// # Ok(())
/// # }
/// ```
pub fn accept(path: impl AsRef<Path>, plan: &AcceptPlan) -> Result<bool> {
    accept_on(super::open_folder(path.as_ref())?, plan)
}

/// As [`accept`](fn@accept), on any storage.
///
/// # Errors
/// As [`accept`](fn@accept).
pub fn accept_on(storage: Arc<dyn Storage>, plan: &AcceptPlan) -> Result<bool> {
    apply(storage, plan)
}
