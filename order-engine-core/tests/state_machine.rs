//! The full table of the state machine, every state against every event, and the page in the docs that is
//! generated from it.
//!
//! `UPDATE_EXPECT=1 cargo test -p order-engine-core --test state_machine` writes both anew.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::time::Duration;

use chrono::DateTime;
use expect_test::expect_file;
use order_engine_core::{
    AccountNonce, Amount, Certainty, DeathProof, Failure, FailureClass, FailureCode, Fill, OrderEvent,
    OrderState, Purpose, Route, SignedTx, Status, Suspicion, UnknownReason, Validity,
};
use proptest::prelude::*;

fn route() -> Route {
    Route::new("Meteora", vec![], Amount::new(1), Amount::new(2))
}

fn tx() -> SignedTx {
    sibling("tx")
}

/// Returns a transaction with the nonce that all of an attempt have.
fn sibling(id: &str) -> SignedTx {
    let nonce = AccountNonce::new("wallet", 7);
    SignedTx::new(id, [1], Validity::Nonce(nonce), Amount::new(1))
}

/// Returns a transaction with a nonce before it.
fn filler() -> SignedTx {
    let nonce = AccountNonce::new("wallet", 6);
    SignedTx::new("filler", [1], Validity::Nonce(nonce), Amount::ZERO)
}

fn failure() -> Failure {
    Failure::new(FailureCode::NO_ROUTE, "no route")
}

/// Returns every kind of event, with the variations that states distinguish.
fn events() -> Vec<(&'static str, OrderEvent)> {
    let fill = Fill::new(Amount::new(1), Amount::new(2), 7);
    let died = |class| OrderEvent::TransactionDied { proof: DeathProof::Reverted, failure: failure(), class };
    let attempt_failed = |class| OrderEvent::AttemptFailed { failure: failure(), class };
    let suspected = |strikes, alone| OrderEvent::Suspected { failure: failure(), strikes, alone };
    let since = DateTime::UNIX_EPOCH;
    let deferred = OrderEvent::Deferred {
        failure: failure(),
        since,
        retry_at: since,
        retry_in: Duration::from_millis(1),
    };
    let signed = |purpose, id| OrderEvent::SiblingSigned { purpose, tx: sibling(id).into() };
    let (best, minimum) = (Amount::new(1), Amount::new(2));
    let too_low =
        OrderEvent::PriceTooLow { best, minimum, retry_at: since, retry_in: Duration::from_millis(1) };
    let resolved = |executed| OrderEvent::OutcomeResolved { executed, note: "a note".into() };
    vec![
        ("accepted", OrderEvent::Accepted { max_attempts: 2 }),
        ("routing_started (1)", OrderEvent::RoutingStarted { attempt: 1, dexes: vec![] }),
        ("routing_started (2)", OrderEvent::RoutingStarted { attempt: 2, dexes: vec![] }),
        ("routing_started (3)", OrderEvent::RoutingStarted { attempt: 3, dexes: vec![] }),
        (
            "route_chosen",
            OrderEvent::RouteChosen {
                route: route().into(),
                candidates: vec![],
                quoted_at: None,
                min_amount_out: Amount::new(1),
            },
        ),
        ("build_started", OrderEvent::BuildStarted),
        ("build_restarted (2)", OrderEvent::BuildRestarted { attempt: 2 }),
        ("build_restarted (3)", OrderEvent::BuildRestarted { attempt: 3 }),
        ("transaction_signed", OrderEvent::TransactionSigned { tx: tx().into() }),
        ("submission_started", OrderEvent::SubmissionStarted),
        ("sibling_signed (fee bump)", signed(Purpose::FeeBump, "bump")),
        ("sibling_signed (cancel)", signed(Purpose::Cancel, "cancel")),
        ("nonce_filled", OrderEvent::NonceFilled { tx: filler().into() }),
        ("inclusion_undone", OrderEvent::InclusionUndone),
        ("price_too_low", too_low),
        ("submission_accepted", OrderEvent::SubmissionAccepted),
        (
            "inclusion_observed (processed)",
            OrderEvent::InclusionObserved { certainty: Certainty::Processed, height: 7 },
        ),
        (
            "inclusion_observed (confirmed)",
            OrderEvent::InclusionObserved { certainty: Certainty::Confirmed, height: 7 },
        ),
        (
            "inclusion_observed (finalized)",
            OrderEvent::InclusionObserved { certainty: Certainty::Finalized, height: 7 },
        ),
        ("attempt_failed (transient)", attempt_failed(FailureClass::Transient)),
        ("attempt_failed (permanent)", attempt_failed(FailureClass::Permanent)),
        ("transaction_died (requote)", died(FailureClass::Requote)),
        ("transaction_died (permanent)", died(FailureClass::Permanent)),
        (
            "retry_scheduled",
            OrderEvent::RetryScheduled { retry_at: DateTime::UNIX_EPOCH, retry_in: Duration::from_millis(1) },
        ),
        ("deferred", deferred),
        ("cancel_requested", OrderEvent::CancelRequested),
        ("suspected (1)", suspected(1, false)),
        ("suspected (2, alone)", suspected(2, true)),
        ("quarantined", OrderEvent::Quarantined { failure: failure() }),
        ("quarantine_lifted", OrderEvent::QuarantineLifted),
        ("outcome_unknown (absent)", OrderEvent::OutcomeUnknown { reason: UnknownReason::Absent }),
        ("outcome_unknown (unproven)", OrderEvent::OutcomeUnknown { reason: UnknownReason::Unproven }),
        ("outcome_resolved (executed)", resolved(true)),
        ("outcome_resolved (not executed)", resolved(false)),
        ("confirmed", OrderEvent::Confirmed { tx_id: "tx".into(), fill }),
        ("failed", OrderEvent::Failed { failure: failure() }),
    ]
}

