//! Pools of real programs, as the bytes of their accounts.

use std::path::PathBuf;

use order_engine_core::Entropy as _;
use order_engine_core::testing::SeededEntropy;
use order_engine_routing::{ConcentratedLiquidity, Dlmm, Whirlpool};
use order_engine_solana::programs::{
    METEORA_DLMM, ORCA_WHIRLPOOL, RAYDIUM_CLMM, RAYDIUM_CPMM, RAYDIUM_V4, TOKEN_2022,
};
use order_engine_solana::{Account, KeypairSigner, Pubkey, WalletSigner as _};

use crate::surfpool::Surfpool;

/// Random numbers from a seed.
pub struct Dice(SeededEntropy);

impl Dice {
    /// Returns the numbers of a seed.
    pub fn new(seed: u64) -> Self {
        Self(SeededEntropy::new(seed))
    }

    /// Returns a number below another one.
    pub fn below(&self, end: u64) -> u64 {
        u64::try_from(self.0.next_u128() % u128::from(end)).unwrap()
    }

    /// Returns an amount of any magnitude up to about 2^bits.
    pub fn amount(&self, bits: u64) -> u64 {
        1 + self.below(1 << (1 + self.below(bits)))
    }
}

/// A program, the pool of it that a test trades with, and how.
pub struct Case {
    /// The name of the program.
    pub name: &'static str,
    /// Its address.
    pub program: Pubkey,
    /// The name of the file of its code.
    pub file: &'static str,
    /// Swaps sell at least this, and this and two to the power of the other at most.
    pub amount_min: u64,
    /// See [`amount_min`](Self::amount_min).
    pub amount_bits: u64,
    /// The error of the program if it would pay less than the minimum.
    pub below_minimum: u64,
    /// Makes a pool of two mints, which are sorted.
    pub make: fn(&Dice, [Pubkey; 2]) -> MadePool,
    /// What the second token takes of each transfer, if it is one of Token-2022: basis points, and the most.
    pub transfer_fee: Option<(u16, u64)>,
    /// A variant of a program makes only one in so many of the swaps.
    pub share: u64,
}

const TRANSFER_FEE: Option<(u16, u64)> = Some((37, 1 << 24));

