//! What lists and the backlog have in common.

use crate::domain::event::Status;
use crate::domain::state::step::Lane;
use crate::ports::order_store::query::{Backlog, LaneBacklog};

/// The conditions, beside the status itself, that lead a database to the orders of a status by a small
/// index, without a walk through all orders that ever ended.
///
/// A condition is part of the text of a statement, and no parameter of it: only then does a planner see
/// that a partial index serves. The index does not name the status, because the status changes with nearly
/// every event.
#[derive(Clone, Copy, Debug)]
pub struct StatusConditions {
    /// What is true of every order that has not ended.
    pub open: &'static str,
    /// What is true of every order that has failed.
    pub failed: &'static str,
}

impl StatusConditions {
    /// Returns the condition for the orders of a status, to be appended to others.
    pub fn of(&self, status: Status) -> String {
        let also = match status {
            Status::Pending | Status::Routing | Status::Building | Status::Submitted => self.open,
            Status::Failed => self.failed,
            // They are most of the table, so a walk finds them soon.
            Status::Confirmed => "",
        };
        let and = if also.is_empty() { "" } else { " AND " };
        format!(" AND status = '{status}'{and}{also}")
    }
}

/// Sets the backlog of the lane with this name. A lane that only newer programs know is theirs to count.
pub fn set_lane_backlog(backlog: &mut Backlog, lane: &str, counted: LaneBacklog) {
    if lane == Lane::Execute.as_str() {
        backlog.execute = counted;
    } else if lane == Lane::Observe.as_str() {
        backlog.observe = counted;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_confirmed_orders_are_found_by_their_status_alone() {
        let conditions = StatusConditions { open: "due_at IS NOT NULL", failed: "error_code IS NOT NULL" };
        for (status, expected) in [
            (Status::Routing, " AND status = 'routing' AND due_at IS NOT NULL"),
            (Status::Failed, " AND status = 'failed' AND error_code IS NOT NULL"),
            (Status::Confirmed, " AND status = 'confirmed'"),
        ] {
            assert_eq!(conditions.of(status), expected);
        }
    }
}