/// Returns every state that can be reached with two attempts, in the order of discovery. Suspicion is left
/// out because it is independent of all else: see `a_suspicion_changes_nothing_but_itself`.
fn reachable() -> Vec<OrderState> {
    let mut states = vec![OrderState::accepted(2)];
    let mut next = 0;
    while next < states.len() {
        for (_, event) in events() {
            if let Ok(state) = states[next].apply(&event)
                && state.suspicion().is_none()
                // How often an order has looked for its price makes no difference to what may follow.
                && state.looks() <= 1
                // Nor do the nonces that it has filled.
                && state.siblings().is_none_or(|siblings| siblings.fillers().is_empty())
                // It allows no other reason, and all else that another reason allows.
                && state.unknown_reason() != Some(UnknownReason::Unproven)
                && !states.contains(&state)
            {
                states.push(state);
            }
        }
        next += 1;
    }
    states
}

/// Returns the name of a state in the table: its phase, the attempt, and whether another may follow.
fn label(state: &OrderState) -> String {
    let retry = match state.phase().name() {
        "attempt failed" if state.may_retry() => ", may retry",
        "attempt failed" => ", may not retry",
        _ => "",
    };
    let standing = match state.phase().name() {
        "attempt failed" | "attempt failed, cancel requested" | "waiting" => {
            let kept = if state.quote().is_some() { ", keeps its route" } else { "" };
            format!(", shows {} {}{kept}", state.status(), state.progress())
        }
        _ => String::new(),
    };
    let attention = state.attention().map_or(String::new(), |attention| format!(", {}", attention.as_str()));
    let held_up = match (state.held_up_since(), state.may_requote()) {
        (None, false) => "",
        (None, true) => ", may requote",
        (Some(_), false) => ", held up",
        (Some(_), true) => ", held up, may requote",
    };
    let strikes = match state.suspicion() {
        Some(Suspicion { strikes, alone, .. }) => {
            format!(", {strikes} strikes{}", if alone { ", tried alone" } else { "" })
        }
        None => String::new(),
    };
    let name = state.phase().name();
    format!("{name} (attempt {}{retry}{standing}{attention}{held_up}{strikes})", state.attempt())
}

