//! Raydium's CPMM: a constant product.

use order_engine_routing::{Conditions, ConstantProduct, CreatorFee, Curve, Feature, Fee, FeeOn, Pool};
use solana_instruction::Instruction;
use solana_pubkey::Pubkey;

use crate::account::{Account, Fields, LayoutError};
use crate::instructions::{readonly, signer, writable};
use crate::pools::mint::{Mint, with_mints};
use crate::pools::parts::{Parts, PoolError, PoolSwap, opening, reserve};
use crate::programs::RAYDIUM_CPMM;

const POOL_BYTES: usize = 637;
const CONFIG_BYTES: usize = 236;
const POOL_KIND: [u8; 8] = [247, 237, 227, 245, 215, 195, 222, 70];
const SWAP_BASE_INPUT: [u8; 8] = [0x8f, 0xbe, 0x5a, 0xda, 0xc4, 0x1e, 0x33, 0xde];
/// Who owns all vaults of the program.
const AUTHORITY: Pubkey = Pubkey::from_str_const("GpMZbSM2GgvTKHJirzeGfMFoaZ8UR2X7F4v8vHTvxFbL");
/// The bit of the status that stops swaps.
const SWAPS_STOPPED: u8 = 1 << 2;
/// Fees are millionths.
const ONE_PPM: u64 = 1_000_000;

/// What of a pool's own account matters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RaydiumCpmm {
    address: Pubkey,
    config: Pubkey,
    vaults: [Pubkey; 2],
    mints: [Pubkey; 2],
    token_programs: [Pubkey; 2],
    observation: Pubkey,
    status: u8,
    /// What the vaults hold for the exchange, its fund and the pool's creator.
    owed: [[u64; 3]; 2],
    open_time: u64,
    /// Of which token the creator takes a fee, as the program numbers it, if it does.
    creator_fee_on: Option<u8>,
}

impl RaydiumCpmm {
    pub(crate) fn decode(address: Pubkey, account: &Account) -> Result<Self, LayoutError> {
        let fields = Fields::of(&account.data, POOL_BYTES).filter(|fields| fields.array(0) == POOL_KIND);
        let fields = fields.ok_or(LayoutError::OtherKind(address, "CPMM pool"))?;
        Ok(Self {
            address,
            config: fields.address(8),
            vaults: [fields.address(72), fields.address(104)],
            mints: [fields.address(168), fields.address(200)],
            token_programs: [fields.address(232), fields.address(264)],
            observation: fields.address(296),
            status: fields.u8(329),
            owed: [341, 349].map(|fee| [fields.u64(fee), fields.u64(fee + 16), fields.u64(fee + 56)]),
            open_time: fields.u64(373),
            creator_fee_on: (fields.u8(390) != 0).then(|| fields.u8(389)),
        })
    }

    pub(crate) const fn mints(&self) -> [Pubkey; 2] {
        self.mints
    }

    pub(crate) fn parts(&self) -> Vec<Pubkey> {
        [&self.vaults[..], &self.mints, &[self.config]].concat()
    }

    pub(crate) fn pool(&self, parts: &Parts) -> Result<Pool, PoolError> {
        let mints = [Mint::read(parts, self.mints[0])?, Mint::read(parts, self.mints[1])?];
        let config = parts.fields(self.config, RAYDIUM_CPMM, (CONFIG_BYTES, "CPMM configuration"))?;
        let reserve = |side: usize| reserve(parts.tokens(self.vaults[side])?, &self.owed[side], self.address);
        let fee = Fee::new(config.u64(12), ONE_PPM)?;
        let shares = [Fee::new(config.u64(20), ONE_PPM)?, Fee::new(config.u64(28), ONE_PPM)?];
        let curve = ConstantProduct::new(reserve(0)?, reserve(1)?, fee)?;
        let mut curve = curve.with_protocol_share(shares[0]).with_fund_share(shares[1]);
        if let Some(creator_fee) = self.creator_fee(config.u64(108))? {
            curve = curve.with_creator_fee(creator_fee)?;
        }
        let tokens = (self.mints[0].to_string(), self.mints[1].to_string());
        let pool = Pool::new(self.address.to_string(), "Raydium", tokens, Curve::ConstantProduct(curve));
        Ok(pool.with_conditions(with_mints(self.conditions(), mints)))
    }

