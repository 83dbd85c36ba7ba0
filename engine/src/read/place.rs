//! Where a cursor token leads: from the event that a consumer dealt with last to the place behind it.
//!
//! A token is believed where the log holds the very frame that it names: same place, same stored check, same numbers. That
//! frame exists once; whoever has it has everything before it, since the chain leads there. Where the frame cannot be read
//! any more, the place alone is believed, and only in the life of the store that the token is of: within one life no
//! position is ever given to two events. Everything else is refused, for a consumer that goes on from a place of another
//! history misses events of this one without anybody noticing.

use std::sync::Arc;

use crate::error::{Damage, LostToken};
use crate::format::frame::{Frame, KIND_BATCH};
use crate::format::open::OpenReason;
use crate::format::token::Token;
use crate::ids::{Epoch, Incarnation, Position};
use crate::segment::one::Segment;
use crate::segment::set::{Known, SegmentSet};
use crate::segment::walk::{LogWalk, Walked};
use crate::{Error, ErrorKind, Result};

/// The token of an event: the one at `ordinal` of the frame.
pub(super) fn token_of(segment: &Segment, frame: &Frame<'_>, ordinal: u32) -> Token {
    Token {
        store: segment.head.header.store.store,
        incarnation: segment.head.open.incarnation,
        epoch: Epoch { segment: segment.ordinal(), takeover: frame.takeover() },
        frame: frame.position,
        ordinal,
        number: frame.first_number().saturating_add(u64::from(ordinal)),
        frame_check: frame.frame_check(),
    }
}

/// The token of the event at `position`, which was read before; `None` where it cannot be read again.
pub(crate) fn token_at(set: &Arc<SegmentSet>, position: Position) -> Option<Token> {
    let mut walk = LogWalk::new(Arc::clone(set), position);
    let Ok(Walked::Frame(place)) = walk.next(Position::MAX) else { return None };
    let frame = walk.frame(place);
    let ordinal = position.0.checked_sub(frame.position.0).filter(|ordinal| *ordinal < u64::from(frame.events()))?;
    Some(token_of(walk.segment()?, &frame, ordinal as u32))
}

/// The first position behind the token's event, in a log that ends at `end`.
///
/// # Errors
/// [`ForeignToken`](ErrorKind::ForeignToken), [`LostToken`](ErrorKind::LostToken);
/// [`Damage`](ErrorKind::Damage) where the event is lost and nothing says whether it was the token's.
pub(crate) fn behind(set: &Arc<SegmentSet>, token: &Token, end: Position) -> Result<Position> {
    let store = set.store.store;
    if token.store != store {
        let message = format!(
            "the token is of the store {}, this is the store {store}: go on in the store that gave it, or read this one \
             without it",
            token.store
        );
        return Err(Error::new(ErrorKind::ForeignToken, message));
    }
    if token.is_origin() {
        return Ok(Position::ZERO);
    }
    let mut walk = LogWalk::new(Arc::clone(set), token.frame);
    // The walk begins at a proven border at or before the place, so that no payload passes for the frame.
    loop {
        match walk.next(end)? {
            Walked::Frame(place) if place.position < token.frame => {}
            Walked::Frame(place) if place.position == token.frame => {
                let segment = walk.segment().expect("the frame lies in a segment");
                return match is_the_frame(segment, &walk.frame(place), token) {
                    true => Ok(Position(token.position().0 + 1)),
                    false => Err(lost(set, token, end)),
                };
            }
            Walked::Damage(damage) if damage.positions.end <= token.frame => {}
            Walked::Damage(damage) if damage.positions.start <= token.frame => {
                return behind_damage(set, token, end, &damage);
            }
            _ => return Err(lost(set, token, end)),
        }
    }
}

/// Whether the frame at the token's place is the one that it names.
fn is_the_frame(segment: &Segment, frame: &Frame<'_>, token: &Token) -> bool {
    let here = token_of(segment, frame, token.ordinal);
    // Where the head block is lost, its life may be unknown, now or when the token was taken: the check says enough.
    let is_life_known = ![here.incarnation, token.incarnation].contains(&Incarnation::default());
    let here = if is_life_known { here } else { Token { incarnation: token.incarnation, ..here } };
    frame.kind() == KIND_BATCH && token.ordinal < frame.events() && here == *token
}

