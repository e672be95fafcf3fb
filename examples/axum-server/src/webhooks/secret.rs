//! Secrets of endpoints, and the signatures that they make: those of the Standard Webhooks specification.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chrono::{DateTime, TimeDelta, Utc};
use ring::hmac;
use ring::rand::{SecureRandom as _, SystemRandom};
use serde::{Deserialize, Serialize};

/// How the text of a secret begins.
const PREFIX: &str = "whsec_";
/// How many random bytes a secret has: as many as the hash that is keyed with it.
const BYTES: usize = 32;
/// For how long a secret signs beside its successor.
pub(crate) const OVERLAP: TimeDelta = TimeDelta::hours(24);
/// How many secrets sign at most, however often a user rotates them.
const SECRETS_MAX: usize = 3;

/// A secret. It signs, so the store has it as it is; nothing else shows it but the answer that tells the user.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct SigningSecret(String);

/// The system gives no random numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the system gives no random numbers")]
pub(crate) struct NoRandom;

impl SigningSecret {
    /// Makes a secret.
    pub(crate) fn generate() -> Result<Self, NoRandom> {
        let mut bytes = [0; BYTES];
        SystemRandom::new().fill(&mut bytes).map_err(|_| NoRandom)?;
        Ok(Self(format!("{PREFIX}{}", STANDARD.encode(bytes))))
    }

    /// Returns the text that the receiver keeps.
    pub(crate) fn reveal(&self) -> &str {
        &self.0
    }

    fn key(&self) -> hmac::Key {
        let encoded = self.0.strip_prefix(PREFIX).unwrap_or(&self.0);
        // What the store has was made above.
        hmac::Key::new(hmac::HMAC_SHA256, &STANDARD.decode(encoded).unwrap_or_default())
    }
}

impl fmt::Debug for SigningSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SigningSecret")
    }
}

/// The secrets of an endpoint, the newest first. There is one at least.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Secrets {
    current: SigningSecret,
    former: Vec<Former>,
}

/// A secret that has a successor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Former {
    secret: SigningSecret,
    valid_until: DateTime<Utc>,
}

impl Secrets {
    pub(crate) const fn new(current: SigningSecret) -> Self {
        Self { current, former: Vec::new() }
    }

    pub(crate) const fn current(&self) -> &SigningSecret {
        &self.current
    }

    /// Returns until when the last secret signs as well, if it does.
    pub(crate) fn former_until(&self, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
        self.former.first().map(|former| former.valid_until).filter(|until| now < *until)
    }

    /// Returns these secrets with a new one in front.
    pub(crate) fn rotated(&self, next: SigningSecret, now: DateTime<Utc>) -> Self {
        let last = Former { secret: self.current.clone(), valid_until: now + OVERLAP };
        let valid = self.former.iter().filter(|former| now < former.valid_until).cloned();
        let former = std::iter::once(last).chain(valid).take(SECRETS_MAX - 1).collect();
        Self { current: next, former }
    }

    /// Returns the value of `webhook-signature`: one signature for each secret that is valid.
    pub(crate) fn sign(&self, id: &str, at: DateTime<Utc>, body: &[u8]) -> String {
        let content = [id.as_bytes(), b".", at.timestamp().to_string().as_bytes(), b".", body].concat();
        let former = self.former.iter().filter(|former| at < former.valid_until);
        let secrets = std::iter::once(&self.current).chain(former.map(|former| &former.secret));
        let signature =
            |secret: &SigningSecret| format!("v1,{}", STANDARD.encode(hmac::sign(&secret.key(), &content)));
        secrets.map(signature).collect::<Vec<_>>().join(" ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known() -> SigningSecret {
        SigningSecret("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".to_owned())
    }

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(seconds, 0).unwrap()
    }

    /// The example of the specification's own libraries.
    #[test]
    fn the_signature_is_that_of_the_specification() {
        let signed = Secrets::new(known()).sign(
            "msg_p5jXN8AQM9LWM0D4loKWxJek",
            at(1_614_265_330),
            br#"{"test": 2432232314}"#,
        );
        assert_eq!(signed, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn a_former_secret_signs_for_a_day() {
        let first = Secrets::new(known());
        let second = first.rotated(SigningSecret::generate().unwrap(), at(0));
        let end = at(0) + OVERLAP;
        let signatures = |secrets: &Secrets, at| secrets.sign("id", at, b"{}").split(' ').count();
        assert_eq!(
            (signatures(&first, at(0)), signatures(&second, at(0)), signatures(&second, end)),
            (1, 2, 1)
        );
        assert!(second.sign("id", at(0), b"{}").ends_with(&first.sign("id", at(0), b"{}")));
        assert_eq!((second.former_until(at(0)), second.former_until(end)), (Some(end), None));
        let many =
            (0..10).fold(first, |secrets, _| secrets.rotated(SigningSecret::generate().unwrap(), at(0)));
        assert_eq!(signatures(&many, at(0)), SECRETS_MAX);
    }

    #[test]
    fn secrets_differ_and_are_not_shown() {
        let [one, other] = [(); 2].map(|()| SigningSecret::generate().unwrap());
        assert_ne!(one, other);
        let encoded = one.reveal().strip_prefix(PREFIX).unwrap();
        assert_eq!(STANDARD.decode(encoded).unwrap().len(), BYTES);
        let shown = format!("{:?}", Secrets::new(one.clone()).rotated(other, at(0)));
        assert!(!shown.contains(encoded), "{shown}");
    }
}
