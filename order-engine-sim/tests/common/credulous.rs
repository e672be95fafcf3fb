//! A venue that shows why an absence needs evidence.
#![allow(unreachable_pub)] // The tests include this file as a module.

use std::sync::Arc;

use async_trait::async_trait;
use order_engine_core::{
    ChainView, Observation, PrepareRequest, SignedTx, StepError, SubmitReport, TxRef, Venue,
    VenueCapabilities, VenueError,
};

/// A venue that treats every reported absence as complete, as if the node that searched had seen everything.
#[derive(Debug)]
pub struct Credulous(pub Arc<dyn Venue>);

#[async_trait]
impl Venue for Credulous {
    fn capabilities(&self) -> VenueCapabilities {
        self.0.capabilities()
    }

    async fn prepare(&self, request: PrepareRequest<'_>) -> Result<SignedTx, StepError> {
        self.0.prepare(request).await
    }

    async fn submit(&self, tx: &SignedTx) -> SubmitReport {
        self.0.submit(tx).await
    }

    async fn view(&self) -> Result<ChainView, VenueError> {
        self.0.view().await
    }

    async fn observe(&self, txs: &[TxRef<'_>]) -> Result<Vec<Observation>, VenueError> {
        let believed = |seen| match seen {
            Observation::NotFound { seen_through, .. } => {
                Observation::NotFound { searched_through: Some(u64::MAX), seen_through }
            }
            seen => seen,
        };
        Ok(self.0.observe(txs).await?.into_iter().map(believed).collect())
    }
}
