//! The order: a request, and the state that its events add up to.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};

use crate::domain::amount::Amount;
use crate::domain::event::{EventRecord, OrderEvent, Status};
use crate::domain::ids::{ClientOrderId, OrderId, Tag, UserId};
use crate::domain::metadata::Metadata;
use crate::domain::millis;
use crate::domain::priority::Priority;
use crate::domain::route::QuoteRequest;
use crate::domain::state::OrderState;
use crate::domain::state::transition::IllegalTransition;
use crate::domain::token::Token;
use crate::planted::planted;

/// When an order is too late to be executed, on the store's clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Deadline {
    /// At a moment.
    At(DateTime<Utc>),
    /// This long after acceptance, in whole milliseconds. It is kept as given, so that a repeated request is
    /// recognised although time has passed.
    #[serde(rename = "after_ms", with = "millis")]
    After(Duration),
}

impl Deadline {
    /// Returns the moment itself, for an order accepted at `accepted_at`.
    pub fn resolve(self, accepted_at: DateTime<Utc>) -> DateTime<Utc> {
        match self {
            Self::At(at) => at,
            Self::After(wait) => accepted_at
                .checked_add_signed(TimeDelta::from_std(wait).unwrap_or(TimeDelta::MAX))
                .unwrap_or(DateTime::<Utc>::MAX_UTC),
        }
    }

    /// Returns the deadline as stores keep it: without fractions of a millisecond.
    fn in_whole_ms(self) -> Self {
        match self {
            Self::At(at) => Self::At(DateTime::from_timestamp_millis(at.timestamp_millis()).unwrap_or(at)),
            Self::After(wait) => Self::After(millis::whole(wait)),
        }
    }
}

/// What protects the price of an order that names no worst price. The slippage protects it against each quote in
/// any case.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum PriceProtection {
    /// The first chosen quote less the slippage is the worst price for the order's whole life: an order that
    /// waits out an outage or a fall of the price is not executed at any price.
    #[default]
    FirstQuote,
    /// Each quote less the slippage: the order follows the market.
    EachQuote,
}

impl PriceProtection {
    #[allow(clippy::trivially_copy_pass_by_ref)] // So serde asks.
    pub(crate) const fn is_first_quote(&self) -> bool {
        matches!(self, Self::FirstQuote)
    }
}

/// A request: sell exactly `amount` of `input` for as much `output` as possible.
///
/// ```
/// use std::time::Duration;
///
/// use order_engine_core::{Amount, Deadline, InvalidRequest, Metadata, OrderRequest, Priority, Token};
///
/// let sol = Token::new("So11111111111111111111111111111111111111112", "SOL", 9);
/// let usdc = Token::new("EPjFWdd5AufqSSqeM2qN1xzybapC8G4wEGkZwyTDt1v", "USDC", 6);
/// let request = OrderRequest::new("alice", sol, usdc, Amount::new(1_500_000_000))
///     .with_client_order_id("2026-11-21/17")
///     .with_slippage_bps(30)
///     .with_deadline(Deadline::After(Duration::from_mins(2)))
///     .with_priority(Priority::High)
///     .with_tag("rebalance")
///     .with_metadata(Metadata::default().with("strategy", 7));
/// assert_eq!(request.validate(), Ok(()));
/// assert_eq!(request.with_amount(Amount::ZERO).validate(), Err(InvalidRequest::ZeroAmount));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
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
    /// The worst price, as the least output in base units of the output token: no transaction of the order
    /// promises less, in its whole life. Unless it is given, [`price_protection`](Self::price_protection)
    /// decides.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_amount_out: Option<Amount>,
    /// What protects the order's price unless a worst price is given.
    #[serde(default, skip_serializing_if = "PriceProtection::is_first_quote")]
    pub price_protection: PriceProtection,
    /// The most that a route may lose to the mid price, fees included, in hundredths of a percent (0..=10 000). Where the
    /// router has a limit of its own, the stricter of both holds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_price_impact_bps: Option<u16>,
    /// When the order is too late.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline: Option<Deadline>,
    /// Before this moment nothing is done for the order, on the store's clock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_before: Option<DateTime<Utc>>,
    /// How soon the order's turn comes when more orders are due than workers can take.
    #[serde(default, skip_serializing_if = "Priority::is_normal")]
    pub priority: Priority,
    /// The host's own mark, by which orders can be listed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tag: Option<Tag>,
    /// What the host attaches to the order.
    #[serde(default, skip_serializing_if = "Metadata::is_empty")]
    pub metadata: Metadata,
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
    /// The worst price is zero, which protects from nothing.
    #[error("the minimum output must be greater than zero")]
    ZeroMinimum,
    /// The slippage is not within 0..=10 000.
    #[error("the slippage must be at most 10000 basis points")]
    Slippage,
    /// The price impact is not within 0..=10 000.
    #[error("the price impact must be at most 10000 basis points")]
    PriceImpact,
    /// The client order id is empty or longer than [`OrderRequest::CLIENT_ORDER_ID_MAX_CHARS`].
    #[error("the client order id must have 1 to 255 characters")]
    ClientOrderId,
    /// The tag is empty or longer than [`OrderRequest::TAG_MAX_CHARS`].
    #[error("the tag must have 1 to 255 characters")]
    Tag,
    /// The metadata is longer than [`Metadata::MAX_BYTES`], or holds what does not survive being stored: a NUL
    /// character, or a fraction that is another number once it is written as text.
    #[error("the metadata must have at most 4096 bytes as JSON, and be the same once it is stored")]
    Metadata,
}

