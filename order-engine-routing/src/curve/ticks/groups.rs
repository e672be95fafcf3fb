//! Volatility in groups of ticks, and the fee that grows with its square. `raydium-clmm` and `whirlpools` compute both
//! in the same way.

use crate::error::InvalidPool;
use crate::fee::ONE_BPS;
use crate::trade::Direction;
use crate::wide::div_ceil;

use super::table::TickTable;

/// The highest fee of a pool whose fee changes, in millionths: a tenth.
pub(crate) const MAX_RATE_PPM: u32 = 100_000;
/// The volatility that each crossed group adds.
const VOLATILITY_PER_GROUP: u32 = 10_000;
/// The scale of the changing part of the fee before rounding: a hundred thousandths of the control factor, and the
/// square of what a group adds.
const RATE_SCALE: u128 = 100_000 * 10_000 * 10_000;

/// Groups of ticks, and the volatility in each of them as one trade finds it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Groups {
    pub(crate) table: TickTable,
    /// The ticks of a group.
    pub(crate) size: u16,
    /// How fast the fee grows with the square of volatility, in hundred thousandths.
    pub(crate) control_factor: u32,
    /// The highest volatility.
    pub(crate) max_accumulator: u32,
    /// The volatility from which the trade starts.
    pub(crate) reference: u32,
    /// The group from which the distance of the trade counts.
    pub(crate) index_reference: i32,
}

impl Groups {
    /// Checks the parameters that all groups of a pool have: those with which no product overflows.
    pub(crate) fn check(size: u16, max_accumulator: u32) -> Result<(), InvalidPool> {
        if u64::from(size) * u64::from(max_accumulator) > u64::from(u32::MAX) {
            let reason = "must fit 32 bits when multiplied by the ticks of a group";
            return Err(InvalidPool { field: "max_volatility_accumulator", reason });
        }
        Ok(())
    }

    /// Returns the group of a tick.
    pub(crate) fn of(tick: i32, size: u16) -> i32 {
        tick.div_euclid(i32::from(size))
    }

    /// Returns the share of a volatility that remains after a while.
    pub(crate) fn decayed(accumulator: u32, share_bps: u16) -> u32 {
        let decayed = u64::from(accumulator) * u64::from(share_bps) / u64::from(ONE_BPS);
        // The share is at most one, so the rest fits.
        u32::try_from(decayed).unwrap_or(accumulator)
    }

    /// Returns the volatility in a group.
    pub(crate) fn accumulator(&self, group: i32) -> u32 {
        let moved = self.index_reference.abs_diff(group).saturating_mul(VOLATILITY_PER_GROUP);
        self.reference.saturating_add(moved).min(self.max_accumulator)
    }

    /// Returns the number of groups from the reference at which volatility is the highest, whatever the direction.
    pub(crate) fn groups_to_max(&self) -> i32 {
        let groups = self.max_accumulator.saturating_sub(self.reference).div_ceil(VOLATILITY_PER_GROUP);
        groups.cast_signed()
    }

    /// Returns the whole fee at a volatility, in millionths.
    pub(crate) fn rate_ppm(&self, base_ppm: u32, accumulator: u32) -> u32 {
        // The product of accumulator and size has 32 bits, so 96 suffice for the dividend.
        let crossed = u128::from(accumulator) * u128::from(self.size);
        let changing = div_ceil(crossed * crossed * u128::from(self.control_factor), RATE_SCALE);
        let changing = u32::try_from(changing).unwrap_or(u32::MAX);
        base_ppm.saturating_add(changing).min(MAX_RATE_PPM)
    }

    /// Returns the tick at the end of a group, in the direction of a trade.
    pub(crate) fn end_of(&self, group: i32, direction: Direction) -> i32 {
        let first = group.saturating_mul(i32::from(self.size));
        match direction {
            Direction::AToB => first,
            Direction::BToA => first.saturating_add(i32::from(self.size)),
        }
    }

    /// Returns whichever of two prices a trade reaches first.
    pub(crate) fn nearer(direction: Direction, one: u128, other: u128) -> u128 {
        match direction {
            Direction::AToB => one.max(other),
            Direction::BToA => one.min(other),
        }
    }

    /// Returns the group after one, in the direction of a trade.
    pub(crate) fn next(group: i32, direction: Direction) -> i32 {
        match direction {
            Direction::AToB => group - 1,
            Direction::BToA => group + 1,
        }
    }
}
