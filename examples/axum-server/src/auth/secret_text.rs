//! Secrets among the settings. No `Debug`, help text or error shows them.

use std::fmt;
use std::str::FromStr;

/// A secret that signs and verifies.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretText(String);

/// How short a secret may be: as long as the hash that is keyed with it (RFC 7518, section 3.2).
const BYTES_MIN: usize = 32;

/// The error for a secret that is too short. It does not show the secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a secret must have {BYTES_MIN} bytes at least; `openssl rand -hex 32` makes one")]
pub struct ShortSecret;

impl SecretText {
    pub(crate) fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

impl FromStr for SecretText {
    type Err = ShortSecret;

    fn from_str(text: &str) -> Result<Self, ShortSecret> {
        if text.len() < BYTES_MIN { Err(ShortSecret) } else { Ok(Self(text.to_owned())) }
    }
}

impl fmt::Debug for SecretText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretText")
    }
}