impl OrderRequest {
    /// The longest client order id, in characters: unique indexes stay small, and no known client uses longer
    /// ones.
    pub const CLIENT_ORDER_ID_MAX_CHARS: usize = 255;
    /// The longest tag, in characters, for the same reason.
    pub const TAG_MAX_CHARS: usize = 255;
    /// The slippage unless another one is set: half a percent, as most wallets preset it.
    pub const SLIPPAGE_BPS: u16 = 50;

    /// Returns a request of a user to sell an amount, in base units of the input token, with
    /// [`SLIPPAGE_BPS`](Self::SLIPPAGE_BPS) and nothing else set.
    pub fn new(user_id: impl Into<UserId>, input: Token, output: Token, amount: Amount) -> Self {
        Self {
            user_id: user_id.into(),
            client_order_id: None,
            input,
            output,
            amount,
            slippage_bps: Self::SLIPPAGE_BPS,
            min_amount_out: None,
            price_protection: PriceProtection::FirstQuote,
            max_price_impact_bps: None,
            deadline: None,
            not_before: None,
            priority: Priority::Normal,
            tag: None,
            metadata: Metadata::default(),
        }
    }

    /// Sets the user.
    #[must_use]
    pub fn with_user_id(mut self, user_id: impl Into<UserId>) -> Self {
        self.user_id = user_id.into();
        self
    }

    /// Sets the caller's own name for the order.
    #[must_use]
    pub fn with_client_order_id(mut self, client_order_id: impl Into<ClientOrderId>) -> Self {
        self.client_order_id = Some(client_order_id.into());
        self
    }

    /// Sets what is sold and what is bought.
    #[must_use]
    pub fn with_pair(mut self, input: Token, output: Token) -> Self {
        (self.input, self.output) = (input, output);
        self
    }

    /// Sets how much is sold, in base units of the input token.
    #[must_use]
    pub const fn with_amount(mut self, amount: Amount) -> Self {
        self.amount = amount;
        self
    }

    /// Sets the slippage, in hundredths of a percent.
    #[must_use]
    pub const fn with_slippage_bps(mut self, slippage_bps: u16) -> Self {
        self.slippage_bps = slippage_bps;
        self
    }

    /// Sets the worst price, as the least output in base units of the output token.
    #[must_use]
    pub const fn with_min_amount_out(mut self, min_amount_out: Amount) -> Self {
        self.min_amount_out = Some(min_amount_out);
        self
    }

    /// Sets what protects the price without a worst price.
    #[must_use]
    pub const fn with_price_protection(mut self, price_protection: PriceProtection) -> Self {
        self.price_protection = price_protection;
        self
    }

    /// Sets the most that a route may lose to the mid price, in hundredths of a percent.
    #[must_use]
    pub const fn with_max_price_impact_bps(mut self, max_price_impact_bps: u16) -> Self {
        self.max_price_impact_bps = Some(max_price_impact_bps);
        self
    }

    /// Sets when the order is too late.
    #[must_use]
    pub const fn with_deadline(mut self, deadline: Deadline) -> Self {
        self.deadline = Some(deadline);
        self
    }

    /// Sets before which moment nothing is done for the order.
    #[must_use]
    pub const fn with_not_before(mut self, not_before: DateTime<Utc>) -> Self {
        self.not_before = Some(not_before);
        self
    }

    /// Sets the priority.
    #[must_use]
    pub const fn with_priority(mut self, priority: Priority) -> Self {
        self.priority = priority;
        self
    }

    /// Sets the host's own mark.
    #[must_use]
    pub fn with_tag(mut self, tag: impl Into<Tag>) -> Self {
        self.tag = Some(tag.into());
        self
    }

    /// Sets what the host attaches.
    #[must_use]
    pub fn with_metadata(mut self, metadata: Metadata) -> Self {
        self.metadata = metadata;
        self
    }

    /// Returns the question that a router is asked about this request.
    pub fn quote_request(&self) -> QuoteRequest {
        let quote = QuoteRequest::new(self.input.clone(), self.output.clone(), self.amount);
        QuoteRequest { max_price_impact_bps: self.max_price_impact_bps, ..quote }
    }

