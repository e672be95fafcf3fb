//! Waiting for an order's end.

use super::Engine;
use crate::delivery::subscription::SubscribeError;
use crate::domain::ids::OrderId;
use crate::domain::order::Order;

impl Engine {
    /// Waits until an order has ended, and returns it. Returns nothing for an unknown order.
    ///
    /// It may take as long as the order lives; bound it with a timeout of your own. Dropping it has no effect
    /// on the order.
    ///
    /// # Errors
    /// If the store does not answer, or the engine shuts down. Calling again is safe.
    pub async fn wait(&self, id: OrderId) -> Result<Option<Order>, SubscribeError> {
        let mut after = 0;
        loop {
            let Some(mut events) = self.subscribe(id, after).await? else { return Ok(None) };
            let end = loop {
                match events.next().await {
                    Some(Ok(_)) => {}
                    Some(Err(SubscribeError::Lagged { resume_after })) => break Some(resume_after),
                    Some(Err(error)) => return Err(error),
                    None => break None,
                }
            };
            match end {
                Some(resume_after) => after = resume_after,
                None => return Ok(self.order(id).await?),
            }
        }
    }
}
