//! Meteora's DLMM: bins of one price each.

use order_engine_core::Amount;
use order_engine_routing::{
    Bin, Conditions, Curve, Dlmm, DlmmFees, DlmmState, DlmmVolatility, Feature, FeeOn, Moment, Pool,
};
use solana_instruction::Instruction;
use solana_pubkey::Pubkey;

use crate::account::{Account, Fields, LayoutError};
use crate::instructions::{readonly, signer, writable};
use crate::pools::parts::{Parts, PoolError, PoolSwap, opening};
use crate::programs::{METEORA_DLMM, TOKEN};

const PAIR_BYTES: usize = 904;
const BIN_ARRAY_BYTES: usize = 10_136;
const PAIR_KIND: [u8; 8] = [33, 11, 49, 98, 181, 101, 177, 13];
const SWAP: [u8; 8] = [0xf8, 0xc6, 0x9e, 0x91, 0xe1, 0x75, 0x87, 0xc8];
const BINS_PER_ARRAY: i32 = 70;
const BIN_BYTES: usize = 144;
const FIRST_BIN: usize = 56;
/// How many bits the pair's own map of arrays has on each side of bin zero. Arrays beyond are in another account.
const MAP_REACH: i32 = 512;
/// How many arrays a snapshot and a transaction have in each direction, the current one among them.
const ARRAYS_EACH_WAY: usize = 3;
/// The fee is taken of the second token only.
const FEE_ON_Y: u8 = 1;
/// Pairs of these types trade only after their activation.
const WITH_ACTIVATION: [u8; 2] = [1, 2];
/// The activation is a moment, and not a slot.
const BY_TIME: u8 = 1;

/// What of a pair's own account matters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct MeteoraDlmm {
    address: Pubkey,
    active_id: i32,
    bin_step_bps: u16,
    fees: DlmmFees,
    accumulator: u32,
    reference: u32,
    index_reference: i32,
    last_update: i64,
    fee_mode: u8,
    status: u8,
    /// The type of the pair, and what its activation point is.
    activation: (u8, u8, u64),
    mints: [Pubkey; 2],
    reserves: [Pubkey; 2],
    oracle: Pubkey,
    /// One bit for each array that there is.
    map: [u64; 16],
    token_program_flags: [u8; 2],
}

impl MeteoraDlmm {
    pub(crate) fn decode(address: Pubkey, account: &Account) -> Result<Self, LayoutError> {
        let fields = Fields::of(&account.data, PAIR_BYTES).filter(|fields| fields.array(0) == PAIR_KIND);
        let fields = fields.ok_or(LayoutError::OtherKind(address, "DLMM pair"))?;
        Ok(Self {
            address,
            active_id: fields.i32(76),
            bin_step_bps: fields.u16(80),
            fees: DlmmFees {
                base_factor: fields.u16(8),
                base_fee_power_factor: fields.u8(34),
                variable_fee_control: fields.u32(16),
                filter_period_s: fields.u16(10),
                decay_period_s: fields.u16(12),
                reduction_factor_bps: fields.u16(14),
                max_volatility_accumulator: fields.u32(20),
            },
            accumulator: fields.u32(40),
            reference: fields.u32(44),
            index_reference: fields.i32(48),
            last_update: fields.i64(56),
            fee_mode: fields.u8(36),
            status: fields.u8(82),
            activation: (fields.u8(75), fields.u8(86), fields.u64(816)),
            mints: [fields.address(88), fields.address(120)],
            reserves: [fields.address(152), fields.address(184)],
            oracle: fields.address(552),
            map: std::array::from_fn(|word| fields.u64(584 + 8 * word)),
            token_program_flags: [fields.u8(880), fields.u8(881)],
        })
    }

    pub(crate) const fn mints(&self) -> [Pubkey; 2] {
        self.mints
    }

    pub(crate) fn parts(&self) -> Vec<Pubkey> {
        let mut arrays: Vec<i32> = self.downwards().into_iter().chain(self.upwards()).collect();
        arrays.sort_unstable();
        arrays.dedup();
        arrays.into_iter().map(|array| self.bin_array(array)).collect()
    }

