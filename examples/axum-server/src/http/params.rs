//! Path and query parameters.

use std::collections::HashMap;
use std::convert::Infallible;

use axum::extract::{FromRequestParts, Path, Query};
use axum::http::request::Parts;
use order_engine_core::OrderId;

use crate::wire::problem::Problem;

/// The order id in a path. `None` stands for a text that is no order id, which is answered like an unknown
/// order.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OrderInPath(pub(crate) Option<OrderId>);

impl<S: Send + Sync> FromRequestParts<S> for OrderInPath {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Infallible> {
        let text = Path::<String>::from_request_parts(parts, state).await.ok();
        Ok(Self(text.and_then(|Path(text)| parse_order_id(&text))))
    }
}

/// Reads an order id. Only its canonical form, in either case, is one.
pub(crate) fn parse_order_id(text: &str) -> Option<OrderId> {
    let id: OrderId = text.parse().ok()?;
    id.to_string().eq_ignore_ascii_case(text).then_some(id)
}

/// The query parameters.
#[derive(Debug, Default)]
pub(crate) struct Params(HashMap<String, String>);

impl<S: Send + Sync> FromRequestParts<S> for Params {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Infallible> {
        let query = Query::<HashMap<String, String>>::from_request_parts(parts, state).await;
        Ok(query.map(|Query(params)| Self(params)).unwrap_or_default())
    }
}

impl Params {
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// Returns a parameter that is a whole number.
    pub(crate) fn number(&self, name: &str) -> Result<Option<u64>, Problem> {
        self.text(name).map(|text| parse_number(name, text)).transpose()
    }

    /// Returns the number of the event after which to go on; 0 is before the first.
    pub(crate) fn after(&self) -> Result<u64, Problem> {
        Ok(self.number("after")?.unwrap_or(0))
    }
}

/// Reads a whole number, or returns the problem of the field.
pub(crate) fn parse_number(field: &str, text: &str) -> Result<u64, Problem> {
    text.parse().map_err(|_| Problem::invalid_field(field, "invalid", "Must be a whole number."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_id_has_one_canonical_form() {
        let id = "0190163d-8694-739b-aea5-966c26f8ad91";
        assert_eq!(parse_order_id(id).unwrap().to_string(), id);
        assert_eq!(parse_order_id(&id.to_uppercase()).unwrap().to_string(), id);
        for text in ["", "abc", "0190163d8694739baea5966c26f8ad91", "{0190163d-8694-739b-aea5-966c26f8ad91}"]
        {
            assert_eq!(parse_order_id(text), None, "{text}");
        }
    }
}
