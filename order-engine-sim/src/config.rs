//! The configuration of a simulator.

use std::collections::HashSet;
use std::path::PathBuf;
use std::time::Duration;

use order_engine_core::Token;

use crate::error::SimError;
use crate::faults::FaultConfig;
use crate::rate::Rate;
use crate::tokens::default_tokens;

/// The most accounts of a chain, each of which every block looks at.
const ACCOUNTS_MAX: usize = 1_000;

/// The configuration of a simulated chain.
///
/// ```
/// use order_engine_sim::{Rate, SimConfig};
/// use std::time::Duration;
///
/// let config = SimConfig { seed: 7, step_delay: Duration::ZERO, ..SimConfig::default() };
/// assert_eq!(config.fail_rate, Rate::from_percent(5).unwrap());
/// ```
#[derive(Clone, Debug)]
pub struct SimConfig {
    /// The seed of all random numbers.
    pub seed: u64,
    /// The time that one step takes: to quote, to prepare, to submit, and from there to each level of
    /// certainty. Without a delay a transaction is final when `submit` returns.
    pub step_delay: Duration,
    /// How often another trader front-runs a transaction, so that it reverts with `slippage`.
    pub fail_rate: Rate,
    /// The length of a slot. Every slot has a height: the simulated chain skips none.
    pub slot: Duration,
    /// The file that records executions. Without a file the chain loses them when it is dropped.
    pub ledger: Option<PathBuf>,
    /// The tokens. Every pair of them has a pool on both exchanges.
    pub tokens: Vec<Token>,
    /// The faults besides slippage; none by default.
    pub faults: FaultConfig,
    /// The accounts and blocks of a chain whose transactions have nonces. `None`, the default, for a chain whose
    /// transactions expire at a height.
    pub nonces: Option<NonceConfig>,
}

/// The configuration of a chain whose transactions have nonces.
///
/// ```
/// use order_engine_sim::{NonceConfig, SimConfig};
///
/// let nonces = NonceConfig { accounts: 2, ..NonceConfig::default() };
/// let config = SimConfig { nonces: Some(nonces), ..SimConfig::default() };
/// # assert_eq!(config.nonces, Some(nonces));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NonceConfig {
    /// What the nonces of accounts are.
    pub kind: NonceKind,
    /// The number of accounts. Where nonces are numbers an order has the same one in all its life.
    pub accounts: usize,
    /// The most transactions in a block.
    pub block_capacity: usize,
    /// The fee below which a block takes no transaction, in base units of the chain's own token.
    pub base_fee: u64,
}

/// What the nonces of accounts are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NonceKind {
    /// Numbers that grow by one, as on chains of the EVM.
    #[default]
    Numbers,
    /// Values that change with each use in a way that nobody can foretell, as durable nonces of Solana. An order takes any
    /// account whose value no other order has.
    Opaque,
}

impl Default for NonceConfig {
    /// Returns numbers, four accounts, blocks of 100 transactions and a base fee of 100.
    fn default() -> Self {
        Self { kind: NonceKind::Numbers, accounts: 4, block_capacity: 100, base_fee: 100 }
    }
}

impl Default for SimConfig {
    /// Returns a chain with 150 ms per step and 5 % failing transactions, without a ledger.
    fn default() -> Self {
        Self {
            seed: 0,
            step_delay: Duration::from_millis(150),
            fail_rate: Rate::from_ppm(50_000).unwrap_or(Rate::NEVER),
            slot: Duration::from_millis(400),
            ledger: None,
            tokens: default_tokens(),
            faults: FaultConfig::default(),
            nonces: None,
        }
    }
}

impl SimConfig {
    /// Returns whether prices are frozen. A chain without delays and failures serves to measure or test
    /// something else, which moving prices would only disturb.
    pub fn prices_are_frozen(&self) -> bool {
        self.step_delay.is_zero() && self.fail_rate.is_never()
    }

    /// Checks the values that the types do not.
    pub(crate) fn validate(&self) -> Result<(), SimError> {
        let refuse = |reason: &str| Err(SimError::Config(reason.to_owned()));
        if self.slot.as_millis() == 0 {
            return refuse("a slot takes at least one millisecond");
        }
        if self.slot > Duration::from_hours(1) || self.step_delay > Duration::from_hours(1) {
            return refuse("a slot and a step take at most an hour");
        }
        if self.tokens.len() < 2 {
            return refuse("a pool needs two tokens");
        }
        if has_duplicates(self.tokens.iter().map(|token| token.mint.as_str())) {
            return refuse("a token is listed twice");
        }
        // The ids of pools contain the symbols.
        if has_duplicates(self.tokens.iter().map(|token| token.symbol.as_str())) {
            return refuse("two tokens have one symbol");
        }
        if self.nonces.is_some_and(|nonces| !(1..=ACCOUNTS_MAX).contains(&nonces.accounts)) {
            return refuse("a chain with nonces has 1 to 1000 accounts");
        }
        if self.nonces.is_some_and(|nonces| nonces.block_capacity == 0 || nonces.base_fee == 0) {
            return refuse("a block takes one transaction at least, for a fee of one at least");
        }
        Ok(())
    }
}

fn has_duplicates<'a>(mut values: impl Iterator<Item = &'a str>) -> bool {
    let mut seen = HashSet::new();
    !values.all(|value| seen.insert(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn invalid_configurations_are_refused() {
        let default = SimConfig::default;
        let with_nonces = |nonces| SimConfig { nonces: Some(nonces), ..default() };
        assert!(default().validate().is_ok());
        assert!(with_nonces(NonceConfig::default()).validate().is_ok());
        let twice = [default_tokens(), default_tokens()].concat();
        let mut namesakes = default_tokens();
        namesakes[1].symbol = namesakes[0].symbol.clone();
        for config in [
            SimConfig { slot: Duration::from_micros(900), ..default() },
            SimConfig { step_delay: Duration::from_hours(2), ..default() },
            SimConfig { tokens: default_tokens()[..1].to_vec(), ..default() },
            SimConfig { tokens: twice, ..default() },
            SimConfig { tokens: namesakes, ..default() },
            with_nonces(NonceConfig { accounts: 0, ..NonceConfig::default() }),
            with_nonces(NonceConfig { accounts: 1_001, ..NonceConfig::default() }),
            with_nonces(NonceConfig { block_capacity: 0, ..NonceConfig::default() }),
            with_nonces(NonceConfig { base_fee: 0, ..NonceConfig::default() }),
        ] {
            assert!(matches!(config.validate(), Err(SimError::Config(_))), "{config:?}");
        }
    }

    #[test]
    fn prices_are_frozen_only_without_delay_and_failures() {
        let still = SimConfig { step_delay: Duration::ZERO, fail_rate: Rate::NEVER, ..SimConfig::default() };
        assert!(still.prices_are_frozen());
        assert!(!SimConfig { fail_rate: Rate::ALWAYS, ..still.clone() }.prices_are_frozen());
        assert!(!SimConfig { step_delay: Duration::from_millis(1), ..still }.prices_are_frozen());
    }
}
