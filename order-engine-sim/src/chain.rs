//! The simulated chain: which transactions it knows, when they land, and what they do.
//!
//! Everything here is a function of what was sent and of the time it is told. Nothing waits.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use order_engine_core::{
    Amount, Certainty, ChainView, Failure, FailureClass, FailureCode, Fill, Observation, TxId,
};
use order_engine_routing::{ConstantProduct, Curve, Pool, PoolSet, QuoteError};

use crate::dice::{Dice, Purpose, subject};
use crate::heights::Heights;
use crate::market::Market;
use crate::tx::{Malformed, Message, Signer, Swap};
use crate::{Execution, Rate, SimConfig};

/// The chain.
#[derive(Debug)]
pub(crate) struct SimChain {
    signer: Signer,
    dice: Dice,
    fail_rate: Rate,
    heights: Heights,
    market: Market,
    /// What landed, by transaction.
    landed: HashMap<TxId, Execution>,
    /// What was sent and has not landed.
    in_flight: HashMap<TxId, Message>,
    /// When what is in flight lands: by time, then by id, so that a schedule is the same each time.
    schedule: BTreeSet<(u64, TxId)>,
}

/// What came of sending.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Sent {
    Accepted,
    AlreadyKnown,
    Refused(&'static str),
}

/// Why a route cannot be simulated.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SimulationError {
    #[error("there is no pool {0:?}")]
    UnknownPool(String),
    #[error("{pool}: {error}")]
    Pool { pool: String, error: QuoteError },
    #[error("the route is broken")]
    BrokenRoute,
}

impl SimChain {
    /// A chain on which all of this already executed.
    pub(crate) fn new(config: &SimConfig, executions: Vec<Execution>, now_ms: u64) -> Self {
        let heights = Heights::new(config);
        let heights = executions.last().map_or(heights, |last| heights.resume_after(last, now_ms));
        Self {
            signer: Signer::new(config.seed),
            dice: Dice::new(config.seed),
            fail_rate: config.fail_rate,
            heights,
            market: Market::new(config),
            landed: executions.into_iter().map(|execution| (execution.tx_id.clone(), execution)).collect(),
            in_flight: HashMap::new(),
            schedule: BTreeSet::new(),
        }
    }

    pub(crate) fn pools(&self, now_ms: u64) -> std::sync::Arc<PoolSet> {
        self.market.at(self.heights.at(now_ms))
    }

    pub(crate) const fn height(&self, now_ms: u64) -> u64 {
        self.heights.at(now_ms)
    }

    pub(crate) fn view(&self, now_ms: u64) -> ChainView {
        self.heights.view(now_ms)
    }

    pub(crate) fn sign(&self, message: &Message) -> Result<(TxId, Vec<u8>), Malformed> {
        self.signer.sign(message)
    }

    /// Takes a transaction. It lands a step later, if it is still valid then.
    pub(crate) fn send(&mut self, bytes: &[u8], now_ms: u64) -> Sent {
        let Ok((id, message)) = self.signer.open(bytes) else {
            return Sent::Refused("malformed transaction");
        };
        if self.landed.contains_key(&id) || self.in_flight.contains_key(&id) {
            return Sent::AlreadyKnown;
        }
        if self.heights.at(now_ms) > message.last_valid_height() {
            return Sent::Refused("block height exceeded");
        }
        self.schedule.insert((now_ms + self.heights.step_ms(), id.clone()));
        self.in_flight.insert(id, message);
        Sent::Accepted
    }

    /// Lets land whatever is due by now; gives what executed, in order.
    pub(crate) fn advance(&mut self, now_ms: u64) -> Vec<Execution> {
        let mut executions = Vec::new();
        while let Some((lands_at_ms, id)) = self.schedule.pop_first() {
            if lands_at_ms > now_ms {
                self.schedule.insert((lands_at_ms, id));
                break;
            }
            let Some(message) = self.in_flight.remove(&id) else { continue };
            let height = self.heights.at(lands_at_ms);
            // What comes too late never lands, and is forgotten as a real chain forgets it.
            if height <= message.last_valid_height() {
                let execution = self.execute(&id, &message, height, lands_at_ms);
                self.landed.insert(id, execution.clone());
                executions.push(execution);
            }
        }
        executions
    }

