//! The comparison of every order with what the chain has.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use alloy_primitives::I256;
use order_engine_core::{Engine, FailureCode, Order, OrderEvent, Purpose, SignedTx, Status};
use order_engine_evm::{Address, B256, U256, WalletSigner as _, hash_of};
use serde_json::json;

use crate::chain::{ByNonce, Chain, Landed};
use crate::market::{Setup, is_cancelled, is_tight, is_too_much, wallet_of};
use crate::nodes::Known;
use crate::pool::APPROVE;

/// What the audit counted.
#[derive(Debug, Default)]
pub(crate) struct Found {
    confirmed: usize,
    failed: BTreeMap<String, usize>,
    landed: usize,
    reverted: usize,
    foreign: usize,
    approvals: usize,
    siblings: usize,
    fillers: usize,
    /// The proven deaths of attempts, by the code of what ended them.
    deaths: BTreeMap<String, usize>,
    undone: usize,
    moved: usize,
    most_attempts: u32,
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            confirmed,
            failed,
            landed,
            reverted,
            foreign,
            approvals,
            siblings,
            fillers,
            deaths,
            undone,
            moved,
            most_attempts,
        } = self;
        write!(
            f,
            "{confirmed} confirmed, each executed once, failed: {failed:?}; {landed} transactions in blocks, of these {reverted} reverted, \
             {foreign} of others, and {approvals} approvals; {siblings} siblings, {fillers} fillers, deaths proven: {deaths:?}, {undone} landings undone and {moved} moved, \
             {most_attempts} attempts at most"
        )
    }
}

/// The transaction that executed each order.
type Executed<'a> = BTreeMap<usize, &'a Landed>;

/// What the store has of the orders' transactions.
struct Signed {
    /// The order of each transaction, and what it is for.
    by_hash: BTreeMap<B256, (usize, Purpose)>,
    /// The highest nonce of each wallet.
    nonces: BTreeSet<(Address, u64)>,
}

/// Asserts that every order has ended as the chain says, that no nonce is left out, and that each wallet has what the events say.
/// `begun` is the block before the first order.
pub(crate) async fn audit(
    setup: &Setup,
    (engine, orders): (&Engine, &[Order]),
    (chain, begun): (&Chain, u64),
    (known, foreign): (&Known, &BTreeSet<B256>),
) -> Found {
    let mut found = Found::default();
    let wallets: Vec<Address> = setup.all_wallets().iter().map(|wallet| wallet.address()).collect();
    let landed = chain.landed(&wallets, begun).await;
    let signed = signed(engine, orders, &mut found).await;
    let mut executed = Executed::new();
    for tx in landed.values() {
        found.landed += 1;
        found.reverted += usize::from(!tx.has_succeeded);
        if foreign.contains(&tx.hash) {
            found.foreign += 1;
            continue;
        }
        if tx.input.starts_with(&APPROVE) {
            assert!(setup.is_approved(&tx.from), "a wallet with permits approves nothing");
            found.approvals += 1;
            continue;
        }
        let (order, purpose) = *signed.by_hash.get(&tx.hash).expect("what landed was committed first");
        let order_id = orders[order].id;
        assert!(tx.input.ends_with(order_id.as_uuid().as_bytes()), "it carries the tag of its order");
        if tx.has_traded(&setup.pools) {
            assert!(purpose.is_swap(), "{order_id}");
            let before = executed.insert(order, tx);
            assert!(before.is_none(), "order {order_id} was executed twice");
        }
    }
    for (n, order) in orders.iter().enumerate() {
        check_order(setup, (n, order), executed.get(&n).copied(), &mut found);
    }
    check_nonces(chain, begun, &wallets, &landed, &signed).await;
    check_balances(setup, (chain, begun), &wallets, (&landed, &executed, orders)).await;
    check_fees(known, foreign);
    nothing_can_land_any_more(chain, known).await;
    found
}