/// Returns the name of a state on the page.
fn page_label(state: &OrderState) -> String {
    let attention = state.attention().map_or(String::new(), |attention| format!(" ({})", attention.as_str()));
    format!("{}{attention}", state.phase().name())
}

#[test]
fn every_state_against_every_event() {
    let mut table = String::new();
    let mut seen = BTreeSet::new();
    for state in reachable() {
        let mut entry = format!("{}\n", label(&state));
        let mut refused = Vec::new();
        for (name, event) in events() {
            match state.apply(&event) {
                Ok(next) => writeln!(entry, "    {name} -> {}", label(&next)).unwrap(),
                Err(_) => refused.push(name),
            }
        }
        writeln!(entry, "    refused: {}", refused.join(", ")).unwrap();
        writeln!(entry, "    next step: {:?}", state.next_step()).unwrap();
        // States that no event distinguishes have the same entry.
        if seen.insert(entry.clone()) {
            table.push_str(&entry);
        }
    }
    expect_file!["snapshots/state_machine.txt"].assert_eq(&table);
}

#[test]
fn the_diagram_in_the_docs_is_the_state_machine() {
    let mut edges = BTreeSet::new();
    let mut allowed = BTreeSet::new();
    for state in reachable() {
        for (_, event) in events() {
            if let Ok(next) = state.apply(&event) {
                edges.insert((state.status(), event.kind(), next.status()));
                allowed.insert((page_label(&state), event.kind(), page_label(&next)));
            }
        }
    }
    let mut page = String::from(PAGE_HEAD);
    page.push_str("```mermaid\nstateDiagram-v2\n    [*] --> pending: accepted\n");
    for (from, event, to) in &edges {
        if from != to {
            writeln!(page, "    {from} --> {to}: {event}").unwrap();
        }
    }
    page.push_str("    confirmed --> [*]\n    failed --> [*]\n```\n");
    page.push_str(TABLE_HEAD);
    for (from, event, to) in &allowed {
        writeln!(page, "| {from} | `{event}` | {to} |").unwrap();
    }
    expect_file!["../../docs/state-machine.md"].assert_eq(&page);
}

const PAGE_HEAD: &str = "\
# The state machine of an order

This page is generated from the code by `order-engine-core/tests/state_machine.rs`, which fails when
the two differ. An order's state is the fold of its events; its status is the public name of the
state. Events that do not change the status are left out of the diagram and stand in the table.

";

const TABLE_HEAD: &str = "
## Every transition that is allowed

Anything that is not in this table is refused with an error that names the state and the event. An
order with a signed transaction leaves it by the transaction's landing, which is final, or by the
proof that it can never land (`transaction_died`). If its outcome could not be determined
(`outcome_unknown`), an operator may end it as well (`outcome_resolved`).

| state | event | next state |
|---|---|---|
";

#[test]
fn nothing_follows_a_terminal_state() {
    for state in reachable().into_iter().filter(|state| state.status().is_terminal()) {
        assert_eq!(state.lane(), None);
        for (name, event) in events() {
            assert!(state.apply(&event).is_err(), "{name} after {}", state.phase().name());
        }
    }
}

#[test]
fn an_attempt_only_gains_transactions_and_ends_by_landing_proof_of_death_or_an_operators_resolution() {
    for state in reachable() {
        let Some(siblings) = state.siblings() else { continue };
        for (name, event) in events() {
            let Ok(next) = state.apply(&event) else { continue };
            if let Some(more) = next.siblings() {
                assert!(more.len() >= siblings.len() && more.iter().zip(siblings).all(|(a, b)| a == b));
            } else {
                let is_resolution = matches!(event, OrderEvent::OutcomeResolved { executed: false, .. });
                let is_proof =
                    matches!(event, OrderEvent::Confirmed { .. } | OrderEvent::TransactionDied { .. });
                assert!(
                    is_proof || (is_resolution && state.is_outcome_unknown()),
                    "{name} ended a live transaction in {}",
                    state.phase().name()
                );
            }
        }
    }
}

