use std::collections::HashSet;
use std::path::PathBuf;
use std::time::Duration;

use order_engine_core::Token;

use crate::{FaultConfig, Rate, SimError, default_tokens};

/// What a simulated chain is like.
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
    /// Everything that chance decides follows from this number.
    pub seed: u64,
    /// How long one step takes: to quote, to prepare, to submit, and from there to each level of
    /// certainty. Without a delay a transaction is final when `submit` returns.
    pub step_delay: Duration,
    /// How often somebody trades ahead of a transaction, so that it reverts with `slippage`.
    pub fail_rate: Rate,
    /// How long a slot takes. A slot is a height: the simulated chain skips none.
    pub slot: Duration,
    /// Where executions are recorded. Without a file the chain forgets them when it is dropped.
    pub ledger: Option<PathBuf>,
    /// The tokens; every pair of them has a pool on both exchanges.
    pub tokens: Vec<Token>,
    /// What goes wrong beside slippage; nothing by default.
    pub faults: FaultConfig,
}

impl Default for SimConfig {
    /// A chain that takes 150 ms a step and lets 5 % of the transactions fail, without a ledger.
    fn default() -> Self {
        Self {
            seed: 0,
            step_delay: Duration::from_millis(150),
            fail_rate: Rate::from_ppm(50_000).unwrap_or(Rate::NEVER),
            slot: Duration::from_millis(400),
            ledger: None,
            tokens: default_tokens(),
            faults: FaultConfig::default(),
        }
    }
}

impl SimConfig {
    /// Whether prices stand still. A chain that takes no time and lets nothing fail is there to
    /// measure or to test something else, and a price that moved in between would only disturb.
    pub fn prices_are_frozen(&self) -> bool {
        self.step_delay.is_zero() && self.fail_rate.is_never()
    }

    /// Checks what the types leave open.
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
        if has_twice(self.tokens.iter().map(|token| token.mint.as_str())) {
            return refuse("a token is listed twice");
        }
        // Pools are named after the symbols.
        if has_twice(self.tokens.iter().map(|token| token.symbol.as_str())) {
            return refuse("two tokens have one symbol");
        }
        Ok(())
    }
}

fn has_twice<'a>(mut texts: impl Iterator<Item = &'a str>) -> bool {
    let mut seen = HashSet::new();
    !texts.all(|text| seen.insert(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn senseless_configurations_are_refused() {
        let default = SimConfig::default;
        assert!(default().validate().is_ok());
        let twice = [default_tokens(), default_tokens()].concat();
        let mut namesakes = default_tokens();
        namesakes[1].symbol = namesakes[0].symbol.clone();
        for config in [
            SimConfig { slot: Duration::from_micros(900), ..default() },
            SimConfig { step_delay: Duration::from_hours(2), ..default() },
            SimConfig { tokens: default_tokens()[..1].to_vec(), ..default() },
            SimConfig { tokens: twice, ..default() },
            SimConfig { tokens: namesakes, ..default() },
        ] {
            assert!(matches!(config.validate(), Err(SimError::Config(_))), "{config:?}");
        }
    }

    #[test]
    fn prices_stand_still_only_without_delay_and_failures() {
        let still = SimConfig { step_delay: Duration::ZERO, fail_rate: Rate::NEVER, ..SimConfig::default() };
        assert!(still.prices_are_frozen());
        assert!(!SimConfig { fail_rate: Rate::ALWAYS, ..still.clone() }.prices_are_frozen());
        assert!(!SimConfig { step_delay: Duration::from_millis(1), ..still }.prices_are_frozen());
    }
}
