//! What swaps take of a transaction, for a router that only quotes what fits.

use std::collections::BTreeSet;

use order_engine_routing::{Footprint, TransactionLimits};
use solana_instruction::Instruction;
use solana_message::AddressLookupTableAccount;
use solana_pubkey::Pubkey;

use crate::draft::{TRANSACTION_ACCOUNTS_MAX, TRANSACTION_BYTES_MAX};
use crate::instructions::compute_budget::{UNITS_MAX, set_unit_limit, set_unit_price};
use crate::instructions::{memo, system, token};
use crate::pools::layout::Layout;
use crate::pools::parts::PoolSwap;
use crate::programs::{ASSOCIATED_TOKEN, COMPUTE_BUDGET, MEMO, SYSTEM, TOKEN, WRAPPED_SOL};

const ADDRESS_BYTES: usize = 32;
/// An address from a table is a number.
const LOOKED_UP_BYTES: usize = 1;
/// A table takes its address and two lengths.
const TABLE_BYTES: usize = ADDRESS_BYTES + 2;
/// The number of signatures and one signature, the version, three numbers of the header, the number of addresses, the
/// hash, and the numbers of instructions and of tables.
const ENVELOPE_BYTES: usize = 1 + 64 + 1 + 3 + 1 + 32 + 1 + 1;
/// The text of an order's id.
const ORDER_ID_BYTES: usize = 36;
/// The most that a transaction uses besides its swaps, which is the making of two accounts, wrapping and the memo, and what
/// the making of one more uses. The test `routes` measures both.
const BASE_COMPUTE_UNITS: u32 = 120_000;
const ACCOUNT_COMPUTE_UNITS: u32 = 30_000;

/// The programs that every transaction names.
const PROGRAMS: [Pubkey; 5] = [COMPUTE_BUDGET, SYSTEM, TOKEN, ASSOCIATED_TOKEN, MEMO];

/// Stands for the wallet and its accounts, which every transaction names.
const OWN: Pubkey = Pubkey::new_from_array([0xff; 32]);

/// Returns what a leg through a pool takes in either direction, with these tables: what it names and no transaction names
/// anyway, as the programs, the wallet, its accounts and their mints.
pub(crate) fn footprint(layout: &Layout, tables: &[AddressLookupTableAccount]) -> Footprint {
    let ways = [true, false].map(|sells_a| {
        let built = swap(layout, sells_a);
        let named = named(&built, layout);
        let addresses = named.iter().map(|address| address_bytes(*address, tables)).sum::<usize>();
        // The program is called, and so never comes from a table.
        let bytes = instruction_bytes(&built) + addresses + ADDRESS_BYTES;
        let arrays = count(layout.arrays(sells_a));
        let compute_units = layout.compute_units(arrays);
        Footprint { compute_units, arrays, accounts: count(named.len() + 1), bytes: count(bytes) }
    });
    let [down, up] = ways;
    Footprint {
        compute_units: down.compute_units.max(up.compute_units),
        arrays: down.arrays.max(up.arrays),
        accounts: down.accounts.max(up.accounts),
        bytes: down.bytes.max(up.bytes),
    }
}

/// Returns what swaps with a pool name in either direction, apart from the wallet and its accounts.
pub(crate) fn named_accounts(layout: &Layout) -> BTreeSet<Pubkey> {
    let metas = [true, false].into_iter().flat_map(|sells_a| swap(layout, sells_a).accounts);
    metas.map(|meta| meta.pubkey).filter(|address| *address != OWN).collect()
}

/// Returns the limits of transactions between these tokens with these tables, and what every one takes.
pub(crate) fn limits(mints: &BTreeSet<Pubkey>, tables: &[AddressLookupTableAccount]) -> TransactionLimits {
    let most = Footprint {
        compute_units: UNITS_MAX,
        arrays: u32::MAX,
        accounts: count(TRANSACTION_ACCOUNTS_MAX),
        bytes: count(TRANSACTION_BYTES_MAX),
    };
    let mint_bytes = mints.iter().map(|mint| address_bytes(*mint, tables)).max().unwrap_or(ADDRESS_BYTES);
    let create = token::create_associated(OWN, OWN, OWN, TOKEN);
    let mut instructions = vec![
        set_unit_limit(UNITS_MAX),
        set_unit_price(u64::MAX),
        create.clone(),
        memo::memo(&"x".repeat(memo::PREFIX.len() + ORDER_ID_BYTES)),
    ];
    if mints.contains(&WRAPPED_SOL) {
        let [transfer, sync] = [system::transfer(OWN, OWN, u64::MAX), token::sync_native(OWN)];
        instructions.extend([create.clone(), transfer, sync, token::close(OWN, OWN, OWN)]);
    }
    // The wallet and its accounts of what is sold and what is bought, and the two mints.
    let addresses = (3 + PROGRAMS.len()) * ADDRESS_BYTES + 2 * mint_bytes;
    let bytes = ENVELOPE_BYTES
        + instructions.iter().map(instruction_bytes).sum::<usize>()
        + addresses
        + tables.len() * TABLE_BYTES;
    let base = Footprint {
        compute_units: BASE_COMPUTE_UNITS,
        arrays: 0,
        accounts: count(5 + PROGRAMS.len()),
        bytes: count(bytes),
    };
    let token_on_the_way = Footprint {
        compute_units: ACCOUNT_COMPUTE_UNITS,
        arrays: 0,
        accounts: 2,
        bytes: count(instruction_bytes(&create) + ADDRESS_BYTES + mint_bytes),
    };
    TransactionLimits::new(most, base).with_token_on_the_way(token_on_the_way)
}

