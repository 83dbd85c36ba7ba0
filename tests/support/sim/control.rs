//! What may become of the control page where only processes died, beside that it stays as it is.
//!
//! It is a file like others: anyone may remove it, put an older one back, or bring the folder's other files back from a
//! backup and leave it. So it is lost, that of another moment, changed in a bit or a word, and sound but of another store,
//! life, boot, mount or place. Whatever it says, what was acknowledged and is in the log must be found, and nothing else.

use std::sync::Arc;

use treering::checksum::long_check;

use super::Image;
use super::disk::{CONTROL, Call, Content, Disk};
use super::enumerate::{Numbers, Page};
use super::image::bytes_of;
use super::lab::Record;

/// Words that mean something: of the header, then the others.
const WORDS: usize = 72;
/// The word that holds the check of the header before it.
const HEADER_CHECK: usize = 15;
/// The word that says that a write had an unknown effect: the only one without a check.
const POISONED: usize = 16;
/// Up to where a sync is under way.
const IN_FLIGHT: usize = 24;
/// The ends in the slots.
const DURABLE: [usize; 2] = [40, 48];
const COMMITTED: [usize; 2] = [56, 64];
/// The header's words that say to what a page belongs.
const OWNER: [usize; 5] = [2, 4, 6, 8, 10];

/// The pages that are tried at this moment: at a call in eight, and where a word was stored at one in five of those.
pub(super) fn pages(record: &Record, disk: &Disk) -> Vec<Page> {
    let at = disk.calls;
    let is_store = |at: usize| matches!(record.trace()[at], Call::Store { .. });
    let mut numbers = Numbers(at as u64);
    let is_tried = match at.checked_sub(1) {
        Some(before) if is_store(before) => numbers.below(5) == 0,
        _ => numbers.below(3) == 0,
    };
    if !is_tried || !disk.names.contains_key(CONTROL) {
        return Vec::new();
    }
    // After a failed sync the page is the only one that knows of it, and another one may not.
    let has_failed = record.trace().iter().any(|call| matches!(call, Call::SyncFailed { .. }));
    let mut pages = vec![Page::Lost];
    if !has_failed {
        pages.push(Page::Remounted);
        pages.extend(OWNER.map(Page::Foreign));
        let moments = record.trace().len() + 1;
        pages.extend([moments - 1, numbers.below(moments), numbers.below(moments)].map(Page::At));
    }
    for _ in 0..4 {
        let word = numbers.below(WORDS);
        if word != POISONED || !has_failed {
            pages.push(Page::Flipped(word, numbers.below(64) as u32));
            pages.push(Page::Word(word, if numbers.below(2) == 0 { 0 } else { numbers.next() }));
        }
    }
    pages
}

/// Puts the page of a state into its image.
pub(super) fn change(record: &Record, image: &mut Image, page: Page) {
    let Some((_, content)) = image.files.get_mut(CONTROL) else { return };
    let changed = match page {
        Page::Kept | Page::Remounted => return,
        Page::Lost => None,
        Page::At(at) => page_at(record, at),
        Page::Flipped(word, bit) => Some(with_word(content, word, |value| value ^ 1 << bit)),
        Page::Word(word, value) => Some(with_word(content, word, |_| value)),
        Page::Foreign(word) => {
            let other = with_word(content, word, |value| value.wrapping_add(1));
            let header = bytes_of(&other).get(..HEADER_CHECK * 8).map(|header| long_check(0, header));
            Some(header.map_or(other.clone(), |check| with_word(&other, HEADER_CHECK, |_| check)))
        }
    };
    match changed {
        Some(changed) => *content = Arc::new(changed),
        None => drop(image.files.remove(CONTROL)),
    }
}

fn with_word(content: &Content, word: usize, change: impl Fn(u64) -> u64) -> Content {
    let mut changed = content.clone();
    let bytes = bytes_of(content);
    let Some(value) = bytes.get(word * 8..).and_then(|rest| rest.first_chunk()) else { return changed };
    changed.write(word as u64 * 8, &change(u64::from_le_bytes(*value)).to_le_bytes());
    changed
}

/// Whether a writer may go on in place, by the page that it found: no write had failed, no sync was under way whose end nobody
/// heard, and the log reaches to where it had been shown. (A slot that is being written reaches further, one that went bad says
/// anything: of the two the lower end counts.)
///
/// # Errors
/// What the page says that forbids it.
pub(super) fn allows_going_on(image: &Image, end: u64) -> Result<(), String> {
    let page = image.files.get(CONTROL).map(|(_, content)| bytes_of(content)).unwrap_or_default();
    let word =
        |at: usize| page.get(at * 8..).and_then(|rest| rest.first_chunk()).map(|bytes| u64::from_le_bytes(*bytes));
    let ends = |slots: [usize; 2]| slots.map(|slot| word(slot).unwrap_or(0));
    let (in_flight, durable) = (word(IN_FLIGHT).unwrap_or(0), ends(DURABLE));
    let shown = ends(COMMITTED);
    let forbids = match (word(POISONED), shown[0].min(shown[1])) {
        (None, _) => "there is none".to_owned(),
        (Some(poisoned), _) if poisoned != 0 => "a write or sync had failed".to_owned(),
        _ if in_flight > durable[0].max(durable[1]) => format!("a sync up to {in_flight} was under way"),
        (_, shown) if shown > end => format!("the log was shown up to {shown}, and ends at {end}"),
        _ => return Ok(()),
    };
    Err(format!("P6: a writer went on in place, though the page said: {forbids}"))
}

/// The page as it was at a moment; `None` where there was none.
fn page_at(record: &Record, at: usize) -> Option<Content> {
    let mut named = record.start.names.get(CONTROL).copied();
    let mut page = named.map(|inode| (*record.start.cache[&inode]).clone());
    for call in &record.trace[..at] {
        match call {
            Call::Create { name, inode, len } if name == CONTROL => {
                named = Some(*inode);
                page = Some(Content { len: *len, ..Content::default() });
            }
            Call::Remove { name } if name == CONTROL => (named, page) = (None, None),
            Call::Write { inode, offset, bytes } if named == Some(*inode) => {
                page.get_or_insert_default().write(*offset, bytes);
            }
            Call::Store { inode, index, value } if named == Some(*inode) => {
                page.get_or_insert_default().write(*index as u64 * 8, &value.to_le_bytes());
            }
            _ => {}
        }
    }
    page
}
