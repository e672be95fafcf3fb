//! What every store checks of an item before it writes it: that the item agrees with itself.

use crate::{Append, EventRecord, NewOrder, OrderId, Refused};

impl NewOrder {
    /// Checks that the order and its first event belong together.
    ///
    /// # Errors
    /// If they do not: no store may write them.
    pub fn check(&self) -> Result<(), Refused> {
        check_history(self.order.id, 0, self.order.seq, [&*self.event])
    }
}

impl Append {
    /// Checks that the events follow the expected revision without a gap and lead to the order.
    ///
    /// # Errors
    /// If they do not: no store may write them.
    pub fn check(&self) -> Result<(), Refused> {
        check_history(
            self.order.id,
            self.expected_seq,
            self.order.seq,
            self.events.iter().map(|event| &**event),
        )
    }
}

fn check_history<'a>(
    order_id: OrderId,
    from: u64,
    to: u64,
    events: impl IntoIterator<Item = &'a EventRecord>,
) -> Result<(), Refused> {
    let mut last = from;
    for event in events {
        if event.order_id != order_id {
            return Err(refused(format!("an event of order {} among those of {order_id}", event.order_id)));
        }
        if last.checked_add(1) != Some(event.seq) {
            return Err(refused(format!("event {} cannot follow event {last}", event.seq)));
        }
        last = event.seq;
    }
    if last == from {
        return Err(refused("there is no event".to_owned()));
    }
    if last != to {
        return Err(refused(format!("the events end at {last}, the order at {to}")));
    }
    Ok(())
}

fn refused(message: String) -> Refused {
    Refused { message }
}
