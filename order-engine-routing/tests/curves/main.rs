//! Properties of the quotes of every curve.

mod arbitrary;
mod damm;
#[path = "../support/vectors.rs"]
mod golden;
mod hostile;
mod invariants;
mod probe;
mod properties;
mod units;
mod vaults;
mod vectors;
