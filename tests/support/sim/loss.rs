//! A stretch of the log that is lost, and accepted: what every crash of an accept must leave.
//!
//! The loss is there before the trace begins. Whenever the accept is cut off, the loss is either still reported or accepted
//! whole; every batch beside it is there as before; who finds it reported can accept it then; and in no stream a revision or
//! a position is given again that somebody has seen.

use std::collections::BTreeMap;
use std::sync::Arc;

use treering::{Batch, Durability, Expected, NewEvent, Revision, Store, maintain};

use super::account::{Demand, Oracle};
use super::check::{Seen, read};
use super::{SimStorage, options};

/// What is known of a loss outside of the store.
#[derive(Clone, Debug, Default)]
pub struct Loss {
    /// The last revision that somebody has seen, by stream, lost ones included.
    pub heads: BTreeMap<String, Revision>,
    /// Length of the trace with the first call of the accept, and when it had returned.
    pub accepted: Option<(usize, usize)>,
}

/// Accepts all that is lost.
///
/// # Errors
/// What planning or accepting said, or that there was nothing to accept.
pub fn accept(storage: &SimStorage) -> Result<(), String> {
    let plan = maintain::accept_plan_on(Arc::new(storage.process()), &mut ()).map_err(|error| error.to_string())?;
    match maintain::accept_on(Arc::new(storage.process()), &plan) {
        Ok(true) => Ok(()),
        Ok(false) => Err("P5: there was nothing to accept".into()),
        Err(error) => Err(format!("accept: {error:?}")),
    }
}

/// What is asked of a state in which `store` was just opened for writing, and `events` were read.
pub(super) fn check(
    storage: &SimStorage,
    store: Store,
    events: &[Seen],
    oracle: &Oracle<'_>,
    loss: &Loss,
) -> Result<(), String> {
    if oracle.demand == Demand::Nothing {
        return Ok(()); // what was accepted may be lost again, and more with it
    }
    let is_accepted = is_accepted(storage)?;
    let is_demanded = loss.accepted.is_some_and(|(_, ended)| ended <= oracle.last);
    let is_possible = loss.accepted.is_some_and(|(began, _)| began <= oracle.first);
    if is_demanded && !is_accepted || is_accepted && !is_possible {
        return Err(format!("P5: accepted: {is_accepted}, demanded: {is_demanded}, possible: {is_possible}"));
    }
    drop(store);
    if !is_accepted {
        accept(storage)?;
    }
    let store = open(storage, events)?;
    let (seen_end, _) = oracle.account.seen_at(oracle.last);
    let mut appended = events.to_vec();
    for (name, head) in &loss.heads {
        let payload = format!("behind all that {name} had");
        let events = [NewEvent::new("t", &payload)];
        let batch = Batch::to(name, Expected::Any, &events).durability(Durability::Synced);
        let receipt = store.append(&batch).map_err(|error| format!("P5: {name:?} is accepted: {error:?}"))?;
        let (revision, position) = (receipt.sections[0].first_revision, receipt.position.0);
        // A stream whose very name was lost is another one.
        let is_known = events_of(&appended, name).next().is_some();
        if position < seen_end || is_known && revision <= *head {
            return Err(format!("P4: {name:?} {revision} at {position}, though {head} and {seen_end} were seen"));
        }
        appended.push(Seen {
            stream: name.clone(),
            revision: revision.0,
            position,
            batch: receipt.batch,
            payload: payload.into_bytes(),
            leaves: None,
        });
    }
    store.close().map_err(|error| format!("close: {error}"))?;
    open(storage, &appended).map(drop)
}

fn events_of<'e>(events: &'e [Seen], stream: &'e str) -> impl Iterator<Item = &'e Seen> {
    events.iter().filter(move |event| event.stream == stream)
}

/// Opens the store, in which the loss is accepted and these are all events.
fn open(storage: &SimStorage, events: &[Seen]) -> Result<Store, String> {
    let store =
        Store::open_on(Arc::new(storage.process()), options()).map_err(|error| format!("accepted: {error:?}"))?;
    let (again, _) = read(&store)?;
    if again != events {
        return Err(format!("P5: {} events behind the accept, before {}", again.len(), events.len()));
    }
    match is_accepted(storage)? {
        true => Ok(store),
        false => Err("P5: accepted, and not called so".into()),
    }
}

/// Whether the loss, which must be reported, is accepted; never a part of it. Opening need not see what lies before a
/// checkpoint; who looks at everything does.
fn is_accepted(storage: &SimStorage) -> Result<bool, String> {
    let report =
        maintain::verify_on(Arc::new(storage.process()), &mut ()).map_err(|error| format!("verify: {error}"))?;
    let accepted = report.damage.iter().filter(|damage| damage.is_accepted).count();
    match accepted {
        _ if report.damage.is_empty() => Err("P5: the loss is not reported any more".into()),
        0 => Ok(false),
        all if all == report.damage.len() => Ok(true),
        _ => Err(format!("P5: a part of the loss is accepted: {:?}", report.damage)),
    }
}
