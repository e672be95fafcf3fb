//! The addresses of programs and of other accounts that every cluster has.

use solana_pubkey::Pubkey;

/// The system program, which owns wallets and makes accounts.
pub const SYSTEM: Pubkey = Pubkey::from_str_const("11111111111111111111111111111111");
/// The program whose instructions set the limit and the price of compute units.
pub const COMPUTE_BUDGET: Pubkey = Pubkey::from_str_const("ComputeBudget111111111111111111111111111111");
/// The token program.
pub const TOKEN: Pubkey = Pubkey::from_str_const("TokenkegQfeZyiNwAJbNbGKPFXCWuBvf9Ss623VQ5DA");
/// The token program with extensions, Token-2022.
pub const TOKEN_2022: Pubkey = Pubkey::from_str_const("TokenzQdBNbLqP5VEhdkAS6EPFLC1PHnBqCXEpPxuEb");
/// The program that makes the token accounts whose addresses follow from the owner and the mint.
pub const ASSOCIATED_TOKEN: Pubkey = Pubkey::from_str_const("ATokenGPvbdGVxr1b2hvZbsiqW5xWH25efTNsLJA8knL");
/// The program that writes text into a transaction.
pub const MEMO: Pubkey = Pubkey::from_str_const("MemoSq4gqABAXKb96qnH8TysNcWxMyWCqXgDLGmfcHr");
/// The program of tables of addresses.
pub const ADDRESS_LOOKUP_TABLE: Pubkey =
    Pubkey::from_str_const("AddressLookupTab1e1111111111111111111111111");
/// The account with the hashes of recent blocks, which advancing a nonce reads.
pub const RECENT_BLOCKHASHES: Pubkey = Pubkey::from_str_const("SysvarRecentB1ockHashes11111111111111111111");
/// The account with the price of the space of accounts.
pub const RENT: Pubkey = Pubkey::from_str_const("SysvarRent111111111111111111111111111111111");
/// The account with the chain's time.
pub const CLOCK: Pubkey = Pubkey::from_str_const("SysvarC1ock11111111111111111111111111111111");
/// The mint of wrapped SOL.
pub const WRAPPED_SOL: Pubkey = Pubkey::from_str_const("So11111111111111111111111111111111111111112");

/// Raydium's AMM v4.
pub const RAYDIUM_V4: Pubkey = Pubkey::from_str_const("675kPX9MHTjS2zt1qfr1NYHuzeLXfQM9H24wFSUt1Mp8");
/// Raydium's CPMM.
pub const RAYDIUM_CPMM: Pubkey = Pubkey::from_str_const("CPMMoo8L3F4NbTegBCKVNunggL7H1ZpdTHKxQB5qKP1C");
/// Raydium's CLMM.
pub const RAYDIUM_CLMM: Pubkey = Pubkey::from_str_const("CAMMCzo5YL8w4VFF8KVHrK22GGUsp5VTaW7grrKgrWqK");
/// Meteora's DLMM.
pub const METEORA_DLMM: Pubkey = Pubkey::from_str_const("LBUZKhRxPF3XUpBCjp4YzTKgLccjZhTSDM9YuVaPwxo");
/// Orca's Whirlpools.
pub const ORCA_WHIRLPOOL: Pubkey = Pubkey::from_str_const("whirLbMiicVdio4qvUfM5KAg6Ct8VwpYzGff3uctyCc");
/// Jupiter's aggregator.
pub const JUPITER: Pubkey = Pubkey::from_str_const("JUP6LkbZbjS1jKKwapdHNy74zcZ3tLUZoi5QNyVTaV4");
