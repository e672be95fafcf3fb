//! A chain with several tokens and pools of the exchanges' real programs, and a venue that trades with them.

use std::collections::BTreeSet;
use std::sync::Arc;

use order_engine_core::testing::LatestNonce;
use order_engine_core::{
    Amount, Leg, Order, OrderId, OrderRequest, PrepareRequest, Route, Runtime, SignedTx, StepError,
    Venue as _,
};
use order_engine_routing::{Direction, Moment, PoolSource as _, QuoteError};
use order_engine_solana::{
    KeypairSigner, PoolDirectory, Pubkey, Signature, Signed, SolanaVenue, SolanaVenueOptions,
    WalletSigner as _,
};
use serde_json::Value;

use super::orders::{FENCE, token};
use super::pools::{Case, Dice, MadePool, Price};
use super::pulse::Pulse;
use super::surfpool::Surfpool;

const WALLET_TOKENS: u64 = 1 << 58;

/// A chain with tokens and pools, and a wallet that has of all tokens.
pub(crate) struct Market {
    pub(crate) chain: Surfpool,
    pub(crate) wallet: Arc<KeypairSigner>,
    /// In ascending order, as pools name them.
    pub(crate) mints: Vec<Pubkey>,
    /// The wallet's accounts, in the order of the mints.
    pub(crate) accounts: Vec<Pubkey>,
    pub(crate) directory: Arc<PoolDirectory>,
    pub(crate) pools: Vec<Pubkey>,
    pub(crate) dice: Dice,
    pub(crate) pulse: Pulse,
}

impl Market {
    /// Opens a market of so many tokens with these pools, each of which trades two of the tokens by their numbers.
    pub(crate) async fn open(tokens: usize, pools: &[(&Case, [usize; 2])], seed: u64) -> Self {
        let dice = Dice::new(seed);
        Self::with_pools(tokens, pools, seed, |case, mints| (case.make)(&dice, mints, Price::any(&dice)))
            .await
    }

    /// The same, where all pools of a program are alike, so that each is worth a part of a large order.
    pub(crate) async fn open_alike(tokens: usize, pools: &[(&Case, [usize; 2])], seed: u64) -> Self {
        Self::with_pools(tokens, pools, seed, |case, mints| {
            let dice = Dice::new(seed);
            (case.make)(&dice, mints, Price::any(&dice))
        })
        .await
    }

    async fn with_pools(
        tokens: usize,
        pools: &[(&Case, [usize; 2])],
        seed: u64,
        make: impl Fn(&Case, [Pubkey; 2]) -> MadePool,
    ) -> Self {
        let mut codes: Vec<_> = pools
            .iter()
            .map(|(case, _)| (case.program, case.code().expect("the code of the program is there")))
            .collect();
        codes.sort();
        codes.dedup();
        // A hash is valid for 150 slots, which a busy machine needs between the building and the sending.
        let chain = Surfpool::with_programs(40, &codes);
        let (wallet, dice) = (Arc::new(KeypairSigner::random()), Dice::new(seed));
        let mut mints: Vec<Pubkey> = (0..tokens).map(|_| KeypairSigner::random().address()).collect();
        mints.sort_unstable();
        chain.fund(wallet.address(), 1 << 50).await;
        let mut accounts = Vec::new();
        for mint in &mints {
            chain.make_mint(*mint, 6).await;
            accounts.push(chain.give(wallet.address(), *mint, WALLET_TOKENS, None).await);
        }
        let mut addresses = Vec::new();
        for (case, [a, b]) in pools {
            let mints = [mints[*a], mints[*b]];
            let pool = make(case, mints);
            pool.write(&chain, mints).await;
            addresses.push(pool.address);
        }
        let directory = Arc::new(PoolDirectory::new(chain.cluster(), addresses.clone()));
        let pulse = Pulse::start(&chain).await;
        Self { chain, wallet, mints, accounts, directory, pools: addresses, dice, pulse }
    }

