//! What holds at every moment, whatever happens next: the death of all processes, or a loss of power.

use super::state::{CHECKS, Lookalike, Place, State};

pub(super) const REVISION: &str = "an event has another revision than its writer expected";
pub(super) const POSITION: &str = "a position is given twice";
pub(super) const BY_KILL: &str = "an acknowledged event is lost by a mere kill";
pub(super) const BY_POWER: &str = "a Synced event is lost with the power";
pub(super) const INVENTED: &str = "after a loss of power, bytes that a caller appended are taken for a frame";
pub(super) const UNTRUE: &str = "a page or a witness calls durable what the device does not hold";
pub(super) const IN_POISON: &str = "an acknowledgement was given behind an unknown effect";

/// The claim that does not hold.
pub(super) fn broken(state: &State) -> Option<&'static str> {
    // All processes die: who opens then finds what is in the cache.
    let mut found: [Option<Place>; CHECKS] = [None; CHECKS];
    let mut claim = None;
    let mut durable_end = state.pages.iter().map(|page| page.durable).max().unwrap_or_default();
    state.walk(false, |place, frame, events| {
        let other = found[usize::from(frame.check)].replace(place);
        assert!(other.is_none(), "the model writes each frame once");
        if !frame.is_mark && frame.believed != events {
            claim = Some(REVISION);
        }
        durable_end = durable_end.max(frame.witness);
    });
    if claim.is_some() {
        return claim;
    }
    // A loss of power: of what no sync covered each frame is there or not. The log ends before the first one that is not. So it
    // is never shorter than with none of them and never longer than in the cache, and what holds of these two holds of all.
    let mut is_left = [false; CHECKS];
    let left = state.walk(true, |_, frame, _| is_left[usize::from(frame.check)] = true);
    for (check, acknowledged) in state.acknowledged.iter().enumerate().filter(|(_, one)| one.is_written) {
        if found[check] != Some(acknowledged.place) && !acknowledged.is_lost {
            return Some(BY_KILL);
        }
        if acknowledged.is_synced && !is_left[check] {
            return Some(BY_POWER);
        }
        let others = state.acknowledged[..check].iter();
        if others.filter(|other| other.is_written).any(|other| other.place == acknowledged.place) {
            return Some(POSITION);
        }
    }
    // Where the frame before a lookalike is another than the one that its writer died in, it may be there, and what no sync covered
    // behind it may not.
    if let Some(Lookalike { place, .. }) = state.lookalike
        && found.iter().flatten().any(|&before| Place { frame: before.frame + 1, ..before } == place)
        && !state.segments.iter().any(|segment| segment.is_made && segment.stated == place)
    {
        return Some(INVENTED);
    }
    if left.tail < durable_end {
        return Some(UNTRUE);
    }
    state.was_given_in_poison.then_some(IN_POISON)
}
