//! Orca's Whirlpools: concentrated liquidity, whose fee may adapt to volatility.
//!
//! Layouts and seeds are those of the program's public source, which is under Orca's own licence; nothing of it is here.

use order_engine_routing::{
    AdaptiveFee, AdaptiveFeeVolatility, Conditions, Curve, Moment, Pool, Tick, Whirlpool, WhirlpoolState,
};
use solana_instruction::Instruction;
use solana_pubkey::Pubkey;

use crate::account::{Account, Fields, LayoutError};
use crate::instructions::{readonly, signer, writable};
use crate::pools::mint::{Mint, with_mints};
use crate::pools::parts::{Parts, PoolError, PoolSwap, opening};
use crate::programs::{MEMO, ORCA_WHIRLPOOL, TOKEN};

const POOL_BYTES: usize = 653;
const POOL_KIND: [u8; 8] = [63, 149, 209, 12, 225, 128, 99, 9];
const ORACLE_BYTES: usize = 126;
const ORACLE_KIND: [u8; 8] = [139, 194, 131, 179, 140, 179, 229, 244];
const SWAP: [u8; 8] = [0xf8, 0xc6, 0x9e, 0x91, 0xe1, 0x75, 0x87, 0xc8];
/// The instruction for tokens of Token-2022. Behind its arguments stands that no accounts for transfer hooks follow.
const SWAP_V2: [u8; 8] = [0x2b, 0x04, 0xed, 0x0b, 0x1a, 0xc9, 0x1e, 0x62];
const TICKS_PER_ARRAY: i32 = 88;
/// How many arrays the program takes.
const ARRAYS: i32 = 3;

/// Arrays whose ticks take the same space whether they are initialised or not.
mod fixed {
    pub(super) const KIND: [u8; 8] = [69, 97, 189, 190, 110, 7, 66, 187];
    pub(super) const BYTES: usize = 9_988;
    pub(super) const FIRST_TICK: usize = 12;
    pub(super) const TICK_BYTES: usize = 113;
    pub(super) const POOL: usize = 9_956;
}

/// Arrays in which a tick that is not initialised takes one byte.
mod dynamic {
    pub(super) const KIND: [u8; 8] = [17, 216, 246, 142, 225, 199, 218, 56];
    pub(super) const BYTES_MIN: usize = FIRST_TICK + 88;
    pub(super) const FIRST_TICK: usize = 60;
    pub(super) const TICK_BYTES: usize = 112;
    pub(super) const POOL: usize = 12;
}

/// What of a pool's own account matters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct OrcaWhirlpool {
    address: Pubkey,
    tick_spacing: u16,
    fee_tier: u16,
    fee_rate: u16,
    liquidity: u128,
    sqrt_price_x64: u128,
    tick_current: i32,
    mints: [Pubkey; 2],
    vaults: [Pubkey; 2],
    /// The token programs, which the mints say.
    token_programs: [Pubkey; 2],
}

impl OrcaWhirlpool {
    pub(crate) fn decode(address: Pubkey, account: &Account) -> Result<Self, LayoutError> {
        let fields = Fields::of(&account.data, POOL_BYTES).filter(|fields| fields.array(0) == POOL_KIND);
        let fields = fields.ok_or(LayoutError::OtherKind(address, "Whirlpool"))?;
        let tick_spacing = fields.u16(41);
        if tick_spacing == 0 {
            return Err(LayoutError::Impossible(address, "tick spacing"));
        }
        Ok(Self {
            address,
            tick_spacing,
            fee_tier: fields.u16(43),
            fee_rate: fields.u16(45),
            liquidity: fields.u128(49),
            sqrt_price_x64: fields.u128(65),
            tick_current: fields.i32(81),
            mints: [fields.address(101), fields.address(181)],
            vaults: [fields.address(133), fields.address(213)],
            token_programs: [TOKEN; 2],
        })
    }

    pub(crate) const fn mints(&self) -> [Pubkey; 2] {
        self.mints
    }