/// All programs, and variants of their pools.
pub const CASES: [Case; 12] = [
    Case {
        name: "Raydium AMM v4",
        program: RAYDIUM_V4,
        file: "raydium_amm_v4.so",
        // Of less it takes no fee, and pays a unit or some more than quoted.
        amount_min: 200,
        amount_bits: 44,
        below_minimum: 30,
        make: raydium_v4,
        transfer_fee: None,
        share: 1,
    },
    Case {
        name: "Raydium CPMM",
        program: RAYDIUM_CPMM,
        file: "raydium_cp_swap.so",
        amount_min: 0,
        amount_bits: 44,
        below_minimum: 6_005,
        make: raydium_cpmm,
        transfer_fee: None,
        share: 1,
    },
    Case {
        name: "Raydium CLMM",
        program: RAYDIUM_CLMM,
        file: "raydium_clmm.so",
        amount_min: 0,
        amount_bits: 38,
        below_minimum: 6_022,
        make: raydium_clmm,
        transfer_fee: None,
        share: 1,
    },
    Case {
        name: "Meteora DLMM",
        program: METEORA_DLMM,
        file: "meteora_dlmm.so",
        amount_min: 0,
        amount_bits: 36,
        below_minimum: 6_003,
        make: meteora_dlmm,
        transfer_fee: None,
        share: 1,
    },
    Case {
        name: "Raydium CPMM with a token that takes a fee",
        program: RAYDIUM_CPMM,
        file: "raydium_cp_swap.so",
        amount_min: 0,
        amount_bits: 44,
        below_minimum: 6_005,
        make: |dice, mints| raydium_cpmm(dice, mints).with(264, TOKEN_2022.as_ref()),
        transfer_fee: TRANSFER_FEE,
        share: 4,
    },
    Case {
        name: "Raydium CLMM with a token that takes a fee",
        program: RAYDIUM_CLMM,
        file: "raydium_clmm.so",
        amount_min: 0,
        amount_bits: 38,
        below_minimum: 6_022,
        make: raydium_clmm,
        transfer_fee: TRANSFER_FEE,
        share: 4,
    },
    Case {
        name: "Meteora DLMM with a token that takes a fee",
        program: METEORA_DLMM,
        file: "meteora_dlmm.so",
        amount_min: 0,
        amount_bits: 36,
        below_minimum: 6_003,
        make: |dice, mints| meteora_dlmm(dice, mints).with(881, &[1]),
        transfer_fee: TRANSFER_FEE,
        share: 4,
    },
    Case {
        name: "Meteora DLMM with limit orders",
        program: METEORA_DLMM,
        file: "meteora_dlmm.so",
        amount_min: 0,
        amount_bits: 36,
        below_minimum: 6_003,
        make: |dice, mints| meteora_dlmm(dice, mints).with(35, &[2]).with_orders(dice),
        transfer_fee: None,
        share: 2,
    },
    Case {
        name: "Meteora DLMM with its fee on y and limit orders",
        program: METEORA_DLMM,
        file: "meteora_dlmm.so",
        amount_min: 0,
        amount_bits: 36,
        below_minimum: 6_003,
        make: |dice, mints| meteora_dlmm(dice, mints).with(35, &[2, 1]).with_orders(dice),
        transfer_fee: None,
        share: 2,
    },
    Case {
        name: "Orca Whirlpool",
        program: ORCA_WHIRLPOOL,
        file: "orca_whirlpool.so",
        amount_min: 0,
        amount_bits: 38,
        below_minimum: 6_036,
        make: |dice, mints| orca_whirlpool(dice, mints, Orca { is_adaptive: false, is_dynamic: false }),
        transfer_fee: None,
        share: 1,
    },
    Case {
        name: "Orca Whirlpool with an adaptive fee",
        program: ORCA_WHIRLPOOL,
        file: "orca_whirlpool.so",
        amount_min: 0,
        amount_bits: 38,
        below_minimum: 6_036,
        make: |dice, mints| orca_whirlpool(dice, mints, Orca { is_adaptive: true, is_dynamic: true }),
        transfer_fee: None,
        share: 1,
    },
    Case {
        name: "Orca Whirlpool with a token that takes a fee",
        program: ORCA_WHIRLPOOL,
        file: "orca_whirlpool.so",
        amount_min: 0,
        amount_bits: 38,
        below_minimum: 6_036,
        make: |dice, mints| orca_whirlpool(dice, mints, Orca { is_adaptive: false, is_dynamic: true }),
        transfer_fee: TRANSFER_FEE,
        share: 4,
    },
];

impl Case {
    /// Whether it is a pool as a program makes most, and no variant.
    pub fn is_plain(&self) -> bool {
        !self.name.contains(" with ")
    }

    /// Returns where the code of the program is, if it is there.
    pub fn code(&self) -> Option<PathBuf> {
        let file = PathBuf::from(std::env::var_os("SOLANA_PROGRAMS")?).join(self.file);
        file.is_file().then_some(file)
    }
}

/// A pool, its accounts, and its vaults with what they hold.
pub struct MadePool {
    /// The pool.
    pub address: Pubkey,
    accounts: Vec<(Pubkey, Account)>,
    vault_owner: Pubkey,
    /// The vaults, and what they hold.
    pub vaults: [(Pubkey, u64); 2],
}

impl MadePool {
    /// Changes bytes of the pool's own account.
    fn with(mut self, offset: usize, bytes: &[u8]) -> Self {
        let own = self.accounts.iter_mut().find(|(address, _)| *address == self.address);
        own.expect("it has an account").1.data[offset..offset + bytes.len()].copy_from_slice(bytes);
        self
    }

