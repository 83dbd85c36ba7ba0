//! What is a message made of?
//!
//! A list of parts, each with a `type`. Where a list of parts is expected a plain string will do: one part of text. A part that
//! is not known, or has not the shape of its type, is kept as it is.

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

/// Fields that this version does not know, kept as they were.
pub(crate) type Extra = Map<String, Value>;

/// A part of a message.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Part {
    /// Words.
    Text(Text),
    /// What a model thought before it spoke.
    Reasoning(Reasoning),
    /// What only the provider that made it can read.
    Sealed(Sealed),
    /// An image or another file.
    File(File),
    /// Any other part, as it is.
    #[serde(untagged)]
    Other(Value),
}

/// Words: `{"type":"text","text":"…"}`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Text {
    /// The words.
    pub text: String,
    /// What else the part says.
    #[serde(flatten)]
    pub extra: Extra,
}

/// What a model thought: `{"type":"reasoning","text":"…","seal":"…"}`. Its provider, which the message names, takes it back with its seal
/// alone, and no other provider takes it at all.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Reasoning {
    /// The thought, or a summary of it; empty where the provider keeps it to itself.
    #[serde(default)]
    pub text: String,
    /// Signature or encrypted form, byte for byte as the provider gave it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seal: Option<String>,
    /// What else the part says.
    #[serde(flatten)]
    pub extra: Extra,
}

/// Something sealed that has no readable side: `{"type":"sealed","kind":"…","data":"…"}`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Sealed {
    /// What the provider calls it.
    pub kind: String,
    /// As the provider gave it.
    pub data: String,
    /// What else the part says.
    #[serde(flatten)]
    pub extra: Extra,
}

/// A file: `{"type":"file","media_type":"image/png","data":"…"}`, or with a `url`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct File {
    /// What it is, as `image/png`.
    pub media_type: String,
    /// Its bytes in base64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<String>,
    /// Where it is, if not here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// What it is called.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// What else the part says.
    #[serde(flatten)]
    pub extra: Extra,
}

impl Part {
    /// Words.
    #[must_use]
    pub fn text(text: impl Into<String>) -> Part {
        Part::Text(Text { text: text.into(), extra: Extra::new() })
    }

    /// A thought, with its seal where there is one.
    #[must_use]
    pub fn reasoning(text: impl Into<String>, seal: Option<String>) -> Part {
        Part::Reasoning(Reasoning { text: text.into(), seal, extra: Extra::new() })
    }

    /// Something that only its provider can read.
    #[must_use]
    pub fn sealed(kind: impl Into<String>, data: impl Into<String>) -> Part {
        Part::Sealed(Sealed { kind: kind.into(), data: data.into(), extra: Extra::new() })
    }

    /// Whether only the provider that made it takes it back.
    #[must_use]
    pub fn is_providers_own(&self) -> bool {
        matches!(self, Part::Reasoning(_) | Part::Sealed(_))
    }

    /// Whether it says nothing: text of white space, which providers refuse.
    pub(crate) fn is_blank(&self) -> bool {
        matches!(self, Part::Text(text) if text.text.trim().is_empty())
    }
}

impl From<&str> for Part {
    fn from(text: &str) -> Part {
        Part::text(text)
    }
}

/// Reads a list of parts, or a string in place of one.
pub(crate) fn content<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Part>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Content {
        Text(String),
        Parts(Vec<Part>),
    }
    match Option::<Content>::deserialize(deserializer)? {
        None => Ok(Vec::new()),
        Some(Content::Text(text)) => Ok(vec![Part::text(text)]),
        Some(Content::Parts(parts)) => Ok(parts),
    }
}

/// The words of these parts, one after the other; what is no text is left out.
pub(crate) fn words(parts: &[Part]) -> String {
    let mut words = String::new();
    for part in parts {
        if let Part::Text(text) = part {
            if !words.is_empty() {
                words.push('\n');
            }
            words.push_str(&text.text);
        }
    }
    words
}
