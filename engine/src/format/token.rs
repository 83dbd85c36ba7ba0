//! The cursor token: a place in the log that another process, or a later life of the store, can check before it goes on.
//!
//! Here it is bytes and text only. Whether a log still holds the event that a token names is found out by who reads it.

use std::fmt;
use std::str::FromStr;

use super::Fault;
use super::wire::Wire;
use crate::checksum::long_check;
use crate::error::{Error, ErrorKind};
use crate::ids::{Epoch, Incarnation, Position, SegmentOrdinal, StoreId};

/// Length of a token, in bytes.
pub const TOKEN_BYTES: usize = 88;
/// First bytes of a token.
pub const TOKEN_MAGIC: [u8; 4] = *b"TRCT";
/// Version of the layout.
pub const TOKEN_VERSION: u16 = 1;

/// The digits of the text form, in the order of their values. [CHN-4]
const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
/// Length of the text form: a digit for every six bits.
const TOKEN_DIGITS: usize = (TOKEN_BYTES * 8).div_ceil(6);

/// A place in the log: right behind one event, with what proves that the event is in the same history.
///
/// A consumer keeps the token of the last event that it has dealt with, together with what came of it, and goes on behind
/// it later: in another process, after a crash, in a copy of the store. Nothing between is left out and nothing comes twice;
/// where the log no longer holds that event, going on is refused with [`LostToken`](ErrorKind::LostToken).
///
/// It comes from a [receipt](crate::Receipt::token), from an [event](crate::EventRef::token), or from a reader's
/// [place](crate::Subscription::token); it goes to [`SubscribeOptions`](crate::SubscribeOptions::after_token),
/// [`ReadAllOptions`](crate::ReadAllOptions::after_token) or [`ReadOptions`](crate::ReadOptions::after_token). It is kept as
/// [88 bytes](Token::to_bytes) or as text of 118 letters, digits, `-` and `_` ([`Display`](fmt::Display),
/// [`FromStr`]); both forms are fixed by the format.
///
/// A token of an event that was not durable yet may be lost with the power; what acts on events should keep those of
/// durable ones, which readers hand out unless told otherwise.
///
/// ```
/// # use treering::{Batch, Expected, NewEvent, Options, ReadAllOptions, Store, Token};
/// # let folder = std::env::temp_dir().join(format!("treering-token-{}", std::process::id()));
/// let store = Store::open(&folder, Options::new())?;
/// let first = store.append(&Batch::to("s", Expected::Any, &[NewEvent::new("note", "one")]))?;
/// let kept: String = first.token().to_string();
/// let _ = store.append(&Batch::to("s", Expected::Any, &[NewEvent::new("note", "two")]))?;
///
/// let token: Token = kept.parse()?;
/// let mut behind = store.read_all(ReadAllOptions::new().after_token(&token))?;
/// assert_eq!(behind.next().expect("there is one")?.payload(), b"two");
/// assert!(behind.next().is_none());
/// # drop(behind);
/// # store.close()?;
/// # std::fs::remove_dir_all(&folder).ok();
/// # Ok::<(), treering::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Token {
    /// The store.
    pub store: StoreId,
    /// The life of the store.
    pub incarnation: Incarnation,
    /// The epoch of the frame.
    pub epoch: Epoch,
    /// The frame.
    pub frame: Position,
    /// The event in it.
    pub ordinal: u32,
    /// Global number of the event.
    pub number: u64,
    /// Stored check of the frame.
    pub frame_check: u64,
}

impl Token {
    /// Position of the event that it names.
    #[must_use]
    pub fn position(&self) -> Position {
        Position(self.frame.0.saturating_add(u64::from(self.ordinal)))
    }

    /// Whether it stands before everything: no event was dealt with.
    #[must_use]
    pub fn is_origin(&self) -> bool {
        self.frame == Position::ZERO && self.ordinal == 0 && self.number == 0 && self.frame_check == 0
    }

    /// The token in bytes.
    ///
    /// # Errors
    /// [`Invalid`](ErrorKind::Invalid) for anything but the bytes of a token; [`Unsupported`](ErrorKind::Unsupported) for one
    /// of a newer version.
    pub fn from_bytes(bytes: &[u8]) -> Result<Token, Error> {
        Token::decode(bytes).map_err(|fault| match fault {
            Fault::Unsupported(what) => {
                Error::new(ErrorKind::Unsupported, format!("{what} is newer than this build; use a newer treering"))
            }
            fault => no_token(&fault.to_string()),
        })
    }

