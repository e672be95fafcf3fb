//! Signatures, which show who sent a request, and that it is neither changed nor repeated.

use std::fmt::{self, Write as _};
use std::time::Duration;

use chrono::{DateTime, Utc};
use hmac::{Hmac, Mac};
use sha2::Sha256;

/// The header with the time of the signature, in whole seconds since 1970.
pub const TIMESTAMP_HEADER: &str = "x-order-engine-timestamp";
/// The header with the signatures, separated by commas. Each is `v1=` and hexadecimal digits.
pub const SIGNATURE_HEADER: &str = "x-order-engine-signature";

/// A secret that the sender and the receiver share. It never appears in logs.
#[derive(Clone)]
pub struct Secret(Vec<u8>);

impl Secret {
    /// Returns a secret, which should have at least 32 random bytes. An empty one, as from an unset variable,
    /// is no protection: senders refuse it, and receivers accept no signature with it.
    pub fn new(secret: impl Into<Vec<u8>>) -> Self {
        Self(secret.into())
    }

    /// Returns whether the secret is empty.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the authentication code of the time and the body. It covers the time, so that a recorded
    /// request cannot be sent again later.
    fn mac(&self, timestamp_s: i64, body: &[u8]) -> Hmac<Sha256> {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.0).expect("HMAC takes keys of any length");
        mac.update(timestamp_s.to_string().as_bytes());
        mac.update(b".");
        mac.update(body);
        mac
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// Returns the value of [`SIGNATURE_HEADER`]. It has one signature for each secret, so that secrets can be
/// changed while requests are under way.
pub fn sign(secrets: &[Secret], timestamp_s: i64, body: &[u8]) -> String {
    let signature = |secret: &Secret| {
        let code = secret.mac(timestamp_s, body).finalize().into_bytes();
        code.iter().fold("v1=".to_owned(), |mut hex, byte| {
            // Writing to a string cannot fail.
            let _ = write!(hex, "{byte:02x}");
            hex
        })
    };
    secrets.iter().map(signature).collect::<Vec<_>>().join(",")
}

/// Why a receiver must not accept a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Rejected {
    /// The timestamp is no number.
    #[error("the timestamp cannot be read")]
    Timestamp,
    /// The timestamp is too old, so that the request may be a recorded one, or lies in the future.
    #[error("the timestamp is too far away")]
    Stale,
    /// No signature is valid: the sender has another secret, or the body was changed.
    #[error("no signature is valid")]
    Signature,
}

/// Checks a request for the receiver. `body` must be the bytes as they arrived.
///
/// # Errors
/// If the timestamp is invalid or further from `now` than `tolerance`, or if no signature is valid.
pub fn verify(
    secret: &Secret,
    timestamp: &str,
    signatures: &str,
    body: &[u8],
    now: DateTime<Utc>,
    tolerance: Duration,
) -> Result<(), Rejected> {
    let timestamp_s: i64 = timestamp.parse().map_err(|_| Rejected::Timestamp)?;
    if now.timestamp().abs_diff(timestamp_s) > tolerance.as_secs() {
        return Err(Rejected::Stale);
    }
    let is_valid = |signature: &str| {
        let code = signature.trim().strip_prefix("v1=").and_then(from_hex);
        // The comparison takes constant time, so that its duration does not reveal the code byte by byte.
        code.is_some_and(|code| secret.mac(timestamp_s, body).verify_slice(&code).is_ok())
    };
    if !secret.is_empty() && signatures.split(',').any(is_valid) { Ok(()) } else { Err(Rejected::Signature) }
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    if !text.is_ascii() || !text.len().is_multiple_of(2) {
        return None;
    }
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const BODY: &[u8] = br#"{"orderId":"x"}"#;
    const AT_S: i64 = 1_767_225_600;
    /// `printf '1767225600.{"orderId":"x"}' | openssl dgst -sha256 -hmac whsec_test`
    const SIGNATURE: &str = "v1=6ba52f90d34031d7a7a4de169861b4348613cca96d1711216b707baf3dceaff7";
    /// The same with `-hmac old`.
    const OLD: &str = "v1=0ac44c83b48b94083b4453d08922a331c0c46208cc730c7664f959e41babb6e7";

    fn secret() -> Secret {
        Secret::new("whsec_test")
    }

    fn check(timestamp: &str, signatures: &str, body: &[u8], now_s: i64) -> Result<(), Rejected> {
        let now = DateTime::from_timestamp(now_s, 0).unwrap();
        verify(&secret(), timestamp, signatures, body, now, Duration::from_mins(5))
    }

    #[test]
    fn signatures_are_the_same_as_those_of_openssl() {
        assert_eq!(sign(&[secret()], AT_S, BODY), SIGNATURE);
        assert_eq!(sign(&[secret(), Secret::new("old")], AT_S, BODY), format!("{SIGNATURE},{OLD}"));
    }

    #[test]
    fn one_valid_signature_is_enough() {
        let at = AT_S.to_string();
        assert_eq!(check(&at, SIGNATURE, BODY, AT_S), Ok(()));
        assert_eq!(check(&at, &format!("{OLD}, {SIGNATURE}"), BODY, AT_S), Ok(()));
        assert_eq!(check(&at, &SIGNATURE.to_uppercase().replace("V1", "v1"), BODY, AT_S), Ok(()));
    }

    #[test]
    fn a_changed_request_is_rejected() {
        let at = AT_S.to_string();
        let changed = br#"{"orderId":"y"}"#;
        assert_eq!(check(&at, SIGNATURE, changed, AT_S), Err(Rejected::Signature));
        assert_eq!(check(&(AT_S + 1).to_string(), SIGNATURE, BODY, AT_S), Err(Rejected::Signature));
        for garbage in ["", "v1=", "v1=zz", "v1=abc", "v2=00", "v1=ü0", OLD, &SIGNATURE[..40]] {
            assert_eq!(check(&at, garbage, BODY, AT_S), Err(Rejected::Signature), "{garbage}");
        }
    }

    #[test]
    fn an_old_request_is_rejected() {
        let at = AT_S.to_string();
        assert_eq!(check(&at, SIGNATURE, BODY, AT_S + 300), Ok(()));
        assert_eq!(check(&at, SIGNATURE, BODY, AT_S + 301), Err(Rejected::Stale));
        assert_eq!(check(&at, SIGNATURE, BODY, AT_S - 301), Err(Rejected::Stale));
        assert_eq!(check("soon", SIGNATURE, BODY, AT_S), Err(Rejected::Timestamp));
    }

    #[test]
    fn an_empty_secret_accepts_no_signature() {
        let empty = Secret::new("");
        let now = DateTime::from_timestamp(AT_S, 0).unwrap();
        let signature = sign(std::slice::from_ref(&empty), AT_S, BODY);
        let verdict = verify(&empty, &AT_S.to_string(), &signature, BODY, now, Duration::from_mins(5));
        assert_eq!(verdict, Err(Rejected::Signature));
    }

    #[test]
    fn a_secret_is_not_shown() {
        assert_eq!(format!("{:?}", secret()), "Secret(..)");
    }
}
