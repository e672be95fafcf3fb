//! Evaluates a plan exactly: the legs in the order of execution, each of which sells what was bought before.

use std::cmp::Reverse;

use order_engine_core::Amount;

use super::Flow;
use super::network::{Arc, INPUT, OUTPUT};
use super::plan::Plan;
use crate::footprint::Toll;
use crate::quote::LegQuote;

/// How often a plan is changed because a pool has no room for what others bought for it.
const MOST_CHANGES: usize = 8;

/// A token of which the pools that sell it cannot take all that was bought.
struct Surplus {
    token: usize,
    amount: u128,
}

/// Returns the legs of a plan, or `None` if the pools cannot execute it. No leg pays nothing.
///
/// What arrives at a token may be a few units more than is planned. Where no pool has room for them, less is bought.
pub(super) fn evaluate<'a>(plan: &Plan<'_, '_, 'a>) -> Option<Flow<'a>> {
    let mut plan = plan.clone();
    let mut is_full = vec![false; plan.network.tokens()];
    for _ in 0..MOST_CHANGES {
        match execute(&plan, &is_full) {
            Ok(flow) => return flow,
            Err(Surplus { token, amount }) => {
                is_full[token] = true;
                plan.buy_less(token, amount)?;
            }
        }
    }
    None
}

fn execute<'a>(plan: &Plan<'_, '_, 'a>, is_full: &[bool]) -> Result<Option<Flow<'a>>, Surplus> {
    let network = plan.network;
    let mut held = vec![0_u128; network.tokens()];
    held[INPUT] = plan.task.amount;
    let leads_on = leads_on(plan);
    let (mut legs, mut toll) = (Vec::new(), Toll::default());
    for (first, selling) in network.sellers() {
        let token = selling[0].from;
        let mut sellers: Vec<(usize, u128)> = (first..first + selling.len())
            .map(|arc| (arc, plan.load(arc).amount_in))
            .filter(|(arc, planned)| *planned > 0 && leads_on[*arc])
            .collect();
        // The pool with the most takes the rest, rather one that buys a token for which there is room.
        sellers.sort_by_key(|(arc, planned)| (is_full[network.arcs()[*arc].to], Reverse(*planned), *arc));
        let planned = sellers.iter().fold(0_u128, |sum, (_, planned)| sum.saturating_add(*planned));
        let Some(sold) = sell(plan, &sellers, held[token]) else {
            let amount = held[token].saturating_sub(planned).saturating_add(1);
            return if token == INPUT { Ok(None) } else { Err(Surplus { token, amount }) };
        };
        for (arc, leg) in sold {
            held[arc.to] = held[arc.to].saturating_add(leg.amount_out.base_units());
            toll = toll.plus(arc.toll);
            legs.push(leg);
        }
        held[token] = 0;
    }
    // All that was bought on the way has been sold.
    let is_left = held.iter().enumerate().any(|(token, held)| token != OUTPUT && *held > 0);
    let amount_out = Amount::new(held[OUTPUT]);
    Ok((!is_left && held[OUTPUT] > 0).then_some(Flow { legs, amount_out, toll }))
}

/// Returns for each arc whether what it buys gets to the output. Exchanges may leave the rounding of a way that is no
/// longer used.
fn leads_on(plan: &Plan<'_, '_, '_>) -> Vec<bool> {
    let network = plan.network;
    let mut is_sold = vec![false; network.tokens()];
    is_sold[OUTPUT] = true;
    let mut leads_on = vec![false; network.len()];
    for (arc, &Arc { from, to, .. }) in network.arcs().iter().enumerate().rev() {
        if plan.load(arc).amount_out > 0 && is_sold[to] {
            leads_on[arc] = true;
            is_sold[from] = true;
        }
    }
    leads_on
}

/// Sells all of a token that is held, with each pool about what is planned for it. What a pool pays nothing for, and
/// what is left by rounding, goes to the first pool; where that has no room for it, to the next.
fn sell<'p, 'a>(
    plan: &'p Plan<'_, '_, 'a>,
    sellers: &[(usize, u128)],
    held: u128,
) -> Option<Vec<(&'p Arc<'a>, LegQuote<'a>)>> {
    if held == 0 {
        return Some(Vec::new());
    }
    (0..sellers.len()).find_map(|last| sell_rest_with(plan, sellers, last, held))
}

fn sell_rest_with<'p, 'a>(
    plan: &'p Plan<'_, '_, 'a>,
    ranked: &[(usize, u128)],
    last: usize,
    held: u128,
) -> Option<Vec<(&'p Arc<'a>, LegQuote<'a>)>> {
    let quote = |arc: usize, amount_in: u128| {
        let arc = &plan.network.arcs()[arc];
        let (amount_in, at) = (Amount::new(amount_in), plan.task.at);
        let amount_out = arc.pool.amount_out(arc.direction, amount_in, at).ok()?;
        let (pool, direction, footprint) = (arc.pool, arc.direction, arc.toll.footprint);
        Some((arc, LegQuote { pool, direction, amount_in, amount_out, footprint }))
    };
    let mut rest = held;
    let mut legs = Vec::with_capacity(ranked.len());
    for (_, &(arc, planned)) in ranked.iter().enumerate().filter(|(rank, _)| *rank != last) {
        let amount_in = planned.min(rest);
        if let Some(leg) = quote(arc, amount_in) {
            rest -= amount_in;
            legs.push(leg);
        }
    }
    if rest > 0 {
        legs.push(quote(ranked[last].0, rest)?);
    }
    legs.sort_by_key(|(arc, _)| arc.number);
    Some(legs)
}
