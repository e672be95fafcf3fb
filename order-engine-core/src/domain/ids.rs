//! The identifiers that appear in an order's life.

use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// The engine's name for an order: a UUID of version 7, so ids sort by the time of acceptance.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct OrderId(Uuid);

impl OrderId {
    /// Returns an id for an order accepted at `at`, unique by `entropy`.
    pub fn new(at: DateTime<Utc>, entropy: u128) -> Self {
        let millis = u64::try_from(at.timestamp_millis()).unwrap_or(0);
        let random: [u8; 16] = entropy.to_be_bytes();
        let random: [u8; 10] = std::array::from_fn(|i| random[i]);
        Self(uuid::Builder::from_unix_timestamp_millis(millis, &random).into_uuid())
    }

    /// The id with these bytes.
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(Uuid::from_bytes(bytes))
    }

    /// Returns when the order was accepted, to the millisecond, as the id says. For an id that is not a UUID
    /// of version 7 the result means nothing.
    pub fn accepted_at(&self) -> DateTime<Utc> {
        let millis = self.0.as_u128() >> 80;
        i64::try_from(millis).ok().and_then(DateTime::from_timestamp_millis).unwrap_or_default()
    }

    /// Returns the id as a UUID.
    pub const fn as_uuid(&self) -> &Uuid {
        &self.0
    }
}

impl From<Uuid> for OrderId {
    fn from(uuid: Uuid) -> Self {
        Self(uuid)
    }
}

impl fmt::Display for OrderId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for OrderId {
    type Err = uuid::Error;

    fn from_str(text: &str) -> Result<Self, uuid::Error> {
        text.parse().map(Self)
    }
}

/// Declares a newtype over a text that the engine stores and compares but never interprets.
macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(String);

        impl $name {
            /// Wraps a text.
            pub fn new(text: impl Into<String>) -> Self {
                Self(text.into())
            }

            /// Returns the text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl From<&str> for $name {
            fn from(text: &str) -> Self {
                Self(text.to_owned())
            }
        }

        impl From<String> for $name {
            fn from(text: String) -> Self {
                Self(text)
            }
        }
    };
}

text_id! {
    /// A user, as the host names it.
    UserId
}
text_id! {
    /// The caller's own name for an order, unique for each user: the idempotency key.
    ClientOrderId
}
text_id! {
    /// A host's own mark on orders, to find them by: a campaign, a strategy, a batch.
    Tag
}
text_id! {
    /// The name of a venue of an engine, as the host gives it. It is stored with each order that has a route,
    /// so a venue keeps its name for as long as there are such orders.
    VenueName
}
text_id! {
    /// An account whose transactions a venue signs, by its address on the chain.
    AccountId
}
text_id! {
    /// The id of a signed transaction, known before the transaction is sent.
    TxId
}

impl Default for VenueName {
    /// Returns `main`: the venue of an engine that has one only.
    fn default() -> Self {
        Self::new("main")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_ids_sort_by_time_and_are_version_7() {
        let early = OrderId::new(DateTime::from_timestamp_millis(1_000).unwrap(), u128::MAX);
        let late = OrderId::new(DateTime::from_timestamp_millis(1_001).unwrap(), 0);
        assert!(early < late);
        assert!(early.to_string() < late.to_string());
        assert_eq!(early.as_uuid().get_version_num(), 7);
        assert_eq!(early.to_string().parse::<OrderId>().unwrap(), early);
    }
}
