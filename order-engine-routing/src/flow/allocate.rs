//! Sends the whole amount, and improves the plan by exchanges of ever finer steps.

use super::network::INPUT;
use super::plan::Plan;
use crate::wide::mul_div_ceil;

/// The finest step is this fraction of the amount. What a step of this size is away from the optimum costs about its
/// square.
const FINEST: u128 = 1 << 11;

/// The most exchanges at each size of the step, for each pool. The bound only limits the work where outputs are not
/// concave.
const MOST_EXCHANGES: usize = 2;

/// The first steps that are exchanged at the end are this fraction of the amount.
const COARSEST_POLISH: u128 = 8;

/// Where a better way has no room for the whole of a step, because more arrives by it, all but this fraction may fit.
const SPARED: u128 = 16;

/// Sends what is left of the amount in steps of at most `coarsest`, and exchanges ever finer ones.
pub(super) fn run(plan: &mut Plan<'_, '_, '_>, coarsest: u128) {
    let amount = plan.task.amount;
    let finest = (amount / FINEST).max(1);
    let mut step = coarsest.clamp(1, amount.max(1));
    loop {
        while plan.rest > 0 && send(plan, step) {}
        if step >= finest {
            exchange(plan, step);
        }
        let is_done = plan.rest == 0 && step <= finest;
        if is_done || step == 1 || !plan.task.budget.lasts() {
            return;
        }
        step = (step / 2).max(1);
    }
}

/// Exchanges steps of all sizes once more, also of the tokens that are bought on the way, where pools have little room. An
/// order may be so large that it takes all that they hold: a rest for which no pool pays alone goes into one that takes
/// it with what it has.
pub(super) fn polish(plan: &mut Plan<'_, '_, '_>) {
    if plan.rest > 0 {
        plan.absorb_rest();
    }
    let mut step = (plan.task.amount / COARSEST_POLISH).max(1);
    let finest = (plan.task.amount / FINEST).max(1);
    while plan.task.budget.lasts() {
        let before = plan.output();
        exchange_everywhere(plan, step);
        let pays = plan.output().saturating_sub(before) > plan.negligible();
        // Where pools have little room, much may depend on little.
        if step == 1 || (step < finest && !pays) {
            return;
        }
        step = step.div_ceil(2);
    }
}

/// Sends a step, or all that is left if that is less than two steps: what remains after many steps may be too little for
/// any pool to pay for it.
fn send(plan: &mut Plan<'_, '_, '_>, step: u128) -> bool {
    let is_last = plan.rest / 2 < step;
    (is_last && plan.send(plan.rest)) || (plan.rest > step && plan.send(step))
}

/// Takes back steps of the input that pay the least and sends them elsewhere, while that is a gain.
pub(super) fn exchange(plan: &mut Plan<'_, '_, '_>, step: u128) {
    repeat(plan, |plan| exchanged(plan, INPUT, step));
}

/// Exchanges steps of the input, and of each token that the plan buys on the way.
fn exchange_everywhere(plan: &mut Plan<'_, '_, '_>, step: u128) {
    let either = |plan: &mut Plan<'_, '_, '_>, token, step| {
        exchanged(plan, token, step) || exchanged_in_parts(plan, token, step)
    };
    repeat(plan, |plan| either(plan, INPUT, step));
    for token in plan.network.forks() {
        let bought = plan.bought(token);
        if bought > 0 {
            let share = mul_div_ceil(bought, step, plan.task.amount).unwrap_or(bought);
            repeat(plan, |plan| either(plan, token, share));
        }
    }
}

/// Changes the plan while that is possible, but not for ever.
fn repeat<'n, 't, 'a>(plan: &mut Plan<'n, 't, 'a>, change: impl Fn(&mut Plan<'n, 't, 'a>) -> bool) {
    for _ in 0..MOST_EXCHANGES * plan.network.len() {
        if !change(plan) {
            return;
        }
    }
}

/// Sends the step that pays the least elsewhere, if that is a gain.
fn exchanged(plan: &mut Plan<'_, '_, '_>, token: usize, step: u128) -> bool {
    let change = |plan: &mut Plan<'_, '_, '_>| {
        let lost = plan.take_back_from(token, step)?;
        sent(plan, token, &[step], lost)
    };
    plan.attempt(change).is_some()
}

/// Sends a step of any of the pools that sell a token elsewhere in two parts, if that is a gain.
///
/// Where pools have little room, what pays the least may not make the room that a better way needs, and the better way may
/// not have room for all of the step.
fn exchanged_in_parts(plan: &mut Plan<'_, '_, '_>, token: usize, step: u128) -> bool {
    let rest = step.div_ceil(SPARED);
    let parts = [step - rest, rest];
    if parts[0] == 0 {
        return false;
    }
    let sellers = plan.loads().filter(|(arc, _)| plan.network.arcs()[*arc].from == token);
    let sellers: Vec<usize> = sellers.map(|(arc, _)| arc).collect();
    sellers.into_iter().any(|arc| {
        let change = |plan: &mut Plan<'_, '_, '_>| {
            let lost = plan.take_back_through(arc, step)?;
            sent(plan, token, &parts, lost)
        };
        plan.attempt(change).is_some()
    })
}

/// Sends parts of a token one after the other. Returns `None` if they pay no more than what was lost for them.
fn sent(plan: &mut Plan<'_, '_, '_>, token: usize, parts: &[u128], lost: u128) -> Option<()> {
    let mut paid: u128 = 0;
    for part in parts {
        paid = paid.saturating_add(plan.send_from(token, *part)?);
    }
    (paid > lost).then_some(())
}
