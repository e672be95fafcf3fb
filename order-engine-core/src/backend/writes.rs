//! Items of writes, checked and encoded.

use crate::backend::columns::{RequestColumns, StateColumns};
use crate::backend::history::HistoryColumns;
use crate::backend::leases::GuardColumns;
use crate::backend::nonces::ReservationColumns;
use crate::domain::codec::ItemRejected;
use crate::domain::ids::OrderId;
use crate::domain::order::Order;
use crate::ports::order_store::write::{Append, NewOrder};

/// A new order, ready to be written.
#[derive(Debug)]
pub struct NewOrderColumns<'a> {
    /// The order.
    pub order: &'a Order,
    /// Its columns that never change.
    pub request: RequestColumns<'a>,
    /// Its columns that events change.
    pub state: StateColumns<'a>,
    /// Its first event, as a row of its history.
    pub history: HistoryColumns<'a>,
}

impl<'a> NewOrderColumns<'a> {
    /// Returns the columns of a new order.
    ///
    /// # Errors
    /// If the item cannot be stored.
    pub fn new(new: &'a NewOrder) -> Result<Self, ItemRejected> {
        new.check()?;
        Ok(Self {
            order: &new.order,
            request: RequestColumns::new(new)?,
            state: StateColumns::new(&new.order)?,
            history: HistoryColumns::new(new.order.id, std::iter::once(&*new.event))?,
        })
    }
}

/// An append, ready to be written.
#[derive(Debug)]
pub struct AppendColumns<'a> {
    /// The order.
    pub order_id: OrderId,
    /// The conditions under which it is written.
    pub guard: GuardColumns,
    /// The order's columns that events change, as they are after the events.
    pub state: StateColumns<'a>,
    /// The events, as a row of its history.
    pub history: HistoryColumns<'a>,
    /// The nonce that is reserved with them.
    pub reservation: Option<ReservationColumns<'a>>,
}

impl<'a> AppendColumns<'a> {
    /// Returns the columns of an append.
    ///
    /// # Errors
    /// If the item cannot be stored.
    pub fn new(append: &'a Append) -> Result<Self, ItemRejected> {
        append.check()?;
        Ok(Self {
            order_id: append.order.id,
            guard: GuardColumns::new(append)?,
            state: StateColumns::new(&append.order)?,
            history: HistoryColumns::new(append.order.id, append.events.iter().map(|event| &**event))?,
            reservation: append.reservation.as_ref().map(ReservationColumns::new).transpose()?,
        })
    }
}
