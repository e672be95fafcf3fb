//! What the mints of a pool say about transfers.

use order_engine_core::Amount;
use order_engine_routing::{Conditions, Feature, TransferFee};
use solana_pubkey::Pubkey;

use crate::account::{Fields, LayoutError};
use crate::pools::parts::{Parts, PoolError};
use crate::programs::{TOKEN, TOKEN_2022};

/// The bytes of a mint without extensions.
const MINT_BYTES: usize = 82;
/// Where the kind of an account of Token-2022 stands, and the extensions behind it.
const KIND: usize = 165;
const KIND_MINT: u8 = 1;
const EXTENSIONS: usize = KIND + 1;

/// The numbers of Token-2022's extensions of mints.
mod extension {
    pub(super) const TRANSFER_FEE: u16 = 1;
    pub(super) const TRANSFER_HOOK: u16 = 14;
    pub(super) const PAUSABLE: u16 = 26;
    /// Those that change nothing about what a transfer moves: who may close a mint, freeze, or take tokens, how amounts are
    /// shown or hidden, and names.
    pub(super) const HARMLESS: [u16; 14] = [3, 4, 6, 10, 12, 16, 18, 19, 20, 21, 22, 23, 24, 25];
}

/// What a mint says about transfers of its tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mint {
    /// The token program.
    pub(crate) program: Pubkey,
    fee: Option<TransferFee>,
    has_hook: bool,
    is_paused: bool,
}

impl Mint {
    /// Reads a mint. A fee that changes with an epoch is the one of the epoch in which it was read.
    pub(crate) fn read(parts: &Parts, mint: Pubkey) -> Result<Self, PoolError> {
        let account = parts.get(mint)?;
        let program = account.owner;
        if ![TOKEN, TOKEN_2022].contains(&program) {
            return Err(LayoutError::ForeignOwner(mint).into());
        }
        if account.data.len() < MINT_BYTES {
            return Err(LayoutError::OtherKind(mint, "mint").into());
        }
        let mut read = Self { program, fee: None, has_hook: false, is_paused: false };
        if program == TOKEN_2022 && account.data.len() > KIND {
            if account.data[KIND] != KIND_MINT {
                return Err(LayoutError::OtherKind(mint, "mint").into());
            }
            read.add_extensions(parts, mint, &account.data[EXTENSIONS..])?;
        }
        Ok(read)
    }

    /// Adds what the extensions say, each of which is its number, its length and its bytes.
    fn add_extensions(&mut self, parts: &Parts, mint: Pubkey, mut rest: &[u8]) -> Result<(), PoolError> {
        while let Some((head, behind)) = rest.split_first_chunk::<4>() {
            let number = u16::from_le_bytes([head[0], head[1]]);
            let bytes = usize::from(u16::from_le_bytes([head[2], head[3]]));
            // What is behind the last one is zero.
            if number == 0 {
                break;
            }
            let cut = LayoutError::Impossible(mint, "extension: it ends too early");
            let (content, next) = behind.split_at_checked(bytes).ok_or(cut)?;
            self.add(parts, mint, number, content)?;
            rest = next;
        }
        Ok(())
    }

    fn add(&mut self, parts: &Parts, mint: Pubkey, number: u16, content: &[u8]) -> Result<(), PoolError> {
        let short = || LayoutError::Impossible(mint, "extension: it is too short");
        match number {
            extension::TRANSFER_FEE => {
                let fields = Fields::of(content, 108).ok_or_else(short)?;
                self.fee = transfer_fee(fields, parts.epoch()?)?;
            }
            extension::TRANSFER_HOOK => {
                let program = Fields::of(content, 64).ok_or_else(short)?.address(32);
                self.has_hook = program != Pubkey::default();
            }
            extension::PAUSABLE => self.is_paused = Fields::of(content, 33).ok_or_else(short)?.u8(32) != 0,
            _ if extension::HARMLESS.contains(&number) => {}
            _ => {
                let what = "a token with an extension that is not known";
                return Err(PoolError::Unsupported { pool: mint, what });
            }
        }
        Ok(())
    }
}

/// Returns the fee of an epoch: the newer one from its epoch on, and the older one before.
fn transfer_fee(fields: Fields<'_>, epoch: u64) -> Result<Option<TransferFee>, PoolError> {
    let at = if epoch >= fields.u64(90) { 90 } else { 72 };
    let (most, bps) = (fields.u64(at + 8), fields.u16(at + 16));
    let fee = TransferFee::new(bps, Amount::new(u128::from(most)))?;
    Ok((bps > 0 && most > 0).then_some(fee))
}

