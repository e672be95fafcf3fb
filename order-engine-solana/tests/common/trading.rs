//! An engine's orders over the desk, and what they traded.

use std::time::Duration;

use async_trait::async_trait;
use order_engine_core::{
    Amount, Candidate, DexRouter, Engine, Leg, Order, OrderId, OrderRequest, QuoteRequest, Route, StepError,
    Submission,
};
use order_engine_solana::WalletSigner as _;
use order_engine_solana::instructions::token::associated_account;
use order_engine_solana::programs::TOKEN;

use super::orders::{World, token};

/// How much the desk pays for each token.
pub(crate) const RATE: u128 = 2;

/// Offers the desk's price.
#[derive(Debug)]
pub(crate) struct DeskRouter;

#[async_trait]
impl DexRouter for DeskRouter {
    fn dexes(&self) -> Vec<String> {
        vec!["Desk".into()]
    }

    async fn quote(&self, request: &QuoteRequest) -> Result<Vec<Candidate>, StepError> {
        let QuoteRequest { input, output, amount, .. } = request;
        let paid = Amount::new(amount.base_units() * RATE);
        let leg = Leg::new("Desk", "desk", (input.mint.as_str(), *amount), (output.mint.as_str(), paid));
        Ok(vec![Candidate::quoted("Desk", Route::new("Desk", vec![leg], *amount, paid))])
    }
}

pub(crate) async fn submit(engine: &Engine, world: &World, amount: u128) -> OrderId {
    let request = OrderRequest::new("alice", token(world.x), token(world.y), Amount::new(amount));
    match engine.submit(request).await.unwrap() {
        Submission::Created(order) => order.id,
        other => panic!("it is a new order: {other:?}"),
    }
}

pub(crate) async fn ended(engine: &Engine, id: OrderId) -> Order {
    let ended = tokio::time::timeout(Duration::from_mins(1), engine.wait(id)).await;
    ended.expect("it ends").unwrap().unwrap()
}

/// Returns how much of what is sold the wallet has given, and how much of what is bought it has got.
pub(crate) async fn traded(world: &World) -> (u64, u64) {
    let of = async |mint| world.chain.tokens(associated_account(world.wallet.address(), mint, TOKEN)).await;
    (1_000_000 - of(world.x).await.unwrap(), of(world.y).await.unwrap_or(0))
}
