//! Names of chains that files describe.

#[cfg(feature = "solana")]
use std::path::PathBuf;
use std::str::FromStr;

/// A chain that a file describes.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ChainFile {
    /// Solana, with the configuration of `order-engine-solana`.
    #[cfg(feature = "solana")]
    Solana(PathBuf),
}

/// Why a text names no chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidChainFile {
    /// No chain is named like this.
    #[error("a venue is 'solana:FILE'")]
    Unknown,
    /// The server was built without the feature that has this chain.
    #[error("this server was built without the feature '{0}'")]
    LeftOut(&'static str),
}

impl FromStr for ChainFile {
    type Err = InvalidChainFile;

    fn from_str(text: &str) -> Result<Self, InvalidChainFile> {
        match text.split_once(':') {
            #[cfg(feature = "solana")]
            Some(("solana", path)) if !path.is_empty() => Ok(Self::Solana(path.into())),
            #[cfg(not(feature = "solana"))]
            Some(("solana", _)) => Err(InvalidChainFile::LeftOut("solana")),
            _ => Err(InvalidChainFile::Unknown),
        }
    }
}
