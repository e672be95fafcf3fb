//! What is asked of the server.

use std::fmt::Write as _;
use std::time::Duration;

use serde::Serialize;

use crate::answers::Status;
use crate::path::segment;

/// An order to place: sell so much of one token for another.
///
/// Amounts are decimal texts in units of their token, so that no digit is lost.
///
/// ```
/// use order_engine_client::OrderForm;
///
/// let form = OrderForm::new("1.5", "SOL", "USDC").with_slippage_bps(50).with_client_order_id("my-first-order");
/// assert_eq!(
///     serde_json::to_string(&form)?,
///     r#"{"tokenIn":"SOL","tokenOut":"USDC","amount":"1.5","slippageBps":50,"clientOrderId":"my-first-order"}"#,
/// );
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct OrderForm {
    token_in: String,
    token_out: String,
    #[serde(flatten)]
    amount: Amount,
    #[serde(flatten)]
    limits: Limits,
    #[serde(skip_serializing_if = "Option::is_none")]
    min_out: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    price_protection: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    quote_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) client_order_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) user_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ttl_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<String>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(crate) dry_run: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
enum Amount {
    #[serde(rename = "amount")]
    Units(String),
    #[serde(rename = "amountBaseUnits")]
    BaseUnits(String),
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Limits {
    #[serde(skip_serializing_if = "Option::is_none")]
    slippage_bps: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_price_impact_bps: Option<u16>,
}

impl OrderForm {
    /// Returns a form that sells an amount, in units of the token, for another token.
    pub fn new(amount: impl Into<String>, token_in: impl Into<String>, token_out: impl Into<String>) -> Self {
        Self::of(Amount::Units(amount.into()), token_in.into(), token_out.into())
    }

    /// Returns a form that sells an amount, in base units of the token, for another token.
    pub fn of_base_units(amount: u128, token_in: impl Into<String>, token_out: impl Into<String>) -> Self {
        Self::of(Amount::BaseUnits(amount.to_string()), token_in.into(), token_out.into())
    }

    fn of(amount: Amount, token_in: String, token_out: String) -> Self {
        Self {
            token_in,
            token_out,
            amount,
            limits: Limits::default(),
            min_out: None,
            price_protection: None,
            quote_id: None,
            client_order_id: None,
            user_id: None,
            ttl_ms: None,
            expires_at: None,
            dry_run: false,
        }
    }

    /// Sets how far below its first quote the output may be, in basis points.
    pub fn with_slippage_bps(mut self, bps: u16) -> Self {
        self.limits.slippage_bps = Some(bps);
        self
    }

    /// Sets how far the order may move the price, in basis points.
    pub fn with_max_price_impact_bps(mut self, bps: u16) -> Self {
        self.limits.max_price_impact_bps = Some(bps);
        self
    }

    /// Sets the least output, in units of the token that is bought.
    pub fn with_min_out(mut self, amount: impl Into<String>) -> Self {
        self.min_out = Some(amount.into());
        self
    }

    /// Has each quote bound the price, in place of the first one.
    pub fn with_price_of_each_quote(mut self) -> Self {
        self.price_protection = Some("each-quote");
        self
    }

    /// Orders at a quote, whose least output is then the floor.
    pub fn with_quote_id(mut self, id: impl Into<String>) -> Self {
        self.quote_id = Some(id.into());
        self
    }

    /// Names the order. Under the same name the same order is placed once, also by another process and after a restart; without
    /// one, [`Client::place`](crate::Client::place) makes one.
    pub fn with_client_order_id(mut self, name: impl Into<String>) -> Self {
        self.client_order_id = Some(name.into());
        self
    }

    /// Sets the user, at a server without authentication.
    pub fn with_user_id(mut self, user: impl Into<String>) -> Self {
        self.user_id = Some(user.into());
        self
    }

    /// Gives the order up after this time, unless it may have been executed.
    pub fn with_ttl(mut self, ttl: Duration) -> Self {
        self.ttl_ms = Some(u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX));
        self
    }

    /// Gives the order up at this time (RFC 3339), unless it may have been executed.
    pub fn with_expires_at(mut self, time: impl Into<String>) -> Self {
        self.expires_at = Some(time.into());
        self
    }
}

/// What would be traded.
///
/// ```
/// let form = order_engine_client::QuoteForm::new("1.5", "SOL", "USDC");
/// assert_eq!(serde_json::to_string(&form)?, r#"{"tokenIn":"SOL","tokenOut":"USDC","amount":"1.5"}"#);
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct QuoteForm {
    token_in: String,
    token_out: String,
    #[serde(flatten)]
    amount: Amount,
    #[serde(flatten)]
    limits: Limits,
}