    /// Returns the address of an array by its number.
    fn bin_array(&self, array: i32) -> Pubkey {
        let seeds: [&[u8]; 3] = [b"bin_array", self.address.as_ref(), &i64::from(array).to_le_bytes()];
        Pubkey::find_program_address(&seeds, &METEORA_DLMM).0
    }

    fn is_there(&self, array: i32) -> bool {
        let bit = usize::try_from(array + MAP_REACH).ok();
        let word = bit.and_then(|bit| self.map.get(bit / 64).map(|word| word >> (bit % 64) & 1));
        word == Some(1)
    }

    fn current_array(&self) -> i32 {
        self.active_id.div_euclid(BINS_PER_ARRAY)
    }

    /// Returns the arrays that a trade which lowers the price passes, in its order.
    fn downwards(&self) -> Vec<i32> {
        let arrays = (-MAP_REACH..=self.current_array().min(MAP_REACH - 1)).rev();
        arrays.filter(|array| self.is_there(*array)).take(ARRAYS_EACH_WAY).collect()
    }

    /// Returns the arrays that a trade which raises the price passes, in its order.
    fn upwards(&self) -> Vec<i32> {
        let arrays = self.current_array().max(-MAP_REACH)..MAP_REACH;
        arrays.filter(|array| self.is_there(*array)).take(ARRAYS_EACH_WAY).collect()
    }

    /// Returns the arrays that a trade passes, in its order.
    pub(crate) fn arrays(&self, sells_a: bool) -> Vec<i32> {
        if sells_a { self.downwards() } else { self.upwards() }
    }

    pub(crate) fn pool(&self, parts: &Parts) -> Result<Pool, PoolError> {
        if self.token_program_flags != [0; 2] {
            return Err(PoolError::Unsupported { pool: self.address, what: "a token of Token-2022" });
        }
        let mut arrays: Vec<i32> = self.downwards().into_iter().chain(self.upwards()).collect();
        arrays.sort_unstable();
        arrays.dedup();
        let (mut bins, mut has_limit_orders) = (Vec::new(), false);
        for array in arrays {
            has_limit_orders |= self.add_bins(parts, array, &mut bins)?;
        }
        let last_update = u64::try_from(self.last_update);
        let last_update = last_update.map_err(|_| LayoutError::Impossible(self.address, "last update"))?;
        let curve = Dlmm::new(&DlmmState {
            active_id: self.active_id,
            bin_step_bps: self.bin_step_bps,
            fees: self.fees,
            volatility: DlmmVolatility {
                accumulator: self.accumulator,
                reference: self.reference,
                index_reference: self.index_reference,
                last_update: Moment::from_unix_seconds(last_update),
            },
            bins,
            fee_on: FeeOn::Input,
            limit_orders: Vec::new(),
        })?;
        let mints = (self.mints[0].to_string(), self.mints[1].to_string());
        let pool = Pool::new(self.address.to_string(), "Meteora", mints, Curve::Dlmm(curve));
        Ok(pool.with_conditions(self.conditions(parts.slot, has_limit_orders)))
    }

    fn conditions(&self, slot: u64, has_limit_orders: bool) -> Conditions {
        let mut conditions = Conditions::default();
        if self.status != 0 {
            conditions = conditions.paused();
        }
        let (pair_type, activation_type, point) = self.activation;
        if WITH_ACTIVATION.contains(&pair_type) {
            match activation_type {
                BY_TIME => {
                    if let Some(opens_at) = opening(point) {
                        conditions = conditions.with_opens_at(opens_at);
                    }
                }
                _ if slot < point => conditions = conditions.paused(),
                _ => {}
            }
        }
        if self.fee_mode == FEE_ON_Y {
            conditions = conditions.with_unmodelled(Feature::FeeSide);
        }
        if has_limit_orders {
            conditions = conditions.with_unmodelled(Feature::LimitOrders);
        }
        conditions
    }

