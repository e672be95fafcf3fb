//! The golden vectors: quotes that an independent implementation computed from the published formulas, as
//! `tests/vectors/generate.py` describes.
#![allow(dead_code)] // Each test file uses its own part.

use order_engine_core::Amount;
use order_engine_routing::{Curve, Direction, Moment, Pool};
use serde::Deserialize;

pub(crate) const CONSTANT_PRODUCT: &str = include_str!("../vectors/constant_product.json");
pub(crate) const CONCENTRATED: &str = include_str!("../vectors/concentrated.json");
pub(crate) const DLMM: &str = include_str!("../vectors/dlmm.json");
pub(crate) const VAULTED: &str = include_str!("../vectors/vaulted.json");
pub(crate) const STABLE: &str = include_str!("../vectors/stable.json");

#[derive(Deserialize)]
struct Vectors {
    source: String,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
pub(crate) struct Case {
    pub(crate) curve: Curve,
    pub(crate) direction: Direction,
    pub(crate) at: Moment,
    pub(crate) amount_in: Amount,
    /// `None` if nothing comes out.
    pub(crate) amount_out: Option<Amount>,
    pub(crate) exact_out: Option<ExactOut>,
    /// The output of the venues' iteration, for curves that they solve by iteration.
    pub(crate) newton_out: Option<Amount>,
}

#[derive(Deserialize)]
pub(crate) struct ExactOut {
    pub(crate) amount_out: Amount,
    pub(crate) amount_in: Amount,
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
    assert!(vectors.cases.len() >= 100);
    vectors.cases
}
