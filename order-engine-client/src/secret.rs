//! The credential, as the client keeps it.

use std::fmt;
use std::str::FromStr;

use serde::Deserialize;

/// An API key or a token. It shows itself to nobody.
///
/// ```
/// let key = order_engine_client::Secret::new("oek_0123\n");
/// assert_eq!(format!("{key:?}"), "…");
/// assert_eq!(key.reveal(), "oek_0123");
/// ```
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// Keeps a text, without the spaces and line breaks around it.
    pub fn new(text: &str) -> Self {
        Self(text.trim().to_owned())
    }

    /// Returns whether there is no text.
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the text.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("…")
    }
}

impl FromStr for Secret {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(Self::new(text))
    }
}
