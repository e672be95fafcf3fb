//! The least fee that a block takes.

use crate::chance::{Chance, Purpose};
use crate::faults::FaultConfig;

/// What a transaction offers, as a multiple of the base fee: room for it to rise.
const OFFER: u128 = 2;

/// Returns the base fee of a height, from the one without spikes.
pub(crate) fn base_fee(usual: u128, height: u64, (chance, faults): (Chance, &FaultConfig)) -> u128 {
    let period = height / faults.fee_spike_slots.max(1);
    if chance.happens(faults.fee_spike_rate, Purpose::FeeSpike, period, 0) {
        usual.saturating_mul(u128::from(faults.fee_spike_percent.max(100))) / 100
    } else {
        usual
    }
}

/// Returns the fee that a transaction offers while the base fee is so high.
pub(crate) const fn offer(base_fee: u128) -> u128 {
    base_fee.saturating_mul(OFFER)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rate::Rate;

    #[test]
    fn a_spike_lasts_its_slots_and_comes_at_its_rate() {
        let faults = FaultConfig {
            fee_spike_rate: Rate::from_percent(25).unwrap(),
            fee_spike_slots: 10,
            fee_spike_percent: 800,
            ..FaultConfig::default()
        };
        let fees: Vec<u128> =
            (0..10_000).map(|height| base_fee(100, height, (Chance::new(1), &faults))).collect();
        assert!(fees.chunks(10).all(|period| period.iter().all(|fee| *fee == period[0])));
        let spikes = fees.iter().filter(|fee| **fee == 800).count();
        assert!((2_000..3_000).contains(&spikes), "{spikes} of 10000");
        assert!(fees.iter().all(|fee| [100, 800].contains(fee)));
    }
}