impl QuoteForm {
    /// Returns a form that would sell an amount, in units of the token, for another token.
    pub fn new(amount: impl Into<String>, token_in: impl Into<String>, token_out: impl Into<String>) -> Self {
        let amount = Amount::Units(amount.into());
        Self { token_in: token_in.into(), token_out: token_out.into(), amount, limits: Limits::default() }
    }

    /// Sets how far below the quote the output may be, in basis points.
    pub fn with_slippage_bps(mut self, bps: u16) -> Self {
        self.limits.slippage_bps = Some(bps);
        self
    }

    /// Sets how far the order may move the price, in basis points.
    pub fn with_max_price_impact_bps(mut self, bps: u16) -> Self {
        self.limits.max_price_impact_bps = Some(bps);
        self
    }
}

/// Which orders are listed, the newest first unless it says otherwise. Without conditions all of the caller are.
///
/// ```
/// use order_engine_client::{OrderQuery, Status};
///
/// let query = OrderQuery::default().with_status(Status::Failed).with_status(Status::Confirmed).with_limit(20);
/// assert_eq!(query.path(), "/api/orders?status=failed,confirmed&limit=20");
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OrderQuery {
    statuses: Vec<Status>,
    others: Vec<(&'static str, String)>,
}

impl OrderQuery {
    /// Lists orders of this status, and of others that were named before.
    pub fn with_status(mut self, status: Status) -> Self {
        self.statuses.push(status);
        self
    }

    /// Lists orders of this user only.
    pub fn with_user_id(self, user: impl Into<String>) -> Self {
        self.with("userId", user.into())
    }

    /// Lists orders that sell or buy this token only.
    pub fn with_token(self, token: impl Into<String>) -> Self {
        self.with("token", token.into())
    }

    /// Lists orders from this time on (RFC 3339).
    pub fn with_from(self, time: impl Into<String>) -> Self {
        self.with("from", time.into())
    }

    /// Lists orders before this time (RFC 3339).
    pub fn with_to(self, time: impl Into<String>) -> Self {
        self.with("to", time.into())
    }

    /// Lists the oldest orders first.
    pub fn with_oldest_first(self) -> Self {
        self.with("sort", "oldest".to_owned())
    }

    /// Lists orders that need an operator only.
    pub fn with_attention(self) -> Self {
        self.with("attention", "any".to_owned())
    }

    /// Sets how many orders a page has at most; the server has a limit of its own.
    pub fn with_limit(self, orders: usize) -> Self {
        self.with("limit", orders.to_string())
    }

    /// Begins where a page ended: at its `next_cursor`.
    pub fn with_cursor(self, cursor: impl Into<String>) -> Self {
        self.with("cursor", cursor.into())
    }

    fn with(mut self, name: &'static str, value: String) -> Self {
        self.others.retain(|(known, _)| *known != name);
        self.others.push((name, value));
        self
    }

    /// Returns the path with the query.
    pub fn path(&self) -> String {
        let mut path = "/api/orders".to_owned();
        let mut separator = '?';
        if !self.statuses.is_empty() {
            let names: Vec<_> = self.statuses.iter().map(|status| status.as_str()).collect();
            // Writing to a string cannot fail.
            let _ = write!(path, "?status={}", names.join(","));
            separator = '&';
        }
        for (name, value) in &self.others {
            let _ = write!(path, "{separator}{name}={}", segment(value));
            separator = '&';
        }
        path
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_has_each_condition_once_and_as_it_is() {
        let query = OrderQuery::default().with_user_id("a&b").with_limit(1).with_limit(2);
        assert_eq!(query.path(), "/api/orders?userId=a%26b&limit=2");
        assert_eq!(OrderQuery::default().path(), "/api/orders");
    }

    #[test]
    fn a_form_says_all_that_was_set_and_nothing_else() {
        let form = OrderForm::of_base_units(1_500_000_000, "SOL", "USDC")
            .with_min_out("200")
            .with_price_of_each_quote()
            .with_quote_id("q")
            .with_user_id("alice")
            .with_ttl(Duration::from_secs(30))
            .with_max_price_impact_bps(100);
        let expected = serde_json::json!({
            "tokenIn": "SOL", "tokenOut": "USDC", "amountBaseUnits": "1500000000", "maxPriceImpactBps": 100,
            "minOut": "200", "priceProtection": "each-quote", "quoteId": "q", "userId": "alice", "ttlMs": 30_000,
        });
        assert_eq!(serde_json::to_value(form).unwrap(), expected);
    }
}
