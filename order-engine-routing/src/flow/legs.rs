//! Evaluates a plan exactly: the legs in the order of execution, each of which sells what was bought before.

use order_engine_core::Amount;

use super::Flow;
use super::network::{Arc, INPUT, OUTPUT};
use super::plan::Plan;
use crate::quote::LegQuote;

/// Returns the legs of a plan, or `None` if the pools cannot execute it. No leg pays nothing.
pub(super) fn evaluate<'a>(plan: &Plan<'_, '_, 'a>) -> Option<Flow<'a>> {
    let network = plan.network;
    let mut held = vec![0_u128; network.tokens()];
    held[INPUT] = plan.task.amount;
    let leads_on = leads_on(plan);
    let mut legs = Vec::new();
    let mut order = network.order();
    while let Some(&first) = order.first() {
        let token = network.arcs()[first].from;
        let selling = order.iter().take_while(|arc| network.arcs()[**arc].from == token).count();
        let (sellers, later) = order.split_at(selling);
        order = later;
        let sellers: Vec<(usize, u128)> = sellers
            .iter()
            .map(|&arc| (arc, plan.load(arc).amount_in))
            .filter(|(arc, planned)| *planned > 0 && leads_on[*arc])
            .collect();
        for (arc, leg) in sell(plan, &sellers, held[token])? {
            held[arc.to] = held[arc.to].checked_add(leg.amount_out.base_units())?;
            legs.push(leg);
        }
        held[token] = 0;
    }
    // All that was bought on the way has been sold.
    let is_left = held.iter().enumerate().any(|(token, held)| token != OUTPUT && *held > 0);
    let amount_out = Amount::new(held[OUTPUT]);
    (!is_left && held[OUTPUT] > 0).then_some(Flow { legs, amount_out })
}

/// Returns for each arc whether what it buys gets to the output. Exchanges may leave the rounding of a way that is no
/// longer used.
fn leads_on(plan: &Plan<'_, '_, '_>) -> Vec<bool> {
    let network = plan.network;
    let mut is_sold = vec![false; network.tokens()];
    is_sold[OUTPUT] = true;
    let mut leads_on = vec![false; network.len()];
    for &arc in network.order().iter().rev() {
        let Arc { from, to, .. } = network.arcs()[arc];
        if plan.load(arc).amount_in > 0 && is_sold[to] {
            leads_on[arc] = true;
            is_sold[from] = true;
        }
    }
    leads_on
}

/// Sells all of a token that is held, with each pool about what is planned for it. What a pool pays nothing for, and
/// what is left by rounding, goes to the pool with the most.
fn sell<'p, 'a>(
    plan: &'p Plan<'_, '_, 'a>,
    sellers: &[(usize, u128)],
    held: u128,
) -> Option<Vec<(&'p Arc<'a>, LegQuote<'a>)>> {
    if held == 0 {
        return Some(Vec::new());
    }
    // The pools by what they take. The one with the most takes the rest; where it has no room for it, the next.
    let mut ranked = sellers.to_vec();
    ranked.sort_by_key(|(arc, planned)| (std::cmp::Reverse(*planned), *arc));
    (0..ranked.len()).find_map(|last| sell_rest_with(plan, &ranked, last, held))
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
        Some((arc, LegQuote { pool: arc.pool, direction: arc.direction, amount_in, amount_out }))
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
