//! Sends the whole amount, and improves the plan by exchanges of ever finer steps.

use super::network::INPUT;
use super::plan::Plan;

/// The finest step is this fraction of the amount. What a step of this size is away from the optimum costs about its
/// square.
const FINEST: u128 = 1 << 11;

/// The most exchanges at each size of the step, for each pool. The bound only limits the work where outputs are not
/// concave.
const MOST_EXCHANGES: usize = 2;

/// Sends what is left of the amount in steps of at most `coarsest`, and exchanges ever finer ones.
pub(super) fn run(plan: &mut Plan<'_, '_, '_>, coarsest: u128) {
    let amount = plan.task.amount;
    let finest = (amount / FINEST).max(1);
    let mut step = coarsest.clamp(1, amount.max(1));
    loop {
        while plan.rest > 0 && send(plan, step) {}
        if is_complete(plan) && step >= finest {
            exchange(plan, step);
        }
        let is_done = plan.rest == 0 && step <= finest;
        if is_done || step == 1 || !plan.task.budget.lasts() {
            return;
        }
        step = (step / 2).max(1);
    }
}

/// Sends a step, or all that is left if that is less than two steps: what remains after many steps may be too little for
/// any pool to pay for it.
fn send(plan: &mut Plan<'_, '_, '_>, step: u128) -> bool {
    let is_last = plan.rest / 2 < step;
    (is_last && plan.send(plan.rest)) || (plan.rest > step && plan.send(step))
}

/// Returns whether the plan sends the amount, or leaves so little that it only has to be rounded up.
fn is_complete(plan: &Plan<'_, '_, '_>) -> bool {
    plan.rest <= plan.task.amount >> 16
}

/// Takes back steps that pay the least and sends them elsewhere, while that is a gain.
pub(super) fn exchange(plan: &mut Plan<'_, '_, '_>, step: u128) {
    let mut output = plan.output();
    for _ in 0..MOST_EXCHANGES * plan.network.len() {
        let mut changed = plan.clone();
        if changed.take_back_from(INPUT, step).is_none() || changed.send_from(INPUT, step).is_none() {
            return;
        }
        let better = changed.output();
        if better <= output {
            return;
        }
        output = better;
        *plan = changed;
    }
}
