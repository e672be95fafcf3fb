//! Orders and the venue that executes them.

use std::sync::Arc;
use std::time::Duration;

use order_engine_core::testing::LatestNonce;
use order_engine_core::{
    Amount, Certainty, Fence, Leg, Observation, Order, OrderId, OrderRequest, PrepareRequest, Route, Runtime,
    SignedTx, StepError, Token, TxRef, Venue as _,
};
use order_engine_solana::programs::WRAPPED_SOL;
use order_engine_solana::{
    Cluster, KeypairSigner, Pubkey, SolanaVenue, SolanaVenueOptions, WalletSigner as _,
};

use super::desk::Desk;
use super::pulse::Pulse;
use super::surfpool::{Surfpool, nodes};

pub(crate) use order_engine_solana_market::ONE_SOL;
pub(crate) const FENCE: Fence = Fence { epoch: 1, owner: 1 };

/// A chain with a wallet, two tokens and SOL, and a desk that trades them all.
pub(crate) struct World {
    pub(crate) chain: Surfpool,
    pub(crate) wallet: Arc<KeypairSigner>,
    pub(crate) desk: Arc<Desk>,
    pub(crate) x: Pubkey,
    pub(crate) y: Pubkey,
    pub(crate) pulse: Pulse,
}

impl World {
    pub(crate) async fn new() -> Self {
        let chain = Surfpool::start(10);
        let wallet = Arc::new(KeypairSigner::random());
        let desk = Arc::new(Desk { owner: KeypairSigner::random().address() });
        let (x, y) = (KeypairSigner::random().address(), KeypairSigner::random().address());
        chain.fund(wallet.address(), 10 * ONE_SOL).await;
        for mint in [x, y] {
            chain.make_mint(mint, 6).await;
            chain.give(desk.owner, mint, 1_000_000, Some(wallet.address())).await;
        }
        chain.give(wallet.address(), x, 1_000_000, None).await;
        let pulse = Pulse::start(&chain).await;
        Self { chain, wallet, desk, x, y, pulse }
    }

    /// Returns the options of a venue here: the pulse takes part in most blocks, and the chain began at slot 31.
    pub(crate) fn options(&self) -> SolanaVenueOptions {
        SolanaVenueOptions::default().with_busy_account(self.pulse.account).with_complete_from_slot(31)
    }

    pub(crate) fn venue(&self) -> SolanaVenue {
        self.venue_over(&[&self.chain.url], self.options())
    }

    pub(crate) fn venue_over(&self, urls: &[&str], options: SolanaVenueOptions) -> SolanaVenue {
        let cluster = Cluster::new(nodes(urls), Runtime::tokio()).unwrap();
        SolanaVenue::new(Arc::new(cluster), self.wallet.clone(), self.desk.clone(), options)
    }

    /// Prepares a new order that sells so much of one token for another.
    pub(crate) async fn prepare(
        &self,
        venue: &SolanaVenue,
        (input, amount): (Pubkey, u64),
        (output, paid): (Pubkey, u64),
    ) -> Result<(Order, SignedTx), StepError> {
        let amounts = [amount, paid].map(|amount| Amount::new(u128::from(amount)));
        let (input, output) = (token(input), token(output));
        let leg =
            Leg::new("Desk", "desk", (input.mint.as_str(), amounts[0]), (output.mint.as_str(), amounts[1]));
        let route = Route::new("Desk", vec![leg], amounts[0], amounts[1]);
        let runtime = Runtime::tokio();
        let id = OrderId::new(runtime.now(), runtime.entropy.next_u128());
        let request = OrderRequest::new("alice", input, output, amounts[0]);
        let (order, _) = Order::accept(id, request, 3, runtime.now());
        let request = PrepareRequest::new(&order, &route, amounts[1], FENCE, &LatestNonce);
        let tx = venue.prepare(request).await?;
        Ok((order, tx))
    }
}

pub(crate) fn token(mint: Pubkey) -> Token {
    let (symbol, decimals) = if mint == WRAPPED_SOL { ("SOL", 9) } else { ("T", 6) };
    Token::new(mint.to_string(), symbol, decimals)
}

/// Observes a transaction until the observation is what is waited for.
pub(crate) async fn observe_until(
    venue: &SolanaVenue,
    tx: &SignedTx,
    is_met: impl Fn(&Observation) -> bool,
) -> Observation {
    for _ in 0..600 {
        let observed = venue.observe(&[TxRef::from(tx)]).await.unwrap().remove(0);
        if is_met(&observed) {
            return observed;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("it is not observed as expected");
}

pub(crate) fn is_final(observation: &Observation) -> bool {
    matches!(
        observation,
        Observation::Landed { certainty: Certainty::Finalized, .. }
            | Observation::Reverted { certainty: Certainty::Finalized, .. }
    )
}
