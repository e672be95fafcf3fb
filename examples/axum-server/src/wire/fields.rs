//! The fields of a JSON object, which are read one by one while all errors are collected.

use std::fmt;

use serde::de::{Deserialize, DeserializeOwned, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::wire::problem::{FieldError, Problem};

/// The deepest nesting of a request body. Requests are flat, so a deeper body is refused as a whole.
const DEPTH_MAX: usize = 32;

/// Why a body has no fields to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum InvalidBody {
    /// It is not JSON.
    Malformed,
    /// It nests too deep.
    TooDeep,
    /// It is JSON, but not an object.
    NotAnObject,
}

/// The fields of a request that were not taken yet, and the errors of those that were.
#[derive(Debug, Default)]
pub(crate) struct Fields {
    untaken: Vec<(String, Box<RawValue>)>,
    errors: Vec<FieldError>,
}

impl Fields {
    /// Parses an object. A field that is there twice is an error, and the first value is the one that is
    /// read.
    pub(crate) fn parse(body: &str) -> Result<Self, InvalidBody> {
        if depth(body) > DEPTH_MAX {
            return Err(InvalidBody::TooDeep);
        }
        let value: &RawValue = serde_json::from_str(body).map_err(|_| InvalidBody::Malformed)?;
        if !value.get().starts_with('{') {
            return Err(InvalidBody::NotAnObject);
        }
        let Entries(entries) = serde_json::from_str(body).map_err(|_| InvalidBody::Malformed)?;
        let mut fields = Self::default();
        for (name, value) in entries {
            if is_broken_string(&value) {
                return Err(InvalidBody::Malformed);
            }
            if fields.untaken.iter().any(|(known, _)| *known == name) {
                fields.reject(&name, "duplicate", "The field is given more than once.");
            } else {
                fields.untaken.push((name, value));
            }
        }
        Ok(fields)
    }

    /// Takes a field, and returns its value. `null` is the same as an absent field.
    pub(crate) fn take(&mut self, name: &str) -> Option<Box<RawValue>> {
        let index = self.untaken.iter().position(|(known, _)| known == name)?;
        let (_, value) = self.untaken.swap_remove(index);
        (value.get() != "null").then_some(value)
    }

    /// Takes a field and reads its value. A value that cannot be read is an error of the field.
    pub(crate) fn read<T>(
        &mut self,
        name: &str,
        read: impl FnOnce(&RawValue) -> Result<T, ValueError>,
    ) -> Option<T> {
        let value = self.take(name)?;
        read(&value).map_err(|error| self.reject(name, error.code, error.message)).ok()
    }

    /// Takes a field that has two names. Both may be given if they have the same value.
    pub(crate) fn read_either<T: PartialEq>(
        &mut self,
        [name, alias]: [&str; 2],
        read: impl Fn(&RawValue) -> Result<T, ValueError>,
    ) -> Option<T> {
        let named = self.read(name, &read);
        let aliased = self.read(alias, &read);
        if named.is_some() && aliased.is_some() && named != aliased {
            self.reject(alias, "conflict", format!("{alias} and {name} have different values."));
        }
        named.or(aliased)
    }

    /// Returns a field that was not taken yet, and leaves it.
    pub(crate) fn peek(&self, name: &str) -> Option<&RawValue> {
        self.untaken.iter().find(|(known, _)| known == name).map(|(_, value)| &**value)
    }

    /// Returns whether a field was given and not taken yet.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.untaken.iter().any(|(known, value)| known == name && value.get() != "null")
    }

    /// Adds an error of a field, unless it has one already.
    pub(crate) fn reject(&mut self, field: &str, code: &'static str, message: impl Into<String>) {
        if !self.is_rejected(field) {
            self.errors.push(FieldError { field: field.to_owned(), code, message: message.into() });
        }
    }

    /// Returns whether a field has an error.
    pub(crate) fn is_rejected(&self, field: &str) -> bool {
        self.errors.iter().any(|error| error.field == field)
    }

    /// Succeeds if no field has an error and every field was taken: one that was not is unknown.
    pub(crate) fn finish(mut self) -> Result<(), Problem> {
        for (name, _) in std::mem::take(&mut self.untaken) {
            self.reject(&name, "unknown", "There is no such field.");
        }
        if self.errors.is_empty() { Ok(()) } else { Err(Problem::invalid(self.errors)) }
    }
}

