//! Settling: what an order's end means for the account that paid for it.

use async_trait::async_trait;
use order_engine_core::{Amount, OrderEvent, OrderUpdate, SinkError, SinkGuarantee, StatusSink, Token};
use sqlx::PgPool;

use crate::accounts::{Entry, Reason, credit};

/// The durable sink that settles orders: the engine delivers every event to it at least once, also after a
/// crash, and again until it succeeds.
#[derive(Clone, Debug)]
pub struct LedgerSink {
    pool: PgPool,
}

impl LedgerSink {
    /// Returns a sink that writes to the broker's tables.
    pub const fn new(pool: PgPool) -> Self {
        Self { pool }
    }

    /// Enters all of an update or nothing.
    async fn settle(&self, update: &OrderUpdate) -> Result<(), sqlx::Error> {
        let entries = settlement(update);
        if entries.is_empty() {
            return Ok(());
        }
        let mut transaction = self.pool.begin().await?;
        for entry in &entries {
            // A repeated delivery finds the entry and changes nothing.
            credit(&mut transaction, entry).await?;
        }
        transaction.commit().await
    }
}

#[async_trait]
impl StatusSink for LedgerSink {
    fn name(&self) -> &'static str {
        "ledger"
    }

    fn guarantee(&self) -> SinkGuarantee {
        SinkGuarantee::Durable
    }

    async fn deliver(&self, updates: &[OrderUpdate]) -> Result<(), SinkError> {
        for update in updates {
            let settled = self.settle(update).await;
            settled.map_err(|error| SinkError::new("an order could not be settled").with_source(error))?;
        }
        Ok(())
    }
}

/// Returns what an update gives to the user's accounts. Only the end of an order gives anything.
pub fn settlement(update: &OrderUpdate) -> Vec<Entry<'_>> {
    let request = &update.order.request;
    let entry = |token, amount, reason| entry(update, token, amount, reason);
    let mut entries = match &update.event.event {
        OrderEvent::Confirmed { fill, .. } => {
            // A venue that took more would be at fault, and the user does not pay for that.
            let unused = request.amount.checked_sub(fill.amount_in).unwrap_or(Amount::ZERO);
            vec![
                entry(&request.output, fill.amount_out, Reason::Fill),
                entry(&request.input, unused, Reason::Unused),
            ]
        }
        // Whatever the reason was (slippage, a cancel, a deadline), a failed order has moved no money.
        OrderEvent::Failed { .. } => vec![entry(&request.input, request.amount, Reason::Refund)],
        _ => Vec::new(),
    };
    entries.retain(|entry| !entry.amount.is_zero());
    // Transactions that lock accounts in one order do not wait for each other in a circle.
    entries.sort_by(|a, b| a.token.mint.cmp(&b.token.mint));
    entries
}

fn entry<'a>(update: &'a OrderUpdate, token: &'a Token, amount: Amount, reason: Reason) -> Entry<'a> {
    let user_id = &update.order.request.user_id;
    Entry { cause_id: *update.order.id.as_uuid(), user_id, token, amount, reason }
}
