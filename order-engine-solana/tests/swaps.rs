//! Quotes against what really lands, to the unit: random swaps with the real programs of the exchanges on a real Solana
//! runtime.
//!
//! The code of the programs is not part of this repository. `SOLANA_PROGRAMS` names a folder with it; a program without it
//! is not run, which the output says.

mod common;

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use common::orders::token;
use common::pools::{CASES, Case, Dice, Price};
use common::pulse::Pulse;
use common::surfpool::Surfpool;
use order_engine_core::{Amount, Engine, Leg, MemoryStore, OrderRequest, Runtime, Status, Submission};
use order_engine_routing::{Curve, Direction, Moment, Pool, PoolSource as _, QuoteError, Router};
use order_engine_solana::instructions::compute_budget::{UNITS_MAX, set_unit_limit};
use order_engine_solana::{
    Draft, KeypairSigner, PoolDirectory, Pubkey, SolanaVenue, SolanaVenueOptions, SwapBuilder as _,
    SwapRequest, WalletSigner as _,
};
use serde_json::{Value, json};

/// How many swaps in each direction, unless `SWAPS` says otherwise.
const SWAPS: u64 = 200;
const WALLET_TOKENS: u64 = 1 << 60;
/// The router is told what a trade through so many bins of a DLMM pair takes, and through so many groups of ticks of a
/// Whirlpool whose fee adapts.
const BINS_MAX: u32 = 40;
const GROUPS_MAX: u32 = 100;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let mut is_any_missing = false;
    // The arguments name the cases that are run, or none for all.
    let named: Vec<String> = std::env::args().skip(1).collect();
    let is_named = |case: &&Case| named.is_empty() || named.iter().any(|name| case.name.contains(name));
    for case in CASES.iter().filter(is_named) {
        match case.code() {
            Some(_) => {
                let market = Market::open(case).await;
                let landed = market.trade(swaps().div_ceil(case.share)).await;
                println!(
                    "{}: {} and {} swaps landed as quoted, to the unit; at most {} compute units",
                    case.name,
                    landed[0],
                    landed[1],
                    market.most.load(Relaxed)
                );
                Market::open(case).await.execute_order().await;
                println!("{}: an engine executed an order, routed over the pool", case.name);
            }
            None => {
                is_any_missing = true;
                println!("{}: NOT RUN, because $SOLANA_PROGRAMS/{} is missing", case.name, case.file);
                println!("    solana program dump --url mainnet-beta {} {}", case.program, case.file);
            }
        }
    }
    if is_any_missing {
        println!("Set SOLANA_PROGRAMS to a folder with the code of the programs to run these tests.");
    }
    ExitCode::SUCCESS
}

fn swaps() -> u64 {
    std::env::var("SWAPS").map_or(SWAPS, |text| text.parse().expect("SWAPS is a number"))
}

/// A chain with one pool, and a wallet that trades with it.
struct Market<'a> {
    case: &'a Case,
    chain: Surfpool,
    wallet: Arc<KeypairSigner>,
    mints: [Pubkey; 2],
    accounts: [Pubkey; 2],
    pool: Pubkey,
    directory: Arc<PoolDirectory>,
    dice: Dice,
    /// The most compute units that a swap has used.
    most: AtomicU64,
}

impl<'a> Market<'a> {
    async fn open(case: &'a Case) -> Self {
        let code = case.code().expect("it was there");
        let chain = Surfpool::with_programs(10, &[(case.program, code)]);
        let (wallet, dice) = (Arc::new(KeypairSigner::random()), Dice::new(7));
        let mut mints = [KeypairSigner::random().address(), KeypairSigner::random().address()];
        mints.sort_unstable();
        chain.fund(wallet.address(), 1 << 50).await;
        let mut accounts = mints;
        for (number, (account, mint)) in accounts.iter_mut().zip(mints).enumerate() {
            match case.transfer_fee.filter(|_| number == 1) {
                Some(fee) => chain.make_mint_with_fee(mint, 6, fee).await,
                None => chain.make_mint(mint, 6).await,
            }
            *account = chain.give(wallet.address(), mint, WALLET_TOKENS, None).await;
        }
        let made = (case.make)(&dice, mints, Price::any(&dice));
        made.write(&chain, mints).await;
        let directory = Arc::new(PoolDirectory::new(chain.cluster(), [made.address]));
        let (pool, most) = (made.address, AtomicU64::default());
        Self { case, chain, wallet, mints, accounts, pool, directory, dice, most }
    }

