//! A source of nonces for several transactions of an account at a time.
#![allow(unreachable_pub)] // The tests include this file as a module.

use std::collections::BTreeMap;
use std::sync::Mutex;

use async_trait::async_trait;
use order_engine_core::testing::LatestNonce;
use order_engine_core::{
    AccountId, AccountNonce, AccountView, Fence, FillRequest, NonceSource, Order, PrepareRequest,
    ReplaceRequest, SignedTx, StepError,
};

use crate::common::World;

/// Gives out the nonces of accounts one after the other.
#[derive(Debug, Default)]
pub struct CountingNonces(Mutex<BTreeMap<AccountId, u64>>);

#[async_trait]
impl NonceSource for CountingNonces {
    async fn next(&self, account: &AccountId, latest: u64) -> Result<u64, StepError> {
        let mut accounts = self.0.lock().unwrap();
        let next = accounts.entry(account.clone()).or_default();
        let value = latest.max(*next);
        *next = value + 1;
        Ok(value)
    }

    async fn choose(&self, nonces: Vec<AccountNonce>) -> Result<AccountNonce, StepError> {
        LatestNonce.choose(nonces).await
    }
}

pub const FENCE: Fence = Fence { epoch: 1, owner: 1 };

impl World {
    /// Quotes and signs as the engine does, with the next nonce of the order's account.
    pub async fn signed_next(&self, order: &Order, nonces: &CountingNonces) -> SignedTx {
        let route = self.route(order).await;
        let min = route.amount_out.less_slippage(order.request.slippage_bps);
        self.sim.venue().prepare(PrepareRequest::new(order, &route, min, FENCE, nonces)).await.unwrap()
    }

    /// Signs a transaction that does the same, for this fee in percent.
    pub async fn replaced(&self, order: &Order, tx: &SignedTx, fee_percent: u32) -> SignedTx {
        self.sim.venue().replace(ReplaceRequest::new(order, tx, fee_percent, FENCE)).await.unwrap()
    }

    /// Signs a transaction that does nothing in the place of another one, for a quarter more.
    pub async fn cancelled(&self, order: &Order, tx: &SignedTx) -> SignedTx {
        self.sim.venue().cancel_transaction(ReplaceRequest::new(order, tx, 125, FENCE)).await.unwrap()
    }

    /// Signs a transaction that does nothing and uses up a nonce that nobody holds.
    pub async fn filled(&self, order: &Order, nonce: &AccountNonce) -> SignedTx {
        self.sim.venue().fill_nonce(FillRequest::new(order, nonce, FENCE)).await.unwrap()
    }

    /// Returns how far the account of a transaction has come.
    pub async fn account_of(&self, tx: &SignedTx) -> AccountView {
        let account = tx.validity.nonce().unwrap().account.clone();
        self.sim.venue().accounts(&[account]).await.unwrap().remove(0)
    }
}
