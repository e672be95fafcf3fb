//! The verdict on the transactions of an attempt for everything that a venue can report, as a table in the docs.
//!
//! `UPDATE_EXPECT=1 cargo test -p order-engine-core --test verdict` writes the table anew.

use std::fmt::Write as _;
use std::sync::Arc;

use expect_test::expect_file;
use order_engine_core::testing::siblings;
use order_engine_core::{
    AccountNonce, AccountView, Amount, Certainty, ChainView, DeathProof, Failure, FailureClass, FailureCode,
    Fill, NonceValue, Observation, Purpose, Siblings, SignedTx, Validity, Verdict, verdict,
};

/// The last height, or the nonce, of the transactions.
const BOUND: u64 = 100;

fn tx(id: &str, validity: Validity) -> Arc<SignedTx> {
    Arc::new(SignedTx::new(id, [1], validity, Amount::new(1)))
}

fn nonce() -> Validity {
    Validity::Nonce(AccountNonce::new("wallet", BOUND))
}

fn opaque_nonce() -> Validity {
    Validity::Nonce(AccountNonce::new("account", NonceValue::opaque("value", BOUND)))
}

/// What was read before the search.
struct Read {
    words: &'static str,
    view: ChainView,
    account: Option<AccountView>,
    /// The height that a search has to come to.
    height: u64,
}

impl Read {
    fn heights(words: &'static str, finalized: u64) -> Self {
        let view = ChainView::new(finalized + 32, finalized + 2, finalized);
        Self { words, view, account: None, height: finalized }
    }

    /// The height up to which the node has come that tells the account's opaque value at finality.
    fn value(words: &'static str, text: &str, finalized_height: u64) -> Self {
        let value = NonceValue::opaque(text, finalized_height);
        let account = Some(AccountView::new(value.clone(), value, finalized_height));
        Self { account, height: finalized_height, ..Self::heights(words, 10) }
    }

    fn nonces(words: &'static str, latest: u64, finalized: u64) -> Self {
        let account = Some(AccountView::new(latest, finalized, 50));
        Self { account, height: 50, ..Self::heights(words, 10) }
    }
}

fn absent(searched_through: Option<u64>) -> Observation {
    Observation::NotFound { searched_through, seen_through: Some(1_000) }
}

fn landed(certainty: Certainty) -> Observation {
    Observation::Landed { certainty, fill: Fill::new(Amount::new(1), Amount::new(2), 3) }
}

fn reverted(certainty: Certainty) -> Observation {
    let failure = Failure::new(FailureCode::SLIPPAGE, "below the minimum");
    Observation::Reverted { certainty, failure, class: FailureClass::Requote }
}

/// What can be reported about one transaction, where a search has to come to this height.
fn observations(height: u64) -> Vec<(String, Observation)> {
    let mut all = vec![
        ("not found, history with gaps".to_owned(), absent(None)),
        ("not found, searched through less than that".to_owned(), absent(Some(height - 1))),
        ("not found, searched through that".to_owned(), absent(Some(height))),
    ];
    for (name, certainty) in [
        ("processed", Certainty::Processed),
        ("confirmed", Certainty::Confirmed),
        ("finalized", Certainty::Finalized),
    ] {
        all.push((format!("landed, {name}"), landed(certainty)));
        all.push((format!("failed on the chain, {name}"), reverted(certainty)));
    }
    all
}

fn words(verdict: &Verdict) -> &'static str {
    match verdict {
        Verdict::Pending(None) => "pending",
        Verdict::Pending(Some(inclusion)) => match inclusion.certainty {
            Certainty::Processed => "pending, seen in a block",
            _ => "pending, seen in a block that most voted for",
        },
        Verdict::Landed(tx_id, _) if tx_id.as_str() == "bump" => "**landed**: the one with the higher fee",
        Verdict::Landed(..) => "**landed**",
        Verdict::Dead(DeathProof::Expired { .. }, ..) => "**dead**: expired",
        Verdict::Dead(DeathProof::Superseded { .. }, ..) => "**dead**: superseded",
        Verdict::Dead(DeathProof::Cancelled { .. }, ..) => "**dead**: cancelled",
        Verdict::Dead(DeathProof::Reverted, ..) => "**dead**: failed for good",
        Verdict::Dead(..) => "**dead**",
        Verdict::Unknown => "unknown",
    }
}

fn single(page: &mut String, validity: &Validity, reads: &[Read]) {
    for Read { words: situation, view, account, height } in reads {
        for (name, observation) in observations(*height) {
            let attempt = Siblings::from(SignedTx::clone(&tx("tx", validity.clone())));
            let verdict = verdict(&attempt, view, account.as_ref(), &[observation]);
            writeln!(page, "| {situation} | {name} | {} |", words(&verdict)).unwrap();
        }
    }
}

