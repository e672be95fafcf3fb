//! Tables of addresses, which make transactions smaller.

use solana_message::AddressLookupTableAccount;
use solana_pubkey::Pubkey;

use crate::account::{Account, Fields, LayoutError};
use crate::programs::ADDRESS_LOOKUP_TABLE;

/// The bytes before the addresses.
const HEADER_BYTES: usize = 56;
const ADDRESS_BYTES: usize = 32;
/// The kind of an account that holds a table.
const KIND_TABLE: u32 = 1;
/// What stands in place of the slot in which a table was deactivated while it is active.
const ACTIVE: u64 = u64::MAX;

/// Reads an active table. Addresses that were added in the current slot cannot be used in it yet, which a simulation
/// reports.
///
/// # Errors
/// If the account is no table, or one that is being closed.
pub fn decode_lookup_table(
    address: Pubkey,
    account: &Account,
) -> Result<AddressLookupTableAccount, LayoutError> {
    if account.owner != ADDRESS_LOOKUP_TABLE {
        return Err(LayoutError::ForeignOwner(address));
    }
    let other_kind = LayoutError::OtherKind(address, "lookup table");
    let fields = Fields::of(&account.data, HEADER_BYTES).ok_or(other_kind.clone())?;
    if fields.u32(0) != KIND_TABLE {
        return Err(other_kind);
    }
    if fields.u64(4) != ACTIVE {
        return Err(LayoutError::Impossible(address, "deactivation: the table is being closed"));
    }
    let addresses = account.data[HEADER_BYTES..].chunks_exact(ADDRESS_BYTES);
    let addresses = addresses.filter_map(|bytes| bytes.try_into().ok()).map(Pubkey::new_from_array).collect();
    Ok(AddressLookupTableAccount { key: address, addresses })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(kind: u32, deactivated: u64) -> Account {
        let mut data = vec![0; HEADER_BYTES];
        data[..4].copy_from_slice(&kind.to_le_bytes());
        data[4..12].copy_from_slice(&deactivated.to_le_bytes());
        data.extend([[3; 32], [4; 32]].concat());
        Account { owner: ADDRESS_LOOKUP_TABLE, lamports: 1, data }
    }

    const KEY: Pubkey = Pubkey::new_from_array([1; 32]);

    #[test]
    fn an_active_table_is_read() {
        let read = decode_lookup_table(KEY, &table(KIND_TABLE, ACTIVE)).unwrap();
        assert_eq!(read.addresses, [Pubkey::new_from_array([3; 32]), Pubkey::new_from_array([4; 32])]);
        assert_eq!(read.key, KEY);
    }

    #[test]
    fn what_is_no_active_table_is_refused() {
        assert!(decode_lookup_table(KEY, &table(KIND_TABLE, 7)).is_err());
        assert!(decode_lookup_table(KEY, &table(0, ACTIVE)).is_err());
        let short = Account { data: vec![1, 0, 0, 0], ..table(KIND_TABLE, ACTIVE) };
        assert!(decode_lookup_table(KEY, &short).is_err());
        let foreign = Account { owner: KEY, ..table(KIND_TABLE, ACTIVE) };
        assert_eq!(decode_lookup_table(KEY, &foreign), Err(LayoutError::ForeignOwner(KEY)));
    }
}
