//! Raydium's CLMM: concentrated liquidity.

use std::ops::Range;

use order_engine_core::Amount;
use order_engine_routing::{
    ConcentratedLiquidity, ConcentratedState, Conditions, Curve, DynamicFee, DynamicFeeVolatility, Feature,
    FeeOn, Moment, Pool, Tick, TickOrders,
};
use solana_instruction::Instruction;
use solana_pubkey::Pubkey;

use crate::account::{Account, Fields, LayoutError};
use crate::instructions::{readonly, signer, writable};
use crate::pools::mint::{Mint, with_mints};
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
    /// Of what the fee is taken, as the program numbers it.
    fee_on: u8,
    dynamic_fee: Option<DynamicFee>,
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
            fee_on: fields.u8(390),
            dynamic_fee: DYNAMIC_FEE.clone().any(|at| fields.u8(at) != 0).then(|| dynamic_fee(fields)),
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
        parts.extend(self.mints);
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
        let (mut ticks, mut limit_orders) = (Vec::new(), Vec::new());
        for array in arrays {
            self.add_ticks(parts, array, (&mut ticks, &mut limit_orders))?;
        }
        let curve = ConcentratedLiquidity::new(&ConcentratedState {
            sqrt_price_x64: self.sqrt_price_x64,
            tick_current: self.tick_current,
            tick_spacing: self.tick_spacing,
            liquidity: self.liquidity,
            fee_ppm: config.u32(47),
            ticks,
            fee_on: fee_on(self.fee_on).unwrap_or_default(),
            dynamic_fee: self.dynamic_fee,
            limit_orders,
        })?;
        let mints = [Mint::read(parts, self.mints[0])?, Mint::read(parts, self.mints[1])?];
        let tokens = (self.mints[0].to_string(), self.mints[1].to_string());
        let pool = Pool::new(self.address.to_string(), "Raydium", tokens, Curve::Concentrated(curve));
        Ok(pool.with_conditions(with_mints(self.conditions(), mints)))
    }

    fn conditions(&self) -> Conditions {
        let mut conditions = Conditions::default();
        if self.status & SWAPS_STOPPED != 0 {
            conditions = conditions.paused();
        }
        // It trades after that second, and not in it.
        if let Some(opens_at) = opening(self.open_time) {
            conditions = conditions
                .with_opens_at(Moment::from_unix_seconds(opens_at.unix_seconds().saturating_add(1)));
        }
        if fee_on(self.fee_on).is_none() {
            conditions = conditions.with_unmodelled(Feature::FeeSide);
        }
        conditions
    }

    /// Adds the ticks of an array at which positions begin or end, and the limit orders, which both are ascending.
    fn add_ticks(
        &self,
        parts: &Parts,
        array: i32,
        (ticks, limit_orders): (&mut Vec<Tick>, &mut Vec<TickOrders>),
    ) -> Result<(), PoolError> {
        let address = self.tick_array(array);
        let fields = parts.fields(address, RAYDIUM_CLMM, (TICK_ARRAY_BYTES, "tick array"))?;
        if fields.address(8) != self.address {
            return Err(LayoutError::Impossible(address, "pool: it belongs to another one").into());
        }
        for number in 0..usize::try_from(TICKS_PER_ARRAY).unwrap_or(0) {
            let at = FIRST_TICK + number * TICK_BYTES;
            let index = fields.i32(at);
            if fields.u128(at + 20) != 0 {
                ticks.push(Tick { index, liquidity_net: fields.i128(at + 4) });
            }
            let amount = ORDERS.iter().map(|orders| u128::from(fields.u64(at + orders))).sum();
            if amount != 0 {
                limit_orders.push(TickOrders { index, amount: Amount::new(amount) });
            }
        }
        Ok(())
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

/// Returns of what the fee is taken, by the program's number for it.
const fn fee_on(number: u8) -> Option<FeeOn> {
    match number {
        0 => Some(FeeOn::Input),
        1 => Some(FeeOn::TokenA),
        2 => Some(FeeOn::TokenB),
        _ => None,
    }
}

/// Reads the dynamic fee of a pool.
fn dynamic_fee(fields: Fields<'_>) -> DynamicFee {
    let at = DYNAMIC_FEE.start;
    DynamicFee {
        filter_period_s: fields.u16(at),
        decay_period_s: fields.u16(at + 2),
        reduction_factor_bps: fields.u16(at + 4),
        control_factor: fields.u32(at + 6),
        max_volatility_accumulator: fields.u32(at + 10),
        volatility: DynamicFeeVolatility {
            index_reference: fields.i32(at + 14),
            reference: fields.u32(at + 18),
            accumulator: fields.u32(at + 22),
            last_update: Moment::from_unix_seconds(fields.u64(at + 26)),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A pool at a tick with these arrays in use.
    fn pool(tick_current: i32, arrays: &[i32]) -> RaydiumClmm {
        pool_with(tick_current, arrays, &[])
    }

    /// The same with these bytes at these offsets.
    fn pool_with(tick_current: i32, arrays: &[i32], bytes: &[(usize, &[u8])]) -> RaydiumClmm {
        let mut data = vec![0; POOL_BYTES];
        data[..8].copy_from_slice(&POOL_KIND);
        data[235..237].copy_from_slice(&10_u16.to_le_bytes());
        data[269..273].copy_from_slice(&tick_current.to_le_bytes());
        for array in arrays {
            let bit = usize::try_from(array + MAP_REACH).unwrap();
            data[904 + bit / 8] |= 1 << (bit % 8);
        }
        for (offset, bytes) in bytes {
            data[*offset..offset + bytes.len()].copy_from_slice(bytes);
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
    fn conditions_are_status_opening_and_what_is_not_modelled() {
        let of = |at: usize, bytes: &[u8]| pool_with(0, &[], &[(at, bytes)]).conditions();
        assert!(of(389, &[1 << 4]).is_paused);
        assert_eq!(of(389, &[0b10_1111]), Conditions::default(), "everything but swaps is stopped");
        let second_after = Moment::from_unix_seconds(8);
        assert_eq!(of(1_080, &[7]).opens_at, Some(second_after), "it trades after its open time");
        for side in [0, 1, 2] {
            assert_eq!(of(390, &[side]), Conditions::default());
        }
        assert_eq!(of(390, &[3]).unmodelled, [Feature::FeeSide]);
    }

    #[test]
    fn a_dynamic_fee_is_there_unless_all_of_it_is_zero() {
        assert_eq!(pool(0, &[]).dynamic_fee, None);
        for at in [1_095, 1_176] {
            assert_eq!(
                pool_with(0, &[], &[(at, &[1])]).dynamic_fee,
                None,
                "byte {at} belongs to something else"
            );
        }
        let bytes = [
            &30_u16.to_le_bytes()[..],
            &600_u16.to_le_bytes(),
            &5_000_u16.to_le_bytes(),
            &1_500_u32.to_le_bytes(),
            &350_000_u32.to_le_bytes(),
            &(-7_i32).to_le_bytes(),
            &20_000_u32.to_le_bytes(),
            &40_000_u32.to_le_bytes(),
            &1_700_000_000_u64.to_le_bytes(),
        ]
        .concat();
        let read = pool_with(0, &[], &[(1_096, &bytes)]).dynamic_fee.unwrap();
        let volatility = DynamicFeeVolatility {
            accumulator: 40_000,
            reference: 20_000,
            index_reference: -7,
            last_update: Moment::from_unix_seconds(1_700_000_000),
        };
        let expected = DynamicFee {
            filter_period_s: 30,
            decay_period_s: 600,
            reduction_factor_bps: 5_000,
            control_factor: 1_500,
            max_volatility_accumulator: 350_000,
            volatility,
        };
        assert_eq!(read, expected);
    }

    #[test]
    fn ticks_of_positions_and_of_orders_are_two_things() {
        let pool = pool(0, &[0]);
        let array = pool.tick_array(0);
        let mut data = vec![0; TICK_ARRAY_BYTES];
        for (number, (net, gross, orders, partly)) in
            [(0_i128, 0_u128, 0_u64, 0_u64), (-5, 5, 0, 0), (0, 0, 7, 0), (3, 9, 4, 2)]
                .into_iter()
                .enumerate()
        {
            let at = FIRST_TICK + number * TICK_BYTES;
            data[at..at + 4].copy_from_slice(&(i32::try_from(number).unwrap() * 10).to_le_bytes());
            data[at + 4..at + 20].copy_from_slice(&net.to_le_bytes());
            data[at + 20..at + 36].copy_from_slice(&gross.to_le_bytes());
            data[at + 124..at + 132].copy_from_slice(&orders.to_le_bytes());
            data[at + 132..at + 140].copy_from_slice(&partly.to_le_bytes());
        }
        let account = Account { owner: RAYDIUM_CLMM, lamports: 1, data };
        let parts = Parts { slot: 1, accounts: [(array, account)].into() };
        let (mut ticks, mut orders) = (Vec::new(), Vec::new());
        pool.add_ticks(&parts, 0, (&mut ticks, &mut orders)).unwrap();
        assert_eq!(ticks, [Tick { index: 10, liquidity_net: -5 }, Tick { index: 30, liquidity_net: 3 }]);
        let at = |index, amount| TickOrders { index, amount: Amount::new(amount) };
        assert_eq!(orders, [at(20, 7), at(30, 6)]);
    }

    #[test]
    fn a_pool_without_a_spacing_is_impossible() {
        let mut data = vec![0; POOL_BYTES];
        data[..8].copy_from_slice(&POOL_KIND);
        let account = Account { owner: RAYDIUM_CLMM, lamports: 1, data };
        assert!(RaydiumClmm::decode(Pubkey::default(), &account).is_err());
    }
}
