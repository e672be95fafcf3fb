//! Properties of the quotes of every curve.

mod arbitrary;
#[path = "../support/vectors.rs"]
mod golden;
mod hostile;
mod invariants;
mod probe;
mod properties;
mod units;
mod vaults;
mod vectors;
