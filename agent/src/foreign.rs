//! Taking from a foreign line what is wanted, and nothing else.
//!
//! Foreign formats drift: any field may be missing or of another kind. So a line is read one level deep ([`fields`]), what is not
//! wanted is passed over without being built, and what is wanted is looked at kind by kind.

use std::fmt;

use serde::Deserializer as _;
use serde::de::{DeserializeSeed, IgnoredAny, MapAccess, Visitor};
use serde_json::Value;
use serde_json::value::RawValue;

use crate::part::Part;

/// The fields of these names of a JSON object, the last where one stands twice.
///
/// # Errors
/// Where it is no JSON object.
pub(crate) fn fields<'a, const N: usize>(
    payload: &'a [u8],
    names: &[&str; N],
) -> serde_json::Result<[Option<&'a RawValue>; N]> {
    let mut deserializer = serde_json::Deserializer::from_slice(payload);
    let found = deserializer.deserialize_map(Object(names))?;
    deserializer.end()?;
    Ok(found)
}

struct Object<'n, const N: usize>(&'n [&'n str; N]);

impl<'de, const N: usize> Visitor<'de> for Object<'_, N> {
    type Value = [Option<&'de RawValue>; N];

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut found = [None; N];
        while let Some(place) = map.next_key_seed(Name(self.0))? {
            match place {
                Some(place) => found[place] = Some(map.next_value()?),
                None => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(found)
    }
}

/// Which of the names a key is.
struct Name<'n>(&'n [&'n str]);

impl<'de> DeserializeSeed<'de> for Name<'_> {
    type Value = Option<usize>;

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Name<'_> {
    type Value = Option<usize>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the name of a field")
    }

    fn visit_str<E>(self, name: &str) -> Result<Self::Value, E> {
        Ok(self.0.iter().position(|wanted| *wanted == name))
    }
}

/// A field built whole; null where it is not there. It was checked when the line was, but for its depth.
pub(crate) fn whole(raw: Option<&RawValue>) -> serde_json::Result<Value> {
    raw.map_or(Ok(Value::Null), |raw| serde_json::from_str(raw.get()))
}

/// A field that is text.
pub(crate) fn text(raw: Option<&RawValue>) -> Option<String> {
    raw.and_then(|raw| serde_json::from_str(raw.get()).ok())
}

/// Whether a field is there and true.
pub(crate) fn is_true(raw: Option<&RawValue>) -> bool {
    raw.is_some_and(|raw| raw.get() == "true")
}

/// A field of a value, moved out of it; null where the value has none, or is no object.
pub(crate) fn take(value: &mut Value, name: &str) -> Value {
    value.get_mut(name).map(Value::take).unwrap_or_default()
}

/// The same where it is text.
pub(crate) fn take_text(value: &mut Value, name: &str) -> Option<String> {
    match take(value, name) {
        Value::String(text) => Some(text),
        _ => None,
    }
}

/// A number in a value; 0 where there is none.
pub(crate) fn number(value: &Value, name: &str) -> u64 {
    value.get(name).and_then(Value::as_u64).unwrap_or_default()
}

/// Text, or a list of blocks of which those with a text are taken as such and `other` decides about the rest.
pub(crate) fn parts(content: Value, mut other: impl FnMut(Value) -> Option<Part>) -> Vec<Part> {
    match content {
        Value::String(text) => vec![Part::text(text)],
        Value::Array(blocks) => blocks
            .into_iter()
            .filter_map(|mut block| {
                if let Value::String(text) = block {
                    return Some(Part::text(text));
                }
                let is_text =
                    matches!(block["type"].as_str(), Some("text" | "input_text" | "output_text" | "summary_text"));
                match is_text.then(|| take_text(&mut block, "text")).flatten() {
                    Some(text) => Some(Part::text(text)),
                    None => other(block),
                }
            })
            .collect(),
        Value::Null => Vec::new(),
        other_value => other(other_value).into_iter().collect(),
    }
}
