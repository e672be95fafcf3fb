//! Names of chains that files describe.

#[cfg(any(feature = "evm", feature = "solana"))]
use std::path::PathBuf;
use std::str::FromStr;

/// A chain that a file describes.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ChainFile {
    /// A chain of the EVM, with the configuration of `order-engine-evm`.
    #[cfg(feature = "evm")]
    Evm(PathBuf),
    /// Solana, with the configuration of `order-engine-solana`.
    #[cfg(feature = "solana")]
    Solana(PathBuf),
}

/// Why a text names no chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidChainFile {
    /// No chain is named like this.
    #[error("a venue is 'evm:FILE' or 'solana:FILE'")]
    Unknown,
    /// The server was built without the feature that has this chain.
    #[error("this server was built without the feature '{0}'")]
    LeftOut(&'static str),
}

impl FromStr for ChainFile {
    type Err = InvalidChainFile;

    fn from_str(text: &str) -> Result<Self, InvalidChainFile> {
        match text.split_once(':') {
            None | Some((_, "")) => Err(InvalidChainFile::Unknown),
            #[cfg(feature = "evm")]
            Some(("evm", path)) => Ok(Self::Evm(path.into())),
            #[cfg(feature = "solana")]
            Some(("solana", path)) => Ok(Self::Solana(path.into())),
            #[cfg(not(feature = "evm"))]
            Some(("evm", _)) => Err(InvalidChainFile::LeftOut("evm")),
            #[cfg(not(feature = "solana"))]
            Some(("solana", _)) => Err(InvalidChainFile::LeftOut("solana")),
            Some(_) => Err(InvalidChainFile::Unknown),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chain_is_named_with_its_file() {
        let parse = |text: &str| text.parse::<ChainFile>();
        for text in ["", "evm", "evm:", "solana:", "bitcoin:bitcoin.toml", ":evm.toml"] {
            assert_eq!(parse(text), Err(InvalidChainFile::Unknown), "{text}");
        }
        #[cfg(feature = "evm")]
        assert_eq!(parse("evm:a:b.toml"), Ok(ChainFile::Evm("a:b.toml".into())));
        #[cfg(not(feature = "evm"))]
        assert_eq!(parse("evm:evm.toml"), Err(InvalidChainFile::LeftOut("evm")));
        #[cfg(feature = "solana")]
        assert_eq!(parse("solana:solana.toml"), Ok(ChainFile::Solana("solana.toml".into())));
        #[cfg(not(feature = "solana"))]
        assert_eq!(parse("solana:solana.toml"), Err(InvalidChainFile::LeftOut("solana")));
    }
}
