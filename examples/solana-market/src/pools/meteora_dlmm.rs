//! Pairs of Meteora.

use order_engine_routing::Dlmm;
use order_engine_solana::Pubkey;
use order_engine_solana::programs::METEORA_DLMM;

use super::made_pool::{Data, MadePool, any_address};
use super::{Dice, Price};

/// By how many basis points the prices of neighbouring bins differ.
const BIN_STEP: u16 = 10;

/// Makes a pair with bins around its price.
pub(super) fn make(dice: &Dice, mints: [Pubkey; 2], price: Price) -> MadePool {
    let (oracle, reserves) = (any_address(), [any_address(), any_address()]);
    // Pairs of the same tokens and the same step have different factors.
    let base_factor = u16::try_from(10_000 - dice.below(1_000)).unwrap();
    let (step, factor) = (BIN_STEP.to_le_bytes(), base_factor.to_le_bytes());
    // The mints are sorted.
    let seeds: [&[u8]; 4] = [mints[0].as_ref(), mints[1].as_ref(), &step, &factor];
    let (address, bump) = Pubkey::find_program_address(&seeds, &METEORA_DLMM);
    let active = price.bin();
    let mut pair = Data::new(904, &[33, 11, 49, 98, 181, 101, 177, 13])
        .with(8, &factor)
        .with(10, &30_u16.to_le_bytes())
        .with(12, &60_u16.to_le_bytes())
        .with(14, &5_000_u16.to_le_bytes())
        .with(16, &40_000_u32.to_le_bytes())
        .with(20, &350_000_u32.to_le_bytes())
        .with(24, &(-43_670_i32).to_le_bytes())
        .with(28, &43_670_i32.to_le_bytes())
        .with(32, &500_u16.to_le_bytes())
        .with(34, &[0, 1])
        .with(48, &active.to_le_bytes())
        .u64(56, 1_700_000_000)
        .with(72, &[bump])
        .with(73, &step)
        .with(76, &active.to_le_bytes())
        .with(80, &step)
        .with(83, &[1])
        .with(84, &factor)
        .address(88, mints[0])
        .address(120, mints[1])
        .address(152, reserves[0])
        .address(184, reserves[1])
        .address(552, oracle)
        .with(882, &[1]);
    let observed = Data::new(3_232, &[139, 194, 131, 179, 140, 179, 229, 244]).u64(24, 100);
    let mut accounts = vec![(oracle, observed.owned_by(METEORA_DLMM))];
    for array in active.div_euclid(70) - 2..=active.div_euclid(70) + 2 {
        let index = i64::from(array);
        let seeds: [&[u8]; 3] = [b"bin_array", address.as_ref(), &index.to_le_bytes()];
        let bin_array = Pubkey::find_program_address(&seeds, &METEORA_DLMM).0;
        let mut data = Data::new(10_136, &[92, 142, 92, 220, 5, 148, 70, 181])
            .with(8, &index.to_le_bytes())
            .with(16, &[2])
            .address(24, address);
        for number in 0..70_i32 {
            let (id, at) = (array * 70 + number, 56 + usize::try_from(number).unwrap() * 144);
            // Some bins are empty.
            let amount = || if dice.below(10) == 0 { 0 } else { dice.amount(32) };
            let x = if id >= active { amount() } else { 0 };
            let y = if id <= active { amount() } else { 0 };
            let price = Dlmm::price_of_bin(id, BIN_STEP).unwrap().to_le_bytes();
            data = data.u64(at, x).u64(at + 8, y).with(at + 16, &price).u64(at + 40, x.saturating_add(y));
        }
        let bit = usize::try_from(array + 512).unwrap();
        pair.0[584 + bit / 8] |= 1 << (bit % 8);
        accounts.push((bin_array, data.owned_by(METEORA_DLMM)));
    }
    accounts.push((address, pair.owned_by(METEORA_DLMM)));
    MadePool { address, accounts, vault_owner: address, vaults: reserves.map(|reserve| (reserve, 1 << 56)) }
}

impl MadePool {
    /// Adds orders to bins of a DLMM pair: those above the active bin sell the first token, those below the second.
    pub(super) fn with_orders(mut self, dice: &Dice) -> Self {
        let own = self.accounts.iter().find(|(address, _)| *address == self.address);
        let active = i32::from_le_bytes(own.unwrap().1.data[76..80].try_into().unwrap());
        for (_, array) in self.accounts.iter_mut().filter(|(_, account)| account.data.len() == 10_136) {
            let index = i64::from_le_bytes(array.data[8..16].try_into().unwrap());
            let first = i32::try_from(index).unwrap() * 70;
            for number in 0..70_i32 {
                let (id, at) = (first + number, 56 + usize::try_from(number).unwrap() * 144);
                let is_ask = if id == active { dice.below(2) == 1 } else { id > active };
                let [open, processed] =
                    [(), ()].map(|()| if dice.below(3) == 0 { dice.amount(31) } else { 0 });
                let amounts = [open, 2 * processed, processed].map(u64::to_le_bytes).concat();
                array.data[at + 112..at + 136].copy_from_slice(&amounts);
                array.data[at + 140] = u8::from(is_ask);
            }
        }
        self
    }
}
