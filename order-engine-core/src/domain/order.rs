//! The order: a request, and the state that its events add up to.

use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::domain::amount::Amount;
use crate::domain::event::{EventRecord, OrderEvent, Status};
use crate::domain::ids::{ClientOrderId, OrderId, UserId};
use crate::domain::state::OrderState;
use crate::domain::state::transition::IllegalTransition;
use crate::domain::token::Token;

/// When an order is too late to be executed, on the store's clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Deadline {
    /// At a moment.
    At(DateTime<Utc>),
    /// This many milliseconds after acceptance. It is kept as given, so that a repeated request is
    /// recognised although time has passed.
    AfterMs(u64),
}

impl Deadline {
    /// Returns the moment itself, for an order accepted at `accepted_at`.
    pub fn resolve(self, accepted_at: DateTime<Utc>) -> DateTime<Utc> {
        match self {
            Self::At(at) => at,
            Self::AfterMs(ms) => accepted_at
                .checked_add_signed(
                    chrono::Duration::from_std(Duration::from_millis(ms)).unwrap_or(chrono::Duration::MAX),
                )
                .unwrap_or(DateTime::<Utc>::MAX_UTC),
        }
    }
}

/// A request: sell exactly `amount` of `input` for as much `output` as possible.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderRequest {
    /// The user that the order belongs to.
    pub user_id: UserId,
    /// The caller's own name for the order. Two requests of a user with one name are one order.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_order_id: Option<ClientOrderId>,
    /// What is sold.
    pub input: Token,
    /// What is bought.
    pub output: Token,
    /// How much is sold, in base units of the input token.
    pub amount: Amount,
    /// How far the output may fall below the quoted one, in hundredths of a percent (0..=10 000).
    pub slippage_bps: u16,
    /// When the order is too late.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline: Option<Deadline>,
}

/// Why a request cannot become an order.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidRequest {
    /// The amount is zero.
    #[error("the amount must be greater than zero")]
    ZeroAmount,
    /// A token cannot be sold for itself.
    #[error("the input and the output token must differ")]
    SameToken,
    /// The slippage is not within 0..=10 000.
    #[error("the slippage must be at most 10000 basis points")]
    Slippage,
    /// The client order id is empty or longer than [`OrderRequest::CLIENT_ORDER_ID_MAX_CHARS`].
    #[error("the client order id must have 1 to 255 characters")]
    ClientOrderId,
}

impl OrderRequest {
    /// The longest client order id, in characters: unique indexes stay small, and no known client uses longer
    /// ones.
    pub const CLIENT_ORDER_ID_MAX_CHARS: usize = 255;

    /// Checks the rules that hold for every host.
    ///
    /// # Errors
    /// The first rule that the request breaks.
    pub fn validate(&self) -> Result<(), InvalidRequest> {
        if self.amount.is_zero() {
            return Err(InvalidRequest::ZeroAmount);
        }
        if self.input.mint == self.output.mint {
            return Err(InvalidRequest::SameToken);
        }
        if self.slippage_bps > 10_000 {
            return Err(InvalidRequest::Slippage);
        }
        let key_chars = self.client_order_id.as_ref().map(|key| key.as_str().chars().count());
        if key_chars.is_some_and(|n| n == 0 || n > Self::CLIENT_ORDER_ID_MAX_CHARS) {
            return Err(InvalidRequest::ClientOrderId);
        }
        Ok(())
    }
}

/// A request, and the state that the order's events add up to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    /// The engine's name for the order.
    pub id: OrderId,
    /// The request. It never changes.
    pub request: OrderRequest,
    /// The order that this one repeats, if it is a retry by hand.
    pub origin: Option<OrderId>,
    /// What the order's events add up to.
    pub state: OrderState,
    /// How many events the order has. It is also the revision that writers compare.
    pub seq: u64,
    /// When the order was accepted.
    pub created_at: DateTime<Utc>,
    /// When its last event happened.
    pub updated_at: DateTime<Utc>,
}

impl Order {
    /// Accepts a request. Returns the order and its first event.
    pub fn accept(
        id: OrderId,
        request: OrderRequest,
        max_attempts: u32,
        at: DateTime<Utc>,
    ) -> (Self, EventRecord) {
        let order = Self {
            id,
            request,
            origin: None,
            state: OrderState::accepted(max_attempts),
            seq: 1,
            created_at: at,
            updated_at: at,
        };
        let record = order.record(at, OrderEvent::Accepted { max_attempts });
        (order, record)
    }

    /// Applies an event that happens now. Returns the order after it, and the record to store.
    ///
    /// # Errors
    /// If the state does not allow the event.
    pub fn advance(
        &self,
        event: OrderEvent,
        at: DateTime<Utc>,
    ) -> Result<(Self, EventRecord), IllegalTransition> {
        let mut next = self.clone();
        let record = next.advance_mut(event, at)?;
        Ok((next, record))
    }

    /// Applies an event in place. Returns the record to store. An illegal event changes nothing.
    ///
    /// # Errors
    /// If the state does not allow the event.
    pub fn advance_mut(
        &mut self,
        event: OrderEvent,
        at: DateTime<Utc>,
    ) -> Result<EventRecord, IllegalTransition> {
        self.state = self.state.apply(&event)?;
        self.seq += 1;
        // A clock that steps back must not make an order's history run backwards.
        self.updated_at = self.updated_at.max(at);
        Ok(self.record(self.updated_at, event))
    }

    fn record(&self, at: DateTime<Utc>, event: OrderEvent) -> EventRecord {
        EventRecord {
            order_id: self.id,
            seq: self.seq,
            at,
            status: self.state.status(),
            progress: self.state.progress(),
            attempt: self.state.attempt(),
            max_attempts: self.state.max_attempts(),
            event,
        }
    }

    /// Returns the public name of the state.
    pub fn status(&self) -> Status {
        self.state.status()
    }

    /// Returns when the order is too late, if it has a deadline.
    pub fn expires_at(&self) -> Option<DateTime<Utc>> {
        self.request.deadline.map(|deadline| deadline.resolve(self.created_at))
    }

    /// Returns the price of the executed swap in human units of output for one of input, as decimal text.
    pub fn execution_price(&self) -> Option<String> {
        let fill = self.state.fill()?;
        crate::domain::amount::price(
            (fill.amount_in, self.request.input.decimals),
            (fill.amount_out, self.request.output.decimals),
        )
    }
}
