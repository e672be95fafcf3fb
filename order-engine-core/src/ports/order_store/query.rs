//! What is read from a store, beside single orders: lists, the backlog, and what a purge deletes.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};

use crate::domain::codec::DecodeError;
use crate::domain::event::Status;
use crate::domain::ids::{OrderId, Tag, UserId};
use crate::domain::order::Order;
use crate::setters::setters;

/// Which orders to list.
///
/// The next page begins at the last order of this one, so orders that are accepted meanwhile shift nothing. It is
/// `before` that order if the newest come first, and `after` it if the oldest do.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct OrderQuery {
    /// Only this user's.
    pub user_id: Option<UserId>,
    /// Only those with this status.
    pub status: Option<Status>,
    /// Only those with this tag.
    pub tag: Option<Tag>,
    /// Only those that an operator should look at: in quarantine, of unknown outcome, or undecodable.
    pub attention: bool,
    /// Only those with a smaller id.
    pub before: Option<OrderId>,
    /// Only those with a greater id.
    pub after: Option<OrderId>,
    /// Which come first.
    pub sort: Sort,
    /// How many at most.
    pub limit: u32,
}

/// Which orders of a list come first. Ids grow with the time at which orders are accepted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sort {
    /// Those with the greatest ids.
    #[default]
    NewestFirst,
    /// Those with the smallest ids.
    OldestFirst,
}

impl OrderQuery {
    /// Returns a query for any orders, the newest `limit` of them.
    pub const fn new(limit: u32) -> Self {
        Self {
            user_id: None,
            status: None,
            tag: None,
            attention: false,
            before: None,
            after: None,
            sort: Sort::NewestFirst,
            limit,
        }
    }

    /// Asks only for this user's orders.
    #[must_use]
    pub fn with_user_id(mut self, user_id: UserId) -> Self {
        self.user_id = Some(user_id);
        self
    }

    /// Asks only for orders with this status.
    #[must_use]
    pub const fn with_status(mut self, status: Status) -> Self {
        self.status = Some(status);
        self
    }

    /// Asks only for orders with this tag.
    #[must_use]
    pub fn with_tag(mut self, tag: Tag) -> Self {
        self.tag = Some(tag);
        self
    }

    /// Asks only for orders that an operator should look at.
    #[must_use]
    pub const fn with_attention(mut self) -> Self {
        self.attention = true;
        self
    }

    /// Asks only for orders with a smaller id than this.
    #[must_use]
    pub const fn with_before(mut self, before: OrderId) -> Self {
        self.before = Some(before);
        self
    }

    /// Asks only for orders with a greater id than this.
    #[must_use]
    pub const fn with_after(mut self, after: OrderId) -> Self {
        self.after = Some(after);
        self
    }

    /// Says which orders come first.
    #[must_use]
    pub const fn with_sort(mut self, sort: Sort) -> Self {
        self.sort = sort;
        self
    }

    /// Asks for the page that follows the one that ended with this order.
    #[must_use]
    pub const fn past(self, last: OrderId) -> Self {
        match self.sort {
            Sort::NewestFirst => self.with_before(last),
            Sort::OldestFirst => self.with_after(last),
        }
    }

    /// Whether an order is among those asked for.
    pub fn matches(&self, order: &Order) -> bool {
        self.user_id.as_ref().is_none_or(|user| *user == order.request.user_id)
            && self.status.is_none_or(|status| status == order.status())
            && self.tag.as_ref().is_none_or(|tag| order.request.tag.as_ref() == Some(tag))
            && (!self.attention || order.state.attention().is_some())
            && self.before.is_none_or(|before| order.id < before)
            && self.after.is_none_or(|after| order.id > after)
    }
}

/// An order in a list that this program cannot decode.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("order {order_id} cannot be decoded")]
pub struct UndecodableOrder {
    /// The order.
    pub order_id: OrderId,
    /// Why it cannot be decoded.
    #[source]
    pub error: DecodeError,
}

/// What waits to be done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Backlog {
    /// The orders for workers.
    pub execute: LaneBacklog,
    /// The orders whose transactions are to be observed.
    pub observe: LaneBacklog,
    /// How many orders an operator should look at.
    pub attention: u64,
    /// The outbox entries of each registered sink, by its name.
    pub sinks: Vec<SinkBacklog>,
}

/// The orders of a lane. An order that a worker holds is due when its lease expires.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct LaneBacklog {
    /// All of them: due, held, and waiting for a time.
    pub orders: u64,
    /// Those that are due.
    pub due: u64,
    /// How long the order has been due that became due first.
    pub due_for: Option<Duration>,
}

setters! {
    impl Backlog {
        with_execute sets execute: LaneBacklog;
        with_observe sets observe: LaneBacklog;
        with_attention sets attention: u64;
        with_sinks sets sinks: Vec<SinkBacklog>;
    }
}

setters! {
    impl LaneBacklog {
        with_orders sets orders: u64;
        with_due sets due: u64;
        with_due_for sets due_for: Option<Duration>;
    }
}

/// The outbox entries of a sink.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SinkBacklog {
    /// The name of the sink.
    pub sink: Arc<str>,
    /// How many orders have events that the sink does not have yet.
    pub orders: u64,
    /// How long the oldest entry has been pending.
    pub pending_for: Option<Duration>,
}

impl SinkBacklog {
    /// Returns how many orders have events for a sink, and for how long the oldest entry has been pending.
    pub const fn new(sink: Arc<str>, orders: u64, pending_for: Option<Duration>) -> Self {
        Self { sink, orders, pending_for }
    }
}

/// A step of a purge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PurgeRequest {
    /// Orders whose last event is older than this may go.
    pub ended_before: DateTime<Utc>,
    /// The same for orders with a client order id: the id must be known while its owner may repeat the
    /// request.
    pub named_ended_before: DateTime<Utc>,
    /// Where the walk goes on: after this order.
    pub after: Option<OrderId>,
    /// How many orders to examine at most.
    pub limit: u32,
}

/// What a step of a purge did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Purged {
    /// How many orders were deleted.
    pub orders: u64,
    /// Where the next step goes on: after this order. None when the walk is over.
    pub next: Option<OrderId>,
}

impl PurgeRequest {
    /// Returns the first step of a purge of all orders that ended before a moment: it examines at most `limit`
    /// orders.
    pub const fn new(ended_before: DateTime<Utc>, limit: u32) -> Self {
        Self { ended_before, named_ended_before: ended_before, after: None, limit }
    }

    /// Whether an order without outbox entries may be deleted.
    pub fn covers(&self, order: &Order) -> bool {
        let limit =
            if order.request.client_order_id.is_some() { self.named_ended_before } else { self.ended_before };
        order.status().is_terminal() && order.updated_at < limit
    }
}

setters! {
    impl PurgeRequest {
        with_named_ended_before sets named_ended_before: DateTime<Utc>;
        with_after sets after: Option<OrderId>;
    }
}

impl Purged {
    /// Returns how many orders a step deleted, and where the next one goes on.
    pub const fn new(orders: u64, next: Option<OrderId>) -> Self {
        Self { orders, next }
    }
}
