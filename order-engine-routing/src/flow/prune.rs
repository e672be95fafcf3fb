//! Removes the legs that are not worth their cost, or too many.

use super::legs;
use super::network::{INPUT, OUTPUT};
use super::plan::{Load, Plan};
use super::{Flow, allocate};

/// How many of the smallest legs are tried in each round.
const TRIED: usize = 4;

/// The amount of a removed leg goes elsewhere in this many steps.
const PARTS: u128 = 4;

/// After a leg was removed, exchanges of these fractions of the amount repair the plan.
const REPAIRS: [u128; 3] = [32, 128, 512];

/// Removes legs while there are too many or that is a gain, and evaluates what is left.
pub(super) fn run<'a>(mut plan: Plan<'_, '_, 'a>) -> Option<Flow<'a>> {
    let task = plan.task;
    while plan.legs() > 1 {
        let is_too_long = plan.legs() > task.max_legs;
        if !is_too_long && (task.leg_cost == 0 || !task.budget.lasts()) {
            break;
        }
        let rank = |plan: &Plan<'_, '_, '_>| task.rank(plan.output(), plan.legs());
        let smallest = smallest(&plan);
        // Where a smaller leg cannot be spared, a larger one has to go.
        let tried = if is_too_long { smallest.len() } else { TRIED };
        let mut candidates = smallest.iter().take(tried).filter_map(|&arc| without(&plan, arc));
        let best = if is_too_long {
            candidates.by_ref().take(TRIED).max_by_key(&rank)
        } else {
            candidates.max_by_key(&rank)
        };
        match best {
            Some(mut best) => {
                for fraction in REPAIRS {
                    allocate::exchange(&mut best, (task.amount / fraction).max(1));
                }
                if !is_too_long && rank(&best) <= rank(&plan) {
                    break;
                }
                plan = best;
            }
            None if is_too_long => return None,
            None => break,
        }
    }
    legs::evaluate(&plan)
}

/// Returns the used arcs, the one with the smallest share of the amount first.
fn smallest(plan: &Plan<'_, '_, '_>) -> Vec<usize> {
    let shares = shares(plan);
    let mut used: Vec<usize> = plan.loads().map(|(arc, _)| arc).collect();
    used.sort_by(|&one, &other| shares[one].total_cmp(&shares[other]).then(one.cmp(&other)));
    used
}

/// Returns for each arc which share of the amount flows through it.
#[allow(clippy::cast_precision_loss)] // The shares only say in which order to try.
fn shares(plan: &Plan<'_, '_, '_>) -> Vec<f64> {
    let network = plan.network;
    let mut sold = vec![0.0; network.tokens()];
    for (arc, load) in plan.loads() {
        sold[network.arcs()[arc].from] += load.amount_in as f64;
    }
    let mut arriving = vec![0.0; network.tokens()];
    arriving[INPUT] = 1.0;
    let mut shares = vec![0.0; network.len()];
    for &arc in network.order() {
        let (from, to) = (network.arcs()[arc].from, network.arcs()[arc].to);
        if sold[from] > 0.0 {
            shares[arc] = arriving[from] * plan.load(arc).amount_in as f64 / sold[from];
            arriving[to] += shares[arc];
        }
    }
    shares
}

/// Returns the plan without a leg: what it bought is taken back, and what it sold goes elsewhere. Returns `None` if the
/// other pools have no room for it.
fn without<'n, 't, 'a>(plan: &Plan<'n, 't, 'a>, arc: usize) -> Option<Plan<'n, 't, 'a>> {
    let mut plan = plan.clone();
    let (from, to) = (plan.network.arcs()[arc].from, plan.network.arcs()[arc].to);
    let Load { amount_in, amount_out } = plan.close(arc);
    if to != OUTPUT {
        in_parts(amount_out, 1, |part| plan.take_back_from(to, part).is_some())?;
    }
    in_parts(amount_in, PARTS, |part| plan.send_from(from, part).is_some())?;
    Some(plan)
}

/// Does something for the whole of an amount in parts, which become smaller where it fails.
fn in_parts(amount: u128, parts: u128, mut act: impl FnMut(u128) -> bool) -> Option<()> {
    let (mut rest, mut part) = (amount, amount.div_ceil(parts));
    while rest > 0 {
        if act(part.min(rest)) {
            rest -= part.min(rest);
        } else if part == 1 {
            // What remains is the rounding of the parts before.
            return (rest <= amount >> 20).then_some(());
        } else {
            part = part.div_ceil(2);
        }
    }
    Some(())
}
