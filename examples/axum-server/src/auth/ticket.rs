//! Tickets, by which the page of a browser opens a socket: a script cannot give its socket a header, and a credential in a URL would
//! stand in logs and histories. A ticket is good for half a minute, for one socket, and for reading only.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::serde::ts_milliseconds_option;
use chrono::{DateTime, TimeDelta, Utc};
use order_engine_core::UserId;
use ring::hmac;
use ring::rand::{SecureRandom as _, SystemRandom};
use serde::{Deserialize, Serialize};

use crate::auth::caller::Caller;
use crate::auth::secret_text::SecretText;

/// For how long a ticket is good: for one reconnection over a slow line.
const LIFE: TimeDelta = TimeDelta::seconds(30);
/// How long a ticket is at most; a user's name has up to a kibibyte.
const BYTES_MAX: usize = 4 * 1024;

/// Makes tickets and takes them. Those of one process are taken by all that have its secret, and by each once.
#[derive(Debug)]
pub(crate) struct Tickets {
    key: hmac::Key,
    /// The numbers of the tickets that were taken, until they would not be good any more.
    taken: Mutex<HashMap<u64, DateTime<Utc>>>,
}

/// What a ticket says. It is signed and not encrypted: who has it knows all of it.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Claims {
    pub(crate) user: UserId,
    /// The API key for which it was made, which must still be valid.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(crate) key: Option<String>,
    /// When the token ends for which it was made.
    #[serde(with = "ts_milliseconds_option", skip_serializing_if = "Option::is_none", default)]
    pub(crate) until: Option<DateTime<Utc>>,
    number: u64,
    #[serde(with = "chrono::serde::ts_milliseconds")]
    exp: DateTime<Utc>,
}

/// A ticket for who asked for it.
#[derive(Debug)]
pub(crate) struct Issued {
    pub(crate) text: String,
    pub(crate) expires_at: DateTime<Utc>,
}

/// The system gives no random numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the system gives no random numbers")]
pub struct NoRandom;

impl Tickets {
    /// Makes tickets with a secret, or with one of this process.
    pub(crate) fn new(secret: Option<&SecretText>) -> Result<Self, NoRandom> {
        let key = match secret {
            // Under a name of its own, so that no other use of the same secret makes a ticket.
            Some(secret) => {
                let secret = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
                hmac::Key::new(hmac::HMAC_SHA256, hmac::sign(&secret, b"order-engine ticket").as_ref())
            }
            None => hmac::Key::generate(hmac::HMAC_SHA256, &SystemRandom::new()).map_err(|_| NoRandom)?,
        };
        Ok(Self { key, taken: Mutex::default() })
    }

    /// Makes a ticket for a caller, or none for who is no user.
    pub(crate) fn issue(&self, caller: &Caller, now: DateTime<Utc>) -> Result<Option<Issued>, NoRandom> {
        let Some(user) = caller.user() else { return Ok(None) };
        let mut number = [0; 8];
        SystemRandom::new().fill(&mut number).map_err(|_| NoRandom)?;
        let tenure = caller.tenure();
        let claims = Claims {
            user: user.clone(),
            key: tenure.key_id().map(str::to_owned),
            until: tenure.end(),
            number: u64::from_le_bytes(number),
            exp: now + LIFE,
        };
        let claims_text = URL_SAFE_NO_PAD.encode(serde_json::to_vec(&claims).unwrap_or_default());
        let signature = URL_SAFE_NO_PAD.encode(hmac::sign(&self.key, claims_text.as_bytes()));
        Ok(Some(Issued { text: format!("{claims_text}.{signature}"), expires_at: claims.exp }))
    }

    /// Takes a ticket, once, and returns what it says if it is good.
    pub(crate) fn take(&self, text: &str, now: DateTime<Utc>) -> Option<Claims> {
        let (claims, signature) = text.split_once('.').filter(|_| text.len() <= BYTES_MAX)?;
        let signature = URL_SAFE_NO_PAD.decode(signature).ok()?;
        hmac::verify(&self.key, claims.as_bytes(), &signature).ok()?;
        let claims: Claims = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims).ok()?).ok()?;
        let is_good = now < claims.exp && claims.until.is_none_or(|until| now < until);
        (is_good && self.take_number(&claims, now)).then_some(claims)
    }

    /// Returns whether a ticket was not taken before.
    fn take_number(&self, claims: &Claims, now: DateTime<Utc>) -> bool {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        taken.retain(|_, exp| now < *exp);
        taken.insert(claims.number, claims.exp).is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::scope::{Scope, Scopes};
    use crate::auth::tenure::Tenure;

    fn alice() -> Caller {
        Caller::new("alice", Scopes::of(&Scope::ALL), Tenure::default())
    }

    fn shared() -> Tickets {
        Tickets::new(Some(&"0123456789abcdef0123456789abcdef".parse().unwrap())).unwrap()
    }

    #[test]
    fn a_ticket_is_taken_once_within_its_time() {
        let (tickets, now) = (shared(), Utc::now());
        let issue = || tickets.issue(&alice(), now).unwrap().unwrap();
        let first = issue();
        assert_eq!(tickets.take(&first.text, now).unwrap().user.as_str(), "alice");
        assert!(tickets.take(&first.text, now).is_none(), "once");
        let late = issue();
        assert!(tickets.take(&late.text, late.expires_at).is_none());
        assert!(tickets.issue(&Caller::anyone(), now).unwrap().is_none());
    }

    #[test]
    fn processes_with_one_secret_take_each_others_tickets() {
        let now = Utc::now();
        let ticket = shared().issue(&alice(), now).unwrap().unwrap().text;
        assert!(shared().take(&ticket, now).is_some());
        assert!(Tickets::new(None).unwrap().take(&ticket, now).is_none());
    }

    #[test]
    fn a_ticket_that_was_changed_is_none() {
        let (tickets, now) = (shared(), Utc::now());
        let ticket = tickets.issue(&alice(), now).unwrap().unwrap().text;
        let (claims, signature) = ticket.split_once('.').unwrap();
        let bob =
            String::from_utf8(URL_SAFE_NO_PAD.decode(claims).unwrap()).unwrap().replace("alice", "bobby");
        let forged = format!("{}.{signature}", URL_SAFE_NO_PAD.encode(bob));
        for text in ["", ".", claims, &forged, &format!("{claims}."), &format!(".{signature}")] {
            assert!(tickets.take(text, now).is_none(), "{text}");
        }
        assert!(tickets.take(&ticket, now).is_some());
    }

    #[test]
    fn a_ticket_ends_with_its_token() {
        let (tickets, now) = (shared(), Utc::now());
        let until = now + TimeDelta::seconds(5);
        let caller = Caller::new("alice", Scopes::default(), Tenure::until(until));
        let ticket = tickets.issue(&caller, now).unwrap().unwrap().text;
        assert!(tickets.take(&ticket, until).is_none());
        // A ticket that was refused was not taken. Times are told in milliseconds.
        let taken = tickets.take(&ticket, now).unwrap();
        assert_eq!(taken.until.unwrap().timestamp_millis(), until.timestamp_millis());
    }
}
