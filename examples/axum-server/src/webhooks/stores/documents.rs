//! What the stores keep as JSON.

use chrono::{DateTime, Utc};
use order_engine_core::{StoreError, StoreErrorKind, UserId};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::webhooks::attempt::Attempt;
use crate::webhooks::endpoint::{Endpoint, EndpointId};

/// A row of an endpoint, as stores have it.
#[derive(Debug)]
pub(crate) struct EndpointRow {
    pub(crate) id: String,
    pub(crate) user: String,
    pub(crate) created_at_ms: i64,
    pub(crate) revision: i64,
    pub(crate) settings: String,
    pub(crate) progress: String,
}

impl EndpointRow {
    pub(crate) fn of(endpoint: &Endpoint) -> Result<Self, StoreError> {
        Ok(Self {
            id: endpoint.id.to_string(),
            user: endpoint.user.to_string(),
            created_at_ms: endpoint.created_at.timestamp_millis(),
            revision: number(endpoint.revision)?,
            settings: encode(&endpoint.settings)?,
            progress: encode(&endpoint.progress)?,
        })
    }

    pub(crate) fn decode(&self) -> Result<Endpoint, StoreError> {
        Ok(Endpoint {
            id: self.id.parse().map_err(corrupt)?,
            user: UserId::new(self.user.as_str()),
            created_at: DateTime::<Utc>::from_timestamp_millis(self.created_at_ms).unwrap_or_default(),
            revision: count(self.revision)?,
            settings: decode(&self.settings)?,
            progress: decode(&self.progress)?,
        })
    }
}

pub(crate) fn encode(value: &impl Serialize) -> Result<String, StoreError> {
    serde_json::to_string(value).map_err(corrupt)
}

/// Reads a document. The error does not repeat it: it may have a secret.
pub(crate) fn decode<T: DeserializeOwned>(text: &str) -> Result<T, StoreError> {
    serde_json::from_str(text).map_err(|error| {
        let what = format!("a document of a webhook cannot be read at column {}", error.column());
        StoreError::new(StoreErrorKind::Internal, what)
    })
}

/// Returns the entry of an attempt with its number.
pub(crate) fn entry(number: i64, text: &str) -> Result<(u64, Attempt), StoreError> {
    Ok((count(number)?, decode(text)?))
}

pub(crate) fn corrupt(error: impl std::error::Error + Send + Sync + 'static) -> StoreError {
    StoreError::of(StoreErrorKind::Internal, error)
}

/// Returns the text that the ids after an endpoint's are greater than.
pub(crate) fn place(after: Option<EndpointId>) -> String {
    after.map(|id| id.to_string()).unwrap_or_default()
}

/// Returns a number as SQL has it.
pub(crate) fn number(count: u64) -> Result<i64, StoreError> {
    i64::try_from(count).map_err(corrupt)
}

/// Returns a number of SQL.
pub(crate) fn count(number: i64) -> Result<u64, StoreError> {
    u64::try_from(number).map_err(corrupt)
}
