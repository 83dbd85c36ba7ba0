//! Fencing: who had a stream before is refused, however late its append comes.
//!
//! A fencing token is the place of a claim item in the log; an append that carries one goes into the log only while that is the
//! newest claim of its stream, and says so there with a fence item.
//!
//! 1. Under the writer's turn the table knows every claim from the place on where opening began to read, those of other
//!    processes too. A token from there on is held against the table, and nothing is read.
//! 2. An older one is looked up without the turn, once a process and stream: what lies before that place does not change. Where the
//!    stream's last frame has a fence with this token, the token was good there, and only what lies behind is read; else all that lies
//!    behind the token. Who has taken the token itself never comes here, and nobody pays for it by opening a store.
//! 3. Where frames are lost that lie behind the claim, they may have held a newer one: the token is refused, whether or not
//!    the loss was accepted. A new one is to be had at once.
//! 4. Of an append that was in the log already the first receipt is given, whoever has the stream now.

use std::sync::Arc;

use crate::append::{Batch, Receipt};
use crate::commit::admit::head_unknown;
use crate::commit::cursor::cursor_items;
use crate::commit::writer::{Doubts, Writer};
use crate::format::Fault;
use crate::format::batch::{Section, Sections};
use crate::format::frame::{Frame, KIND_BATCH};
use crate::format::item::Item;
use crate::ids::{FencingToken, Position, StreamId};
use crate::options::Durability;
use crate::planted::{Plant, planted};
use crate::segment::walk::{LogWalk, Walked};
use crate::{Error, ErrorKind, Result};

impl Writer {
    /// Notes in the log that the stream was claimed; the token is greater than all before it.
    pub(crate) fn take_fencing_token(&self, stream: &str, note: &str) -> Result<FencingToken> {
        let (batch, mut receipt) = (Batch::new(), Receipt::begun());
        // Written is enough: what power takes of it, it takes of all processes that could appear with an older token.
        self.put_with(&batch, 0, Durability::Written, &mut receipt, |_, _| match self.id_of(stream)? {
            Some(stream) => Ok(vec![Item::Claim { stream, note }]),
            None if Position::ZERO < self.claims_lost_until() => Err(head_unknown(stream)),
            None => {
                let message = format!(
                    "there is no stream {stream:?} yet, so there is no fencing token for it; begin it, expecting that it \
                     does not exist, and take the token then"
                );
                Err(Error::new(ErrorKind::NotFound, message))
            }
        })?;
        Ok(FencingToken(receipt.position.0))
    }

    /// Puts a batch with fencing tokens, or that moves cursors, into the log.
    pub(crate) fn put_with_items(
        &self,
        batch: &Batch<'_>,
        body_bytes: usize,
        level: Durability,
        receipt: &mut Receipt,
    ) -> Result<()> {
        for (stream, token) in &batch.fences {
            self.look_up_claim(stream, *token)?;
        }
        let put = self.put_with(batch, body_bytes, level, receipt, |_, _| {
            Ok(self.fences(batch)?.into_iter().chain(cursor_items(batch)).collect())
        });
        put.map_err(|error| match error.kind() {
            // Who had the stream before met what the next one did; that it lost the stream says more.
            ErrorKind::Conflict => self.fences(batch).err().unwrap_or(error),
            _ => error,
        })
    }

    /// The fence items of a batch, where every token is that of the newest claim the table knows.
    fn fences(&self, batch: &Batch<'_>) -> Result<Vec<Item<'static>>> {
        let lost_until = self.claims_lost_until();
        let fence = |(name, token): &(&str, FencingToken)| {
            let Some(stream) = self.id_of(name)? else {
                return Err(refused(name, *token, "there is no such stream"));
            };
            let claim = Position(token.0);
            if claim < lost_until {
                return Err(refused(name, *token, "damage behind it may hide a newer claim"));
            }
            match self.streams.read().newest_claim(stream) {
                Some(newest) if newest == claim || planted(Plant::OldTokenCounts) => Ok(Item::Fence { stream, claim }),
                Some(newest) if newest > claim => {
                    Err(refused(name, *token, &format!("the stream was claimed again, with token {newest}")))
                }
                _ => Err(refused(name, *token, "no claim of the stream was given it")),
            }
        };
        batch.fences.iter().map(fence).collect()
    }

    /// Sees to it that the table knows the newest claim of the stream, where the token is older than what opening read.
    fn look_up_claim(&self, name: &str, token: FencingToken) -> Result<()> {
        let (claim, known_from) = (Position(token.0), self.streams.claims_from());
        let Some(stream) = self.id_of(name)? else { return Ok(()) };
        if claim >= known_from || self.streams.read().newest_claim(stream).is_some() {
            return Ok(());
        }
        let last_place = self.streams.of_id(stream, |stream| stream.last_place)?.unwrap_or(Position::ZERO);
        let is_fenced = || planted(Plant::ClaimNotLookedUp) || self.has_fence(last_place, stream, claim);
        let is_proven = last_place > claim && is_fenced();
        let mut newest = is_proven.then_some(claim);
        let mut walk = LogWalk::new(Arc::clone(&self.set), if is_proven { last_place } else { claim });
        loop {
            let read = match walk.next(known_from)? {
                Walked::End => break,
                Walked::Damage(_) => Err(Fault::Short),
                Walked::Frame(place) => each_item(&walk.frame(place), |item, position| {
                    if matches!(item, Item::Claim { stream: of, .. } if of == stream) {
                        newest = Some(position);
                    }
                }),
            };
            read.map_err(|_| refused(name, token, "damage behind it may hide a newer claim"))?;
        }
        if let Some(newest) = newest {
            self.streams.write().note_claim(stream, newest);
        }
        Ok(())
    }

    /// Whether the frame says that the claim was the stream's newest when it was written.
    fn has_fence(&self, frame: Position, stream: StreamId, claim: Position) -> bool {
        let Ok(segment) = self.set.holding(frame) else { return false };
        let mut has_it = false;
        let look = |item: Item<'_>, _| has_it |= item == Item::Fence { stream, claim };
        let read = segment.frame(frame, segment.file_end()).and_then(|frame| each_item(&frame, look));
        read.is_ok() && has_it
    }

    /// A claim that lies before it may have been followed by one that is lost.
    fn claims_lost_until(&self) -> Position {
        let Doubts { unknown_until, damaged_until, .. } = self.doubts;
        unknown_until.max(damaged_until).max(self.streams.unknown_until())
    }

    pub(super) fn id_of(&self, name: &str) -> Result<Option<StreamId>> {
        self.streams.of_name(name, |stream| stream.id)
    }
}

fn refused(stream: &str, token: FencingToken, why: &str) -> Error {
    let message = format!(
        "the fencing token {token} is not that of the newest claim of stream {stream:?}: {why}; nothing was appended. Who \
         still has work on the stream claims it again, and reads what is new"
    );
    Error::new(ErrorKind::Fenced, message)
}

/// Shows the items of a frame with their positions.
fn each_item(frame: &Frame<'_>, mut show: impl FnMut(Item<'_>, Position)) -> Result<(), Fault> {
    // The usual batch has none.
    if frame.kind() != KIND_BATCH || Section::only(frame).is_some() {
        return Ok(());
    }
    let (mut items, count) = Sections::new(*frame)?.items()?;
    for number in 0..u64::from(count) {
        let position = Position(frame.position.0 + u64::from(frame.events()) + number);
        show(Item::decode(&mut items, frame.position, position)?, position);
    }
    Ok(())
}
