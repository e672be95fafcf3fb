//! The verdict on a transaction for everything that a venue can report, as a table in the docs.
//!
//! `UPDATE_EXPECT=1 cargo test -p order-engine-core --test verdict` writes the table anew.

use std::fmt::Write as _;

use expect_test::expect_file;
use order_engine_core::{
    Amount, Certainty, ChainView, DeathProof, Failure, FailureClass, FailureCode, Fill, Observation,
    SignedTx, Validity, Verdict, verdict,
};

const UNTIL: u64 = 100;

/// Returns validities, each with a finalized height of the chain.
fn situations() -> [(&'static str, Validity, u64); 4] {
    let until = Validity::UntilHeight(UNTIL);
    [
        ("until a height, finalized below it", until, UNTIL - 1),
        ("until a height, finalized at it", until, UNTIL),
        ("until a height, finalized past it", until, UNTIL + 1),
        ("unbounded", Validity::Unbounded, u64::MAX - 100),
    ]
}

fn observations(finalized: u64) -> Vec<(String, Observation)> {
    let fill = Fill { amount_in: Amount::new(1), amount_out: Amount::new(2), height: 3 };
    let failure = Failure::new(FailureCode::SLIPPAGE, "below the minimum");
    let mut all = vec![
        absent("not found, history with gaps", None),
        absent("not found, searched through less than that", Some(finalized - 1)),
        absent("not found, searched through that", Some(finalized)),
    ];
    for (name, certainty) in [
        ("processed", Certainty::Processed),
        ("confirmed", Certainty::Confirmed),
        ("finalized", Certainty::Finalized),
    ] {
        all.push((format!("landed, {name}"), Observation::Landed { certainty, fill: fill.clone() }));
        let (failure, class) = (failure.clone(), FailureClass::Requote);
        all.push((
            format!("failed on the chain, {name}"),
            Observation::Reverted { certainty, failure, class },
        ));
    }
    all
}

fn absent(name: &str, searched_through: Option<u64>) -> (String, Observation) {
    (name.to_owned(), Observation::NotFound { searched_through })
}

fn words(verdict: &Verdict) -> &'static str {
    match verdict {
        Verdict::Pending(None) => "pending",
        Verdict::Pending(Some(Certainty::Processed)) => "pending, seen in a block",
        Verdict::Pending(Some(_)) => "pending, seen in a block that most voted for",
        Verdict::Landed(_) => "**landed**",
        Verdict::Dead(DeathProof::Expired { .. }, ..) => "**dead**: expired",
        Verdict::Dead(DeathProof::Reverted, ..) => "**dead**: failed for good",
        Verdict::Unknown => "unknown",
    }
}

#[test]
fn the_table_in_the_docs_is_the_verdict() {
    let mut page = String::from(HEAD);
    for (situation, validity, finalized) in situations() {
        let tx = SignedTx { id: "tx".into(), bytes: vec![1], validity, min_amount_out: Amount::new(1) };
        let view = ChainView { processed: finalized + 32, confirmed: finalized + 2, finalized };
        for (name, observation) in observations(finalized) {
            let verdict = verdict(&tx, &view, &observation);
            writeln!(page, "| {situation} | {name} | {} |", words(&verdict)).unwrap();
        }
    }
    expect_file!["../../docs/verdict.md"].assert_eq(&page);
}

const HEAD: &str = "\
# The verdict on a transaction

This page is generated from the code by `order-engine-core/tests/verdict.rs`, which fails when the two differ.

A venue reports facts. One pure function, `verdict`, draws the conclusion from the transaction's validity, the heights
of the chain, which were read *before* the search, and the result of the search. The node that searches may be another
one than the node whose heights were read, and behind it. So absence carries its evidence: the finalized height through
which that node itself has searched. It proves something only if that height is at or past the finalized height that was
read before. Only the verdicts in bold end a transaction: `landed` confirms the order, and `dead` allows another attempt.
A pending transaction is observed again, and submitted again with the same bytes as long as no node knows it. One of
unknown outcome is observed again, and shown to an operator. No error, no time-out and no answer to a submission is in
this table, because none of them proves anything.

| the transaction is valid | the venue reports | verdict |
|---|---|---|
";