    /// Returns the request as stores keep it: times without fractions of a millisecond. Only so is a
    /// repetition recognised.
    #[must_use]
    pub(crate) fn normalized(mut self) -> Self {
        self.deadline = self.deadline.map(Deadline::in_whole_ms);
        self.not_before =
            self.not_before.map(|at| DateTime::from_timestamp_millis(at.timestamp_millis()).unwrap_or(at));
        self
    }

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
        if self.min_amount_out.is_some_and(Amount::is_zero) {
            return Err(InvalidRequest::ZeroMinimum);
        }
        if self.slippage_bps > 10_000 {
            return Err(InvalidRequest::Slippage);
        }
        if self.max_price_impact_bps.is_some_and(|bps| bps > 10_000) {
            return Err(InvalidRequest::PriceImpact);
        }
        let is_bad = |text: &str, max: usize| text.is_empty() || text.chars().count() > max;
        if self
            .client_order_id
            .as_ref()
            .is_some_and(|id| is_bad(id.as_str(), Self::CLIENT_ORDER_ID_MAX_CHARS))
        {
            return Err(InvalidRequest::ClientOrderId);
        }
        if self.tag.as_ref().is_some_and(|tag| is_bad(tag.as_str(), Self::TAG_MAX_CHARS)) {
            return Err(InvalidRequest::Tag);
        }
        if self.metadata.is_storable() { Ok(()) } else { Err(InvalidRequest::Metadata) }
    }
}

/// What of an order never changes. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct OrderHead {
    /// The engine's name for the order.
    pub id: OrderId,
    /// The request: user, tokens, amount, the host's metadata.
    pub request: Arc<OrderRequest>,
    /// The order that this one repeats, if it is a retry by hand.
    pub origin: Option<OrderId>,
    /// When the order was accepted.
    pub created_at: DateTime<Utc>,
}

impl OrderHead {
    /// Puts a head together from what a store keeps.
    pub const fn new(
        id: OrderId,
        request: Arc<OrderRequest>,
        origin: Option<OrderId>,
        created_at: DateTime<Utc>,
    ) -> Self {
        Self { id, request, origin, created_at }
    }
}

/// An event, with what never changes of its order.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct OrderUpdate {
    /// The order.
    pub order: OrderHead,
    /// What happened to it.
    pub event: Arc<EventRecord>,
}

impl OrderUpdate {
    /// Puts an event together with its order.
    pub const fn new(order: OrderHead, event: Arc<EventRecord>) -> Self {
        Self { order, event }
    }
}

/// A request, and the state that the order's events add up to.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Order {
    /// The engine's name for the order.
    pub id: OrderId,
    /// The request. It never changes.
    pub request: Arc<OrderRequest>,
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
    /// Puts an order together from what a store keeps: what never changes of it, what its events add up to, how
    /// many events those are, and when the last of them happened.
    pub fn new(head: OrderHead, state: OrderState, seq: u64, updated_at: DateTime<Utc>) -> Self {
        let OrderHead { id, request, origin, created_at } = head;
        Self { id, request, origin, state, seq, created_at, updated_at }
    }

    /// Accepts a request. Returns the order and its first event.
    pub fn accept(
        id: OrderId,
        request: impl Into<Arc<OrderRequest>>,
        max_attempts: u32,
        at: DateTime<Utc>,
    ) -> (Self, EventRecord) {
        let order = Self {
            id,
            request: request.into(),
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
        if self.undercuts(&event) {
            return Err(IllegalTransition { state: self.state.phase().name(), event: event.kind() });
        }
        self.state = self.state.apply(&event)?;
        self.seq += 1;
        // A clock that steps back must not make an order's history run backwards.
        self.updated_at = self.updated_at.max(at);
        Ok(self.record(self.updated_at, event))
    }

    /// Whether an event would let a transaction promise less than the order's worst price.
    fn undercuts(&self, event: &OrderEvent) -> bool {
        let OrderEvent::RouteChosen { min_amount_out, .. } = event else { return false };
        self.worst_price().is_some_and(|worst| *min_amount_out < worst)
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

    /// Returns what of the order never changes.
    pub fn head(&self) -> OrderHead {
        OrderHead::new(self.id, Arc::clone(&self.request), self.origin, self.created_at)
    }

    /// Returns the public name of the state.
    pub fn status(&self) -> Status {
        self.state.status()
    }

    /// Returns the least output that any transaction of the order may promise, in base units of the output
    /// token: as requested, or as the first chosen quote fixed it. Nothing before that quote, and nothing for
    /// an order that follows the market.
    pub fn worst_price(&self) -> Option<Amount> {
        let fixed =
            || self.state.first_min_amount_out().filter(|_| self.request.price_protection.is_first_quote());
        self.request.min_amount_out.or_else(fixed)
    }

    /// Returns the least output that a transaction on a route that pays so much may promise: what the slippage
    /// leaves, and no less than the worst price.
    pub fn min_amount_out(&self, quoted: Amount) -> Amount {
        let slipped = quoted.less_slippage(self.request.slippage_bps);
        let worst = self.worst_price().filter(|_| !planted!(FloorForgotten) || self.state.attempt() <= 1);
        worst.map_or(slipped, |worst| worst.max(slipped))
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