/// The table of an attempt with an original and a second transaction.
fn pairs(page: &mut String, purpose: Purpose, id: &str) {
    let attempt = siblings(tx("tx", nonce()), [(purpose, tx(id, nonce()))]);
    for Read { words: situation, view, account, height } in [
        Read::nonces("not used at finality", BOUND + 1, BOUND),
        Read::nonces("used at finality", BOUND + 1, BOUND + 1),
    ] {
        let reports = [
            ("not found, searched through less than that", absent(Some(height - 1))),
            ("not found, searched through that", absent(Some(height))),
            ("landed, processed", landed(Certainty::Processed)),
            ("landed, finalized", landed(Certainty::Finalized)),
            ("failed on the chain, finalized", reverted(Certainty::Finalized)),
        ];
        for (first, one) in &reports {
            for (second, other) in &reports {
                let verdict = verdict(&attempt, &view, account.as_ref(), &[one.clone(), other.clone()]);
                writeln!(page, "| {situation} | {first} | {second} | {} |", words(&verdict)).unwrap();
            }
        }
    }
}

#[test]
fn the_table_in_the_docs_is_the_verdict() {
    let mut page = String::from(HEAD);
    let reads = [
        Read::heights("below it", BOUND - 1),
        Read::heights("at it", BOUND),
        Read::heights("past it", BOUND + 1),
    ];
    single(&mut page, &Validity::UntilHeight(BOUND), &reads);
    page.push_str(NONCE_HEAD);
    let reads = [
        Read::nonces("not used", BOUND, BOUND),
        Read::nonces("used, not finally", BOUND + 1, BOUND),
        Read::nonces("used at finality", BOUND + 1, BOUND + 1),
    ];
    single(&mut page, &nonce(), &reads);
    page.push_str(OPAQUE_HEAD);
    let reads = [
        Read::value("another one, read at a lower height", "other", BOUND - 1),
        Read::value("another one, read at the same height", "other", BOUND),
        Read::value("the same one, read at a greater height", "value", BOUND + 1),
        Read::value("another one, read at a greater height", "other", BOUND + 1),
    ];
    single(&mut page, &opaque_nonce(), &reads);
    page.push_str(BUMP_HEAD);
    pairs(&mut page, Purpose::FeeBump, "bump");
    page.push_str(CANCEL_HEAD);
    pairs(&mut page, Purpose::Cancel, "cancel");
    expect_file!["../../docs/verdict.md"].assert_eq(&page);
}

const HEAD: &str = "\
# The verdict on the transactions of an attempt

This page is generated from the code by `order-engine-core/tests/verdict.rs`, which fails when the two differ.

A venue reports facts. One pure function, `verdict`, draws the conclusion from the transactions' validity, the heights
of the chain and the account's nonces, which were read *before* the search, and the result of the search. The node that
searches may be another one than the nodes that were read, and behind them. So absence carries its evidence: the finalized
height through which that node itself has searched. It proves something only if that height is at or past the finalized
height that was read before. Only the verdicts in bold end an attempt: `landed` confirms the order, and `dead` allows
another attempt. Pending transactions are observed again, and the last one is submitted again with the same bytes as long
as no node knows it. One of unknown outcome is observed again, and shown to an operator. No error, no time-out and no answer
to a submission is in these tables, because none of them proves anything.

## A transaction that is valid until a height

| the finalized height is | the venue reports | verdict |
|---|---|---|
";

const NONCE_HEAD: &str = "
## A transaction with a nonce

Time does not kill it: it ends when the nonce is used, by itself or by another transaction. *Searched through that* means: through the
finalized height of the node that told how far the account has come.

| the account's nonce is | the venue reports | verdict |
|---|---|---|
";

const OPAQUE_HEAD: &str = "
## A transaction with an opaque value

The account has another value after each use, which nobody can foretell and which never comes again. The transaction names
the value that the account had at finality at some height. Another one that was read at a greater height proves that it is
used. One that was read at the same height or below proves nothing: the node may lag, and show an older value.

| the account's value at finality is | the venue reports | verdict |
|---|---|---|
";

const BUMP_HEAD: &str = "
## A transaction with a nonce, and one with a higher fee in its place

The chain lets one of them land. Reports that say otherwise decide nothing.

| the account's nonce is | of the original the venue reports | of the other | verdict |
|---|---|---|---|
";

const CANCEL_HEAD: &str = "
## A transaction with a nonce, and one that does nothing in its place

| the account's nonce is | of the original the venue reports | of the other | verdict |
|---|---|---|---|
";
