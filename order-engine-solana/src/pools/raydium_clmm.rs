//! Raydium's CLMM: concentrated liquidity.

use std::ops::Range;

use order_engine_routing::{
    ConcentratedLiquidity, ConcentratedState, Conditions, Curve, Feature, FeeOn, Pool, Tick,
};
use solana_instruction::Instruction;
use solana_pubkey::Pubkey;

use crate::account::{Account, Fields, LayoutError};
use crate::instructions::{readonly, signer, writable};
use crate::pools::parts::{Parts, PoolError, PoolSwap, opening};
use crate::programs::{MEMO, RAYDIUM_CLMM, TOKEN, TOKEN_2022};

const POOL_BYTES: usize = 1_544;
const CONFIG_BYTES: usize = 117;
const TICK_ARRAY_BYTES: usize = 10_240;
const POOL_KIND: [u8; 8] = [247, 237, 227, 245, 215, 195, 222, 70];
const SWAP_V2: [u8; 8] = [0x2b, 0x04, 0xed, 0x0b, 0x1a, 0xc9, 0x1e, 0x62];
const TICKS_PER_ARRAY: i32 = 60;
const TICK_BYTES: usize = 168;
const FIRST_TICK: usize = 44;
/// The parameters of the dynamic fee in a pool, all zero where it has none.
const DYNAMIC_FEE: Range<usize> = 1_096..1_176;
/// The amounts of limit orders in a tick: of those that nothing was filled of, and the rest of those that were partly
/// filled.
const ORDERS: [usize; 2] = [124, 132];
/// The bit of the status that stops swaps.
const SWAPS_STOPPED: u8 = 1 << 4;
/// How many bits the pool's own map of arrays has on each side of tick zero. Arrays beyond are in another account.
const MAP_REACH: i32 = 512;
/// How many arrays a snapshot and a transaction have in each direction, the current one among them. The liquidity
/// behind them counts as missing.
const ARRAYS_EACH_WAY: usize = 4;

/// What of a pool's own account matters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RaydiumClmm {
    address: Pubkey,
    config: Pubkey,
    mints: [Pubkey; 2],
    vaults: [Pubkey; 2],
    observation: Pubkey,
    tick_spacing: u16,
    liquidity: u128,
    sqrt_price_x64: u128,
    tick_current: i32,
    status: u8,
    /// One bit for each array that has initialised ticks.
    map: [u64; 16],
    open_time: u64,
    /// Whether the fee is always taken of one of the tokens.
    has_fee_side: bool,
    has_dynamic_fee: bool,
}

impl RaydiumClmm {
    pub(crate) fn decode(address: Pubkey, account: &Account) -> Result<Self, LayoutError> {
        let fields = Fields::of(&account.data, POOL_BYTES).filter(|fields| fields.array(0) == POOL_KIND);
        let fields = fields.ok_or(LayoutError::OtherKind(address, "CLMM pool"))?;
        let tick_spacing = fields.u16(235);
        if tick_spacing == 0 {
            return Err(LayoutError::Impossible(address, "tick spacing"));
        }
        Ok(Self {
            address,
            config: fields.address(9),
            mints: [fields.address(73), fields.address(105)],
            vaults: [fields.address(137), fields.address(169)],
            observation: fields.address(201),
            tick_spacing,
            liquidity: fields.u128(237),
            sqrt_price_x64: fields.u128(253),
            tick_current: fields.i32(269),
            status: fields.u8(389),
            map: std::array::from_fn(|word| fields.u64(904 + 8 * word)),
            open_time: fields.u64(1080),
            has_fee_side: fields.u8(390) != 0,
            has_dynamic_fee: DYNAMIC_FEE.clone().any(|at| fields.u8(at) != 0),
        })
    }

    pub(crate) const fn mints(&self) -> [Pubkey; 2] {
        self.mints
    }

    pub(crate) fn parts(&self) -> Vec<Pubkey> {
        let arrays = self.downwards().into_iter().chain(self.upwards());
        let mut parts: Vec<Pubkey> = arrays.map(|array| self.tick_array(array)).collect();
        parts.sort_unstable();
        parts.dedup();
        parts.push(self.config);
        parts
    }

