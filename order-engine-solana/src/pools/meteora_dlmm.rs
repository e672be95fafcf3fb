//! Meteora's DLMM: bins of one price each.

use order_engine_core::Amount;
use order_engine_routing::{
    Bin, BinOrders, Conditions, Curve, Dlmm, DlmmFees, DlmmState, DlmmVolatility, Feature, FeeOn, Moment,
    Pool,
};
use solana_instruction::Instruction;
use solana_pubkey::Pubkey;

use crate::account::{Account, Fields, LayoutError};
use crate::instructions::{readonly, signer, writable};
use crate::pools::mint::{Mint, with_mints};
use crate::pools::parts::{Parts, PoolError, PoolSwap, opening};
use crate::programs::{MEMO, METEORA_DLMM, TOKEN, TOKEN_2022};

const PAIR_BYTES: usize = 904;
const BIN_ARRAY_BYTES: usize = 10_136;
const PAIR_KIND: [u8; 8] = [33, 11, 49, 98, 181, 101, 177, 13];
const SWAP: [u8; 8] = [0xf8, 0xc6, 0x9e, 0x91, 0xe1, 0x75, 0x87, 0xc8];
/// The instruction for tokens of Token-2022. Behind the amounts is the number of the kinds of accounts for transfer hooks.
const SWAP_2: [u8; 8] = [0x41, 0x4b, 0x3f, 0x4c, 0xeb, 0x5b, 0x5b, 0x88];
const NO_HOOKS: [u8; 4] = [0; 4];
const BINS_PER_ARRAY: i32 = 70;
const BIN_BYTES: usize = 144;
const FIRST_BIN: usize = 56;
/// How many bits the pair's own map of arrays has on each side of bin zero. Arrays beyond are in another account.
const MAP_REACH: i32 = 512;
/// How many arrays a snapshot and a transaction have in each direction, the current one among them.
const ARRAYS_EACH_WAY: usize = 3;
/// Of what the fee is taken.
mod fee_mode {
    pub(super) const INPUT: u8 = 0;
    pub(super) const ONLY_Y: u8 = 1;
}
/// What the space for rewards and orders in a bin is used for.
mod function {
    pub(super) const UNDETERMINED: u8 = 0;
    pub(super) const REWARDS: u8 = 1;
    pub(super) const LIMIT_ORDERS: u8 = 2;
}
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
    function: u8,
    has_rewards: bool,
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
            function: fields.u8(35),
            has_rewards: [264, 408].iter().any(|mint| fields.address(*mint) != Pubkey::default()),
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
        let arrays = arrays.into_iter().map(|array| self.bin_array(array));
        arrays.chain(self.mints).collect()
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
        let mints = [Mint::read(parts, self.mints[0])?, Mint::read(parts, self.mints[1])?];
        let mut arrays: Vec<i32> = self.downwards().into_iter().chain(self.upwards()).collect();
        arrays.sort_unstable();
        arrays.dedup();
        let (mut bins, mut limit_orders) = (Vec::new(), Vec::new());
        for array in arrays {
            self.add_bins(parts, array, (&mut bins, &mut limit_orders))?;
        }
        let is_unmodelled = self.takes_orders().is_none() && !limit_orders.is_empty();
        if self.takes_orders() != Some(true) {
            limit_orders.clear();
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
            fee_on: if self.fee_mode == fee_mode::ONLY_Y { FeeOn::TokenB } else { FeeOn::Input },
            limit_orders,
        })?;
        let tokens = (self.mints[0].to_string(), self.mints[1].to_string());
        let pool = Pool::new(self.address.to_string(), "Meteora", tokens, Curve::Dlmm(curve));
        let mut conditions = self.conditions(parts.slot);
        if is_unmodelled {
            conditions = conditions.with_unmodelled(Feature::LimitOrders);
        }
        Ok(pool.with_conditions(with_mints(conditions, mints)))
    }

    /// Returns whether orders may rest in the bins; nothing if the pair has a function that is not known.
    const fn takes_orders(&self) -> Option<bool> {
        match self.function {
            function::LIMIT_ORDERS => Some(true),
            function::REWARDS => Some(false),
            function::UNDETERMINED => Some(!self.has_rewards),
            _ => None,
        }
    }

    fn conditions(&self, slot: u64) -> Conditions {
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
                _ if slot < point => conditions = conditions.with_opens_at_slot(point),
                _ => {}
            }
        }
        if ![fee_mode::INPUT, fee_mode::ONLY_Y].contains(&self.fee_mode) {
            conditions = conditions.with_unmodelled(Feature::FeeSide);
        }
        conditions
    }

    /// Adds the bins of an array that hold something, and the orders that rest in bins, which both are ascending.
    fn add_bins(
        &self,
        parts: &Parts,
        array: i32,
        (bins, limit_orders): (&mut Vec<Bin>, &mut Vec<BinOrders>),
    ) -> Result<(), PoolError> {
        let address = self.bin_array(array);
        let fields = parts.fields(address, METEORA_DLMM, (BIN_ARRAY_BYTES, "bin array"))?;
        if fields.address(24) != self.address || fields.i64(8) != i64::from(array) {
            return Err(LayoutError::Impossible(address, "pair: it belongs to another one").into());
        }
        let amount = |at: usize| Amount::new(u128::from(fields.u64(at)));
        for (number, id) in (array * BINS_PER_ARRAY..(array + 1) * BINS_PER_ARRAY).enumerate() {
            let at = FIRST_BIN + number * BIN_BYTES;
            let [reserve_a, reserve_b] = [at, at + 8].map(amount);
            if !reserve_a.is_zero() || !reserve_b.is_zero() {
                bins.push(Bin { id, reserve_a, reserve_b });
            }
            let [open, processed] = [at + 112, at + 128].map(amount);
            if !open.is_zero() || !processed.is_zero() {
                limit_orders.push(BinOrders { id, is_ask: fields.u8(at + 140) != 0, open, processed });
            }
        }
        Ok(())
    }

    fn token_programs(&self) -> [Pubkey; 2] {
        self.token_program_flags.map(|flag| if flag == 0 { TOKEN } else { TOKEN_2022 })
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
        ];
        let programs = self.token_programs();
        accounts.extend(programs.map(readonly));
        let is_plain = programs == [TOKEN; 2];
        if !is_plain {
            accounts.push(readonly(MEMO));
        }
        accounts.extend([readonly(event_authority), readonly(METEORA_DLMM)]);
        accounts.extend(arrays.into_iter().map(|array| writable(self.bin_array(array))));
        if is_plain {
            swap.instruction(METEORA_DLMM, accounts, &SWAP, &[])
        } else {
            swap.instruction(METEORA_DLMM, accounts, &SWAP_2, &NO_HOOKS)
        }
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
        let of = |bytes: &[(usize, &[u8])]| pair(bytes).conditions(100);
        let point = 101_u64.to_le_bytes();
        assert_eq!(of(&[]), Conditions::default());
        assert!(of(&[(82, &[1])]).is_paused);
        assert_eq!(of(&[(75, &[0]), (816, &point)]), Conditions::default(), "it needs no activation");
        assert_eq!(of(&[(75, &[1]), (86, &[0]), (816, &point)]).opens_at_slot, Some(101));
        let past = 100_u64.to_le_bytes();
        assert_eq!(of(&[(75, &[1]), (86, &[0]), (816, &past)]), Conditions::default(), "its slot has come");
        let moment = Moment::from_unix_seconds(101);
        assert_eq!(of(&[(75, &[2]), (86, &[1]), (816, &point)]).opens_at, Some(moment));
        assert_eq!(of(&[(36, &[fee_mode::ONLY_Y])]), Conditions::default());
        assert_eq!(of(&[(36, &[2])]).unmodelled, [Feature::FeeSide]);
    }

    #[test]
    fn orders_rest_where_the_function_says_so() {
        let takes = |bytes: &[(usize, &[u8])]| pair(bytes).takes_orders();
        assert_eq!(takes(&[]), Some(true), "without rewards");
        assert_eq!(takes(&[(264, &[1])]), Some(false));
        assert_eq!(takes(&[(408 + 31, &[1])]), Some(false));
        assert_eq!(takes(&[(35, &[1])]), Some(false));
        assert_eq!(takes(&[(35, &[2]), (264, &[1])]), Some(true));
        assert_eq!(takes(&[(35, &[3])]), None);
    }

    #[test]
    fn a_token_of_token_2022_is_traded_by_the_other_instruction() {
        let swap = PoolSwap {
            wallet: Pubkey::default(),
            source: Pubkey::default(),
            destination: Pubkey::default(),
            amount_in: 1,
            min_amount_out: 2,
            sells_a: true,
        };
        let plain = pair(&[]).swap(&swap);
        assert_eq!(
            (plain.data[..8].to_vec(), plain.data.len(), plain.accounts.len()),
            (SWAP.to_vec(), 24, 15)
        );
        let other = pair(&[(881, &[1])]).swap(&swap);
        assert_eq!(
            (other.data[..8].to_vec(), other.data.len(), other.accounts.len()),
            (SWAP_2.to_vec(), 28, 16)
        );
        assert_eq!(other.accounts[11..14], [readonly(TOKEN), readonly(TOKEN_2022), readonly(MEMO)]);
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
