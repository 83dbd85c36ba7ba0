//! Appending the places of cursors, in the frame of the events that they belong to.
//!
//! A place is an item, and an event without content in a stream of the engine's own that is named after the cursor: so the
//! newest place is found as the head of any stream is, and whoever moves a cursor may expect that nobody else has.

use crate::append::{Batch, CursorMove, NewEvent, Receipt};
use crate::commit::writer::Writer;
use crate::format::item::Item;
use crate::limits::{CURSOR_NAME_BYTES_MAX, CURSOR_PREFIX};
use crate::options::Durability;
use crate::planted::{Plant, planted};
use crate::{Error, ErrorKind, Result};

/// The event that stands for a place.
const PLACE: NewEvent<'static> =
    NewEvent { event_type: "$cursor", id: None, occurred_at: None, recorded_at: None, metadata: &[], payload: &[] };

impl Writer {
    /// Puts a batch that moves cursors into the log. Its receipt speaks of the caller's sections alone.
    pub(crate) fn put_with_cursors(&self, batch: &Batch<'_>, level: Durability, receipt: &mut Receipt) -> Result<()> {
        if !batch.sections.is_empty() {
            batch.check()?;
        }
        batch.cursors.iter().try_for_each(|moved| self.check_cursor(moved))?;
        let streams: Vec<String> = batch.cursors.iter().map(|moved| stream_of(moved.name)).collect();
        let places = [PLACE];
        let mut whole = batch.clone();
        for (stream, moved) in streams.iter().zip(&batch.cursors) {
            whole = whole.section(stream, moved.expected, &places);
        }
        let body_bytes = whole.check_as_engine()?;
        self.put_with_items(&whole, body_bytes, level, receipt)?;
        receipt.sections.truncate(batch.sections.len());
        Ok(())
    }

    fn check_cursor(&self, moved: &CursorMove<'_>) -> Result<()> {
        check_cursor_name(moved.name)?;
        if moved.token.store != self.set.store.store {
            let message = format!(
                "the place for the cursor {:?} is a token of the store {}, and this is {}",
                moved.name, moved.token.store, self.set.store.store
            );
            return Err(Error::new(ErrorKind::ForeignToken, message));
        }
        Ok(())
    }
}

/// The items of a batch that moves cursors.
pub(super) fn cursor_items<'b>(batch: &'b Batch<'_>) -> impl Iterator<Item = Item<'b>> {
    let said = batch.cursors.iter().filter(|_| !planted(Plant::CursorWithoutPlace));
    said.map(|moved| Item::Cursor { name: moved.name, token: moved.token })
}

/// The stream that holds the places of a cursor.
pub(crate) fn stream_of(cursor: &str) -> String {
    format!("{CURSOR_PREFIX}{cursor}")
}

/// Refuses what cannot be the name of a cursor.
pub(crate) fn check_cursor_name(name: &str) -> Result<()> {
    if name.is_empty() {
        return Err(Error::new(ErrorKind::Invalid, "a cursor's name must not be empty"));
    }
    if name.len() > CURSOR_NAME_BYTES_MAX {
        let message = format!("a cursor's name is {CURSOR_NAME_BYTES_MAX} bytes at most, not {}", name.len());
        return Err(Error::new(ErrorKind::Limit, message));
    }
    Ok(())
}