    /// Returns the number of the array that holds a tick.
    fn array_of(&self, tick: i32) -> i32 {
        tick.div_euclid(TICKS_PER_ARRAY * i32::from(self.tick_spacing))
    }

    /// Returns the address of an array by its number.
    fn tick_array(&self, array: i32) -> Pubkey {
        let start = array * TICKS_PER_ARRAY * i32::from(self.tick_spacing);
        let seeds: [&[u8]; 3] = [b"tick_array", self.address.as_ref(), &start.to_be_bytes()];
        Pubkey::find_program_address(&seeds, &RAYDIUM_CLMM).0
    }

    /// Returns whether an array has initialised ticks, as far as the pool's own map tells.
    fn is_in_use(&self, array: i32) -> bool {
        let bit = usize::try_from(array + MAP_REACH).ok();
        let word = bit.and_then(|bit| self.map.get(bit / 64).map(|word| word >> (bit % 64) & 1));
        word == Some(1)
    }

    /// Returns the arrays that a trade which lowers the price passes, in its order.
    fn downwards(&self) -> Vec<i32> {
        let current = self.array_of(self.tick_current).min(MAP_REACH - 1);
        (-MAP_REACH..=current).rev().filter(|array| self.is_in_use(*array)).take(ARRAYS_EACH_WAY).collect()
    }

    /// Returns the arrays that a trade which raises the price passes, in its order.
    fn upwards(&self) -> Vec<i32> {
        let current = self.array_of(self.tick_current).max(-MAP_REACH);
        (current..MAP_REACH).filter(|array| self.is_in_use(*array)).take(ARRAYS_EACH_WAY).collect()
    }

    /// Returns the arrays that a trade passes, in its order.
    pub(crate) fn arrays(&self, sells_a: bool) -> Vec<i32> {
        if sells_a { self.downwards() } else { self.upwards() }
    }

    pub(crate) fn pool(&self, parts: &Parts) -> Result<Pool, PoolError> {
        let config = parts.fields(self.config, RAYDIUM_CLMM, (CONFIG_BYTES, "CLMM configuration"))?;
        let mut arrays: Vec<i32> = self.downwards().into_iter().chain(self.upwards()).collect();
        arrays.sort_unstable();
        arrays.dedup();
        let (mut ticks, mut has_orders) = (Vec::new(), false);
        for array in arrays {
            has_orders |= self.add_ticks(parts, array, &mut ticks)?;
        }
        let curve = ConcentratedLiquidity::new(&ConcentratedState {
            sqrt_price_x64: self.sqrt_price_x64,
            tick_current: self.tick_current,
            tick_spacing: self.tick_spacing,
            liquidity: self.liquidity,
            fee_ppm: config.u32(47),
            ticks,
            fee_on: FeeOn::Input,
            dynamic_fee: None,
            limit_orders: Vec::new(),
        })?;
        let mints = (self.mints[0].to_string(), self.mints[1].to_string());
        let pool = Pool::new(self.address.to_string(), "Raydium", mints, Curve::Concentrated(curve));
        Ok(pool.with_conditions(self.conditions(has_orders)))
    }

    fn conditions(&self, has_orders: bool) -> Conditions {
        let mut conditions = Conditions::default();
        if self.status & SWAPS_STOPPED != 0 {
            conditions = conditions.paused();
        }
        if let Some(opens_at) = opening(self.open_time) {
            conditions = conditions.with_opens_at(opens_at);
        }
        for (has, feature) in [
            (self.has_fee_side, Feature::FeeSide),
            (self.has_dynamic_fee, Feature::DynamicFee),
            (has_orders, Feature::LimitOrders),
        ] {
            if has {
                conditions = conditions.with_unmodelled(feature);
            }
        }
        conditions
    }

    /// Adds the initialised ticks of an array, which are ascending, and returns whether orders rest in any.
    fn add_ticks(&self, parts: &Parts, array: i32, ticks: &mut Vec<Tick>) -> Result<bool, PoolError> {
        let address = self.tick_array(array);
        let fields = parts.fields(address, RAYDIUM_CLMM, (TICK_ARRAY_BYTES, "tick array"))?;
        if fields.address(8) != self.address {
            return Err(LayoutError::Impossible(address, "pool: it belongs to another one").into());
        }
        let mut has_orders = false;
        for number in 0..usize::try_from(TICKS_PER_ARRAY).unwrap_or(0) {
            let at = FIRST_TICK + number * TICK_BYTES;
            has_orders |= ORDERS.iter().any(|orders| fields.u64(at + orders) != 0);
            if fields.u128(at + 20) != 0 {
                ticks.push(Tick { index: fields.i32(at), liquidity_net: fields.i128(at + 4) });
            }
        }
        Ok(has_orders)
    }