    /// Learns from the mints what the pool's own account does not say.
    pub(crate) fn learn(&mut self, parts: &Parts) -> Result<(), PoolError> {
        for (program, mint) in self.token_programs.iter_mut().zip(self.mints) {
            *program = Mint::read(parts, mint)?.program;
        }
        Ok(())
    }

    pub(crate) fn parts(&self) -> Vec<Pubkey> {
        let arrays = self.all_arrays().into_iter().map(|array| self.tick_array(array));
        let oracle = self.is_adaptive().then(|| self.oracle());
        arrays.chain(self.mints).chain(oracle).collect()
    }

    /// Whether the fee adapts: such a pool belongs to a tier of fees whose number is not its spacing.
    pub(crate) const fn is_adaptive(&self) -> bool {
        self.fee_tier != self.tick_spacing
    }

    fn oracle(&self) -> Pubkey {
        Pubkey::find_program_address(&[b"oracle", self.address.as_ref()], &ORCA_WHIRLPOOL).0
    }

    fn ticks_in_array(&self) -> i32 {
        TICKS_PER_ARRAY * i32::from(self.tick_spacing)
    }

    /// Returns the address of an array by its number.
    fn tick_array(&self, array: i32) -> Pubkey {
        let start = array.saturating_mul(self.ticks_in_array()).to_string();
        let seeds: [&[u8]; 3] = [b"tick_array", self.address.as_ref(), start.as_bytes()];
        Pubkey::find_program_address(&seeds, &ORCA_WHIRLPOOL).0
    }

    /// Returns the arrays that a trade passes, in its order.
    pub(crate) fn arrays(&self, sells_a: bool) -> Vec<i32> {
        if sells_a {
            let first = self.tick_current.div_euclid(self.ticks_in_array());
            return (0..ARRAYS).map(|number| first - number).collect();
        }
        // The next tick upwards may be in the next array already.
        let next = self.tick_current.saturating_add(i32::from(self.tick_spacing));
        let first = next.div_euclid(self.ticks_in_array());
        (0..ARRAYS).map(|number| first + number).collect()
    }

    /// Returns the arrays of both directions, ascending.
    fn all_arrays(&self) -> Vec<i32> {
        let mut arrays = [self.arrays(true), self.arrays(false)].concat();
        arrays.sort_unstable();
        arrays.dedup();
        arrays
    }

    pub(crate) fn pool(&self, parts: &Parts) -> Result<Pool, PoolError> {
        let mints = [Mint::read(parts, self.mints[0])?, Mint::read(parts, self.mints[1])?];
        let mut ticks = Vec::new();
        for array in self.all_arrays() {
            self.add_ticks(parts, array, &mut ticks)?;
        }
        let mut conditions = Conditions::default();
        let mut adaptive_fee = None;
        if self.is_adaptive() {
            let oracle = parts.fields(self.oracle(), ORCA_WHIRLPOOL, (ORACLE_BYTES, "oracle"))?;
            if oracle.array(0) != ORACLE_KIND || oracle.address(8) != self.address {
                return Err(LayoutError::OtherKind(self.oracle(), "oracle of the pool").into());
            }
            if let Some(opens_at) = opening(oracle.u64(40)) {
                conditions = conditions.with_opens_at(opens_at);
            }
            adaptive_fee = Some(read_adaptive_fee(oracle));
        }
        let curve = Whirlpool::new(&WhirlpoolState {
            sqrt_price_x64: self.sqrt_price_x64,
            tick_current: self.tick_current,
            tick_spacing: self.tick_spacing,
            liquidity: self.liquidity,
            fee_ppm: u32::from(self.fee_rate),
            ticks,
            adaptive_fee,
        })?;
        let tokens = (self.mints[0].to_string(), self.mints[1].to_string());
        let pool = Pool::new(self.address.to_string(), "Orca", tokens, Curve::Whirlpool(curve));
        Ok(pool.with_conditions(with_mints(conditions, mints)))
    }

