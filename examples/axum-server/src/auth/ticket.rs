//! Tickets, by which the page of a browser opens a socket: a script cannot give its socket a header, and a credential in a URL would
//! stand in logs and histories. A ticket is good for half a minute, for one socket, and for reading only.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use chrono::serde::ts_milliseconds_option;
use chrono::{DateTime, TimeDelta, Utc};
use order_engine_core::UserId;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::auth::caller::Caller;
use crate::auth::seal::Seal;
use crate::auth::secret_text::SecretText;

/// For how long a ticket is good: for one reconnection over a slow line.
const LIFE: TimeDelta = TimeDelta::seconds(30);

/// Makes tickets and takes them. Those of one process are taken by all that have its secret, and by each once.
#[derive(Debug)]
pub(crate) struct Tickets {
    seal: Seal,
    /// The numbers of the tickets that were taken, until they would not be good any more.
    taken: Mutex<HashMap<Uuid, DateTime<Utc>>>,
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
    number: Uuid,
    #[serde(with = "chrono::serde::ts_milliseconds")]
    exp: DateTime<Utc>,
}

/// A ticket for who asked for it.
#[derive(Debug)]
pub(crate) struct Issued {
    pub(crate) text: String,
    pub(crate) expires_at: DateTime<Utc>,
}

impl Tickets {
    /// Makes tickets with a secret, or with one of this process.
    pub(crate) fn new(secret: Option<&SecretText>) -> Self {
        Self { seal: Seal::new(secret, "order-engine ticket"), taken: Mutex::default() }
    }

    /// Makes a ticket for a caller, or none for who is no user.
    pub(crate) fn issue(&self, caller: &Caller, now: DateTime<Utc>) -> Option<Issued> {
        let tenure = caller.tenure();
        let claims = Claims {
            user: caller.user()?.clone(),
            key: tenure.key_id().map(str::to_owned),
            until: tenure.end(),
            number: Uuid::new_v4(),
            exp: now + LIFE,
        };
        Some(Issued { text: self.seal.seal(&claims), expires_at: claims.exp })
    }

    /// Takes a ticket, once, and returns what it says if it is good.
    pub(crate) fn take(&self, text: &str, now: DateTime<Utc>) -> Option<Claims> {
        let claims: Claims = self.seal.open(text)?;
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
        Tickets::new(Some(&"0123456789abcdef0123456789abcdef".parse().unwrap()))
    }

    #[test]
    fn a_ticket_is_taken_once_within_its_time() {
        let (tickets, now) = (shared(), Utc::now());
        let issue = || tickets.issue(&alice(), now).unwrap();
        let first = issue();
        assert_eq!(tickets.take(&first.text, now).unwrap().user.as_str(), "alice");
        assert!(tickets.take(&first.text, now).is_none(), "once");
        let late = issue();
        assert!(tickets.take(&late.text, late.expires_at).is_none());
        assert!(tickets.issue(&Caller::anyone(), now).is_none());
    }

    #[test]
    fn processes_with_one_secret_take_each_others_tickets() {
        let now = Utc::now();
        let ticket = shared().issue(&alice(), now).unwrap().text;
        assert!(shared().take(&ticket, now).is_some());
        assert!(Tickets::new(None).take(&ticket, now).is_none());
    }

    #[test]
    fn a_ticket_ends_with_its_token() {
        let (tickets, now) = (shared(), Utc::now());
        let until = now + TimeDelta::seconds(5);
        let caller = Caller::new("alice", Scopes::default(), Tenure::until(until));
        let ticket = tickets.issue(&caller, now).unwrap().text;
        assert!(tickets.take(&ticket, until).is_none());
        // A ticket that was refused was not taken. Times are told in milliseconds.
        let taken = tickets.take(&ticket, now).unwrap();
        assert_eq!(taken.until.unwrap().timestamp_millis(), until.timestamp_millis());
    }
}