    /// Makes so many swaps in each direction, at random, and returns how many landed.
    async fn trade(&self, swaps: u64) -> [u64; 2] {
        let mut landed = [0; 2];
        let mut refused = 0;
        while landed.iter().any(|landed| *landed < swaps) {
            let side = usize::try_from(self.dice.below(2)).unwrap();
            let side = if landed[side] < swaps { side } else { 1 - side };
            let amount = self.case.amount_min + self.dice.amount(self.case.amount_bits);
            if self.swap(side, amount, landed[side] % 20 == 0).await {
                landed[side] += 1;
            } else {
                refused += 1;
                assert!(refused < 20 * swaps, "{}: nearly no amount can be traded", self.case.name);
            }
        }
        landed
    }

    /// Quotes and makes one swap; nothing if the pool cannot trade the amount. With `also_too_much` it first tries to get a
    /// unit more than quoted, which fails.
    async fn swap(&self, side: usize, amount: u64, also_too_much: bool) -> bool {
        self.let_time_pass().await;
        let at = self.read().await;
        let pool = self.directory.pool(self.pool).expect("it was read");
        let direction = Direction::BOTH[side];
        let quoted = match pool.amount_out(direction, Amount::new(u128::from(amount)), at) {
            Ok(quoted) => u64::try_from(quoted.base_units()).unwrap(),
            Err(QuoteError::TooSmall | QuoteError::NotEnoughLiquidity) => return false,
            Err(error) => panic!("{}: {error}", self.case.name),
        };
        if also_too_much {
            let (_, err) = self.send(side, amount, (quoted, quoted + 1)).await;
            let below = json!({ "InstructionError": [1, { "Custom": self.case.below_minimum }] });
            assert_eq!(err, below, "{}: it does not pay more than {quoted}", self.case.name);
        }
        let before = self.balances().await;
        let (signature, err) = self.send(side, amount, (quoted, quoted)).await;
        assert_eq!(err, Value::Null, "{}: {amount} for {quoted}, side {side}", self.case.name);
        self.check_footprint(&signature, &pool).await;
        let after = self.balances().await;
        let (sold, paid) = (before[side] - after[side], after[1 - side] - before[1 - side]);
        assert_eq!((sold, paid), (amount, quoted), "{}: side {side}", self.case.name);
        true
    }

    /// Has a whole engine route, build, send and observe an order.
    async fn execute_order(&self) {
        self.read().await;
        let pulse = Pulse::start(&self.chain).await;
        let options =
            SolanaVenueOptions::default().with_busy_account(pulse.account).with_complete_from_slot(31);
        let wallet = Arc::clone(&self.wallet);
        let venue = SolanaVenue::new(self.chain.cluster(), wallet, Arc::clone(&self.directory) as _, options);
        let router = Router::new(Arc::clone(&self.directory) as _, Runtime::tokio().clock);
        let engine = Engine::builder().store(MemoryStore::new()).router(router).venue(venue);
        let engine = engine.build().await.expect("the engine starts");
        tokio::spawn(engine.run(1));
        let before = self.balances().await;
        let [input, output] = self.mints.map(token);
        let request =
            OrderRequest::new("alice", input, output, Amount::new(1_000_000)).with_slippage_bps(100);
        let Submission::Created(order) = engine.submit(request).await.expect("it is accepted") else {
            panic!()
        };
        let order = engine.wait(order.id).await.expect("it ends").expect("it is there");
        assert_eq!(order.status(), Status::Confirmed, "{}: {:?}", self.case.name, order.state.failure());
        let after = self.balances().await;
        let fill = order.state.fill().expect("it is filled");
        let traded = [before[0] - after[0], after[1] - before[1]].map(u128::from);
        assert_eq!([fill.amount_in.base_units(), fill.amount_out.base_units()], traded, "{}", self.case.name);
        let promised = order.worst_price().expect("it has a worst price");
        assert!(fill.amount_out >= promised);
    }

    /// Reads the pool, and returns the chain's time then.
    async fn read(&self) -> Moment {
        let report = self.directory.read().await.expect("the node answers");
        assert!(report.unread.is_empty(), "{}: {:?}", self.case.name, report.unread);
        self.directory.snapshot().reading(&self.pool.to_string()).expect("it was read").at
    }

