//! Resolving an unknown outcome.

use std::sync::Arc;

use super::Engine;
use super::change::{ChangeError, Holder};
use crate::domain::event::OrderEvent;
use crate::domain::ids::OrderId;
use crate::domain::order::Order;
use crate::domain::transaction::Fill;
use crate::ports::order_store::write::Then;

/// The outcome of a transaction, as an operator knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Resolution {
    /// It was executed, and did this.
    Executed(Fill),
    /// It was not executed and never will be. If that is wrong and the order is repeated, it is executed twice.
    NotExecuted,
}

/// What came of a resolution.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Resolved {
    /// The order came to its end by the resolution.
    Done(Arc<Order>),
    /// The outcome is not, or no longer, unknown: the engine decides.
    NotUnknown(Arc<Order>),
    /// The order's transaction has a nonce that nobody has used, so it can still land, and later ones of the
    /// account wait for it. [Cancel](Engine::cancel) the order: then the nonce is used, and the chain decides.
    StillPossible(Arc<Order>),
}

impl Engine {
    /// Ends an order whose transaction's outcome is [unknown](crate::domain::state::Attention::OutcomeUnknown) by
    /// the outcome that an operator knows, for instance because they [asked the chain](Self::find_on_chain). The note says who knows it, and how; it is kept in the order's
    /// history. Returns nothing for an unknown order.
    pub async fn resolve(
        &self,
        id: OrderId,
        resolution: &Resolution,
        note: &str,
    ) -> Result<Option<Resolved>, ChangeError> {
        loop {
            let Some(order) = self.order(id).await? else { return Ok(None) };
            if !order.state.is_outcome_unknown() {
                return Ok(Some(Resolved::NotUnknown(Arc::new(order))));
            }
            if *resolution == Resolution::NotExecuted && order.state.is_nonce_unused() {
                return Ok(Some(Resolved::StillPossible(Arc::new(order))));
            }
            let events = self.ending(&order, resolution, note);
            // The observer that holds the order must not go on with it.
            if let Some(ended) = self.try_change(&order, events, Holder::Loses, Then::Keep).await? {
                return Ok(Some(Resolved::Done(ended)));
            }
        }
    }

    /// Returns the events by which the resolution ends the order.
    fn ending(&self, order: &Order, resolution: &Resolution, note: &str) -> Vec<OrderEvent> {
        let executed = matches!(resolution, Resolution::Executed(_));
        let said = OrderEvent::OutcomeResolved { executed, note: note.to_owned() };
        let end = match resolution {
            Resolution::Executed(fill) => executed_by(order, fill),
            Resolution::NotExecuted => {
                let now = self.context().now();
                let failed = order.advance(said.clone(), now).ok();
                failed.and_then(|(failed, _)| self.context().retry_unless_late(&failed))
            }
        };
        std::iter::once(said).chain(end).collect()
    }
}

/// Returns the end of an order that an operator knows to be executed: by which of its transactions, they do not say.
fn executed_by(order: &Order, fill: &Fill) -> Option<OrderEvent> {
    let tx_id = order.state.siblings()?.latest_swap().tx.id.clone();
    Some(OrderEvent::Confirmed { tx_id, fill: fill.clone() })
}
