//! Sends an amount through a network of pools, of which paths may share some.
//!
//! A route is a flow: each pool takes one amount, whatever the number of paths that lead through it, and what goes
//! into a token comes out of it. The best flow is found as the best split is, by steps of halving size. A step goes
//! along the path that pays the most for it over the pools as the steps before left them ([`plan`]). At each size, steps
//! that pay the least are taken back and go elsewhere, until no such exchange is a gain ([`allocate`]). Where pools have
//! little room, the tokens on the way are exchanged, too, and a rest for which nothing pays finds a place. Legs that are
//! not worth their cost, or too many, are removed one by one ([`prune`]). What is left is evaluated exactly ([`legs`]).
//!
//! All of it computes with integers and with the pools' own quotes, so kinks, ends of liquidity and rounding need no
//! special care. Capacity is a part of the search: a step that finds no room becomes smaller, and it may push others out
//! of a pool, if they have somewhere else to go.

mod allocate;
mod legs;
mod network;
mod plan;
mod prune;
mod ways;

pub(crate) use self::network::{Hop, Network, NetworkBuilder};
pub(crate) use self::plan::Plan;

use order_engine_core::Amount;

use crate::budget::SearchBudget;
use crate::footprint::{Room, Toll};
use crate::net::Rank;
use crate::quote::LegQuote;
use crate::trade::Moment;

/// What to send through a network, and the constraints.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Task<'t, 'b> {
    pub(crate) amount: u128,
    pub(crate) at: Moment,
    /// How many legs there may be, and what they may take.
    pub(crate) room: Room,
    pub(crate) budget: &'t SearchBudget<'b>,
}

/// A pool that a plan uses.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Used {
    pub(crate) hop: Hop,
    pub(crate) amount_in: u128,
    pub(crate) amount_out: u128,
}

/// A flow, evaluated exactly.
#[derive(Debug)]
pub(crate) struct Flow<'a> {
    /// The legs in the order of execution.
    pub(crate) legs: Vec<LegQuote<'a>>,
    pub(crate) amount_out: Amount,
    /// What the legs cost and take.
    pub(crate) toll: Toll,
}

impl Flow<'_> {
    /// Returns how good the flow is.
    pub(crate) fn rank(&self) -> Rank {
        Rank::new(self.amount_out.base_units(), &self.toll)
    }
}

/// Sends what is left of the amount in steps of at most `coarsest`, and improves the plan by ever finer exchanges.
pub(crate) fn allocate(plan: &mut Plan<'_, '_, '_>, coarsest: u128) {
    allocate::run(plan, coarsest);
}

/// Where pools have little room, finds a place for the rest, and exchanges steps once more.
pub(crate) fn polish(plan: &mut Plan<'_, '_, '_>) {
    if plan.rest > 0 || plan.was_full() || plan.is_strained() {
        allocate::polish(plan);
    }
}

/// Removes the legs that are not worth their cost, or too many, and evaluates what is left. Returns `None` if so few
/// legs cannot take the amount.
pub(crate) fn finish<'a>(plan: Plan<'_, '_, 'a>) -> Option<Flow<'a>> {
    prune::run(plan)
}
