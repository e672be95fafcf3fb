//! What the server says to itself by way of a client: signed, so that it comes back as it was, and not encrypted.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::hmac;
use serde::Serialize;
use serde::de::DeserializeOwned;
use uuid::Uuid;

use crate::auth::secret_text::SecretText;

/// How long a sealed text is at most; a user's name has up to a kibibyte.
const BYTES_MAX: usize = 4 * 1024;

/// Signs for one purpose.
#[derive(Clone, Debug)]
pub(crate) struct Seal(hmac::Key);

impl Seal {
    /// Returns the seal for a purpose. Processes with the same secret open what the others have sealed; without one, a process opens
    /// only its own.
    pub(crate) fn new(secret: Option<&SecretText>, purpose: &str) -> Self {
        let random = || [Uuid::new_v4().into_bytes(), Uuid::new_v4().into_bytes()].concat();
        let secret = secret.map_or_else(random, |secret| secret.as_bytes().to_vec());
        let key = hmac::Key::new(hmac::HMAC_SHA256, &secret);
        // A key for each purpose, so that what is sealed for one is good for no other.
        Self(hmac::Key::new(hmac::HMAC_SHA256, hmac::sign(&key, purpose.as_bytes()).as_ref()))
    }

    pub(crate) fn seal(&self, claims: &impl Serialize) -> String {
        let claims = URL_SAFE_NO_PAD.encode(serde_json::to_vec(claims).unwrap_or_default());
        let signature = URL_SAFE_NO_PAD.encode(hmac::sign(&self.0, claims.as_bytes()));
        format!("{claims}.{signature}")
    }

    /// Returns what was sealed, unless the text was changed since or is another's.
    pub(crate) fn open<T: DeserializeOwned>(&self, text: &str) -> Option<T> {
        let (claims, signature) = text.split_once('.').filter(|_| text.len() <= BYTES_MAX)?;
        let signature = URL_SAFE_NO_PAD.decode(signature).ok()?;
        hmac::verify(&self.0, claims.as_bytes(), &signature).ok()?;
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims).ok()?).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret() -> SecretText {
        "0123456789abcdef0123456789abcdef".parse().unwrap()
    }

    #[test]
    fn what_is_sealed_is_opened_by_the_same_secret_for_the_same_purpose_only() {
        let sealed = Seal::new(Some(&secret()), "a").seal(&("text", 7));
        let opened = |seal: Seal| seal.open::<(String, u32)>(&sealed);
        assert_eq!(opened(Seal::new(Some(&secret()), "a")), Some(("text".to_owned(), 7)));
        assert_eq!(opened(Seal::new(Some(&secret()), "b")), None);
        assert_eq!(opened(Seal::new(None, "a")), None);
    }

    #[test]
    fn what_was_changed_is_not_opened() {
        let seal = Seal::new(Some(&secret()), "a");
        let sealed = seal.seal(&"alice");
        let (claims, signature) = sealed.split_once('.').unwrap();
        let forged = format!("{}.{signature}", URL_SAFE_NO_PAD.encode("\"bobby\""));
        let long = format!("{}.{signature}", claims.repeat(BYTES_MAX));
        for text in ["", ".", claims, &forged, &long, &format!("{claims}."), &format!(".{signature}")] {
            assert_eq!(seal.open::<String>(text), None, "{text}");
        }
        assert_eq!(seal.open::<String>(&sealed).as_deref(), Some("alice"));
    }
}
