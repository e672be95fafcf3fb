//! The items of writes, encoded by their callers: the thread that writes adds only what depends on its moment.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use order_engine_core::backend::{
    AppendColumns, GuardColumns, HistoryColumns, NewOrderColumns, ReservationColumns,
};
use order_engine_core::store::Append;
use order_engine_core::{ItemRejected, NewOrder, Order, OrderId};

use crate::rows::{FirstLeaseRow, GuardRow, GuardTimesRow, ItemRow, OutboxRow, Turn, TurnRow};
use crate::values::Arguments;

/// An item that was encoded, or why it cannot be.
pub(crate) type Encoded<I> = Result<I, ItemRejected>;

/// A new order.
#[derive(Debug)]
pub(crate) struct NewItem {
    /// The order, to find the one that it may conflict with.
    pub(crate) order: Arc<Order>,
    pub(crate) history: HistoryItem,
    row: Arguments<'static>,
    turn: Turn,
}

impl NewItem {
    pub(crate) fn encode(new: &NewOrder) -> Encoded<Self> {
        let NewOrderColumns { request, state, history, .. } = NewOrderColumns::new(new)?;
        let turn = Turn::from(&request);
        let lease = FirstLeaseRow { owner: request.lease_owner };
        let mut row = state.encode();
        request.bind(&mut row);
        lease.bind(&mut row);
        Ok(Self { order: Arc::clone(&new.order), history: HistoryItem::new(history), row, turn })
    }

    /// Returns the values of the order's row, if it is accepted now.
    pub(crate) fn row_at(&self, now: DateTime<Utc>) -> Arguments<'_> {
        let mut row = self.row.and_others();
        TurnRow::new(self.turn, now).bind(&mut row);
        row
    }
}

/// An append.
#[derive(Debug)]
pub(crate) struct AppendItem {
    pub(crate) order_id: OrderId,
    pub(crate) guard: GuardColumns,
    pub(crate) reservation: Option<ReservationItem>,
    pub(crate) history: HistoryItem,
    row: Arguments<'static>,
}

impl AppendItem {
    pub(crate) fn encode(append: &Append) -> Encoded<Self> {
        let AppendColumns { order_id, guard, state, history, reservation } = AppendColumns::new(append)?;
        let mut row = state.encode();
        GuardRow { order_id, columns: &guard }.bind(&mut row);
        let reservation = reservation.map(|columns| ReservationItem::new(columns, order_id));
        Ok(Self { order_id, guard, reservation, history: HistoryItem::new(history), row })
    }

    /// Returns the values that the order's row gets, and the conditions, if the append is written now.
    pub(crate) fn row_at(&self, now: DateTime<Utc>) -> Arguments<'_> {
        let mut row = self.row.and_others();
        GuardTimesRow { columns: &self.guard, now }.bind(&mut row);
        row
    }
}

/// A nonce that an order reserves.
#[derive(Debug)]
pub(crate) struct ReservationItem {
    /// The venue, the account, and the lowest nonce that may be free.
    pub(crate) account: Arguments<'static>,
    pub(crate) value: i64,
    pub(crate) order_id: OrderId,
}

impl ReservationItem {
    fn new(columns: ReservationColumns<'_>, order_id: OrderId) -> Self {
        let ReservationColumns { venue, account, value, first } = columns;
        let account = Arguments::default().with(venue).with(&*account).with(first);
        Self { account, value, order_id }
    }
}

/// The events of one write.
#[derive(Debug)]
pub(crate) struct HistoryItem {
    pub(crate) row: Arguments<'static>,
    pub(crate) failures: Vec<Arguments<'static>>,
    /// The outbox entry for them.
    outbox: Arguments<'static>,
}

impl HistoryItem {
    fn new(history: HistoryColumns<'_>) -> Self {
        let outbox = OutboxRow { order_id: history.order_id, delivered_seq: history.first_seq - 1 };
        let failures = history.failures.iter().map(|failure| failure.encode()).collect();
        Self { failures, outbox: outbox.encode(), row: history.encode() }
    }

    /// Returns the values of the outbox entry, if the events are written now.
    pub(crate) fn outbox_at(&self, now: DateTime<Utc>) -> Arguments<'_> {
        self.outbox.and_others().with(now.timestamp_millis())
    }
}