    /// Adds orders to bins of a DLMM pair: those above the active bin sell the first token, those below the second.
    fn with_orders(mut self, dice: &Dice) -> Self {
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

    /// Writes the pool into a chain.
    pub async fn write(&self, chain: &Surfpool, mints: [Pubkey; 2]) {
        for (address, account) in &self.accounts {
            chain.set_account(*address, account).await;
        }
        for ((vault, amount), mint) in self.vaults.into_iter().zip(mints) {
            chain.set_token_account(vault, self.vault_owner, mint, amount).await;
        }
    }
}

/// The bytes of an account under construction.
struct Data(Vec<u8>);

impl Data {
    fn new(bytes: usize, kind: &[u8]) -> Self {
        let data = Self(vec![0; bytes]);
        data.with(0, kind)
    }

    fn with(mut self, offset: usize, bytes: &[u8]) -> Self {
        self.0[offset..offset + bytes.len()].copy_from_slice(bytes);
        self
    }

    fn u64(self, offset: usize, number: u64) -> Self {
        self.with(offset, &number.to_le_bytes())
    }

    fn address(self, offset: usize, address: Pubkey) -> Self {
        self.with(offset, address.as_ref())
    }

    fn owned_by(self, owner: Pubkey) -> Account {
        Account { owner, lamports: 10_000_000_000, data: self.0 }
    }
}

fn any_address() -> Pubkey {
    KeypairSigner::random().address()
}

fn raydium_v4(dice: &Dice, mints: [Pubkey; 2]) -> MadePool {
    let (address, vaults) = (any_address(), [any_address(), any_address()]);
    let authority = Pubkey::find_program_address(&[b"amm authority"], &RAYDIUM_V4);
    let owed = [dice.amount(30), dice.amount(30)];
    let held = [(1 << 40) + dice.amount(42), (1 << 38) + dice.amount(40)];
    let data = Data::new(752, &[])
        .u64(0, 6) // swaps only
        .u64(8, u64::from(authority.1))
        .u64(16, 7)
        .u64(24, 3)
        .u64(32, 6)
        .u64(40, 6)
        .u64(128, 5)
        .u64(136, 10_000)
        .u64(144, 25)
        .u64(152, 10_000)
        .u64(160, 12)
        .u64(168, 100)
        .u64(176, 25)
        .u64(184, 10_000)
        .u64(192, owed[0])
        .u64(200, owed[1])
        .address(336, vaults[0])
        .address(368, vaults[1])
        .address(400, mints[0])
        .address(432, mints[1])
        .address(464, any_address());
    MadePool {
        address,
        accounts: vec![(address, data.owned_by(RAYDIUM_V4))],
        vault_owner: authority.0,
        vaults: [(vaults[0], held[0]), (vaults[1], held[1])],
    }
}

fn raydium_cpmm(dice: &Dice, mints: [Pubkey; 2]) -> MadePool {
    let (address, config, observation) = (any_address(), any_address(), any_address());
    let vaults = [any_address(), any_address()];
    let authority = Pubkey::find_program_address(&[b"vault_and_lp_mint_auth_seed"], &RAYDIUM_CPMM);
    let token = order_engine_solana::programs::TOKEN;
    let pool = Data::new(637, &[247, 237, 227, 245, 215, 195, 222, 70])
        .address(8, config)
        .address(72, vaults[0])
        .address(104, vaults[1])
        .address(136, any_address())
        .address(168, mints[0])
        .address(200, mints[1])
        .address(232, token)
        .address(264, token)
        .address(296, observation)
        .with(328, &[authority.1, 0, 9, 6, 6])
        .u64(333, 1 << 40)
        .u64(341, dice.amount(30))
        .u64(349, dice.amount(30))
        .u64(357, dice.amount(30))
        .u64(365, dice.amount(30));
    let rates = Data::new(236, &[218, 244, 33, 104, 203, 203, 43, 111])
        .u64(12, 2_500)
        .u64(20, 120_000)
        .u64(28, 40_000);
    let observed = Data::new(4_075, &[122, 174, 197, 53, 129, 9, 165, 132]).address(11, address);
    MadePool {
        address,
        accounts: vec![
            (address, pool.owned_by(RAYDIUM_CPMM)),
            (config, rates.owned_by(RAYDIUM_CPMM)),
            (observation, observed.owned_by(RAYDIUM_CPMM)),
        ],
        vault_owner: authority.0,
        vaults: [(vaults[0], (1 << 40) + dice.amount(42)), (vaults[1], (1 << 38) + dice.amount(40))],
    }
}

const CLMM_SPACING: i32 = 10;
const CLMM_TICKS: i32 = 60;
const CLMM_ARRAY: i32 = CLMM_SPACING * CLMM_TICKS;

/// Returns positions around a tick, as their lower and upper ticks and liquidities. The first one spans all others.
fn positions(dice: &Dice, current: i32) -> Vec<(i32, i32, u128)> {
    let aligned = current.div_euclid(CLMM_SPACING) * CLMM_SPACING;
    let reach = || i32::try_from(1 + dice.below(150)).unwrap() * CLMM_SPACING;
    let narrow = (0..12).map(|_| {
        let (from, to) = (aligned - reach(), aligned + reach());
        (from, to, u128::from((1 << 36) + dice.amount(40)))
    });
    std::iter::once((aligned - 1_700, aligned + 1_700, 1 << 36)).chain(narrow).collect()
}

fn raydium_clmm(dice: &Dice, mints: [Pubkey; 2]) -> MadePool {
    let (config, observation, vaults) = (any_address(), any_address(), [any_address(), any_address()]);
    let seeds: [&[u8]; 4] = [b"pool", config.as_ref(), mints[0].as_ref(), mints[1].as_ref()];
    let (address, bump) = Pubkey::find_program_address(&seeds, &RAYDIUM_CLMM);
    let current = i32::try_from(dice.below(40_000)).unwrap() - 20_000;
    let positions = positions(dice, current);
    let liquidity: u128 = positions.iter().map(|(_, _, liquidity)| liquidity).sum();
    let price = ConcentratedLiquidity::sqrt_price_at_tick(current).unwrap();
    let rates = Data::new(117, &[218, 244, 33, 104, 203, 203, 43, 111])
        .with(43, &120_000_u32.to_le_bytes())
        .with(47, &2_500_u32.to_le_bytes())
        .with(51, &10_u16.to_le_bytes())
        .with(53, &40_000_u32.to_le_bytes());
    let observed = Data::new(52_121, &[122, 174, 197, 53, 129, 9, 165, 132]).address(9, address);
    let mut pool = Data::new(1_544, &[247, 237, 227, 245, 215, 195, 222, 70])
        .with(8, &[bump])
        .address(9, config)
        .address(73, mints[0])
        .address(105, mints[1])
        .address(137, vaults[0])
        .address(169, vaults[1])
        .address(201, observation)
        .with(233, &[6, 6])
        .with(235, &10_u16.to_le_bytes())
        .with(237, &liquidity.to_le_bytes())
        .with(253, &price.to_le_bytes())
        .with(269, &current.to_le_bytes());
    let mut accounts =
        vec![(config, rates.owned_by(RAYDIUM_CLMM)), (observation, observed.owned_by(RAYDIUM_CLMM))];
    let first = (current - 2_000).div_euclid(CLMM_ARRAY);
    for array in first..=(current + 2_000).div_euclid(CLMM_ARRAY) {
        let start = array * CLMM_ARRAY;
        let seeds: [&[u8]; 3] = [b"tick_array", address.as_ref(), &start.to_be_bytes()];
        let tick_array = Pubkey::find_program_address(&seeds, &RAYDIUM_CLMM).0;
        let mut data = Data::new(10_240, &[192, 155, 85, 205, 49, 249, 129, 42])
            .address(8, address)
            .with(40, &start.to_le_bytes());
        let mut initialised = 0_u8;
        for number in 0..CLMM_TICKS {
            let tick = start + number * CLMM_SPACING;
            let at = 44 + usize::try_from(number).unwrap() * 168;
            let (mut net, mut gross) = (0_i128, 0_u128);
            for (lower, upper, liquidity) in &positions {
                let signed = i128::try_from(*liquidity).unwrap();
                net += if *lower == tick { signed } else { 0 } - if *upper == tick { signed } else { 0 };
                gross += if [lower, upper].contains(&&tick) { *liquidity } else { 0 };
            }
            initialised += u8::from(gross > 0);
            data = data
                .with(at, &tick.to_le_bytes())
                .with(at + 4, &net.to_le_bytes())
                .with(at + 20, &gross.to_le_bytes());
        }
        if initialised > 0 {
            let bit = usize::try_from(array + 512).unwrap();
            pool.0[904 + bit / 8] |= 1 << (bit % 8);
            accounts.push((tick_array, data.with(44 + 60 * 168, &[initialised]).owned_by(RAYDIUM_CLMM)));
        }
    }
    accounts.push((address, pool.owned_by(RAYDIUM_CLMM)));
    MadePool { address, accounts, vault_owner: address, vaults: vaults.map(|vault| (vault, 1 << 56)) }
}

fn meteora_dlmm(dice: &Dice, mints: [Pubkey; 2]) -> MadePool {
    const BIN_STEP: u16 = 10;
    let (oracle, reserves) = (any_address(), [any_address(), any_address()]);
    // Pairs of the same tokens and the same step have different factors.
    let base_factor = u16::try_from(10_000 - dice.below(1_000)).unwrap();
    let (step, factor) = (BIN_STEP.to_le_bytes(), base_factor.to_le_bytes());
    // The mints are sorted.
    let seeds: [&[u8]; 4] = [mints[0].as_ref(), mints[1].as_ref(), &step, &factor];
    let (address, bump) = Pubkey::find_program_address(&seeds, &METEORA_DLMM);
    let active = i32::try_from(dice.below(2_000)).unwrap() - 1_000;
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

/// Which kind of a Whirlpool.
#[derive(Clone, Copy)]
struct Orca {
    is_adaptive: bool,
    /// Whether its tick arrays are of the kind in which ticks that are not initialised take one byte.
    is_dynamic: bool,
}

const ORCA_SPACING: i32 = 8;
const ORCA_ARRAY: i32 = 88 * ORCA_SPACING;

fn orca_whirlpool(dice: &Dice, mints: [Pubkey; 2], kind: Orca) -> MadePool {
    let (config, vaults) = (any_address(), [any_address(), any_address()]);
    let tier = if kind.is_adaptive { 1_025_u16 } else { 8 };
    let seeds: [&[u8]; 5] =
        [b"whirlpool", config.as_ref(), mints[0].as_ref(), mints[1].as_ref(), &tier.to_le_bytes()];
    let (address, bump) = Pubkey::find_program_address(&seeds, &ORCA_WHIRLPOOL);
    let current = i32::try_from(dice.below(40_000)).unwrap() - 20_000;
    let aligned = current.div_euclid(ORCA_SPACING) * ORCA_SPACING;
    let reach = || i32::try_from(1 + dice.below(150)).unwrap() * ORCA_SPACING;
    let narrow =
        (0..12).map(|_| (aligned - reach(), aligned + reach(), u128::from((1 << 36) + dice.amount(40))));
    let widest = 1_400 / ORCA_SPACING * ORCA_SPACING;
    let positions: Vec<(i32, i32, u128)> =
        std::iter::once((aligned - widest, aligned + widest, 1 << 36)).chain(narrow).collect();
    let liquidity: u128 = positions.iter().map(|(_, _, liquidity)| liquidity).sum();
    let price = Whirlpool::sqrt_price_at_tick(current).unwrap();
    let pool = Data::new(653, &[63, 149, 209, 12, 225, 128, 99, 9])
        .address(8, config)
        .with(40, &[bump])
        .with(41, &8_u16.to_le_bytes())
        .with(43, &tier.to_le_bytes())
        .with(45, &3_000_u16.to_le_bytes())
        .with(47, &1_300_u16.to_le_bytes())
        .with(49, &liquidity.to_le_bytes())
        .with(65, &price.to_le_bytes())
        .with(81, &current.to_le_bytes())
        .address(101, mints[0])
        .address(133, vaults[0])
        .address(181, mints[1])
        .address(213, vaults[1]);
    let mut accounts = vec![(address, pool.owned_by(ORCA_WHIRLPOOL))];
    for array in (current - 2_000).div_euclid(ORCA_ARRAY)..=(current + 2_000).div_euclid(ORCA_ARRAY) {
        accounts.push(orca_array(address, array * ORCA_ARRAY, &positions, kind.is_dynamic));
    }
    if kind.is_adaptive {
        let oracle = Pubkey::find_program_address(&[b"oracle", address.as_ref()], &ORCA_WHIRLPOOL).0;
        let data = Data::new(254, &[139, 194, 131, 179, 140, 179, 229, 244])
            .address(8, address)
            .with(48, &30_u16.to_le_bytes())
            .with(50, &600_u16.to_le_bytes())
            .with(52, &5_000_u16.to_le_bytes())
            .with(54, &4_000_u32.to_le_bytes())
            .with(58, &350_000_u32.to_le_bytes())
            .with(62, &8_u16.to_le_bytes())
            .with(64, &64_u16.to_le_bytes());
        accounts.push((oracle, data.owned_by(ORCA_WHIRLPOOL)));
    }
    MadePool { address, accounts, vault_owner: address, vaults: vaults.map(|vault| (vault, 1 << 56)) }
}

/// Returns a tick array of a Whirlpool with the ends of these positions.
fn orca_array(
    pool: Pubkey,
    start: i32,
    positions: &[(i32, i32, u128)],
    is_dynamic: bool,
) -> (Pubkey, Account) {
    let text = start.to_string();
    let seeds: [&[u8]; 3] = [b"tick_array", pool.as_ref(), text.as_bytes()];
    let address = Pubkey::find_program_address(&seeds, &ORCA_WHIRLPOOL).0;
    let mut map = 0_u128;
    let mut ticks = Vec::new();
    for number in 0..88 {
        let tick = start + number * ORCA_SPACING;
        let (mut net, mut gross) = (0_i128, 0_u128);
        for (lower, upper, liquidity) in positions {
            let signed = i128::try_from(*liquidity).unwrap();
            net += if *lower == tick { signed } else { 0 } - if *upper == tick { signed } else { 0 };
            gross += if [lower, upper].contains(&&tick) { *liquidity } else { 0 };
        }
        let is_initialised = gross > 0;
        map |= u128::from(is_initialised) << number;
        ticks.push(u8::from(is_initialised));
        if is_initialised || !is_dynamic {
            ticks.extend(net.to_le_bytes());
            ticks.extend(gross.to_le_bytes());
            ticks.extend([0; 112 - 32]);
        }
    }
    let data = if is_dynamic {
        let mut data = Data::new(60, &[17, 216, 246, 142, 225, 199, 218, 56])
            .with(8, &start.to_le_bytes())
            .address(12, pool)
            .with(44, &map.to_le_bytes());
        data.0.extend(ticks);
        data
    } else {
        Data::new(9_988, &[69, 97, 189, 190, 110, 7, 66, 187])
            .with(8, &start.to_le_bytes())
            .with(12, &ticks)
            .address(9_956, pool)
    };
    (address, data.owned_by(ORCA_WHIRLPOOL))
}