    pub(crate) fn venue(&self, tables: &[Pubkey]) -> SolanaVenue {
        let options = SolanaVenueOptions::default()
            .with_busy_account(self.pulse.account)
            .with_complete_from_slot(31)
            .with_lookup_tables(tables.iter().copied());
        let wallet = Arc::clone(&self.wallet);
        SolanaVenue::new(self.chain.cluster(), wallet, Arc::clone(&self.directory) as _, options)
    }

    /// Makes a lookup table of all accounts that swaps with the pools name, those of the wallet not among them.
    pub(crate) async fn make_table(&self) -> Pubkey {
        let (mut named, table) = (BTreeSet::new(), KeypairSigner::random().address());
        for pool in &self.pools {
            named.extend(self.directory.accounts_of(*pool).expect("it was read"));
        }
        let named: Vec<Pubkey> = named.into_iter().collect();
        self.chain.make_table(table, &named).await;
        table
    }

    /// Reads all pools, and returns the chain's time then.
    pub(crate) async fn read(&self) -> Moment {
        let report = self.directory.read().await.expect("the node answers");
        assert!(report.unread.is_empty(), "{:?}", report.unread);
        self.directory.snapshot().reading(&self.pools[0].to_string()).expect("it was read").at
    }

    /// Quotes a leg that sells a token by its number.
    pub(crate) fn leg(&self, pool: usize, sold: usize, amount: u64, at: Moment) -> Result<Leg, QuoteError> {
        let snapshot = self.directory.pool(self.pools[pool]).expect("it was read");
        let input = self.mints[sold].to_string();
        let direction = snapshot.direction(&input)?;
        let output = match direction {
            Direction::AToB => snapshot.token_b.clone(),
            Direction::BToA => snapshot.token_a.clone(),
        };
        let amount = Amount::new(amount.into());
        let out = snapshot.amount_out(direction, amount, at)?;
        Ok(Leg::new(&snapshot.dex, &snapshot.id, (input, amount), (output, out)))
    }

    /// Prepares an order that sells a token for another on these legs, and must pay so much.
    pub(crate) async fn prepare(
        &self,
        venue: &SolanaVenue,
        (sold, bought): (usize, usize),
        route: &Route,
        min_amount_out: Amount,
    ) -> Result<SignedTx, StepError> {
        let runtime = Runtime::tokio();
        let id = OrderId::new(runtime.now(), runtime.entropy.next_u128());
        let [input, output] = [sold, bought].map(|number| token(self.mints[number]));
        let request = OrderRequest::new("alice", input, output, route.amount_in);
        let (order, _) = Order::accept(id, request, 3, runtime.now());
        venue.prepare(PrepareRequest::new(&order, route, min_amount_out, FENCE, &LatestNonce)).await
    }

    /// Sends a transaction and waits for its block; returns its error.
    pub(crate) async fn land(&self, venue: &SolanaVenue, tx: &SignedTx) -> Value {
        let report = venue.submit(tx).await;
        assert_eq!(report, order_engine_core::SubmitReport::Accepted);
        let id: Signature = tx.id.as_str().parse().unwrap();
        self.chain.landed(&Signed { id, bytes: Vec::new() }).await
    }

    pub(crate) async fn balances(&self) -> Vec<u64> {
        let mut balances = Vec::new();
        for account in &self.accounts {
            balances.push(self.chain.tokens(*account).await.unwrap_or(0));
        }
        balances
    }
}

/// Returns a route of legs for an order that buys a token.
pub(crate) fn route(legs: Vec<Leg>, sold: Pubkey, bought: Pubkey) -> Route {
    let sum = |amounts: &mut dyn Iterator<Item = Amount>| {
        amounts.fold(Amount::ZERO, |sum, amount| sum.checked_add(amount).unwrap())
    };
    let (sold, bought) = (sold.to_string(), bought.to_string());
    let amount_in = sum(&mut legs.iter().filter(|leg| leg.input_mint == sold).map(|leg| leg.amount_in));
    let amount_out = sum(&mut legs.iter().filter(|leg| leg.output_mint == bought).map(|leg| leg.amount_out));
    Route::new("several", legs, amount_in, amount_out)
}