/// Reads all transactions that were committed for the orders.
async fn signed(engine: &Engine, orders: &[Order], found: &mut Found) -> Signed {
    let mut signed = Signed { by_hash: BTreeMap::new(), nonces: BTreeSet::new() };
    for (n, order) in orders.iter().enumerate() {
        found.most_attempts = found.most_attempts.max(order.state.attempt());
        let mut included_at = None;
        for record in engine.events(order.id, 0, 10_000).await.expect("the store answers") {
            let mut note = |purpose, tx: &SignedTx| {
                let hash = hash_of(&tx.id).expect("it is an id of the chain");
                assert_eq!(signed.by_hash.insert(hash, (n, purpose)), None, "it was committed twice");
                let nonce = tx.validity.nonce().expect("it has a nonce");
                let wallet = nonce.account.as_str().parse().expect("it is an address");
                signed.nonces.insert((wallet, nonce.value.number().expect("it is a number")));
            };
            match &record.event {
                OrderEvent::TransactionSigned { tx } => note(Purpose::Original, tx),
                OrderEvent::SiblingSigned { purpose, tx } => {
                    found.siblings += 1;
                    note(*purpose, tx);
                }
                OrderEvent::NonceFilled { tx } => {
                    found.fillers += 1;
                    note(Purpose::Filler, tx);
                }
                OrderEvent::TransactionDied { failure, .. } => {
                    *found.deaths.entry(failure.code.as_str().to_owned()).or_default() += 1;
                }
                OrderEvent::InclusionUndone => found.undone += 1,
                OrderEvent::InclusionObserved { height, .. } => {
                    found.moved += usize::from(included_at.is_some_and(|known| known != *height));
                    included_at = Some(*height);
                }
                _ => {}
            }
        }
    }
    signed
}

/// Asserts that an order ended as its one execution on the chain, or the absence of one, says.
fn check_order(setup: &Setup, (n, order): (usize, &Order), executed: Option<&Landed>, found: &mut Found) {
    let n = n as u64;
    match (order.status(), executed) {
        (Status::Confirmed, Some(tx)) => {
            found.confirmed += 1;
            let fill = order.state.fill().expect("it is filled");
            let [input, output] = sides(order);
            let traded = (tx.sold(input, setup.weth), tx.bought(output, setup.weth));
            let said = [fill.amount_in, fill.amount_out].map(|amount| U256::from(amount.base_units()));
            assert_eq!(
                (said[0], said[1], fill.height),
                (traded.0, traded.1, tx.block),
                "the fill of order {n}"
            );
            assert_eq!(fill.amount_in, order.request.amount);
            assert!(Some(fill.amount_out) >= order.worst_price(), "order {n} was paid too little");
            let wallet = setup.wallet(wallet_of(order.request.amount, setup.wallets)).address();
            assert_eq!(tx.from, wallet);
        }
        (Status::Failed, None) => {
            let code = order.state.failure().map(|failure| failure.code.clone()).expect("it has failed");
            let is_expected = (is_too_much(n) && code == FailureCode::INSUFFICIENT_FUNDS)
                || (is_cancelled(n) && code == FailureCode::CANCELLED)
                || (is_tight(n) && [FailureCode::SLIPPAGE, FailureCode::RETRIES_EXHAUSTED].contains(&code));
            assert!(is_expected, "order {n}: {:?}", order.state.failure());
            *found.failed.entry(code.as_str().to_owned()).or_default() += 1;
        }
        (status, executed) => panic!("order {n} ({}) is {status}, and executed: {executed:?}", order.id),
    }
}

fn sides(order: &Order) -> [Address; 2] {
    [&order.request.input, &order.request.output].map(|token| token.mint.parse().expect("it is an address"))
}

