//! Where people look at transactions.

use std::fmt;

use serde::{Deserialize, Deserializer};

/// Where the id of a transaction goes.
const TX_ID: &str = "{tx}";

/// The URL of a transaction at an explorer, with `{tx}` in the place of its id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explorer(String);

impl Explorer {
    /// Returns the URL of a transaction.
    pub fn url(&self, tx_id: &str) -> String {
        self.0.replace(TX_ID, tx_id)
    }
}

impl fmt::Display for Explorer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Explorer {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let url = String::deserialize(deserializer)?;
        let is_url = url.starts_with("https://") || url.starts_with("http://");
        if is_url && url.contains(TX_ID) {
            return Ok(Self(url));
        }
        Err(serde::de::Error::custom("it must be a URL with {tx} in the place of the transaction's id"))
    }
}
