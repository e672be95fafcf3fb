//! What must hold for every pool of every curve, and every amount.

mod arbitrary;
mod hostile;
mod invariants;
mod probe;
mod properties;
mod units;
mod vectors;
