//! Which names of streams and types of events does a store take?
//!
//! Asked before anything is touched: of the command line, where a wrong one is a usage error, and of every line of an
//! export. The engine asks again.

use treering::{Revision, limits};

/// A stream that is appended to: not empty, not reserved, within the limit.
pub(crate) fn stream_name(text: &str) -> Result<String, String> {
    if text.is_empty() {
        return Err("the name of a stream is not empty".to_owned());
    }
    if text.starts_with(limits::RESERVED_NAME_PREFIX) {
        return Err(format!("names that begin with {} belong to the engine", limits::RESERVED_NAME_PREFIX));
    }
    if text.len() > limits::STREAM_NAME_BYTES_MAX {
        return Err(format!("the name is {} bytes long, at most {} go", text.len(), limits::STREAM_NAME_BYTES_MAX));
    }
    Ok(text.to_owned())
}

/// A stream and where to leave it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ForkedAt {
    /// The stream.
    pub(crate) stream: String,
    /// The last revision that is shared; its head unless given.
    pub(crate) revision: Option<Revision>,
}

/// `STREAM@R`: what stands behind the last `@` is a revision where it is digits alone, and the head where it is nothing;
/// otherwise all of it is a name. So each name can be said, in one way at least, whatever the store holds: `a@5@` is the
/// head of a stream called `a@5`.
pub(crate) fn stream_at(text: &str) -> Result<ForkedAt, String> {
    let (stream, revision) = match text.rsplit_once('@') {
        Some((stream, "")) => (stream, None),
        Some((stream, digits)) if digits.bytes().all(|byte| byte.is_ascii_digit()) => (stream, Some(digits)),
        _ => (text, None),
    };
    let revision = match revision.map(str::parse) {
        None => None,
        Some(Ok(revision)) if revision < limits::NUMBER_MAX => Some(Revision(revision)),
        Some(_) => return Err("a revision is below 2^63; a name that ends so gets an @ behind it".to_owned()),
    };
    if stream.is_empty() {
        return Err("the name of a stream is not empty".to_owned());
    }
    Ok(ForkedAt { stream: stream.to_owned(), revision })
}

/// The type of an event: not empty, within the limit.
pub(crate) fn event_type(text: &str) -> Result<String, String> {
    match text.len() {
        0 => Err("the type of an event is not empty".to_owned()),
        len if len > limits::TYPE_BYTES_MAX => {
            Err(format!("the type is {len} bytes long, at most {} go", limits::TYPE_BYTES_MAX))
        }
        _ => Ok(text.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_can_be_said_with_and_without_a_revision() {
        for (text, stream, revision) in [
            ("a", "a", None),
            ("a@0", "a", Some(0)),
            ("a@", "a", None),
            ("a@@", "a@", None),
            ("a@@7", "a@", Some(7)),
            ("a@5@", "a@5", None),
            ("a@5@6", "a@5", Some(6)),
            ("me@host", "me@host", None),
            ("me@host@12", "me@host", Some(12)),
            ("a@+1", "a@+1", None),
            ("a@-1", "a@-1", None),
            ("@a", "@a", None),
            ("a@9223372036854775807", "a", Some((1 << 63) - 1)),
        ] {
            let expected = ForkedAt { stream: stream.to_owned(), revision: revision.map(Revision) };
            assert_eq!(stream_at(text), Ok(expected), "{text}");
        }
        for bad in ["", "@", "@5", "a@9223372036854775808", "a@99999999999999999999999"] {
            assert!(stream_at(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn names_and_types_end_at_their_limits() {
        assert!(stream_name(&"n".repeat(1024)).is_ok() && stream_name(&"n".repeat(1025)).is_err());
        assert!(stream_name("").is_err() && stream_name("$system").is_err() && stream_name("a$").is_ok());
        assert!(event_type(&"t".repeat(255)).is_ok() && event_type(&"t".repeat(256)).is_err());
        assert!(event_type("").is_err());
    }
}
