//! How orders are written into stores: JSON with a version.
//!
//! A store keeps [`PAYLOAD_VERSION`] beside what it wrote and hands it back on reading, so that
//! older payloads can be raised to the present form and newer ones be refused.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::{OrderEvent, OrderRequest, OrderState, Refused, Undecodable};

/// The version of what this program writes.
pub const PAYLOAD_VERSION: u32 = 1;

/// What can be written into a store.
pub trait Payload: Serialize + DeserializeOwned + private::Sealed {}

impl Payload for OrderRequest {}
impl Payload for OrderState {}
impl Payload for OrderEvent {}

mod private {
    pub trait Sealed {}
    impl Sealed for crate::OrderRequest {}
    impl Sealed for crate::OrderState {}
    impl Sealed for crate::OrderEvent {}
}

/// Writes a payload.
///
/// # Errors
/// If it cannot be written as JSON.
pub fn encode<P: Payload>(payload: &P) -> Result<String, Refused> {
    serde_json::to_string(payload).map_err(|error| Refused { message: error.to_string() })
}

/// Reads a payload of some version.
///
/// # Errors
/// If the version is newer than this program, or the text is not what the version says.
pub fn decode<P: Payload>(version: u32, text: &str) -> Result<P, Undecodable> {
    if version > PAYLOAD_VERSION {
        let message = format!(
            "payload version {version} is newer than {PAYLOAD_VERSION}, the newest this program knows"
        );
        return Err(Undecodable { message });
    }
    serde_json::from_str(text).map_err(|error| Undecodable { message: error.to_string() })
}
