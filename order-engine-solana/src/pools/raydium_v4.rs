//! Raydium's AMM v4: a constant product.
//!
//! Pools that also lend their tokens to an order book are refused: what they hold there changes with somebody else's trades.

use order_engine_routing::{Conditions, ConstantProduct, Curve, Feature, Fee, Pool};
use solana_instruction::Instruction;
use solana_pubkey::Pubkey;

use crate::account::{Account, Fields, LayoutError};
use crate::instructions::{readonly, signer, writable};
use crate::pools::parts::{Parts, PoolError, PoolSwap, opening, reserve};
use crate::programs::{RAYDIUM_V4, TOKEN};

const AMM_BYTES: usize = 752;
const SWAP_BASE_IN: u8 = 9;
/// Who owns all vaults of the program.
const AUTHORITY: Pubkey = Pubkey::from_str_const("5Q544fKrFoe6tsEbD7S8EmxGTJYAKtTVhAW5Q5pge4j1");
/// How many accounts of a market an instruction names that a pool without an order book does not look at.
const MARKET_ACCOUNTS: usize = 9;

/// The states in which a pool trades.
mod status {
    /// It trades and lends to an order book.
    pub(super) const INITIALIZED: u64 = 1;
    /// The same for swaps; only its order book is in use.
    pub(super) const ORDER_BOOK_ONLY: u64 = 5;
    /// It trades, without an order book.
    pub(super) const SWAP_ONLY: u64 = 6;
    /// It trades from its open time on, and then is in the state before.
    pub(super) const WAITING_TRADE: u64 = 7;
}

/// What of a pool's own account matters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RaydiumV4 {
    address: Pubkey,
    status: u64,
    fee: (u64, u64),
    /// What the vaults hold for the exchange.
    owed: [u64; 2],
    open_time: u64,
    vaults: [Pubkey; 2],
    mints: [Pubkey; 2],
}

impl RaydiumV4 {
    pub(crate) fn decode(address: Pubkey, account: &Account) -> Result<Self, LayoutError> {
        let fields = Fields::of(&account.data, AMM_BYTES).filter(|_| account.data.len() == AMM_BYTES);
        let fields = fields.ok_or(LayoutError::OtherKind(address, "AMM v4 pool"))?;
        Ok(Self {
            address,
            status: fields.u64(0),
            fee: (fields.u64(176), fields.u64(184)),
            owed: [fields.u64(192), fields.u64(200)],
            open_time: fields.u64(224),
            vaults: [fields.address(336), fields.address(368)],
            mints: [fields.address(400), fields.address(432)],
        })
    }

    pub(crate) const fn mints(&self) -> [Pubkey; 2] {
        self.mints
    }

    pub(crate) fn parts(&self) -> Vec<Pubkey> {
        self.vaults.to_vec()
    }

    pub(crate) fn pool(&self, parts: &Parts) -> Result<Pool, PoolError> {
        let reserve =
            |side: usize| reserve(parts.tokens(self.vaults[side])?, &[self.owed[side]], self.address);
        let fee = Fee::new(self.fee.0, self.fee.1)?;
        let curve = Curve::ConstantProduct(ConstantProduct::new(reserve(0)?, reserve(1)?, fee)?);
        let mints = (self.mints[0].to_string(), self.mints[1].to_string());
        let pool = Pool::new(self.address.to_string(), "Raydium", mints, curve);
        Ok(pool.with_conditions(self.conditions()))
    }

    fn conditions(&self) -> Conditions {
        let conditions = Conditions::default();
        match self.status {
            status::SWAP_ONLY => conditions,
            status::WAITING_TRADE => match opening(self.open_time) {
                Some(opens_at) => conditions.with_opens_at(opens_at),
                None => conditions,
            },
            status::INITIALIZED | status::ORDER_BOOK_ONLY => conditions.with_unmodelled(Feature::LimitOrders),
            _ => conditions.paused(),
        }
    }

    pub(crate) fn swap(&self, swap: &PoolSwap) -> Instruction {
        let mut accounts = vec![readonly(TOKEN), writable(self.address), readonly(AUTHORITY)];
        // Open orders; behind the vaults the market and what belongs to it. Naming the pool for each makes the
        // transaction smaller.
        accounts.push(readonly(self.address));
        accounts.extend(self.vaults.map(writable));
        accounts.extend(vec![readonly(self.address); MARKET_ACCOUNTS - 1]);
        accounts.extend([writable(swap.source), writable(swap.destination), signer(swap.wallet)]);
        swap.instruction(RAYDIUM_V4, accounts, &[SWAP_BASE_IN], &[])
    }
}

#[cfg(test)]
mod tests {
    use order_engine_routing::Moment;

    use super::*;

    fn pool(status: u64, open_time: u64) -> RaydiumV4 {
        let mut data = vec![0; AMM_BYTES];
        data[..8].copy_from_slice(&status.to_le_bytes());
        data[224..232].copy_from_slice(&open_time.to_le_bytes());
        let account = Account { owner: RAYDIUM_V4, lamports: 1, data };
        RaydiumV4::decode(Pubkey::default(), &account).unwrap()
    }

    #[test]
    fn a_state_says_whether_a_pool_trades() {
        let opens_at = Moment::from_unix_seconds(7);
        assert_eq!(pool(6, 7).conditions(), Conditions::default(), "an open time has no meaning any more");
        assert_eq!(pool(7, 7).conditions(), Conditions::default().with_opens_at(opens_at));
        for closed in [0, 2, 3, 4, 8] {
            assert!(pool(closed, 0).conditions().is_paused, "{closed}");
        }
        for with_order_book in [1, 5] {
            assert_eq!(pool(with_order_book, 0).conditions().unmodelled, [Feature::LimitOrders]);
        }
    }

    #[test]
    fn an_instruction_has_the_bytes_and_accounts_of_the_program() {
        let (wallet, source, destination) = (
            Pubkey::new_from_array([1; 32]),
            Pubkey::new_from_array([2; 32]),
            Pubkey::new_from_array([3; 32]),
        );
        let swap = PoolSwap { wallet, source, destination, amount_in: 258, min_amount_out: 1, sells_a: true };
        let built = pool(6, 0).swap(&swap);
        assert_eq!(built.data, [&[9, 2, 1][..], &[0; 6], &[1], &[0; 7]].concat());
        assert_eq!(built.accounts.len(), 17);
        assert_eq!(built.accounts[14..], [writable(source), writable(destination), signer(wallet)]);
    }
}