    /// Adds the initialised ticks of an array, which are ascending. An array that is not there has none.
    fn add_ticks(&self, parts: &Parts, array: i32, ticks: &mut Vec<Tick>) -> Result<(), PoolError> {
        let address = self.tick_array(array);
        let Ok(account) = parts.get(address) else { return Ok(()) };
        if account.owner != ORCA_WHIRLPOOL {
            // Nobody has made it yet, but somebody has sent lamports to its address.
            return Ok(());
        }
        let other_kind = || LayoutError::OtherKind(address, "tick array");
        let start = array.saturating_mul(self.ticks_in_array());
        let kind = account.data.get(..8).unwrap_or_default();
        let (fields, pool) = if kind == fixed::KIND {
            (Fields::of(&account.data, fixed::BYTES).ok_or_else(other_kind)?, fixed::POOL)
        } else if kind == dynamic::KIND {
            (Fields::of(&account.data, dynamic::BYTES_MIN).ok_or_else(other_kind)?, dynamic::POOL)
        } else {
            return Err(other_kind().into());
        };
        if fields.address(pool) != self.address || fields.i32(8) != start {
            return Err(LayoutError::Impossible(address, "pool: it belongs to another one").into());
        }
        let mut at = if kind == fixed::KIND { fixed::FIRST_TICK } else { dynamic::FIRST_TICK };
        for number in 0..TICKS_PER_ARRAY {
            let is_initialised = fields.u8(at) != 0;
            if is_initialised {
                let index = start.saturating_add(number * i32::from(self.tick_spacing));
                ticks.push(Tick { index, liquidity_net: fields.i128(at + 1) });
            }
            at += match kind == fixed::KIND {
                true => fixed::TICK_BYTES,
                false if is_initialised => 1 + dynamic::TICK_BYTES,
                false => 1,
            };
        }
        if at > account.data.len() {
            return Err(other_kind().into());
        }
        Ok(())
    }

    pub(crate) fn swap(&self, swap: &PoolSwap) -> Instruction {
        let (of_a, of_b) = swap.orient(swap.source, swap.destination);
        let arrays = self.arrays(swap.sells_a).into_iter().map(|array| writable(self.tick_array(array)));
        let oracle = if self.is_adaptive() { writable(self.oracle()) } else { readonly(self.oracle()) };
        // No limit to the price but the least output; the amount is the input.
        let behind = [&[0; 16][..], &[1, u8::from(swap.sells_a)]].concat();
        if self.token_programs == [TOKEN; 2] {
            let mut accounts = vec![
                readonly(TOKEN),
                signer(swap.wallet),
                writable(self.address),
                writable(of_a),
                writable(self.vaults[0]),
                writable(of_b),
                writable(self.vaults[1]),
            ];
            accounts.extend(arrays);
            accounts.push(oracle);
            return swap.instruction(ORCA_WHIRLPOOL, accounts, &SWAP, &behind);
        }
        let mut accounts = vec![
            readonly(self.token_programs[0]),
            readonly(self.token_programs[1]),
            readonly(MEMO),
            signer(swap.wallet),
            writable(self.address),
            readonly(self.mints[0]),
            readonly(self.mints[1]),
            writable(of_a),
            writable(self.vaults[0]),
            writable(of_b),
            writable(self.vaults[1]),
        ];
        accounts.extend(arrays);
        accounts.push(writable(self.oracle()));
        swap.instruction(ORCA_WHIRLPOOL, accounts, &SWAP_V2, &[&behind[..], &[0]].concat())
    }
}

