//! An account as a node shows it, and reading its bytes.

use solana_pubkey::Pubkey;

/// An account of the chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// The program that it belongs to.
    pub owner: Pubkey,
    /// Its lamports.
    pub lamports: u64,
    /// Its bytes.
    pub data: Vec<u8>,
}

/// Why the bytes of an account are not what they should be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LayoutError {
    /// There is no such account.
    #[error("the account {0} does not exist")]
    Missing(Pubkey),
    /// It belongs to another program.
    #[error("the account {0} belongs to another program")]
    ForeignOwner(Pubkey),
    /// It is shorter than its kind, or of another kind.
    #[error("the account {0} is no {1}")]
    OtherKind(Pubkey, &'static str),
    /// A field has a value that its kind cannot have.
    #[error("the account {0} has an impossible {1}")]
    Impossible(Pubkey, &'static str),
}

/// Reads fields of an account at their offsets; little-endian, as all programs write them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fields<'a>(&'a [u8]);

macro_rules! integers {
    ($($name:ident: $type:ty),*) => {$(
        pub(crate) fn $name(self, offset: usize) -> $type {
            <$type>::from_le_bytes(self.array(offset))
        }
    )*};
}

impl<'a> Fields<'a> {
    /// Returns the fields of bytes that have at least this length. Reading beyond them gives zeros, so the length
    /// is checked here, once.
    pub(crate) fn of(data: &'a [u8], bytes_min: usize) -> Option<Self> {
        (data.len() >= bytes_min).then_some(Self(data))
    }

    pub(crate) fn array<const N: usize>(self, offset: usize) -> [u8; N] {
        let bytes = self.0.get(offset..offset + N).and_then(|bytes| bytes.try_into().ok());
        bytes.unwrap_or([0; N])
    }

    integers!(u8: u8, u16: u16, u32: u32, i32: i32, u64: u64, i64: i64, u128: u128, i128: i128);

    pub(crate) fn address(self, offset: usize) -> Pubkey {
        Pubkey::new_from_array(self.array(offset))
    }
}
