//! Executable quotes: a client that got one can order at it, within its time.

use chrono::{DateTime, TimeDelta, Utc};
use order_engine_core::{Amount, QuoteRequest};
use serde::{Deserialize, Serialize};

use crate::auth::seal::Seal;
use crate::auth::secret_text::SecretText;

/// For how long a quote can be ordered at: for somebody who looks at it and decides.
const LIFE: TimeDelta = TimeDelta::seconds(30);

/// Makes the ids of quotes and reads them. An id is the quote itself, signed, so that no process has to keep it.
#[derive(Clone, Debug)]
pub(crate) struct QuoteIds(Seal);

/// What an id says.
#[derive(Debug, Serialize, Deserialize)]
struct Claims {
    input: String,
    output: String,
    amount: Amount,
    min_out: Amount,
    #[serde(with = "chrono::serde::ts_milliseconds")]
    exp: DateTime<Utc>,
}

/// An executable quote, as a client is told.
#[derive(Debug)]
pub(crate) struct Issued {
    pub(crate) id: String,
    pub(crate) expires_at: DateTime<Utc>,
}

/// What an order has by a quote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Promise {
    /// The least output.
    pub(crate) min_out: Amount,
    pub(crate) expires_at: DateTime<Utc>,
}

/// Why an order has nothing by a quote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoPromise {
    /// The text is no quote of this server.
    Unknown,
    /// The quote is for other tokens or another amount.
    Different,
}

impl QuoteIds {
    pub(crate) fn new(secret: Option<&SecretText>) -> Self {
        Self(Seal::new(secret, "order-engine quote"))
    }

    /// Makes the id of a quote that promises so much.
    pub(crate) fn issue(&self, request: &QuoteRequest, min_out: Amount, now: DateTime<Utc>) -> Issued {
        let claims = Claims {
            input: request.input.mint.clone(),
            output: request.output.mint.clone(),
            amount: request.amount,
            min_out,
            exp: now + LIFE,
        };
        Issued { id: self.0.seal(&claims), expires_at: claims.exp }
    }

    /// Returns what a quote promises an order, whether or not it still does.
    pub(crate) fn read(&self, id: &str, request: &QuoteRequest) -> Result<Promise, NoPromise> {
        let claims: Claims = self.0.open(id).ok_or(NoPromise::Unknown)?;
        let is_same = (&claims.input, &claims.output, claims.amount)
            == (&request.input.mint, &request.output.mint, request.amount);
        let promise = Promise { min_out: claims.min_out, expires_at: claims.exp };
        if is_same { Ok(promise) } else { Err(NoPromise::Different) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use order_engine_core::testing;

    #[test]
    fn a_quote_promises_its_least_output_to_the_same_swap_only() {
        let (ids, now) = (QuoteIds::new(None), DateTime::UNIX_EPOCH);
        let request = testing::request().quote_request();
        let issued = ids.issue(&request, Amount::new(77), now);
        assert_eq!(issued.expires_at, now + LIFE);
        let promise = Promise { min_out: Amount::new(77), expires_at: now + LIFE };
        assert_eq!(ids.read(&issued.id, &request), Ok(promise));
        let reverse = QuoteRequest::new(request.output.clone(), request.input.clone(), request.amount);
        let more = QuoteRequest::new(request.input.clone(), request.output.clone(), Amount::new(1));
        for other in [reverse, more] {
            assert_eq!(ids.read(&issued.id, &other), Err(NoPromise::Different));
        }
        assert_eq!(QuoteIds::new(None).read(&issued.id, &request), Err(NoPromise::Unknown));
    }
}
