//! What a host attaches to an order: free JSON, and one tag to find it by.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// A JSON object that a host attaches to an order. The engine stores it with the request, hands it to sinks
/// and feeds, and never looks at it.
///
/// It is part of the request: a repetition under the same client order id must have the same metadata.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Metadata(Map<String, Value>);

impl Metadata {
    /// The largest metadata, in bytes as compact JSON: orders stay small enough to be written by the hundred.
    pub const MAX_BYTES: usize = 4_096;

    /// Wraps a JSON object.
    pub const fn new(object: Map<String, Value>) -> Self {
        Self(object)
    }

    /// Returns the same metadata with one more entry.
    #[must_use]
    pub fn with(mut self, key: impl Into<String>, value: impl Into<Value>) -> Self {
        self.0.insert(key.into(), value.into());
        self
    }

    /// Returns the value of an entry.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.0.get(key)
    }

    /// Returns the JSON object.
    pub const fn as_object(&self) -> &Map<String, Value> {
        &self.0
    }

    /// Whether it has no entry.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns it as compact JSON.
    pub fn to_json(&self) -> String {
        Value::Object(self.0.clone()).to_string()
    }

    /// Whether every store can keep it as it is.
    pub(super) fn is_storable(&self) -> bool {
        if self.is_empty() {
            return true;
        }
        let json = self.to_json();
        // Some fractions change when they are written as text and read again, and then a repeated request
        // would differ from the stored one. Databases cannot hold the NUL character in readable JSON.
        let survives = serde_json::from_str::<Map<String, Value>>(&json).is_ok_and(|read| read == self.0);
        json.len() <= Self::MAX_BYTES && survives && !json.contains("\\u0000")
    }
}

impl FromIterator<(String, Value)> for Metadata {
    fn from_iter<I: IntoIterator<Item = (String, Value)>>(entries: I) -> Self {
        Self(entries.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_is_bounded_and_survives_storage() {
        let plain = Metadata::default().with("campaign", "spring").with("leg", 2).with("ratio", 0.25);
        assert!(plain.is_storable());
        assert_eq!(plain.get("leg"), Some(&Value::from(2)));
        assert_eq!(plain.to_json(), r#"{"campaign":"spring","leg":2,"ratio":0.25}"#);
        let long = Metadata::default().with("note", "x".repeat(Metadata::MAX_BYTES));
        let nul = Metadata::default().with("note", "a\0b");
        for refused in [long, nul] {
            assert!(!refused.is_storable());
        }
    }
}