/// An error in a value, before it is known which field has it.
#[derive(Debug)]
pub(crate) struct ValueError {
    pub(crate) code: &'static str,
    pub(crate) message: String,
}

impl ValueError {
    pub(crate) fn new(code: &'static str, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }

    /// Returns the error of a value of the wrong type or form.
    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Self::new("invalid", message)
    }
}

/// Reads a value of a type that serde knows.
pub(crate) fn plain<T: DeserializeOwned>(value: &RawValue, expected: &'static str) -> Result<T, ValueError> {
    serde_json::from_str(value.get()).map_err(|_| ValueError::invalid(format!("Must be {expected}.")))
}

/// Returns the deepest nesting of arrays and objects in a text, outside of its strings.
///
/// The parser skips raw values without recursion, so it has no limit of its own.
fn depth(body: &str) -> usize {
    let (mut depth, mut deepest) = (0_usize, 0);
    let (mut in_string, mut escaped) = (false, false);
    for byte in body.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            b'[' | b'{' if !in_string => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b']' | b'}' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

/// Returns whether a value is a string whose escapes make no text. The parser does not notice, because it
/// skips raw values.
fn is_broken_string(value: &RawValue) -> bool {
    value.get().starts_with('"') && serde_json::from_str::<String>(value.get()).is_err()
}

/// An object's entries in order, with duplicates.
struct Entries(Vec<(String, Box<RawValue>)>);

impl<'de> Deserialize<'de> for Entries {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(EntriesVisitor)
    }
}

struct EntriesVisitor;

impl<'de> Visitor<'de> for EntriesVisitor {
    type Value = Entries;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Entries, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = map.next_entry()? {
            entries.push(entry);
        }
        Ok(Entries(entries))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn errors(fields: Fields) -> Vec<(String, &'static str)> {
        match fields.finish() {
            Ok(()) => Vec::new(),
            Err(problem) => problem.parts().2.iter().map(|e| (e.field.clone(), e.code)).collect(),
        }
    }

    fn text(value: &RawValue) -> Result<String, ValueError> {
        plain(value, "a string")
    }

    #[test]
    fn bodies_that_are_not_objects_are_distinguished() {
        for (body, expected) in [
            ("", InvalidBody::Malformed),
            ("{", InvalidBody::Malformed),
            ("{\"a\":1} x", InvalidBody::Malformed),
            ("{'a':1}", InvalidBody::Malformed),
            ("{\"a\":NaN}", InvalidBody::Malformed),
            ("{\"a\":\"\\ud800\"}", InvalidBody::Malformed),
            ("[]", InvalidBody::NotAnObject),
            ("null", InvalidBody::NotAnObject),
            ("\"{\"", InvalidBody::NotAnObject),
        ] {
            assert_eq!(Fields::parse(body).unwrap_err(), expected, "{body}");
        }
        let nested = |n: usize| format!("{{\"a\":{}1{}}}", "[".repeat(n), "]".repeat(n));
        assert!(Fields::parse(&nested(DEPTH_MAX - 1)).is_ok());
        assert_eq!(Fields::parse(&nested(DEPTH_MAX)).unwrap_err(), InvalidBody::TooDeep);
        assert!(Fields::parse(&format!("{{\"a\":\"\\\"{}\"}}", "[".repeat(99))).is_ok());
    }

    #[test]
    fn unknown_and_duplicate_fields_are_errors() {
        let mut fields = Fields::parse(r#"{"a":"1","b":"2","b":"2","c":null,"c":1}"#).unwrap();
        assert_eq!(fields.read("a", text).as_deref(), Some("1"));
        assert_eq!(fields.read("b", text).as_deref(), Some("2"));
        assert_eq!(errors(fields), [("b".into(), "duplicate"), ("c".into(), "duplicate")]);
    }

    #[test]
    fn aliases_must_agree() {
        let mut fields = Fields::parse(r#"{"a":"1","b":"1","c":"1","d":"2"}"#).unwrap();
        assert_eq!(fields.read_either(["a", "b"], text).as_deref(), Some("1"));
        assert_eq!(fields.read_either(["c", "d"], text).as_deref(), Some("1"));
        assert_eq!(errors(fields), [("d".into(), "conflict")]);
    }

    #[test]
    fn null_is_absent() {
        let mut fields = Fields::parse(r#"{"a":null}"#).unwrap();
        assert!(!fields.has("a"));
        assert_eq!(fields.read("a", text), None);
        assert!(errors(fields).is_empty());
    }
}
