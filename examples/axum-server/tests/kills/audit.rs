//! The orders' histories and the chain's final record, and what must hold of them.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::time::Duration;

use order_engine_core::{
    AccountNonce, DeathProof, EventRecord, FailureCode, Order, OrderEvent, OrderId, OrderStore, Purpose,
    Status, TxId,
};
use order_engine_sim::{Execution, NonceUse, UsedBy, read_ledger};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::common::program::executions;
use crate::customers::{CancelAnswer, Placed};

/// How often the store is asked whether an order has ended.
const POLL: Duration = Duration::from_millis(50);

/// An order that has ended.
struct Ended {
    order: Order,
    history: Vec<EventRecord>,
    cancel: Option<CancelAnswer>,
}

/// A transaction that was signed, or the end of those with its nonce.
struct Attempt {
    nonce: Option<AccountNonce>,
    signed: Vec<(Purpose, TxId)>,
    end: Option<OrderEvent>,
}

/// Everything, as it is in the end.
pub(crate) struct Audit {
    ended: Vec<Ended>,
}

/// What came of the orders.
#[derive(Default)]
pub(crate) struct Found {
    confirmed: usize,
    cancelled: usize,
    expired: usize,
    exhausted: usize,
    /// Transactions that lost their nonce to somebody else.
    superseded: usize,
    bumps: usize,
    /// Transactions whose nonce a cancel or a deadline used for nothing.
    cancels_landed: usize,
    /// Orders whose swap landed although a cancel was accepted.
    cancels_beaten: usize,
    foreign: usize,
    forks: usize,
    nonces: usize,
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { confirmed, cancelled, expired, exhausted, superseded, bumps, .. } = self;
        let Self { cancels_landed, cancels_beaten, foreign, forks, nonces, .. } = self;
        write!(
            f,
            "{confirmed} confirmed, {cancelled} cancelled, {expired} expired, {exhausted} out of attempts; \
             {bumps} higher fees, {cancels_landed} swaps replaced by nothing, {cancels_beaten} cancels beaten by a swap, {superseded} superseded by {foreign} foreign uses, {forks} inclusions undone by \
             reorganisations, {nonces} nonces used without a gap"
        )
    }
}

impl Audit {
    /// Waits until every order has ended, and reads its history.
    pub(crate) async fn when_ended(store: &dyn OrderStore, placed: &[Placed]) -> Self {
        let mut ended = Vec::new();
        for Placed { id, cancel } in placed.iter().copied() {
            let order = loop {
                let order = store.load(id).await.unwrap().expect("an answered order is not lost");
                if order.status().is_terminal() {
                    break order;
                }
                tokio::time::sleep(POLL).await;
            };
            let history = store.events(id, 0, u32::MAX).await.unwrap();
            ended.push(Ended { order, history, cancel });
        }
        Self { ended }
    }

    /// Compares everything with the chain.
    pub(crate) async fn check(&self, folder: &Path, venue_url: &str) -> Found {
        let mut found = Found::default();
        let ledger = folder.join("ledger.jsonl");
        let accounts: Vec<Value> = call(venue_url, "eth_accounts").await;
        let waiting: Vec<AccountNonce> = call(venue_url, "simWaiting").await;
        assert_eq!(waiting, [], "nothing waits for a nonce before it");
        let uses: Vec<NonceUse> =
            if accounts.is_empty() { Vec::new() } else { call(venue_url, "simNonces").await };
        assert_eq!(order_engine_sim::audit(&uses), Ok(()));
        found.nonces = uses.len();
        found.foreign = uses.iter().filter(|used| used.used_by == UsedBy::Foreign).count();
        let uses: BTreeMap<&AccountNonce, &NonceUse> = uses.iter().map(|used| (&used.nonce, used)).collect();
        self.check_executions(&read_ledger(&ledger).unwrap(), &mut found);
        for ended in &self.ended {
            found.cancels_beaten += usize::from(ended.check_cancel());
            found.forks += ended.count(&OrderEvent::InclusionUndone);
            for attempt in ended.attempts() {
                assert_eq!(attempt.nonce.is_some(), !accounts.is_empty());
                attempt.check(ended.order.id, &uses, &mut found);
            }
        }
        assert_is_whole(&ledger, self.confirmed());
        found
    }

    fn confirmed(&self) -> impl Iterator<Item = &Ended> {
        self.ended.iter().filter(|ended| ended.order.status() == Status::Confirmed)
    }

    /// Checks that the confirmed orders, and no others, are executed once each, by the transaction and for the amount
    /// that they say.
    fn check_executions(&self, ledger: &[Execution], found: &mut Found) {
        let mut executed: BTreeMap<OrderId, Vec<&Execution>> = BTreeMap::new();
        for execution in ledger.iter().filter(|execution| execution.executed) {
            executed.entry(execution.order_id).or_default().push(execution);
        }
        for Ended { order, history, .. } in &self.ended {
            let executions = executed.remove(&order.id).unwrap_or_default();
            assert!(order.state.attention().is_none(), "{}", order.id);
            match &history.last().unwrap().event {
                OrderEvent::Confirmed { tx_id, fill } => {
                    let [execution] = executions[..] else { panic!("{}: {executions:?}", order.id) };
                    assert_eq!(*tx_id, execution.tx_id);
                    assert_eq!(
                        (fill.amount_in, fill.amount_out),
                        (execution.amount_in, execution.amount_out)
                    );
                    found.confirmed += 1;
                }
                OrderEvent::Failed { failure } => {
                    assert_eq!(executions, Vec::<&Execution>::new(), "{}", order.id);
                    match &failure.code {
                        code if *code == FailureCode::CANCELLED => found.cancelled += 1,
                        code if *code == FailureCode::EXPIRED => found.expired += 1,
                        code => {
                            assert_eq!(*code, FailureCode::RETRIES_EXHAUSTED, "{failure}");
                            found.exhausted += 1;
                        }
                    }
                }
                other => panic!("{} ends with {other:?}", order.id),
            }
        }
        assert!(executed.is_empty(), "the chain executed what nobody ordered: {executed:?}");
    }
}