    /// Returns the fee of the pool's creator, of which the exchange's configuration says the rate in millionths.
    fn creator_fee(&self, rate_ppm: u64) -> Result<Option<CreatorFee>, PoolError> {
        let Some(on) = self.creator_fee_on.and_then(fee_on).filter(|_| rate_ppm > 0) else { return Ok(None) };
        Ok(Some(CreatorFee { rate: Fee::new(rate_ppm, ONE_PPM)?, on }))
    }

    fn conditions(&self) -> Conditions {
        let mut conditions = Conditions::default();
        if self.status & SWAPS_STOPPED != 0 {
            conditions = conditions.paused();
        }
        if let Some(opens_at) = opening(self.open_time) {
            conditions = conditions.with_opens_at(opens_at);
        }
        if self.creator_fee_on.is_some_and(|number| fee_on(number).is_none()) {
            conditions = conditions.with_unmodelled(Feature::FeeSide);
        }
        conditions
    }

    pub(crate) fn swap(&self, swap: &PoolSwap) -> Instruction {
        let (input, output) = swap.orient(0, 1);
        let accounts = vec![
            signer(swap.wallet),
            readonly(AUTHORITY),
            readonly(self.config),
            writable(self.address),
            writable(swap.source),
            writable(swap.destination),
            writable(self.vaults[input]),
            writable(self.vaults[output]),
            readonly(self.token_programs[input]),
            readonly(self.token_programs[output]),
            readonly(self.mints[input]),
            readonly(self.mints[output]),
            writable(self.observation),
        ];
        swap.instruction(RAYDIUM_CPMM, accounts, &SWAP_BASE_INPUT, &[])
    }
}

/// Returns of what the creator takes a fee, by the program's number for it.
const fn fee_on(number: u8) -> Option<FeeOn> {
    match number {
        0 => Some(FeeOn::Input),
        1 => Some(FeeOn::TokenA),
        2 => Some(FeeOn::TokenB),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use order_engine_routing::Moment;

    use super::*;

    fn pool(status: u8, open_time: u64, creator_fee_on: Option<u8>) -> RaydiumCpmm {
        let mut data = vec![0; POOL_BYTES];
        data[..8].copy_from_slice(&POOL_KIND);
        data[329] = status;
        data[373..381].copy_from_slice(&open_time.to_le_bytes());
        (data[389], data[390]) = (creator_fee_on.unwrap_or(1), u8::from(creator_fee_on.is_some()));
        let account = Account { owner: RAYDIUM_CPMM, lamports: 1, data };
        RaydiumCpmm::decode(Pubkey::default(), &account).unwrap()
    }

    #[test]
    fn status_open_time_and_creator_fee_are_conditions() {
        assert_eq!(pool(0, 0, None).conditions(), Conditions::default());
        assert_eq!(pool(0b011, 0, None).conditions(), Conditions::default(), "only deposits and withdrawals");
        assert!(pool(0b100, 0, None).conditions().is_paused);
        assert_eq!(pool(0, 9, None).conditions().opens_at, Some(Moment::from_unix_seconds(9)));
        assert_eq!(pool(0, 0, Some(3)).conditions().unmodelled, [Feature::FeeSide], "another side");
    }

    #[test]
    fn a_creator_takes_its_fee_of_the_input_or_of_one_token() {
        let fee = |on, rate_ppm| pool(0, 0, on).creator_fee(rate_ppm).unwrap();
        let of = |on| Some(CreatorFee { rate: Fee::new(1_000, ONE_PPM).unwrap(), on });
        assert_eq!(fee(Some(0), 1_000), of(FeeOn::Input));
        assert_eq!(fee(Some(1), 1_000), of(FeeOn::TokenA));
        assert_eq!(fee(Some(2), 1_000), of(FeeOn::TokenB));
        assert_eq!(fee(None, 1_000), None, "it is switched off");
        assert_eq!(fee(Some(0), 0), None);
        assert!(pool(0, 0, Some(0)).creator_fee(ONE_PPM).is_err(), "it would leave nothing");
        assert_eq!(pool(0, 0, Some(1)).conditions(), Conditions::default());
    }

    #[test]
    fn a_vault_that_owes_more_than_it_holds_is_impossible() {
        assert!(reserve(5, &[3, 3, 0], Pubkey::default()).is_err());
        assert_eq!(reserve(5, &[3, 1, 0], Pubkey::default()).unwrap(), order_engine_core::Amount::new(1));
    }
}