/// Adds to the conditions of a pool what its mints say.
pub(crate) fn with_mints(conditions: Conditions, [a, b]: [Mint; 2]) -> Conditions {
    let mut conditions = conditions.with_transfer_fees(a.fee, b.fee);
    if a.has_hook || b.has_hook {
        conditions = conditions.with_unmodelled(Feature::TransferHook);
    }
    if a.is_paused || b.is_paused {
        conditions = conditions.paused();
    }
    conditions
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::account::Account;
    use crate::programs::CLOCK;

    const MINT: Pubkey = Pubkey::new_from_array([3; 32]);

    /// Returns a mint with these extensions, read in an epoch.
    fn mint(epoch: u64, extensions: &[(u16, Vec<u8>)]) -> Result<Mint, PoolError> {
        let mut data = vec![0; KIND];
        data.push(KIND_MINT);
        for (number, content) in extensions {
            data.extend(number.to_le_bytes());
            data.extend(u16::try_from(content.len()).unwrap().to_le_bytes());
            data.extend(content);
        }
        let mut clock = vec![0; 40];
        clock[16..24].copy_from_slice(&epoch.to_le_bytes());
        let account = |owner, data| Account { owner, lamports: 1, data };
        let accounts = BTreeMap::from([(MINT, account(TOKEN_2022, data)), (CLOCK, account(TOKEN, clock))]);
        Mint::read(&Parts { slot: 1, accounts }, MINT)
    }

    /// Two fees, as their epochs, maxima and shares.
    fn fees(older: (u64, u64, u16), newer: (u64, u64, u16)) -> (u16, Vec<u8>) {
        let fee = |(epoch, most, bps): (u64, u64, u16)| {
            [&epoch.to_le_bytes()[..], &most.to_le_bytes(), &bps.to_le_bytes()].concat()
        };
        (extension::TRANSFER_FEE, [vec![0; 72], fee(older), fee(newer)].concat())
    }

    #[test]
    fn the_fee_is_the_one_of_the_epoch() {
        let read =
            |epoch| mint(epoch, &[(18, vec![0; 64]), fees((5, 1_000, 100), (9, 2_000, 50))]).unwrap().fee;
        assert_eq!(read(8), Some(TransferFee::new(100, Amount::new(1_000)).unwrap()));
        assert_eq!(read(9), Some(TransferFee::new(50, Amount::new(2_000)).unwrap()));
        assert_eq!(mint(9, &[fees((0, 0, 0), (0, 5, 0))]).unwrap().fee, None);
        assert!(mint(9, &[fees((0, 0, 0), (0, 5, 10_001))]).is_err());
    }

    #[test]
    fn hooks_pauses_and_what_is_not_known_are_told_apart() {
        let conditions = |extensions: &[(u16, Vec<u8>)]| {
            let read = mint(1, extensions).unwrap();
            with_mints(Conditions::default(), [read, mint(1, &[]).unwrap()])
        };
        let hook = |program: u8| (extension::TRANSFER_HOOK, [vec![0; 32], vec![program; 32]].concat());
        assert_eq!(conditions(&[hook(0)]), Conditions::default(), "nobody is called");
        assert_eq!(conditions(&[hook(1)]).unmodelled, [Feature::TransferHook]);
        assert!(conditions(&[(extension::PAUSABLE, [vec![0; 32], vec![1]].concat())]).is_paused);
        assert_eq!(conditions(&[(10, vec![0; 52]), (12, vec![0; 32])]), Conditions::default());
        let error = mint(1, &[(999, Vec::new())]).unwrap_err();
        assert!(matches!(error, PoolError::Unsupported { .. }), "{error}");
        for cut in [(1, vec![0; 107]), (14, vec![0; 63]), (26, vec![0; 32])] {
            assert!(mint(1, &[cut]).is_err());
        }
    }

    #[test]
    fn what_is_no_mint_is_refused() {
        let account = |owner, bytes| Account { owner, lamports: 1, data: vec![0; bytes] };
        let read =
            |account| Mint::read(&Parts { slot: 1, accounts: BTreeMap::from([(MINT, account)]) }, MINT);
        assert!(read(account(TOKEN, 81)).is_err());
        assert!(read(account(MINT, 82)).is_err());
        assert!(read(account(TOKEN_2022, 170)).is_err(), "the kind is none");
        assert_eq!(read(account(TOKEN, 82)).unwrap().program, TOKEN);
        assert_eq!(read(account(TOKEN_2022, 82)).unwrap().program, TOKEN_2022);
    }
}