/// Reads the adaptive fee of an oracle account.
fn read_adaptive_fee(oracle: Fields<'_>) -> AdaptiveFee {
    AdaptiveFee {
        filter_period_s: oracle.u16(48),
        decay_period_s: oracle.u16(50),
        reduction_factor_bps: oracle.u16(52),
        control_factor: oracle.u32(54),
        max_volatility_accumulator: oracle.u32(58),
        tick_group_size: oracle.u16(62),
        major_swap_threshold_ticks: oracle.u16(64),
        volatility: AdaptiveFeeVolatility {
            last_reference_update: Moment::from_unix_seconds(oracle.u64(82)),
            last_major_swap: Moment::from_unix_seconds(oracle.u64(90)),
            reference: oracle.u32(98),
            index_reference: oracle.i32(102),
            accumulator: oracle.u32(106),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pool(tick_current: i32, fee_tier: u16) -> OrcaWhirlpool {
        let mut data = vec![0; POOL_BYTES];
        data[..8].copy_from_slice(&POOL_KIND);
        data[41..43].copy_from_slice(&8_u16.to_le_bytes());
        data[43..45].copy_from_slice(&fee_tier.to_le_bytes());
        data[81..85].copy_from_slice(&tick_current.to_le_bytes());
        let account = Account { owner: ORCA_WHIRLPOOL, lamports: 1, data };
        OrcaWhirlpool::decode(Pubkey::default(), &account).unwrap()
    }

    #[test]
    fn a_trade_passes_three_arrays_and_upwards_from_the_next_tick_on() {
        // An array has 704 ticks.
        assert_eq!(pool(0, 8).arrays(true), [0, -1, -2]);
        assert_eq!(pool(-1, 8).arrays(true), [-1, -2, -3]);
        assert_eq!(pool(695, 8).arrays(false), [0, 1, 2]);
        assert_eq!(pool(696, 8).arrays(false), [1, 2, 3]);
        assert_eq!(pool(-9, 8).arrays(false), [-1, 0, 1]);
        assert_eq!(pool(-8, 8).arrays(false), [0, 1, 2]);
        assert_eq!(pool(696, 8).all_arrays(), [-2, -1, 0, 1, 2, 3]);
    }

    #[test]
    fn a_pool_of_another_tier_has_an_oracle() {
        assert_eq!(pool(0, 8).parts().len(), 5 + 2);
        assert_eq!(pool(0, 1_024).parts().len(), 5 + 2 + 1);
    }

    #[test]
    fn arrays_of_both_kinds_say_the_same_ticks() {
        let pool = pool(0, 8);
        let ticks = [(3, -7_i128), (50, 7), (87, 1)];
        let mut fixed = vec![0; fixed::BYTES];
        fixed[..8].copy_from_slice(&fixed::KIND);
        let mut moving = vec![0; dynamic::FIRST_TICK];
        moving[..8].copy_from_slice(&dynamic::KIND);
        for number in 0..88 {
            let found = ticks.iter().find(|(tick, _)| *tick == number);
            moving.push(u8::from(found.is_some()));
            let Some((_, net)) = found else { continue };
            let at = fixed::FIRST_TICK + number * fixed::TICK_BYTES;
            fixed[at] = 1;
            fixed[at + 1..at + 17].copy_from_slice(&net.to_le_bytes());
            moving.extend(net.to_le_bytes());
            moving.extend([0; dynamic::TICK_BYTES - 16]);
        }
        let read = |data: Vec<u8>| {
            let account = Account { owner: ORCA_WHIRLPOOL, lamports: 1, data };
            let parts = Parts { slot: 1, accounts: [(pool.tick_array(0), account)].into() };
            let mut ticks = Vec::new();
            pool.add_ticks(&parts, 0, &mut ticks).map(|()| ticks)
        };
        let expected = ticks
            .map(|(number, liquidity_net)| Tick { index: i32::try_from(number).unwrap() * 8, liquidity_net });
        assert_eq!(read(fixed).unwrap(), expected);
        assert_eq!(read(moving.clone()).unwrap(), expected);
        moving.pop();
        assert!(read(moving).is_err(), "it ends within its last tick");
        assert!(read(vec![0; fixed::BYTES]).is_err(), "it is of no known kind");
        let nothing = Parts { slot: 1, accounts: std::collections::BTreeMap::new() };
        assert!(pool.add_ticks(&nothing, 0, &mut Vec::new()).is_ok(), "it is not there");
    }
}
