//! The golden vectors: quotes that an independent implementation computed from the published formulas, as
//! `tests/vectors/generate.py` describes.
#![allow(dead_code)] // Each test file uses its own part.

use order_engine_core::Amount;
use order_engine_routing::{Curve, Direction, Moment, Pool};
use serde::Deserialize;

pub(crate) const CONSTANT_PRODUCT: &str = include_str!("../vectors/constant_product.json");
pub(crate) const CONCENTRATED: &str = include_str!("../vectors/concentrated.json");
pub(crate) const WHIRLPOOL: &str = include_str!("../vectors/whirlpool.json");
pub(crate) const DLMM: &str = include_str!("../vectors/dlmm.json");
pub(crate) const DAMM_V2: &str = include_str!("../vectors/damm_v2.json");
pub(crate) const DAMM_V2_LIMITED: &str = include_str!("../vectors/damm_v2_limited.json");
pub(crate) const PUMP_SWAP: &str = include_str!("../vectors/pump_swap.json");
pub(crate) const UNISWAP_V2: &str = include_str!("../vectors/uniswap_v2.json");
pub(crate) const UNISWAP_V3: &str = include_str!("../vectors/uniswap_v3.json");
pub(crate) const VAULTED: &str = include_str!("../vectors/vaulted.json");
pub(crate) const STABLE: &str = include_str!("../vectors/stable.json");

#[derive(Deserialize)]
struct Vectors {
    source: String,
    pools: Vec<PoolRows>,
}

#[derive(Deserialize)]
struct PoolRows {
    curve: Curve,
    rows: Vec<Row>,
}

/// A row as the file has it: the fields of a [`Case`] in their order.
#[derive(Deserialize)]
struct Row(
    Direction,
    Moment,
    Amount,
    Option<Amount>,
    Option<(Amount, Amount)>,
    Option<(Direction, Moment, Amount, Option<Amount>)>,
    Option<Amount>,
);

pub(crate) struct Case {
    pub(crate) curve: Curve,
    pub(crate) direction: Direction,
    pub(crate) at: Moment,
    pub(crate) amount_in: Amount,
    /// `None` if nothing comes out.
    pub(crate) amount_out: Option<Amount>,
    pub(crate) exact_out: Option<ExactOut>,
    /// A trade with the pool as the first one leaves it.
    pub(crate) second: Option<Second>,
    /// The output by the venue's own arithmetic, where a quote may be a little below it.
    pub(crate) venue_out: Option<Amount>,
}

/// An output, and the least input for which it comes out.
pub(crate) struct ExactOut {
    pub(crate) amount_out: Amount,
    pub(crate) amount_in: Amount,
}

pub(crate) struct Second {
    pub(crate) direction: Direction,
    pub(crate) at: Moment,
    pub(crate) amount_in: Amount,
    pub(crate) amount_out: Option<Amount>,
}

impl Case {
    pub(crate) fn pool(&self) -> Pool {
        Pool::new("pool", "dex", ("a", "b"), self.curve.clone())
    }
}

/// Returns the cases of one curve.
pub(crate) fn cases(vectors: &str) -> Vec<Case> {
    let vectors: Vectors = serde_json::from_str(vectors).unwrap();
    assert!(vectors.source.starts_with("tests/vectors/generate.py"));
    let cases: Vec<Case> = vectors.pools.into_iter().flat_map(cases_of).collect();
    assert!(cases.len() >= 1_000);
    cases
}

fn cases_of(PoolRows { curve, rows }: PoolRows) -> impl Iterator<Item = Case> {
    rows.into_iter().map(move |row| {
        let Row(direction, at, amount_in, amount_out, exact_out, second, venue_out) = row;
        let exact_out = exact_out.map(|(amount_out, amount_in)| ExactOut { amount_out, amount_in });
        let second = second.map(|(direction, at, amount_in, amount_out)| Second {
            direction,
            at,
            amount_in,
            amount_out,
        });
        let curve = curve.clone();
        Case { curve, direction, at, amount_in, amount_out, exact_out, second, venue_out }
    })
}