    /// Adds the bins of an array that hold something, which are ascending, and returns whether orders rest in any.
    fn add_bins(&self, parts: &Parts, array: i32, bins: &mut Vec<Bin>) -> Result<bool, PoolError> {
        let address = self.bin_array(array);
        let fields = parts.fields(address, METEORA_DLMM, (BIN_ARRAY_BYTES, "bin array"))?;
        if fields.address(24) != self.address || fields.i64(8) != i64::from(array) {
            return Err(LayoutError::Impossible(address, "pair: it belongs to another one").into());
        }
        let mut has_orders = false;
        for (number, id) in (array * BINS_PER_ARRAY..(array + 1) * BINS_PER_ARRAY).enumerate() {
            let at = FIRST_BIN + number * BIN_BYTES;
            has_orders |= fields.u64(at + 112) != 0 || fields.u64(at + 128) != 0;
            let [reserve_a, reserve_b] = [at, at + 8].map(|at| Amount::new(u128::from(fields.u64(at))));
            if !reserve_a.is_zero() || !reserve_b.is_zero() {
                bins.push(Bin { id, reserve_a, reserve_b });
            }
        }
        Ok(has_orders)
    }

    pub(crate) fn swap(&self, swap: &PoolSwap) -> Instruction {
        let arrays = self.arrays(swap.sells_a);
        let event_authority = Pubkey::find_program_address(&[b"__event_authority"], &METEORA_DLMM).0;
        // The program's own address stands for what is absent: a wider map of arrays, and a host's fee account.
        let mut accounts = vec![
            writable(self.address),
            readonly(METEORA_DLMM),
            writable(self.reserves[0]),
            writable(self.reserves[1]),
            writable(swap.source),
            writable(swap.destination),
            readonly(self.mints[0]),
            readonly(self.mints[1]),
            writable(self.oracle),
            readonly(METEORA_DLMM),
            signer(swap.wallet),
            readonly(TOKEN),
            readonly(TOKEN),
            readonly(event_authority),
            readonly(METEORA_DLMM),
        ];
        accounts.extend(arrays.into_iter().map(|array| writable(self.bin_array(array))));
        swap.instruction(METEORA_DLMM, accounts, &SWAP, &[])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A pair with these bytes at these offsets.
    fn pair(bytes: &[(usize, &[u8])]) -> MeteoraDlmm {
        let mut data = vec![0; PAIR_BYTES];
        data[..8].copy_from_slice(&PAIR_KIND);
        for (offset, bytes) in bytes {
            data[*offset..offset + bytes.len()].copy_from_slice(bytes);
        }
        let account = Account { owner: METEORA_DLMM, lamports: 1, data };
        MeteoraDlmm::decode(Pubkey::default(), &account).unwrap()
    }

    #[test]
    fn status_activation_fees_and_orders_are_conditions() {
        let of = |bytes: &[(usize, &[u8])]| pair(bytes).conditions(100, false);
        let point = 101_u64.to_le_bytes();
        assert_eq!(of(&[]), Conditions::default());
        assert!(of(&[(82, &[1])]).is_paused);
        assert_eq!(of(&[(75, &[0]), (816, &point)]), Conditions::default(), "it needs no activation");
        assert!(of(&[(75, &[1]), (86, &[0]), (816, &point)]).is_paused, "its slot has not come");
        let moment = Moment::from_unix_seconds(101);
        assert_eq!(of(&[(75, &[2]), (86, &[1]), (816, &point)]).opens_at, Some(moment));
        assert_eq!(of(&[(36, &[FEE_ON_Y])]).unmodelled, [Feature::FeeSide]);
        assert_eq!(pair(&[]).conditions(100, true).unmodelled, [Feature::LimitOrders]);
    }

    #[test]
    fn a_trade_passes_the_arrays_that_are_there_from_the_current_one_on() {
        // The arrays -1, 0, 3 and 4 are the bits 511, 512, 515 and 516.
        let active = 70_i32.to_le_bytes();
        let pair = pair(&[(76, &active), (584 + 63, &[0x80]), (584 + 64, &[0b0001_1001])]);
        assert_eq!(pair.downwards(), [0, -1]);
        assert_eq!(pair.upwards(), [3, 4]);
    }
}
