//! Signatures, which show who sent a request, and that it is neither changed nor repeated: those of the
//! [Standard Webhooks](https://www.standardwebhooks.com) specification.

use std::fmt;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chrono::{DateTime, Utc};
use hmac::{Hmac, Mac};
use sha2::Sha256;

/// The header with the name of the message, which is the same each time that it is sent.
pub const ID_HEADER: &str = "webhook-id";
/// The header with the time of the signature, in whole seconds since 1970.
pub const TIMESTAMP_HEADER: &str = "webhook-timestamp";
/// The header with the signatures, separated by spaces. Each is `v1,` and base64.
pub const SIGNATURE_HEADER: &str = "webhook-signature";
/// How the text of a secret begins. Base64 follows.
const SECRET_PREFIX: &str = "whsec_";

/// A secret that the sender and the receiver share. It never appears in logs.
#[derive(Clone)]
pub struct Secret(Vec<u8>);

/// The error for a text that is no secret. It does not show the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a secret is '{SECRET_PREFIX}' and base64")]
pub struct InvalidSecret;

impl Secret {
    /// Returns a secret, which should have at least 32 random bytes. An empty one, as from an unset variable,
    /// is no protection: senders refuse it, and receivers accept no signature with it.
    pub fn new(secret: impl Into<Vec<u8>>) -> Self {
        Self(secret.into())
    }

    /// Reads the text of a secret: `whsec_` and base64.
    ///
    /// # Errors
    /// If it is no such text.
    pub fn parse(text: &str) -> Result<Self, InvalidSecret> {
        let encoded = text.strip_prefix(SECRET_PREFIX).ok_or(InvalidSecret)?;
        STANDARD.decode(encoded).map(Self).map_err(|_| InvalidSecret)
    }

    /// Returns whether the secret is empty.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the authentication code of a message. It covers the time, so that a recorded request cannot be sent
    /// again later.
    fn mac(&self, id: &str, timestamp_s: i64, body: &[u8]) -> Hmac<Sha256> {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.0).expect("HMAC takes keys of any length");
        for part in [id.as_bytes(), b".", timestamp_s.to_string().as_bytes(), b".", body] {
            mac.update(part);
        }
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
pub fn sign(secrets: &[Secret], id: &str, timestamp_s: i64, body: &[u8]) -> String {
    let signature = |secret: &Secret| {
        format!("v1,{}", STANDARD.encode(secret.mac(id, timestamp_s, body).finalize().into_bytes()))
    };
    secrets.iter().map(signature).collect::<Vec<_>>().join(" ")
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
    /// No signature is valid: the sender has another secret, or the message was changed.
    #[error("no signature is valid")]
    Signature,
}

/// Checks a request for the receiver: its three headers, in the order of the constants above, and its body, which must be the bytes
/// as they arrived.
///
/// # Errors
/// If the timestamp is invalid or further from `now` than `tolerance`, or if no signature is valid.
pub fn verify(
    secret: &Secret,
    [id, timestamp, signatures]: [&str; 3],
    body: &[u8],
    now: DateTime<Utc>,
    tolerance: Duration,
) -> Result<(), Rejected> {
    let timestamp_s: i64 = timestamp.parse().map_err(|_| Rejected::Timestamp)?;
    if now.timestamp().abs_diff(timestamp_s) > tolerance.as_secs() {
        return Err(Rejected::Stale);
    }
    let is_valid = |signature: &str| {
        let code = signature.strip_prefix("v1,").and_then(|code| STANDARD.decode(code).ok());
        // The comparison takes constant time, so that its duration does not reveal the code byte by byte.
        code.is_some_and(|code| secret.mac(id, timestamp_s, body).verify_slice(&code).is_ok())
    };
    if !secret.is_empty() && signatures.split(' ').any(is_valid) { Ok(()) } else { Err(Rejected::Signature) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of the specification's own libraries.
    const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    const ID: &str = "msg_p5jXN8AQM9LWM0D4loKWxJek";
    const AT_S: i64 = 1_614_265_330;
    const BODY: &[u8] = br#"{"test": 2432232314}"#;
    const SIGNATURE: &str = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";

    fn secret() -> Secret {
        Secret::parse(SECRET).unwrap()
    }

    fn check(id: &str, timestamp: &str, signatures: &str, body: &[u8], now_s: i64) -> Result<(), Rejected> {
        let now = DateTime::from_timestamp(now_s, 0).unwrap();
        verify(&secret(), [id, timestamp, signatures], body, now, Duration::from_mins(5))
    }

    fn old() -> String {
        sign(&[Secret::new("old")], ID, AT_S, BODY)
    }

    #[test]
    fn signatures_are_those_of_the_specification() {
        assert_eq!(sign(&[secret()], ID, AT_S, BODY), SIGNATURE);
        assert_eq!(sign(&[secret(), Secret::new("old")], ID, AT_S, BODY), format!("{SIGNATURE} {}", old()));
    }

    #[test]
    fn one_valid_signature_is_enough() {
        let at = AT_S.to_string();
        assert_eq!(check(ID, &at, SIGNATURE, BODY, AT_S), Ok(()));
        assert_eq!(check(ID, &at, &format!("v1a,x {} {SIGNATURE}", old()), BODY, AT_S), Ok(()));
    }

    #[test]
    fn a_changed_request_is_rejected() {
        let at = AT_S.to_string();
        let changed = br#"{"test": 2432232315}"#;
        assert_eq!(check(ID, &at, SIGNATURE, changed, AT_S), Err(Rejected::Signature));
        assert_eq!(check("msg_other", &at, SIGNATURE, BODY, AT_S), Err(Rejected::Signature));
        assert_eq!(check(ID, &(AT_S + 1).to_string(), SIGNATURE, BODY, AT_S), Err(Rejected::Signature));
        for garbage in ["", "v1,", "v1,z", "v2,AA==", "v1,ü0", &old(), &SIGNATURE[..40], &SIGNATURE[3..]] {
            assert_eq!(check(ID, &at, garbage, BODY, AT_S), Err(Rejected::Signature), "{garbage}");
        }
    }

    #[test]
    fn an_old_request_is_rejected() {
        let at = AT_S.to_string();
        assert_eq!(check(ID, &at, SIGNATURE, BODY, AT_S + 300), Ok(()));
        assert_eq!(check(ID, &at, SIGNATURE, BODY, AT_S + 301), Err(Rejected::Stale));
        assert_eq!(check(ID, &at, SIGNATURE, BODY, AT_S - 301), Err(Rejected::Stale));
        assert_eq!(check(ID, "soon", SIGNATURE, BODY, AT_S), Err(Rejected::Timestamp));
    }

    #[test]
    fn an_empty_secret_accepts_no_signature() {
        let empty = Secret::new("");
        let now = DateTime::from_timestamp(AT_S, 0).unwrap();
        let (at, signature) = (AT_S.to_string(), sign(std::slice::from_ref(&empty), ID, AT_S, BODY));
        let verdict = verify(&empty, [ID, &at, &signature], BODY, now, Duration::from_mins(5));
        assert_eq!(verdict, Err(Rejected::Signature));
    }

    #[test]
    fn a_secret_is_not_shown() {
        assert_eq!(format!("{:?}", secret()), "Secret(..)");
        for text in ["", "whsec_!", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"] {
            assert!(Secret::parse(text).is_err(), "{text}");
        }
    }
}
