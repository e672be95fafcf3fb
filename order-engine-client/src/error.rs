//! Why a call fails.

use std::fmt;
use std::time::Duration;

use serde::Deserialize;

/// Why a call fails.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The server said no.
    #[error("{0}")]
    Refused(Box<Problem>),
    /// There is no answer.
    #[error("cannot reach {url}: {reason}")]
    Unreachable {
        /// The address of the server.
        url: String,
        /// What happened.
        reason: String,
        /// Whether the request may have arrived.
        may_have_arrived: bool,
    },
    /// The order may have been placed, and nobody said so. The same form with this key places it once.
    #[error("the order may have been placed; it is placed once if it is repeated with the key {key}")]
    InDoubt {
        /// The key of the order, its `clientOrderId`.
        key: String,
        /// The id that the order has if it was placed, if a server said so.
        order_id: Option<String>,
        /// The last failure.
        source: Box<Self>,
    },
    /// The settings are not usable.
    #[error("{0}")]
    Settings(String),
    /// The server answered what it should not.
    #[error("the server answered what this client does not understand: {0}")]
    Unexpected(String),
}

impl Error {
    /// Returns why the server refused, if it did.
    pub fn problem(&self) -> Option<&Problem> {
        match self {
            Self::Refused(problem) => Some(problem),
            Self::InDoubt { source, .. } => source.problem(),
            _ => None,
        }
    }

    /// Returns the code of the server's refusal, such as `order-not-found`.
    pub fn code(&self) -> Option<&str> {
        self.problem().map(|problem| problem.code.as_str())
    }

    /// Returns whether waiting may help: the server cannot be reached, cannot serve now, or limits the rate.
    pub fn is_passing(&self) -> bool {
        match self {
            Self::Unreachable { .. } => true,
            Self::Refused(problem) => matches!(problem.status, 429 | 500..),
            _ => false,
        }
    }

    /// Returns whether the client repeats the request. A pause is an operator's decision, and may last.
    pub(crate) fn is_repeated(&self) -> bool {
        match self {
            Self::Unreachable { .. } => true,
            Self::Refused(problem) => {
                let is_told = problem.retry_after.is_some() && matches!(problem.status, 429 | 503);
                (is_told && problem.code != "paused") || problem.leaves_doubt()
            }
            _ => false,
        }
    }

    /// Returns whether a request with this answer may have been carried out.
    pub(crate) fn leaves_doubt(&self) -> bool {
        match self {
            Self::Unreachable { may_have_arrived, .. } => *may_have_arrived,
            Self::Refused(problem) => problem.leaves_doubt(),
            Self::Unexpected(_) => true,
            _ => false,
        }
    }

    pub(crate) fn retry_after(&self) -> Option<Duration> {
        self.problem().and_then(|problem| problem.retry_after)
    }
}

/// Why the server refused (RFC 9457).
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Problem {
    /// The HTTP status.
    pub status: u16,
    /// What programs tell problems apart by; empty if somebody between answered instead of the server. `GET /problems` has
    /// them all.
    pub code: String,
    /// One sentence for people.
    pub detail: String,
    /// The fields that were refused.
    #[serde(default)]
    pub errors: Vec<FieldError>,
    /// The order that the problem is about.
    pub order_id: Option<String>,
    /// The key under which a repeated request is the same order.
    pub idempotency_key: Option<String>,
    /// The price impact that the order would have, in basis points.
    pub price_impact_bps: Option<u32>,
    /// When to try again.
    #[serde(skip)]
    pub retry_after: Option<Duration>,
    #[serde(skip)]
    json: String,
}

/// A field that was refused.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[non_exhaustive]
pub struct FieldError {
    /// The name of the field, a header or a query parameter.
    pub field: String,
    /// A stable code.
    pub code: String,
    /// One sentence for people.
    pub message: String,
}

impl Problem {
    /// Reads a problem, or says that there is none.
    pub(crate) fn read(status: u16, body: &[u8], retry_after: Option<Duration>) -> Self {
        let known = serde_json::from_slice::<Self>(body).ok();
        let json = match &known {
            Some(_) => String::from_utf8_lossy(body).into_owned(),
            None => r#"{"code":"","detail":"the answer does not say why"}"#.to_owned(),
        };
        let problem = known.unwrap_or_else(|| Self {
            status,
            code: String::new(),
            detail: "the answer does not say why".to_owned(),
            errors: Vec::new(),
            order_id: None,
            idempotency_key: None,
            price_impact_bps: None,
            retry_after: None,
            json: String::new(),
        });
        Self { status, retry_after, json, ..problem }
    }

    /// Returns the problem of one order of a batch, whose answer has no header of its own: what may be tried again may be
    /// at once.
    pub(crate) fn of_a_batch(self) -> Self {
        let may_pass = matches!(self.status, 503) || self.code == "too-many-requests";
        let json = serde_json::json!({ "status": self.status, "code": self.code, "detail": self.detail });
        Self { retry_after: may_pass.then_some(Duration::ZERO), json: json.to_string(), ..self }
    }

    /// Returns the problem as the server sent it.
    pub fn json(&self) -> &str {
        &self.json
    }

    /// Returns whether the request may have been carried out: the server says so, or it is not the server that answered.
    fn leaves_doubt(&self) -> bool {
        self.code == "outcome-unknown" || (self.code.is_empty() && self.status >= 500)
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: {}", self.status, self.code, self.detail)?;
        for FieldError { field, message, .. } in &self.errors {
            write!(f, "\n  {field}: {message}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(status: u16, code: &str, retry_after_s: Option<u64>) -> Error {
        let body = format!(r#"{{"status":{status},"code":"{code}","detail":"x"}}"#);
        let body = if code.is_empty() { "<html>" } else { &body };
        Error::Refused(Box::new(Problem::read(
            status,
            body.as_bytes(),
            retry_after_s.map(Duration::from_secs),
        )))
    }

    #[test]
    fn what_is_repeated_and_what_is_in_doubt() {
        for (error, is_repeated, leaves_doubt) in [
            (refused(503, "outcome-unknown", Some(1)), true, true),
            (refused(503, "store-unavailable", Some(1)), true, false),
            (refused(503, "paused", Some(1)), false, false),
            (refused(503, "no-venue", None), false, false),
            (refused(429, "too-many-requests", Some(1)), true, false),
            (refused(429, "too-many-open-orders", None), false, false),
            (refused(422, "invalid-request", None), false, false),
            (refused(502, "", None), true, true),
            (refused(404, "", None), false, false),
            (Error::Unexpected("x".into()), false, true),
        ] {
            assert_eq!((error.is_repeated(), error.leaves_doubt()), (is_repeated, leaves_doubt), "{error:?}");
        }
    }

    #[test]
    fn a_problem_tells_each_field() {
        let json = r#"{"type":"/problems/invalid-request","title":"Unprocessable Entity","status":422,"code":"invalid-request",
            "detail":"No.","errors":[{"field":"amount","code":"required","message":"The field is required."}]}"#;
        let problem = Problem::read(422, json.as_bytes(), None);
        assert_eq!(problem.to_string(), "422 invalid-request: No.\n  amount: The field is required.");
        assert_eq!(problem.json(), json);
    }
}
