//! From what a store read back to orders and events.
//!
//! What cannot be decoded stays apart from a failure of the database: it concerns one row only, and the
//! others are served.

use std::fmt;
use std::sync::Arc;

use chrono::{DateTime, Utc};

use crate::backend::integers::{decode_small, decode_u64};
use crate::domain::codec::{self, DecodeError, ItemRejected};
use crate::domain::ids::OrderId;
use crate::domain::order::{Order, OrderHead, OrderRequest};
use crate::ports::order_store::write::{CreateError, Creation};

/// What a row says, or why this program cannot decode it.
pub type Decoded<T> = Result<T, DecodeError>;

/// The columns from which an order is decoded.
#[derive(Clone, Copy)]
pub struct StoredOrder<'r> {
    /// The order.
    pub order_id: OrderId,
    /// The order that it repeats.
    pub origin: Option<OrderId>,
    /// The version of `request`.
    pub request_version: i64,
    /// The encoded request.
    pub request: &'r str,
    /// The version of `state`.
    pub state_version: i64,
    /// The encoded state.
    pub state: &'r str,
    /// The number of the last event.
    pub seq: i64,
    /// When the order was accepted.
    pub created_at: DateTime<Utc>,
    /// When the last event happened.
    pub updated_at: DateTime<Utc>,
}

/// Shows no encoded state, which may have the bytes of a signed transaction.
impl fmt::Debug for StoredOrder<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoredOrder")
            .field("order_id", &self.order_id)
            .field("seq", &self.seq)
            .field("request_version", &self.request_version)
            .field("state_version", &self.state_version)
            .finish_non_exhaustive()
    }
}

impl StoredOrder<'_> {
    /// Returns the order.
    ///
    /// # Errors
    /// If a version is newer than this program, or a column holds what this program never writes.
    pub fn decode(&self) -> Decoded<Order> {
        let request = Arc::new(codec::decode(version(self.request_version)?, self.request)?);
        let head = OrderHead::new(self.order_id, request, self.origin, self.created_at);
        let state = codec::decode(version(self.state_version)?, self.state)?;
        Ok(Order::new(head, state, decode_u64(self.seq, "seq")?, self.updated_at))
    }
}

/// The columns from which what never changes of an order is decoded.
#[derive(Clone, Copy, Debug)]
pub struct StoredHead<'r> {
    /// The order.
    pub order_id: OrderId,
    /// The order that it repeats.
    pub origin: Option<OrderId>,
    /// The version of `request`.
    pub request_version: i64,
    /// The encoded request.
    pub request: &'r str,
    /// When the order was accepted.
    pub created_at: DateTime<Utc>,
}

impl StoredHead<'_> {
    /// Returns what never changes of the order.
    ///
    /// # Errors
    /// If the version is newer than this program, or the request is not what the version says.
    pub fn decode(&self) -> Decoded<OrderHead> {
        let request: OrderRequest = codec::decode(version(self.request_version)?, self.request)?;
        Ok(OrderHead::new(self.order_id, Arc::new(request), self.origin, self.created_at))
    }
}

pub(super) fn version(version: i64) -> Decoded<u32> {
    decode_small(version, "payload version")
}

/// Returns the result of a creation that met an order with the same name.
///
/// # Errors
/// If this program cannot decode that order: the creation alone fails.
pub fn existing_order(order: Decoded<Order>) -> Result<Creation, CreateError> {
    match order {
        Ok(order) => Ok(Creation::Existing(Box::new(order))),
        Err(error) => Err(ItemRejected { message: error.to_string() }.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::columns::{RequestColumns, StateColumns};
    use crate::domain::amount::Amount;
    use crate::domain::order::OrderRequest;
    use crate::domain::token::Token;
    use crate::ports::order_store::write::NewOrder;

    fn accepted() -> NewOrder {
        let token = |mint: &str| Token::new(mint, mint, 6);
        let request = OrderRequest::new("alice", token("input"), token("output"), Amount::new(1_000))
            .with_client_order_id("key");
        let (order, event) = Order::accept(OrderId::from_bytes([7; 16]), request, 3, DateTime::UNIX_EPOCH);
        NewOrder::new(Arc::new(order), Arc::new(event))
    }

    fn stored<'r>(request: &'r RequestColumns<'_>, state: &'r StateColumns<'_>) -> StoredOrder<'r> {
        StoredOrder {
            order_id: request.order_id,
            origin: request.origin,
            request_version: request.request_version,
            request: &request.request,
            state_version: state.state_version,
            state: &state.state,
            seq: state.seq,
            created_at: request.created_at,
            updated_at: state.updated_at,
        }
    }

    #[test]
    fn an_order_comes_back_from_its_columns() {
        let new = accepted();
        let order = Order::clone(&new.order);
        let (request, state) = (RequestColumns::new(&new).unwrap(), StateColumns::new(&order).unwrap());
        let stored = stored(&request, &state);
        assert_eq!(stored.decode(), Ok(order.clone()));
        assert_eq!(existing_order(stored.decode()), Ok(Creation::Existing(Box::new(order.clone()))));
        let newer = StoredOrder { state_version: 99, ..stored };
        assert!(newer.decode().unwrap_err().message.contains("version 99 is newer"));
        assert!(existing_order(newer.decode()).is_err());
        let StoredOrder { order_id, origin, request_version, request, created_at, .. } = stored;
        let head = StoredHead { order_id, origin, request_version, request, created_at };
        assert_eq!(head.decode(), Ok(order.head()));
        assert!(StoredHead { request_version: 99, ..head }.decode().is_err());
        assert!(StoredOrder { request_version: -1, ..stored }.decode().is_err());
        assert!(StoredOrder { seq: -1, ..stored }.decode().is_err());
    }
}