    fn execute(&self, id: &TxId, message: &Message, height: u64, landed_at_ms: u64) -> Execution {
        let pools = self.market.at(height);
        let amount_out = if self.dice.happens(self.fail_rate, Purpose::AdverseMove, subject(id.as_str()), 0) {
            ahead_of(&pools, message)
        } else {
            simulate(&pools, &message.legs)
        };
        // A pool that cannot take the swap pays nothing.
        let amount_out = amount_out.unwrap_or(Amount::ZERO);
        Execution {
            order_id: message.order_id,
            tx_id: id.clone(),
            executed: !amount_out.is_zero() && amount_out >= message.min_amount_out,
            height,
            landed_at_ms,
            amount_in: amount_in(&pools, &message.legs),
            amount_out,
            min_amount_out: message.min_amount_out,
        }
    }

    /// What is known of a transaction.
    pub(crate) fn observe(&self, id: &TxId, now_ms: u64) -> Observation {
        match self.landed.get(id) {
            None => Observation::NotFound { history_complete: true },
            Some(execution) => report(execution, self.heights.certainty(execution.landed_at_ms, now_ms)),
        }
    }

    /// Everything that landed.
    pub(crate) fn executions(&self) -> impl Iterator<Item = &Execution> {
        self.landed.values()
    }
}

fn report(execution: &Execution, certainty: Certainty) -> Observation {
    let Execution { amount_in, amount_out, min_amount_out, height, executed, .. } = execution;
    if *executed {
        let fill = Fill { amount_in: *amount_in, amount_out: *amount_out, height: *height };
        return Observation::Landed { certainty, fill };
    }
    let message = format!(
        "The swap would have paid {amount_out} base units, less than the minimum of {min_amount_out}"
    );
    let failure = Failure::new(FailureCode::SLIPPAGE, message);
    Observation::Reverted { certainty, failure, class: FailureClass::Requote }
}

/// What comes out of the legs, run one after the other: a pool that two legs share is changed by
/// the first.
pub(crate) fn simulate(pools: &PoolSet, legs: &[Swap]) -> Result<Amount, SimulationError> {
    run(&mut Reserves::new(pools), legs)
}

/// What comes out if somebody trades ahead: they buy what the transaction wants to buy, as much as
/// it takes to bring the output below the minimum. A transaction that accepts anything cannot be
/// hurt.
fn ahead_of(pools: &PoolSet, message: &Message) -> Result<Amount, SimulationError> {
    let undisturbed = simulate(pools, &message.legs)?;
    let first = message.legs.first().ok_or(SimulationError::BrokenRoute)?;
    let reserves = Reserves::new(pools);
    let (pool, curve) = reserves.pool(&first.pool)?;
    let (a, b) = curve.reserves();
    // One percent of the pool, and twice as much each time.
    let percent = Amount::new((if first.sells_a { a } else { b }).base_units() / 100 + 1);
    let ahead = Swap { pool: pool.id.clone(), sells_a: first.sells_a, amount_in: percent };
    (0..10)
        .map(|doublings| {
            let amount_in = Amount::new(ahead.amount_in.base_units().saturating_mul(1 << doublings));
            let mut reserves = Reserves::new(pools);
            reserves.swap(&Swap { amount_in, ..ahead.clone() })?;
            run(&mut reserves, &message.legs)
        })
        .find(|output| output.as_ref().is_ok_and(|output| *output < message.min_amount_out))
        .unwrap_or(Ok(undisturbed))
}

