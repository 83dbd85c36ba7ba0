//! Which names of streams and types of events does a store take?
//!
//! Asked before anything is touched: of the command line, where a wrong one is a usage error, and of every line of an
//! export. The engine asks again.

use treering::limits;

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
    fn names_and_types_end_at_their_limits() {
        assert!(stream_name(&"n".repeat(1024)).is_ok() && stream_name(&"n".repeat(1025)).is_err());
        assert!(stream_name("").is_err() && stream_name("$system").is_err() && stream_name("a$").is_ok());
        assert!(event_type(&"t".repeat(255)).is_ok() && event_type(&"t".repeat(256)).is_err());
        assert!(event_type("").is_err());
    }
}
