//! The checks at the end of a run.

use std::collections::BTreeMap;

use super::hazard::Hazard;
use super::plan::USER;
use super::shared::Shared;
use super::tracked::{Follower, Tracked};
use crate::domain::event::{EventRecord, Status};
use crate::domain::failure::FailureCode;
use crate::domain::ids::{OrderId, UserId};
use crate::domain::order::Order;
use crate::engine::cancel::Cancellation;
use crate::testing::invariants::{
    Violation, check_best_effort_sink, check_durable_sink, check_executions, check_history, check_subscriber,
    kinds,
};

/// An order and everything that is known of it.
pub(super) struct Evidence<'a> {
    pub(super) order: &'a Order,
    pub(super) history: &'a [EventRecord],
    /// `None` if no submission of the order was answered.
    pub(super) tracked: Option<&'a Tracked>,
}

impl Evidence<'_> {
    pub(super) fn check(&self, shared: &Shared) -> Vec<Violation> {
        let (order, history) = (self.order, self.history);
        let mut found = check_history(order, history);
        found.extend(check_executions(order, shared.site.executions(order.id)));
        found.extend(check_durable_sink(history, &shared.durable.events_of(order.id)));
        found.extend(check_best_effort_sink(history, &shared.best_effort.events_of(order.id)));
        found.extend(self.check_end(shared));
        for follower in self.tracked.iter().flat_map(|tracked| &tracked.followers) {
            found.extend(self.check_follower(follower));
        }
        for answer in self.tracked.iter().flat_map(|tracked| &tracked.cancelled) {
            found.extend(self.check_cancel(answer));
        }
        found
    }

    /// Checks that the order has ended. One that kills is in quarantine, unless it has failed before.
    fn check_end(&self, shared: &Shared) -> Option<Violation> {
        let is_killer = self.order.request.user_id != UserId::from(USER);
        let is_quarantined = self.order.state.quarantine().is_some();
        let found = || format!("{:?}: {}", self.order.state.phase().name(), kinds(self.history));
        if is_killer {
            let is_harmless = is_quarantined || self.order.status() == Status::Failed;
            return (!is_harmless)
                .then(|| Violation::of(self.order.id, "an order that kills is quarantined", found()));
        }
        if is_quarantined {
            let counts = shared.exploration.has(Hazard::Quarantine);
            return counts.then(|| {
                Violation::of(self.order.id, "an order that does not kill is not quarantined", found())
            });
        }
        let has_ended = self.order.status().is_terminal();
        (!has_ended).then(|| Violation::of(self.order.id, "every order ends", found()))
    }

    fn check_follower(&self, follower: &Follower) -> Vec<Violation> {
        let after = follower.after.min(self.order.seq);
        let received = follower.state();
        let mut found = check_subscriber(self.history, after, &received.events);
        if self.order.status().is_terminal() && !received.has_ended {
            let text = format!("it has {} of {}", received.events.len() as u64 + after, self.order.seq);
            found.push(Violation::of(self.order.id, "a subscription ends with its order", text));
        }
        found
    }

    fn check_cancel(&self, answer: &Cancellation) -> Option<Violation> {
        let code = self.order.state.failure().map(|failure| failure.code.clone());
        let is_cancelled = code == Some(FailureCode::CANCELLED);
        let is_kept = match answer {
            Cancellation::Cancelled(_) => is_cancelled,
            Cancellation::Pending(_) => {
                is_cancelled || self.order.state.fill().is_some() || !self.order.status().is_terminal()
            }
            Cancellation::TooLate(then) => then.state == self.order.state && !is_cancelled,
        };
        let found = || format!("{answer:?}, and it is {} {code:?}", self.order.status());
        (!is_kept).then(|| Violation::of(self.order.id, "a cancel's answer is kept", found()))
    }
}

/// Checks that each client order id has one order, and each order a submission.
pub(super) fn check_names(shared: &Shared, orders: &[Order]) -> Vec<Violation> {
    let mut found = Vec::new();
    let mut names: BTreeMap<&str, OrderId> = BTreeMap::new();
    for order in orders {
        if let Some(name) = &order.request.client_order_id
            && let Some(other) = names.insert(name.as_str(), order.id)
        {
            found.push(Violation::of(order.id, "a name is one order", format!("{other} has it, too")));
        }
    }
    let tracked = shared.tracked();
    for id in tracked.iter().filter_map(|tracked| tracked.id) {
        if !orders.iter().any(|order| order.id == id) {
            found.push(Violation::of(id, "an accepted order exists", "it is gone"));
        }
    }
    if orders.len() > tracked.len() {
        let text = format!("{} orders of {} submissions", orders.len(), tracked.len());
        found.push(Violation::new("a submission is at most one order", text));
    }
    found
}