#[test]
fn progress_does_not_run_backwards_within_an_attempt() {
    for state in reachable() {
        for (name, event) in events() {
            let Ok(next) = state.apply(&event) else { continue };
            let is_failure = matches!(event, OrderEvent::Failed { .. });
            if next.attempt() == state.attempt() && !is_failure {
                assert!(next.progress() >= state.progress(), "{name} in {}", label(&state));
            }
        }
    }
}

#[test]
fn a_suspicion_changes_nothing_but_itself() {
    for state in reachable() {
        let suspected = OrderEvent::Suspected { failure: failure(), strikes: 1, alone: true };
        let Ok(suspect) = state.apply(&suspected) else {
            assert!(state.status().is_terminal() || state.quarantine().is_some());
            continue;
        };
        assert_eq!((suspect.phase(), suspect.next_step()), (state.phase(), state.next_step()));
        assert!(matches!(suspect.suspicion(), Some(Suspicion { strikes: 1, alone: true, .. })));
        for (name, event) in events() {
            if matches!(event, OrderEvent::Suspected { .. }) {
                continue;
            }
            let (with, without) = (suspect.apply(&event), state.apply(&event));
            let phase = |next: &OrderState| next.phase().clone();
            assert_eq!(with.as_ref().map(phase), without.as_ref().map(phase), "{name}");
        }
    }
}

#[test]
fn progress_ends_a_suspicion_and_other_events_do_not() {
    let suspected = OrderEvent::Suspected { failure: failure(), strikes: 1, alone: false };
    for state in reachable() {
        let Ok(suspect) = state.apply(&suspected) else { continue };
        for (name, event) in events() {
            let Ok(next) = suspect.apply(&event) else { continue };
            let is_of_others = matches!(
                event,
                OrderEvent::CancelRequested
                    | OrderEvent::Quarantined { .. }
                    | OrderEvent::OutcomeUnknown { .. }
                    | OrderEvent::Suspected { .. }
            );
            assert_eq!(next.suspicion().is_some(), is_of_others, "{name}");
        }
    }
}

#[test]
fn no_cancelled_order_begins_another_attempt() {
    for state in reachable().into_iter().filter(OrderState::is_cancel_requested) {
        for (name, event) in events() {
            if let Ok(next) = state.apply(&event) {
                let ends = matches!(next.status(), Status::Confirmed | Status::Failed);
                assert!(ends || next.is_cancel_requested(), "{name} forgot a cancel");
            }
        }
    }
}

proptest! {
    /// For any sequence of events, a legal event keeps the invariants and an illegal one changes nothing.
    #[test]
    fn random_walks_keep_the_invariants(choices in proptest::collection::vec(any::<prop::sample::Index>(), 0..60)) {
        let events = events();
        let mut state = OrderState::accepted(2);
        for choice in choices {
            let (_, event) = choice.get(&events);
            let Ok(next) = state.apply(event) else { continue };
            prop_assert!(next.attempt() >= state.attempt());
            prop_assert!(next.attempt() <= next.max_attempts());
            if next.attempt() == state.attempt() && next.status() != Status::Failed {
                prop_assert!(next.progress() >= state.progress());
            }
            prop_assert_eq!(next.lane().is_none(), next.status().is_terminal() || next.quarantine().is_some());
            let json = serde_json::to_string(&next).unwrap();
            prop_assert_eq!(&serde_json::from_str::<OrderState>(&json).unwrap(), &next);
            state = next;
        }
    }
}
