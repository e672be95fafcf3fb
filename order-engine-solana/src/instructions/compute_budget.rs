//! The limit and the price of a transaction's compute units.

use solana_instruction::Instruction;

use crate::instructions::instruction;
use crate::programs::COMPUTE_BUDGET;

/// The most compute units that a transaction may have.
pub const UNITS_MAX: u32 = 1_400_000;

/// Sets how many compute units the transaction may use.
pub fn set_unit_limit(units: u32) -> Instruction {
    instruction(COMPUTE_BUDGET, Vec::new(), &[&[2], &units.to_le_bytes()])
}

/// Sets the priority fee, in millionths of a lamport for each unit of the limit.
pub fn set_unit_price(micro_lamports: u64) -> Instruction {
    instruction(COMPUTE_BUDGET, Vec::new(), &[&[3], &micro_lamports.to_le_bytes()])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bytes_are_those_of_the_program() {
        assert_eq!(set_unit_limit(0x0001_0203).data, [2, 3, 2, 1, 0]);
        assert_eq!(set_unit_price(1_000_000).data, [3, 0x40, 0x42, 0x0f, 0, 0, 0, 0, 0]);
        assert!(set_unit_limit(1).accounts.is_empty() && set_unit_price(1).accounts.is_empty());
    }
}