/// The place is lost: it is believed where it lies in the token's own life.
fn behind_damage(set: &SegmentSet, token: &Token, end: Position, damage: &Damage) -> Result<Position> {
    let all = set.all();
    let index = all.partition_point(|known| known.file_end <= token.frame);
    let known = all.get(index).filter(|known| known.base <= token.frame);
    match known.map(|_| life_of(set, &all, index)) {
        Some(Some(life)) if life == token.incarnation => Ok(Position(token.position().0 + 1)),
        Some(None) => {
            let position = token.position();
            let message = format!(
                "what lay at position {position}, where the token stands, is lost, and nothing says whether it was the \
                 token's event ({damage}). If the store is no other copy than the one that gave the token, go on from \
                 position {}; otherwise from an earlier token",
                position.0.saturating_add(1)
            );
            Err(Error::with_damage(damage.clone(), message))
        }
        _ => Err(lost(set, token, end)),
    }
}

/// The life of the store in which a segment was written; `None` where it is lost and nothing else says it.
fn life_of(set: &SegmentSet, all: &[Known], index: usize) -> Option<Incarnation> {
    let head = |index: usize| {
        let segment = set.open(all.get(index)?).ok()?;
        let open = &segment.head.open;
        (open.incarnation != Incarnation::default()).then_some((open.incarnation, open.reason, segment.is_head_lost))
    };
    if let Some((life, _, _)) = head(index) {
        return Some(life);
    }
    let next = head(index + 1).filter(|(_, reason, is_lost)| *reason != OpenReason::NewIncarnation && !is_lost);
    match next {
        Some((life, _, _)) => Some(life),
        // A life never comes back: between two segments of one life lie only segments of it.
        None => {
            let before = (0..index).rev().find_map(head)?.0;
            let behind = (index + 1..all.len()).find_map(head)?.0;
            (before == behind).then_some(before)
        }
    }
}

/// The log does not hold the token's event: what is known of where the two histories part.
#[cold]
fn lost(set: &SegmentSet, token: &Token, end: Position) -> Error {
    let all = set.all();
    let position = token.position();
    let mut newest_life = None;
    // Where the token's life ends in this log, if it does so before the token's place.
    let mut shared_until = None;
    let mut is_life_here = false;
    for (index, known) in all.iter().enumerate().filter(|(_, known)| known.base <= position) {
        newest_life = life_of(set, &all, index).or(newest_life);
        if life_of(set, &all, index) == Some(token.incarnation) {
            is_life_here = true;
            let known_end = known.end.unwrap_or(end).min(end);
            shared_until = (known_end <= position).then_some(known_end);
        }
    }
    let named = format!("the token names event number {} at position {position}", token.number);
    let way_out = match shared_until {
        Some(until) => format!(
            "undo what was done with events from position {until} on, and read on from there (or use a token of before)"
        ),
        None => "go on from an earlier token, or from the beginning".into(),
    };
    let why = match (shared_until, is_life_here) {
        (Some(until), _) if newest_life == Some(token.incarnation) => format!(
            "this log ends, or was cut off by a loss of power, at position {until} of the same life: it is an older copy, \
             or the event was not durable yet"
        ),
        (Some(until), _) => format!(
            "its life of the store, {}, ended in this log at position {until}: the event was appended to another copy",
            token.incarnation
        ),
        (None, true) => {
            "this log holds something else there: the store was put back to an earlier state, or the token was \
                         changed"
                .into()
        }
        (None, false) => format!(
            "it is of the life {} of the store, which this log does not know: the event was appended to another copy",
            token.incarnation
        ),
    };
    let lost = LostToken { position, incarnation: token.incarnation, shared_until };
    Error::from_lost_token(lost, format!("{named}, and {why}; {way_out}"))
}
