//! The tokens that orders may name.

use std::path::{Path, PathBuf};

use order_engine_core::Token;

/// The most decimals that a token may have. With more, one human unit does not fit into an amount.
const DECIMALS_MAX: u8 = 38;

/// The registered tokens, found by mint or by symbol.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenRegistry(Vec<Token>);

/// Why a list of tokens is no registry.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TokenRegistryError {
    /// The file cannot be read.
    #[error("cannot read the token file {}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why it cannot be read.
        source: std::io::Error,
    },
    /// The file is not a list of tokens.
    #[error("the token file {} is not a JSON list of {{symbol, mint, decimals}}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// Why it is not.
        source: serde_json::Error,
    },
    /// Fewer than two tokens make no pair.
    #[error("a token registry needs at least two tokens")]
    TooFew,
    /// Two tokens have the same name. The case of symbols is ignored.
    #[error("the token registry names {0:?} more than once")]
    Ambiguous(String),
    /// A token has an empty name or too many decimals.
    #[error("the token {0:?} needs a symbol, a mint and at most {DECIMALS_MAX} decimals")]
    Invalid(String),
}

impl TokenRegistry {
    /// Returns a registry of these tokens.
    ///
    /// # Errors
    /// If there are fewer than two tokens, two have the same name, or one is invalid.
    pub fn new(tokens: Vec<Token>) -> Result<Self, TokenRegistryError> {
        if tokens.len() < 2 {
            return Err(TokenRegistryError::TooFew);
        }
        for (index, token) in tokens.iter().enumerate() {
            if token.symbol.is_empty() || token.mint.is_empty() || token.decimals > DECIMALS_MAX {
                return Err(TokenRegistryError::Invalid(token.symbol.clone()));
            }
            let (before, _) = tokens.split_at(index);
            if before.iter().any(|other| other.symbol.eq_ignore_ascii_case(&token.symbol)) {
                return Err(TokenRegistryError::Ambiguous(token.symbol.clone()));
            }
            if before.iter().any(|other| other.mint == token.mint) {
                return Err(TokenRegistryError::Ambiguous(token.mint.clone()));
            }
        }
        Ok(Self(tokens))
    }

    /// Reads a registry from a file: a JSON list of `{symbol, mint, decimals}`.
    ///
    /// # Errors
    /// If the file cannot be read or has no valid registry.
    pub fn read(path: &Path) -> Result<Self, TokenRegistryError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| TokenRegistryError::Unreadable { path: path.to_owned(), source })?;
        let tokens = serde_json::from_str(&text)
            .map_err(|source| TokenRegistryError::Malformed { path: path.to_owned(), source })?;
        Self::new(tokens)
    }

    /// Returns the token with this mint, or else the one with this symbol in any case.
    pub fn find(&self, name: &str) -> Option<&Token> {
        let by_mint = self.0.iter().find(|token| token.mint == name);
        by_mint.or_else(|| self.0.iter().find(|token| token.symbol.eq_ignore_ascii_case(name)))
    }

    /// Returns all tokens, in their original order.
    pub fn tokens(&self) -> &[Token] {
        &self.0
    }
}

impl Default for TokenRegistry {
    /// Returns the tokens of the simulator.
    fn default() -> Self {
        Self(order_engine_sim::default_tokens())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(symbol: &str, mint: &str, decimals: u8) -> Token {
        Token::new(mint, symbol, decimals)
    }

    #[test]
    fn the_default_registry_is_valid() {
        let registry = TokenRegistry::new(TokenRegistry::default().0).unwrap();
        let decimals = |symbol| registry.find(symbol).map(|token| token.decimals);
        assert_eq!(decimals("SOL"), Some(9));
        assert_eq!(decimals("USDC"), Some(6));
        assert_eq!(decimals("USDT"), Some(6));
        assert_eq!(decimals("ETH"), Some(8));
        assert_eq!(decimals("BTC"), Some(8));
        assert_eq!(registry.tokens().len(), 5);
    }

    #[test]
    fn a_mint_wins_over_a_symbol() {
        let registry = TokenRegistry::new(vec![token("A", "x", 0), token("X", "y", 0)]).unwrap();
        assert_eq!(registry.find("x").unwrap().symbol, "A");
        assert_eq!(registry.find("X").unwrap().symbol, "X");
        assert_eq!(registry.find("a").unwrap().symbol, "A");
        assert_eq!(registry.find("Y"), None);
    }

    #[test]
    fn invalid_registries_are_refused() {
        let refused = |tokens| TokenRegistry::new(tokens).unwrap_err().to_string();
        assert!(refused(vec![token("A", "a", 0)]).contains("at least two"));
        assert!(refused(vec![token("A", "a", 0), token("a", "b", 0)]).contains("more than once"));
        assert!(refused(vec![token("A", "a", 0), token("B", "a", 0)]).contains("more than once"));
        assert!(refused(vec![token("A", "a", 0), token("B", "b", 39)]).contains("at most 38"));
    }
}
