use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;

use super::intercept::{Call, Intercept};
use crate::ports::order_store::error::{StoreError, StoreErrorKind};

/// An [`Intercept`] that takes a store down and brings it back. It belongs into an
/// [`InterceptedStore`](super::InterceptedStore).
#[derive(Debug, Default)]
pub struct Outage {
    is_down: AtomicBool,
}

impl Outage {
    /// Returns an interceptor behind which the store works.
    pub fn new() -> Self {
        Self::default()
    }

    /// Makes every call of the store fail from now on, or lets the store work again.
    pub fn set(&self, is_down: bool) {
        self.is_down.store(is_down, Ordering::SeqCst);
    }
}

#[async_trait]
impl Intercept for Outage {
    async fn before(&self, _: Call<'_>) -> Result<(), StoreError> {
        if self.is_down.load(Ordering::SeqCst) {
            // The message must never leave the host.
            return Err(StoreError::new(StoreErrorKind::Unavailable, "the disk /secret/path is full"));
        }
        Ok(())
    }
}
