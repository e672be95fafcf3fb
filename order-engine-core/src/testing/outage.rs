use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;

use super::intercept::{Call, Intercept};
use crate::ports::order_store::error::{StoreError, StoreErrorKind};

/// Lets a store be out of order for a while: an [`Intercept`] for an
/// [`InterceptedStore`](super::InterceptedStore).
#[derive(Debug, Default)]
pub struct Outage {
    is_down: AtomicBool,
}

impl Outage {
    /// A switch that is off: the store works.
    pub fn new() -> Self {
        Self::default()
    }

    /// From now on the store fails every call, or works again.
    pub fn set(&self, is_down: bool) {
        self.is_down.store(is_down, Ordering::SeqCst);
    }
}

#[async_trait]
impl Intercept for Outage {
    async fn before(&self, _: Call<'_>) -> Result<(), StoreError> {
        if self.is_down.load(Ordering::SeqCst) {
            // A message that must not reach anybody outside.
            return Err(StoreError::new(StoreErrorKind::Unavailable, "the disk /secret/path is full"));
        }
        Ok(())
    }
}