impl Ended {
    /// Checks that what a client was answered about its cancel came true. Returns whether a swap beat it.
    fn check_cancel(&self) -> bool {
        let Self { order, cancel, .. } = self;
        let code = order.state.failure().map(|failure| &failure.code);
        let is_cancelled = code == Some(&FailureCode::CANCELLED);
        let is_requested = self.count(&OrderEvent::CancelRequested) > 0;
        match cancel {
            Some(CancelAnswer::Cancelled) => assert!(is_cancelled, "{}: {code:?}", order.id),
            Some(CancelAnswer::Pending) => {
                assert!(is_requested, "{}: the cancel is lost", order.id);
                assert!(is_cancelled || order.status() == Status::Confirmed, "{}: {code:?}", order.id);
            }
            Some(CancelAnswer::TooLate) => assert!(!is_cancelled, "{}", order.id),
            None => assert!(!is_cancelled && !is_requested, "{}: nobody cancelled it", order.id),
        }
        is_requested && order.status() == Status::Confirmed
    }

    /// Returns how often an event happened.
    fn count(&self, event: &OrderEvent) -> usize {
        self.history.iter().filter(|record| record.event == *event).count()
    }

    /// Returns the attempts that signed something.
    fn attempts(&self) -> Vec<Attempt> {
        let mut attempts: Vec<Attempt> = Vec::new();
        for EventRecord { event, .. } in &self.history {
            match event {
                OrderEvent::TransactionSigned { tx } => attempts.push(Attempt {
                    nonce: tx.validity.nonce().cloned(),
                    signed: vec![(Purpose::Original, tx.id.clone())],
                    end: None,
                }),
                OrderEvent::SiblingSigned { purpose, tx } => {
                    let attempt = attempts.last_mut().unwrap();
                    assert_eq!(tx.validity.nonce(), attempt.nonce.as_ref());
                    attempt.signed.push((*purpose, tx.id.clone()));
                }
                OrderEvent::TransactionDied { .. } | OrderEvent::Confirmed { .. } => {
                    attempts.last_mut().unwrap().end = Some(event.clone());
                }
                _ => {}
            }
        }
        attempts
    }
}

impl Attempt {
    /// Checks that the attempt ended as its nonce was used. Every nonce that was ever reserved is used.
    fn check(&self, order: OrderId, uses: &BTreeMap<&AccountNonce, &NonceUse>, found: &mut Found) {
        let Self { nonce, signed, end } = self;
        let end = end.as_ref().unwrap_or_else(|| panic!("{order}: a transaction has no end"));
        found.bumps += signed.iter().filter(|(purpose, _)| *purpose == Purpose::FeeBump).count();
        let Some(nonce) = nonce else { return };
        let NonceUse { tx_id, used_by, .. } =
            uses.get(nonce).unwrap_or_else(|| panic!("{order}: {nonce:?} is reserved and not used"));
        let is_own = signed.iter().any(|(_, signed)| signed == tx_id);
        let explained = match (end, *used_by) {
            (OrderEvent::Confirmed { tx_id: confirmed, .. }, UsedBy::Swap { executed: true, .. }) => {
                is_own && confirmed == tx_id
            }
            (OrderEvent::TransactionDied { proof, .. }, used_by) => match (proof, used_by) {
                (DeathProof::Cancelled { tx_id: cancel }, UsedBy::Cancel { .. }) => {
                    found.cancels_landed += 1;
                    is_own && cancel == tx_id
                }
                (DeathProof::Reverted, UsedBy::Swap { executed: false, .. }) => is_own,
                (DeathProof::Superseded { nonce: superseded, .. }, UsedBy::Foreign) => {
                    found.superseded += 1;
                    superseded == nonce && !is_own
                }
                _ => false,
            },
            _ => false,
        };
        assert!(explained, "{order}: {nonce:?} was used by {tx_id}, {used_by:?}, and the order says {end:?}");
    }
}

/// Asserts that the ledger has complete lines only, and the executions of the confirmed orders.
fn assert_is_whole<'a>(ledger: &Path, confirmed: impl Iterator<Item = &'a Ended>) {
    let text = std::fs::read_to_string(ledger).unwrap();
    assert!(text.ends_with('\n') && text.lines().all(|line| serde_json::from_str::<Value>(line).is_ok()));
    let confirmed = confirmed.map(|ended| (ended.order.id.to_string(), 1)).collect();
    assert_eq!(executions(ledger), confirmed, "the confirmed orders, and no others, are executed once each");
}

/// Calls a method of the chain's node.
async fn call<T: DeserializeOwned>(url: &str, method: &str) -> T {
    let body = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": [] });
    let answer = reqwest::Client::new().post(url).json(&body).send().await.unwrap();
    let mut answer: Value = answer.json().await.unwrap();
    serde_json::from_value(answer["result"].take())
        .unwrap_or_else(|error| panic!("{method}: {error} {answer}"))
}