/// Asserts that each nonce from the first one on was used, and that no order has one that was not.
async fn check_nonces(chain: &Chain, begun: u64, wallets: &[Address], landed: &ByNonce, signed: &Signed) {
    let head = chain.head().await;
    for wallet in wallets {
        let (first, next) = (chain.nonce(*wallet, begun).await, chain.nonce(*wallet, head).await);
        for nonce in first..next {
            assert!(landed.contains_key(&(*wallet, nonce)), "nonce {nonce} of {wallet} is a gap");
        }
    }
    let is_unused = |nonce: &&(Address, u64)| !landed.contains_key(nonce);
    let unused: Vec<_> = signed.nonces.iter().filter(is_unused).collect();
    assert!(unused.is_empty(), "nonces that were given out and not used: {unused:?}");
}

/// Asserts that what each wallet has is what it had, with what its executed orders traded and without its fees.
async fn check_balances(
    setup: &Setup,
    (chain, begun): (&Chain, u64),
    wallets: &[Address],
    (landed, executed, orders): (&ByNonce, &Executed<'_>, &[Order]),
) {
    let head = chain.head().await;
    let signed = |amount: U256| I256::try_from(amount).expect("it is no more than there is");
    let mut expected: BTreeMap<(Address, Address), I256> = BTreeMap::new();
    for (n, tx) in executed {
        let fill = orders[*n].state.fill().expect("it is filled");
        let [input, output] = sides(&orders[*n]);
        for (token, amount, sign) in [(input, fill.amount_in, -1), (output, fill.amount_out, 1)] {
            let moved = signed(U256::from(amount.base_units())) * I256::try_from(sign).expect("it is small");
            *expected.entry((tx.from, token)).or_default() += moved;
        }
    }
    for tx in landed.values() {
        *expected.entry((tx.from, setup.weth)).or_default() -= signed(tx.fee);
    }
    for wallet in wallets {
        for token in setup.tokens {
            let has = async |block| {
                if token == setup.weth {
                    chain.wei(*wallet, block).await
                } else {
                    chain.tokens(token, *wallet, block).await
                }
            };
            let moved = signed(has(head).await) - signed(has(begun).await);
            let said = expected.get(&(*wallet, token)).copied().unwrap_or_default();
            assert_eq!(moved, said, "{token} of {wallet}, to the wei");
        }
        assert_eq!(chain.tokens(setup.weth, *wallet, head).await, U256::ZERO, "nothing stays wrapped");
    }
    for token in setup.tokens {
        assert_eq!(
            chain.tokens(token, setup.router, head).await,
            U256::ZERO,
            "nothing stays with the router"
        );
    }
    assert_eq!(chain.wei(setup.router, head).await, U256::ZERO);
}

/// Asserts that of what was sent with one nonce each pays a tenth more in both fees than the one before.
fn check_fees(known: &Known, foreign: &BTreeSet<B256>) {
    let sent = known.sent.lock().unwrap();
    let mut by_nonce: BTreeMap<(Address, u64), Vec<(u128, u128)>> = BTreeMap::new();
    for tx in sent.values().filter(|tx| !foreign.contains(&tx.hash) && !tx.is_approval) {
        by_nonce.entry((tx.sender, tx.nonce)).or_default().push((tx.max_fee, tx.tip));
    }
    for (nonce, fees) in &mut by_nonce {
        fees.sort_unstable();
        let is_enough =
            fees.windows(2).all(|pair| pair[1].0 * 10 >= pair[0].0 * 11 && pair[1].1 * 10 >= pair[0].1 * 11);
        assert!(is_enough, "the replacements of {nonce:?} pay {fees:?}");
    }
}

/// Gives the chain every transaction that was ever sent once more: none of them can land.
async fn nothing_can_land_any_more(chain: &Chain, known: &Known) {
    // An approval that lands later does no harm, and nothing keeps it from it.
    let sent: Vec<_> = known.sent.lock().unwrap().values().filter(|tx| !tx.is_approval).cloned().collect();
    assert!(!sent.is_empty());
    for tx in sent {
        let refused =
            chain.call("eth_sendRawTransaction", json!([tx.bytes])).await.expect_err("its nonce is used");
        assert_eq!(refused["message"], "nonce too low", "{tx:?}");
    }
}