fn swap(layout: &Layout, sells_a: bool) -> Instruction {
    let [wallet, source, destination] = [OWN; 3];
    layout.swap(&PoolSwap { wallet, source, destination, amount_in: 0, min_amount_out: 0, sells_a })
}

/// Returns the accounts of a swap that no other instruction of the transaction names.
fn named(built: &Instruction, layout: &Layout) -> BTreeSet<Pubkey> {
    let metas = built.accounts.iter().map(|meta| meta.pubkey);
    let is_shared =
        |address: &Pubkey| *address == OWN || PROGRAMS.contains(address) || layout.mints().contains(address);
    metas.filter(|address| !is_shared(address) && *address != built.program_id).collect()
}

/// Returns the bytes of an instruction in a message: its program, and its accounts and data with their lengths.
fn instruction_bytes(instruction: &Instruction) -> usize {
    let (accounts, data) = (instruction.accounts.len(), instruction.data.len());
    1 + length_bytes(accounts) + accounts + length_bytes(data) + data
}

const fn length_bytes(length: usize) -> usize {
    if length < 0x80 { 1 } else { 2 }
}

fn address_bytes(address: Pubkey, tables: &[AddressLookupTableAccount]) -> usize {
    let is_there = tables.iter().any(|table| table.addresses.contains(&address));
    if is_there { LOOKED_UP_BYTES } else { ADDRESS_BYTES }
}

fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use order_engine_core::OrderId;

    use super::*;
    use crate::account::Account;
    use crate::draft::{Draft, Lifetime, Unsigned};
    use crate::programs::RAYDIUM_CPMM;

    const fn key(number: u8) -> Pubkey {
        Pubkey::new_from_array([number; 32])
    }

    /// A pool of SOL and another token.
    fn pool(other: Pubkey) -> Layout {
        let mut data = vec![0; 637];
        data[..8].copy_from_slice(&[247, 237, 227, 245, 215, 195, 222, 70]);
        for (at, address) in [(8, key(20)), (72, key(21)), (104, key(22)), (296, key(23))] {
            data[at..at + 32].copy_from_slice(address.as_ref());
        }
        data[168..200].copy_from_slice(WRAPPED_SOL.as_ref());
        data[200..232].copy_from_slice(other.as_ref());
        for at in [232, 264] {
            data[at..at + 32].copy_from_slice(TOKEN.as_ref());
        }
        Layout::decode(key(24), &Account { owner: RAYDIUM_CPMM, lamports: 1, data }).unwrap()
    }

    /// Returns the transaction of an order that sells SOL, with these swaps and accounts for these tokens on the way.
    fn transaction(
        other: Pubkey,
        on_the_way: &[Pubkey],
        swaps: &[&Layout],
        tables: &[AddressLookupTableAccount],
    ) -> Unsigned {
        let wallet = key(1);
        let account = |mint| token::associated_account(wallet, mint, TOKEN);
        let create = |mint: &Pubkey| token::create_associated(wallet, wallet, *mint, TOKEN);
        let (source, destination) = (account(WRAPPED_SOL), account(other));
        let mut instructions = vec![
            set_unit_limit(UNITS_MAX),
            set_unit_price(1),
            create(&other),
            create(&WRAPPED_SOL),
            system::transfer(wallet, source, 1),
            token::sync_native(source),
        ];
        instructions.extend(on_the_way.iter().map(create));
        instructions.extend(swaps.iter().map(|layout| {
            let (amount_in, min_amount_out, sells_a) = (1, 1, true);
            layout.swap(&PoolSwap { wallet, source, destination, amount_in, min_amount_out, sells_a })
        }));
        instructions.push(token::close(source, wallet, wallet));
        instructions.push(memo::memo(&memo::tag(OrderId::from_bytes([7; 16]))));
        let draft = Draft::new(wallet, instructions).with_tables(tables.to_vec());
        draft.compile(Lifetime::Blockhash(solana_hash::Hash::default())).unwrap()
    }

    #[test]
    fn what_is_told_is_what_a_transaction_takes() {
        let other = key(9);
        let (layout, mints) = (pool(other), BTreeSet::from([WRAPPED_SOL, other]));
        let addresses: Vec<Pubkey> = named_accounts(&layout).into_iter().collect();
        let table = AddressLookupTableAccount { key: key(30), addresses };
        for tables in [vec![], vec![table]] {
            let room = limits(&mints, &tables);
            let told = room.base.plus(footprint(&layout, &tables));
            let taken = transaction(other, &[], &[&layout], &tables);
            assert_eq!(told.bytes, count(taken.size()), "with {} tables", tables.len());
            let with_hop = transaction(other, &[key(40)], &[&layout], &tables);
            let more = count(with_hop.size() - taken.size());
            // A mint that no pool here has is in no table.
            assert!(room.token_on_the_way.bytes == more || !tables.is_empty());
        }
        // Without tables all addresses are in the message.
        let without_swaps = transaction(other, &[], &[], &[]);
        let base = limits(&mints, &[]).base;
        assert_eq!(base.bytes, count(without_swaps.size()));
        assert_eq!(limits(&BTreeSet::from([other]), &[]).base.accounts, base.accounts);
        assert!(limits(&BTreeSet::from([other]), &[]).base.bytes < base.bytes, "nothing is wrapped");
    }
}