    /// The token as bytes: 88 of them.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; TOKEN_BYTES] {
        let mut out = Vec::with_capacity(TOKEN_BYTES);
        out.extend_from_slice(&TOKEN_MAGIC);
        out.extend_from_slice(&TOKEN_VERSION.to_le_bytes());
        out.extend_from_slice(&self.epoch.takeover.to_le_bytes());
        out.extend_from_slice(&self.store.0);
        out.extend_from_slice(&self.incarnation.0);
        out.extend_from_slice(&self.epoch.segment.0.to_le_bytes());
        out.extend_from_slice(&self.frame.0.to_le_bytes());
        out.extend_from_slice(&self.ordinal.to_le_bytes());
        out.extend_from_slice(&[0; 4]);
        out.extend_from_slice(&self.number.to_le_bytes());
        out.extend_from_slice(&self.frame_check.to_le_bytes());
        out.extend_from_slice(&long_check(0, &out).to_le_bytes());
        let mut token = [0; TOKEN_BYTES];
        token.copy_from_slice(&out);
        token
    }

    /// As [`from_bytes`](Self::from_bytes), with the fault as the other decoders say it.
    #[doc(hidden)]
    pub fn decode(bytes: &[u8]) -> Result<Token, Fault> {
        if bytes.len() != TOKEN_BYTES {
            return Err(Fault::bad(format!("a cursor token has {TOKEN_BYTES} bytes, here are {}", bytes.len())));
        }
        let mut wire = Wire::new(bytes);
        if wire.array::<4>()? != TOKEN_MAGIC {
            return Err(Fault::bad("a cursor token begins with TRCT"));
        }
        if Wire::starting_at(bytes, TOKEN_BYTES - 8).u64()? != long_check(0, &bytes[..TOKEN_BYTES - 8]) {
            return Err(Fault::bad("the check of the cursor token does not hold"));
        }
        let version = wire.u16()?;
        if version != TOKEN_VERSION {
            return Err(Fault::Unsupported(format!("cursor token version {version}")));
        }
        let takeover = wire.u16()?;
        let store = StoreId(wire.array()?);
        let incarnation = Incarnation(wire.array()?);
        let epoch = Epoch { segment: SegmentOrdinal(wire.u64()?), takeover };
        let frame = Position(wire.u64()?);
        let ordinal = wire.u32()?;
        wire.zeros(4, "the reserved part of the cursor token")?;
        Ok(Token { store, incarnation, epoch, frame, ordinal, number: wire.u64()?, frame_check: wire.u64()? })
    }
}

#[cold]
fn no_token(why: &str) -> Error {
    Error::new(ErrorKind::Invalid, format!("this is no cursor token: {why}; give one as it was handed out, unchanged"))
}

/// The text form: base64 with `-` and `_`, without padding. [CHN-4]
impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = String::with_capacity(TOKEN_DIGITS);
        for three in self.to_bytes().chunks(3) {
            let bits = three.iter().fold(0u32, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - three.len()));
            for digit in 0..=three.len() {
                text.push(char::from(DIGITS[(bits >> (18 - 6 * digit)) as usize % 64]));
            }
        }
        f.pad(&text)
    }
}

impl FromStr for Token {
    type Err = Error;

    /// Takes exactly what [`Display`](fmt::Display) gives.
    ///
    /// # Errors
    /// As [`Token::from_bytes`].
    fn from_str(text: &str) -> Result<Token, Error> {
        if text.len() != TOKEN_DIGITS {
            let found = text.chars().count();
            return Err(no_token(&format!("it has {TOKEN_DIGITS} letters, digits, - and _, here are {found}")));
        }
        let mut bytes = Vec::with_capacity(TOKEN_BYTES + 2);
        for four in text.as_bytes().chunks(4) {
            let mut bits = 0u32;
            for digit in four {
                let value = DIGITS.iter().position(|known| known == digit);
                let value = value.ok_or_else(|| no_token("it holds something else than letters, digits, - and _"))?;
                bits = bits << 6 | value as u32;
            }
            bits <<= 6 * (4 - four.len());
            bytes.extend_from_slice(&bits.to_be_bytes()[1..four.len()]);
            if four.len() < 4 && bits & ((1 << (8 * (4 - four.len()))) - 1) != 0 {
                return Err(no_token("bits are set behind its end"));
            }
        }
        Token::from_bytes(&bytes)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn sample() -> Token {
        Token {
            store: StoreId([1; 16]),
            incarnation: Incarnation([2; 16]),
            epoch: Epoch { segment: SegmentOrdinal(3), takeover: 4 },
            frame: Position(5000),
            ordinal: 6,
            number: 7,
            frame_check: 8,
        }
    }

    #[test]
    fn p07_every_flipped_bit_of_a_token_is_found() {
        let good = sample().to_bytes();
        assert_eq!(Token::decode(&good), Ok(sample()));
        for bit in 0..good.len() * 8 {
            let mut bytes = good;
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(Token::decode(&bytes).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn p07_every_text_but_that_of_a_token_is_refused() {
        let good = sample().to_string();
        assert_eq!(good.len(), TOKEN_DIGITS);
        assert_eq!(good.parse::<Token>().unwrap(), sample());
        let mut refused = 0;
        for at in 0..good.len() {
            for digit in DIGITS.iter().chain(b" +/=\n").filter(|digit| **digit != good.as_bytes()[at]) {
                let mut text = good.clone().into_bytes();
                text[at] = *digit;
                let error = String::from_utf8(text).unwrap().parse::<Token>().unwrap_err();
                assert_eq!(error.kind(), ErrorKind::Invalid, "{at} {digit}");
                refused += 1;
            }
        }
        assert_eq!(refused, TOKEN_DIGITS * 68);
        let twice = good.repeat(2);
        for text in ["", "x", &good[1..], &good[..TOKEN_DIGITS - 1], &twice, "é", &"é".repeat(TOKEN_DIGITS / 2)] {
            assert_eq!(text.parse::<Token>().unwrap_err().kind(), ErrorKind::Invalid, "{text}");
        }
        let mut newer = sample().to_bytes();
        newer[4] = 2;
        let check = long_check(0, &newer[..TOKEN_BYTES - 8]);
        newer[TOKEN_BYTES - 8..].copy_from_slice(&check.to_le_bytes());
        assert_eq!(Token::from_bytes(&newer).unwrap_err().kind(), ErrorKind::Unsupported);
    }
}
