//! How orders are written into stores: JSON with a version.
//!
//! A store keeps [`PAYLOAD_VERSION`] beside what it wrote and hands it back on reading, so that
//! older payloads can be raised to the present form and newer ones be refused.

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::domain::event::OrderEvent;
use crate::domain::order::OrderRequest;
use crate::domain::state::OrderState;

/// Why this program cannot decode what is stored.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the stored order cannot be read: {message}")]
pub struct DecodeError {
    /// Why, in words.
    pub message: String,
}

/// Why an item can never be stored as it is.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the store refuses this item: {message}")]
pub struct ItemRejected {
    /// Why, in words.
    pub message: String,
}

/// The version of what this program writes.
///
/// - 1: the first.
/// - 2: a state has one `attention` with its reason, where it had a `quarantine`; it counts failed
///   attempts by class and keeps the time of a quote; events may tell of outcomes that are unknown, and
///   of attempts that begin with the last one's route.
pub const PAYLOAD_VERSION: u32 = 2;

/// How many steps lead from the first version to the present one.
const STEPS: usize = PAYLOAD_VERSION as usize - 1;

/// Raises a payload by one version, in place.
type Upcast = fn(&mut Value);

/// What can be written into a store.
pub trait Payload: Serialize + DeserializeOwned + private::Sealed {}

impl Payload for OrderRequest {}
impl Payload for OrderState {}
impl Payload for OrderEvent {}

mod private {
    use serde_json::{Result, Value};

    use super::{STEPS, Upcast, attention_from_quarantine, unchanged};

    /// Keeps the set of payloads closed, and how old ones are raised out of the public interface.
    ///
    /// No method is generic, so this crate compiles them once; the stores would compile each of them again.
    pub trait Sealed: Sized {
        /// The n-th raises version n + 1. The length makes the compiler ask for a step of every
        /// payload whenever the version grows.
        const UPCASTS: [Upcast; STEPS];

        /// Writes the payload as JSON.
        fn to_json(&self) -> Result<String>;

        /// Reads a payload of the present version.
        fn from_json(text: &str) -> Result<Self>;

        /// Reads a payload that was raised to the present version.
        fn from_value(value: Value) -> Result<Self>;
    }

    macro_rules! seal {
        ($payload:ty, $upcasts:expr) => {
            impl Sealed for $payload {
                const UPCASTS: [Upcast; STEPS] = $upcasts;

                fn to_json(&self) -> Result<String> {
                    serde_json::to_string(self)
                }

                fn from_json(text: &str) -> Result<Self> {
                    serde_json::from_str(text)
                }

                fn from_value(value: Value) -> Result<Self> {
                    serde_json::from_value(value)
                }
            }
        };
    }

    seal!(crate::domain::order::OrderRequest, [unchanged]);
    seal!(crate::domain::state::OrderState, [attention_from_quarantine]);
    seal!(crate::domain::event::OrderEvent, [unchanged]);
}

/// Writes a payload.
///
/// # Errors
/// If it cannot be written as JSON.
pub fn encode<P: Payload>(payload: &P) -> Result<String, ItemRejected> {
    payload.to_json().map_err(|error| ItemRejected { message: error.to_string() })
}

/// Reads a payload of some version.
///
/// # Errors
/// If the version is newer than this program, or the text is not what the version says.
pub fn decode<P: Payload>(version: u32, text: &str) -> Result<P, DecodeError> {
    let garbled = |error: serde_json::Error| DecodeError { message: error.to_string() };
    if version == PAYLOAD_VERSION {
        return P::from_json(text).map_err(garbled);
    }
    let steps = missing_steps::<P>(version)?;
    let mut value: Value = serde_json::from_str(text).map_err(garbled)?;
    for upcast in steps {
        upcast(&mut value);
    }
    P::from_value(value).map_err(garbled)
}

/// Returns the steps from a version to the present one.
fn missing_steps<P: Payload>(version: u32) -> Result<&'static [Upcast], DecodeError> {
    if version > PAYLOAD_VERSION {
        let message = format!(
            "payload version {version} is newer than {PAYLOAD_VERSION}, the newest this program knows"
        );
        return Err(DecodeError { message });
    }
    let first = usize::try_from(version).unwrap_or(usize::MAX).checked_sub(1);
    let steps: &'static [Upcast] = &P::UPCASTS;
    first
        .and_then(|first| steps.get(first..))
        .ok_or_else(|| DecodeError { message: format!("there is no payload version {version}") })
}

fn unchanged(_: &mut Value) {}

/// Version 1 has one reason for attention, in a field of its own.
fn attention_from_quarantine(state: &mut Value) {
    let Some(fields) = state.as_object_mut() else { return };
    if let Some(failure) = fields.remove("quarantine") {
        fields.insert("attention".to_owned(), serde_json::json!({ "quarantined": failure }));
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use chrono::DateTime;

    use super::*;
    use crate::domain::failure::{Failure, FailureCode};
    use crate::domain::state::OrderState;

    fn quarantined() -> OrderState {
        let failure = Failure::new(FailureCode::QUARANTINED, "it panics");
        OrderState::accepted(3).apply(&OrderEvent::Quarantined { failure }).unwrap()
    }

    #[test]
    fn the_present_version_comes_back_as_it_was() {
        let state = quarantined();
        assert_eq!(decode(PAYLOAD_VERSION, &encode(&state).unwrap()), Ok(state));
    }

    #[test]
    fn a_state_of_version_one_is_raised() {
        let text = r#"{"attempt":0,"max_attempts":3,
            "quarantine":{"code":"quarantined","message":"it panics"},"phase":{"phase":"pending"}}"#;
        assert_eq!(decode(1, text), Ok(quarantined()));
        let text = r#"{"attempt":0,"max_attempts":3,"phase":{"phase":"pending"}}"#;
        assert_eq!(decode(1, text), Ok(OrderState::accepted(3)));
    }

    #[test]
    fn waits_are_whole_milliseconds() {
        let since = DateTime::UNIX_EPOCH;
        let failure = Failure::new(FailureCode::VENUE_UNAVAILABLE, "503");
        let retry_in = Duration::from_micros(1_500_999);
        for event in [
            OrderEvent::RetryScheduled { retry_at: since, retry_in },
            OrderEvent::Deferred { failure, since, retry_at: since, retry_in },
        ] {
            let text = encode(&event).unwrap();
            assert!(text.contains(r#""retry_in_ms":1500}"#), "{text}");
            let (OrderEvent::RetryScheduled { retry_in, .. } | OrderEvent::Deferred { retry_in, .. }) =
                decode(PAYLOAD_VERSION, &text).unwrap()
            else {
                panic!("{text} is another event now")
            };
            assert_eq!(retry_in, Duration::from_millis(1_500));
        }
    }

    #[test]
    fn newer_versions_and_those_that_never_were_are_refused() {
        let text = encode(&quarantined()).unwrap();
        for version in [0, PAYLOAD_VERSION + 1, u32::MAX] {
            let refused = decode::<OrderState>(version, &text).unwrap_err();
            assert!(refused.message.contains(&format!("version {version}")), "{refused}");
        }
    }
}
