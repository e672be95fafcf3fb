//! Removes the legs that are not worth their cost, or too many.

use super::legs;
use super::network::{Arc, INPUT, OUTPUT};
use super::plan::Plan;
use super::ways::Load;
use super::{Flow, allocate};
use crate::footprint::Excess;

/// How many of the smallest legs are tried in each round.
const TRIED: usize = 4;

/// The amount of a removed leg goes elsewhere in this many steps.
const PARTS: u128 = 4;

/// After a leg was removed, exchanges of these fractions of the amount repair the plan.
const REPAIRS: [u128; 3] = [32, 128, 512];

/// Of the legs that are too many, this fraction is removed in one round.
const AT_ONCE: usize = 4;

/// Removes legs while there are too many or that is a gain, and evaluates what is left.
pub(super) fn run<'a>(mut plan: Plan<'_, '_, 'a>) -> Option<Flow<'a>> {
    let task = plan.task;
    while plan.legs() > 1 {
        let too_many = too_many(&plan);
        if too_many == 0 && (plan.toll().cost == 0 || !task.budget.lasts()) {
            break;
        }
        let smaller = match too_many.div_ceil(AT_ONCE) {
            0 => best_without_one(&plan),
            1 => cheapest_without_one(&plan),
            several => without_several(&plan, several).or_else(|| cheapest_without_one(&plan)),
        };
        match smaller {
            Some(mut smaller) => {
                let repairs = if too_many > AT_ONCE { &REPAIRS[..1] } else { &REPAIRS };
                for fraction in repairs {
                    allocate::exchange(&mut smaller, (task.amount / fraction).max(1));
                }
                if too_many == 0 && smaller.rank() <= plan.rank() {
                    break;
                }
                plan = smaller;
            }
            None if too_many > 0 => return None,
            None => break,
        }
    }
    if !task.room.admits(&plan.toll()) {
        return None;
    }
    legs::evaluate(&plan)
}

/// Returns about how many legs a plan has too many: as many as would be if all took the same.
fn too_many(plan: &Plan<'_, '_, '_>) -> usize {
    let Some(Excess { needed, most, .. }) = plan.task.room.excess(&plan.toll()) else { return 0 };
    let legs = u64::try_from(plan.legs()).unwrap_or(u64::MAX);
    let too_many = legs.saturating_mul(needed - most).div_ceil(needed);
    usize::try_from(too_many).unwrap_or(usize::MAX)
}

/// Returns the best plan without one of the smallest legs.
fn best_without_one<'n, 't, 'a>(plan: &Plan<'n, 't, 'a>) -> Option<Plan<'n, 't, 'a>> {
    let tried = least(plan, false).into_iter().take(TRIED);
    tried.filter_map(|arc| without(plan, arc)).max_by_key(Plan::rank)
}

/// Returns the plan without the leg that is the cheapest to lose of a few. Where a small leg cannot be spared, a larger one
/// has to go.
fn cheapest_without_one<'n, 't, 'a>(plan: &Plan<'n, 't, 'a>) -> Option<Plan<'n, 't, 'a>> {
    let spared = least(plan, true).into_iter().filter_map(|arc| Some((arc, without(plan, arc)?)));
    let cheapest =
        spared.take(TRIED).min_by(|one, other| price_of(plan, one).total_cmp(&price_of(plan, other)));
    cheapest.map(|(_, without)| without)
}

/// Returns the plan without so many of the legs that can be spared best, or fewer where others cannot take their parts.
fn without_several<'n, 't, 'a>(plan: &Plan<'n, 't, 'a>, several: usize) -> Option<Plan<'n, 't, 'a>> {
    let mut smaller = None;
    let mut removed = 0;
    for arc in least(plan, true) {
        // What was a leg may have become none.
        let current = smaller.as_ref().unwrap_or(plan);
        if removed < several
            && current.load(arc).amount_in > 0
            && let Some(without) = without(current, arc)
        {
            smaller = Some(without);
            removed += 1;
        }
    }
    smaller
}

/// Returns what a plan that is too large loses without a leg, for what the leg takes of what there is too little of.
#[allow(clippy::cast_precision_loss)] // Prices only say which leg to leave out.
fn price_of(plan: &Plan<'_, '_, '_>, (arc, without): &(usize, Plan<'_, '_, '_>)) -> f64 {
    let lost = plan.output().saturating_sub(without.output()) as f64;
    lost / plan.task.room.share_of_excess(&plan.network.arcs()[*arc].toll, &plan.toll())
}

/// Returns the used arcs, those first that can be spared best: those with the smallest shares of the amount, or, where the
/// plan is too large, with the smallest shares for what they take of what there is too little of.
fn least(plan: &Plan<'_, '_, '_>, is_too_large: bool) -> Vec<usize> {
    let mut shares = shares(plan);
    if is_too_large {
        let toll = plan.toll();
        for (arc, _) in plan.loads() {
            shares[arc] /= plan.task.room.share_of_excess(&plan.network.arcs()[arc].toll, &toll);
        }
    }
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
    for (arc, &Arc { from, to, .. }) in network.arcs().iter().enumerate() {
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