    /// Refuses tokens whose transfers may cost something.
    pub(crate) fn check_mints(&self, parts: &Parts) -> Result<(), PoolError> {
        for vault in self.vaults {
            if parts.get(vault)?.owner != TOKEN {
                return Err(PoolError::Unsupported { pool: self.address, what: "a token of Token-2022" });
            }
        }
        Ok(())
    }

    pub(crate) const fn vaults(&self) -> [Pubkey; 2] {
        self.vaults
    }

    pub(crate) fn swap(&self, swap: &PoolSwap) -> Instruction {
        let (input, output) = swap.orient(0, 1);
        let arrays = self.arrays(swap.sells_a);
        let mut accounts = vec![
            signer(swap.wallet),
            readonly(self.config),
            writable(self.address),
            writable(swap.source),
            writable(swap.destination),
            writable(self.vaults[input]),
            writable(self.vaults[output]),
            writable(self.observation),
            readonly(TOKEN),
            readonly(TOKEN_2022),
            readonly(MEMO),
            readonly(self.mints[input]),
            readonly(self.mints[output]),
        ];
        accounts.extend(arrays.into_iter().map(|array| writable(self.tick_array(array))));
        // No limit to the price but the least output; the amount is the input.
        let behind = [&[0; 16][..], &[1]].concat();
        swap.instruction(RAYDIUM_CLMM, accounts, &SWAP_V2, &behind)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A pool at a tick with these arrays in use.
    fn pool(tick_current: i32, arrays: &[i32]) -> RaydiumClmm {
        pool_with(tick_current, arrays, None)
    }

    /// The same with one more byte that is not zero.
    fn pool_with(tick_current: i32, arrays: &[i32], byte: Option<usize>) -> RaydiumClmm {
        let mut data = vec![0; POOL_BYTES];
        data[..8].copy_from_slice(&POOL_KIND);
        data[235..237].copy_from_slice(&10_u16.to_le_bytes());
        data[269..273].copy_from_slice(&tick_current.to_le_bytes());
        for array in arrays {
            let bit = usize::try_from(array + MAP_REACH).unwrap();
            data[904 + bit / 8] |= 1 << (bit % 8);
        }
        if let Some(at) = byte {
            data[at] = 1;
        }
        let account = Account { owner: RAYDIUM_CLMM, lamports: 1, data };
        RaydiumClmm::decode(Pubkey::default(), &account).unwrap()
    }

    #[test]
    fn a_trade_passes_the_arrays_in_use_from_the_current_one_on() {
        let pool = pool(-1, &[-512, -9, -5, -3, -2, -1, 2, 511]);
        assert_eq!(pool.downwards(), [-1, -2, -3, -5]);
        assert_eq!(pool.upwards(), [-1, 2, 511]);
    }

    #[test]
    fn features_that_are_not_modelled_are_named() {
        let unmodelled = |byte, has_orders| pool_with(0, &[], byte).conditions(has_orders).unmodelled;
        assert_eq!(unmodelled(None, false), []);
        assert_eq!(unmodelled(Some(390), false), [Feature::FeeSide]);
        for at in [1_096, 1_175] {
            assert_eq!(unmodelled(Some(at), false), [Feature::DynamicFee]);
        }
        for at in [389, 1_095, 1_176] {
            assert_eq!(unmodelled(Some(at), false), [], "byte {at} belongs to something else");
        }
        assert_eq!(unmodelled(None, true), [Feature::LimitOrders]);
    }

    #[test]
    fn a_pool_without_a_spacing_is_impossible() {
        let mut data = vec![0; POOL_BYTES];
        data[..8].copy_from_slice(&POOL_KIND);
        let account = Account { owner: RAYDIUM_CLMM, lamports: 1, data };
        assert!(RaydiumClmm::decode(Pubkey::default(), &account).is_err());
    }
}