    /// Sends a swap, and returns its signature and its error.
    async fn send(&self, side: usize, amount: u64, (quoted, min_amount_out): (u64, u64)) -> (String, Value) {
        let leg = Leg::new(
            self.case.name,
            self.pool.to_string(),
            (self.mints[side].to_string(), Amount::new(u128::from(amount))),
            (self.mints[1 - side].to_string(), Amount::new(u128::from(quoted))),
        );
        let accounts = (self.accounts[side], self.accounts[1 - side]);
        let request = SwapRequest::new(&leg, self.wallet.address(), accounts, (amount, min_amount_out));
        let mut instructions = vec![set_unit_limit(UNITS_MAX)];
        instructions.extend(self.directory.swap(request).await.expect("the pool is known").instructions);
        let signed =
            self.chain.sign(&Draft::new(self.wallet.address(), instructions), &[&*self.wallet]).await;
        self.chain.send(&signed).await.expect("the node takes it");
        (signed.id.to_string(), self.chain.landed(&signed).await)
    }

    /// Checks that a swap took no more than the router is told, and remembers the most. `before` is the pool as the swap
    /// found it.
    async fn check_footprint(&self, signature: &str, before: &Pool) {
        self.read().await;
        let after = self.directory.pool(self.pool).expect("it was read");
        let is_far = match (&before.curve, &after.curve) {
            (Curve::Dlmm(before), Curve::Dlmm(after)) => {
                before.state().active_id.abs_diff(after.state().active_id) > BINS_MAX
            }
            (Curve::Whirlpool(before), Curve::Whirlpool(after)) => {
                let (before, after) = (before.state(), after.state());
                let moved = before.tick_current.abs_diff(after.tick_current);
                before.adaptive_fee.is_some_and(|fee| moved > GROUPS_MAX * u32::from(fee.tick_group_size))
            }
            _ => false,
        };
        if is_far {
            return;
        }
        let settings = json!({ "encoding": "json", "maxSupportedTransactionVersion": 0 });
        let tx = self.chain.call("getTransaction", json!([signature, settings])).await.unwrap();
        let used = tx["meta"]["computeUnitsConsumed"].as_u64().expect("it is told");
        let footprint = self.directory.snapshot().footprint(&self.pool.to_string()).expect("it is known");
        self.most.fetch_max(used, Relaxed);
        assert!(used <= u64::from(footprint.compute_units), "{}: {used} of {footprint:?}", self.case.name);
    }

    async fn balances(&self) -> [u64; 2] {
        let [a, b] = self.accounts;
        [self.chain.tokens(a).await.unwrap(), self.chain.tokens(b).await.unwrap()]
    }

    /// Lets some time pass between some swaps, if the pool's fee depends on time; and keeps away from the seconds at
    /// which the fee changes, because a swap lands a moment after its quote.
    async fn let_time_pass(&self) {
        let Some(pool) = self.directory.pool(self.pool) else { return };
        let Some((last_update, periods)) = changing_fee(&pool.curve) else { return };
        let now = self.read().await.unix_seconds();
        let since = now.saturating_sub(last_update.unix_seconds());
        let is_close = periods.iter().any(|period| u64::from(*period).abs_diff(since) < 5);
        // Not too often and not too far: each second is a hundred slots, and the runtime loses count after an epoch.
        let jump = match self.dice.below(24) {
            0 => 45,
            1 => 100,
            _ if is_close => 10,
            _ => return,
        };
        let to = json!([{ "absoluteTimestamp": (now + jump) * 1_000 }]);
        self.chain.call("surfnet_timeTravel", to).await.expect("time can only go forward");
        // The clock that programs read follows with the next slot.
        while self.read().await.unix_seconds() < now + jump {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
}

/// Returns since when, and after which periods, the fee of a pool changes with time, if it does.
fn changing_fee(curve: &Curve) -> Option<(Moment, [u16; 2])> {
    match curve {
        Curve::Dlmm(curve) => {
            let state = curve.state();
            Some((state.volatility.last_update, [state.fees.filter_period_s, state.fees.decay_period_s]))
        }
        Curve::Whirlpool(curve) => {
            let fee = curve.state().adaptive_fee?;
            let last = fee.volatility.last_reference_update.max(fee.volatility.last_major_swap);
            Some((last, [fee.filter_period_s, fee.decay_period_s]))
        }
        _ => None,
    }
}
