//! What does a line of plain JSON lines say about itself?
//!
//! No writer is known, so only fields that mean the same almost everywhere are read: the type from `type`, else `kind`,
//! else `event`; the id from `id`, else `uuid`; the time from `timestamp`, else `ts`, `time`, `created_at`, where that is
//! RFC 3339 text with its offset from UTC. A bare number could be seconds or milliseconds and is left alone: nothing is
//! invented.

use std::borrow::Cow;

use super::record::Record;
use super::shallow::string;

/// The fields that [`record`] reads, in its order.
pub(crate) const FIELDS: [&str; 9] = ["type", "kind", "event", "id", "uuid", "timestamp", "ts", "time", "created_at"];

/// Describes one record.
pub(crate) fn record(fields: &[Option<&str>; 9]) -> Record {
    let event_type = first(&fields[0..3]).unwrap_or_default();
    Record::of_type(&event_type).with_id(first(&fields[3..5])).with_time(first(&fields[5..9]))
}

/// The first of these fields that is a string with something in it.
fn first<'a>(fields: &[Option<&'a str>]) -> Option<Cow<'a, str>> {
    fields.iter().find_map(|raw| string(*raw).filter(|text| !text.is_empty()))
}

#[cfg(test)]
mod tests {
    use super::super::record::{Format, read};
    use super::*;

    fn typed(line: &str) -> Record {
        read(Format::Jsonl, line.as_bytes())
    }

    #[test]
    fn the_first_field_that_says_something_counts() {
        let record = typed(r#"{"kind":"k","type":"t","uuid":"u","ts":"2025-08-10T03:12:26.500Z"}"#);
        assert_eq!((record.event_type.as_str(), record.id.as_deref()), ("t", Some("u")));
        assert_eq!(record.occurred_at, Some(1_754_795_546_500_000_000));
        assert_eq!(typed(r#"{"type":7,"kind":"k"}"#).event_type, "k");
        assert_eq!(typed(r#"{"event":{"nested":1}}"#).event_type, "json");
    }

    #[test]
    fn a_time_that_could_mean_two_things_means_none() {
        assert_eq!(typed(r#"{"type":"t","timestamp":1770905517}"#).occurred_at, None);
        assert_eq!(typed(r#"{"type":"t","timestamp":"2026-06-16T05:39:18.809928"}"#).occurred_at, None);
    }
}