/// Runs legs over pools: what the first ones pay, the later ones may spend.
fn run(reserves: &mut Reserves<'_>, legs: &[Swap]) -> Result<Amount, SimulationError> {
    let (first, last) = legs.first().zip(legs.last()).ok_or(SimulationError::BrokenRoute)?;
    let source = reserves.mints(first)?.0.to_owned();
    let target = reserves.mints(last)?.1.to_owned();
    let mut balances: BTreeMap<String, Amount> = BTreeMap::new();
    for leg in legs {
        let (input, output) = reserves.mints(leg)?;
        let (input, output) = (input.to_owned(), output.to_owned());
        let spent = if input == source {
            leg.amount_in
        } else {
            // A hop spends what there is: the hop before it may have paid a little less.
            let balance = balances.entry(input).or_default();
            let spent = leg.amount_in.min(*balance);
            *balance = balance.checked_sub(spent).unwrap_or_default();
            spent
        };
        let paid = reserves.swap(&Swap { amount_in: spent, ..leg.clone() })?;
        let balance = balances.entry(output).or_default();
        *balance = balance.checked_add(paid).ok_or(SimulationError::BrokenRoute)?;
    }
    balances.get(&target).copied().ok_or(SimulationError::BrokenRoute)
}

/// What the legs take from outside, in base units of the first leg's token.
fn amount_in(pools: &PoolSet, legs: &[Swap]) -> Amount {
    let reserves = Reserves::new(pools);
    let source = legs.first().and_then(|leg| reserves.mints(leg).ok()).map(|(input, _)| input);
    let from_source = legs.iter().filter(|leg| reserves.mints(leg).ok().map(|(input, _)| input) == source);
    from_source.fold(Amount::ZERO, |sum, leg| sum.checked_add(leg.amount_in).unwrap_or(Amount::MAX))
}

/// Pools as a transaction changes them.
struct Reserves<'a> {
    pools: &'a PoolSet,
    changed: BTreeMap<String, ConstantProduct>,
}

impl<'a> Reserves<'a> {
    const fn new(pools: &'a PoolSet) -> Self {
        Self { pools, changed: BTreeMap::new() }
    }

    fn pool(&self, id: &str) -> Result<(&'a Pool, ConstantProduct), SimulationError> {
        let unknown = || SimulationError::UnknownPool(id.to_owned());
        let pool = self.pools.pools().iter().find(|pool| pool.id == id).ok_or_else(unknown)?;
        let Curve::ConstantProduct(curve) = &pool.curve else { return Err(unknown()) };
        Ok((pool, *self.changed.get(id).unwrap_or(curve)))
    }

    /// The mint that goes in, and the one that comes out.
    fn mints(&self, leg: &Swap) -> Result<(&'a str, &'a str), SimulationError> {
        let (pool, _) = self.pool(&leg.pool)?;
        Ok(if leg.sells_a { (&pool.token_a, &pool.token_b) } else { (&pool.token_b, &pool.token_a) })
    }

    fn swap(&mut self, leg: &Swap) -> Result<Amount, SimulationError> {
        let (pool, curve) = self.pool(&leg.pool)?;
        let fail = |error| SimulationError::Pool { pool: pool.id.clone(), error };
        let out = curve.amount_out(leg.sells_a, leg.amount_in).map_err(fail)?;
        let (a, b) = curve.reserves();
        let (a, b) = if leg.sells_a {
            (a.checked_add(leg.amount_in), b.checked_sub(out))
        } else {
            (a.checked_sub(out), b.checked_add(leg.amount_in))
        };
        let (a, b) = a.zip(b).ok_or_else(|| fail(QuoteError::Overflow))?;
        let next =
            ConstantProduct::new(a, b, curve.fee()).map_err(|_| fail(QuoteError::NotEnoughLiquidity))?;
        self.changed.insert(pool.id.clone(), next);
        Ok(out)
    }
}
