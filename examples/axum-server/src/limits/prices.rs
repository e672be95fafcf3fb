//! What tokens are worth to the host, in a currency of its own.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::{Arc, PoisonError, RwLock};

use order_engine_core::telemetry::chain;
use order_engine_core::{Amount, AmountError, Token};
use ruint::aliases::U256;

use crate::file_watch::{LOOK_INTERVAL, stamp};

/// How many digits a price may have behind the point: some tokens are worth less than a billionth.
const PRICE_DECIMALS: u8 = 15;
/// How many digits an amount of the currency may have behind the point.
const WORTH_DECIMALS: u8 = 6;

/// An amount of the host's currency, in millionths.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Worth(u128);

impl Worth {
    /// Returns the sum. One that cannot be represented is beyond all limits, and so is the largest one.
    pub(crate) const fn plus(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

impl FromStr for Worth {
    type Err = AmountError;

    fn from_str(text: &str) -> Result<Self, AmountError> {
        Amount::parse_human(text, WORTH_DECIMALS).map(|amount| Self(amount.base_units()))
    }
}

impl fmt::Display for Worth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&Amount::new(self.0).to_human(WORTH_DECIMALS))
    }
}

/// Why there are no prices.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PricesError {
    /// The file cannot be read.
    #[error("cannot read the prices in {}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// The file has something else.
    #[error("{} is not a JSON object of symbols or mints, each with its price as a decimal string", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// Why it is not.
        source: serde_json::Error,
    },
    /// Two names differ in nothing but their case.
    #[error("{} has two prices of {token:?}", path.display())]
    Ambiguous {
        /// The file.
        path: PathBuf,
        /// One of the names.
        token: String,
    },
    /// A price is no number.
    #[error("{} has no price of {token:?} with at most {PRICE_DECIMALS} digits behind the point", path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// The symbol or mint.
        token: String,
        /// Why it is none.
        source: AmountError,
    },
}

/// Prices of tokens, as a file has them. Its clones are the same ones.
#[derive(Clone, Debug)]
pub struct Prices(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    path: PathBuf,
    by_name: RwLock<HashMap<String, Price>>,
}

/// The price of one whole token, in units of `10^-PRICE_DECIMALS`.
type Price = u128;

impl Prices {
    /// Reads the prices of a file: a JSON object that has for symbols or mints the price of one whole token, as a decimal
    /// string.
    ///
    /// # Errors
    /// If the file cannot be read, or has something else.
    pub fn open(path: &Path) -> Result<Self, PricesError> {
        let by_name = RwLock::new(read(path)?);
        Ok(Self(Arc::new(Shared { path: path.to_owned(), by_name })))
    }

    /// Reads the file again whenever it changes, until the future is dropped. A file that cannot be read changes nothing:
    /// the prices stay as they were.
    pub async fn upkeep(self) {
        let mut seen = None;
        loop {
            let found = stamp(&self.0.path);
            if found != seen {
                seen = found;
                self.reload();
            }
            tokio::time::sleep(LOOK_INTERVAL).await;
        }
    }

    fn reload(&self) {
        match read(&self.0.path) {
            Ok(new) => *self.0.by_name.write().unwrap_or_else(PoisonError::into_inner) = new,
            Err(error) => tracing::error!(error = %chain(&error), "the prices stay as they were"),
        }
    }

    /// Returns what an amount of a token is worth, rounded up, or none if the token has no price.
    pub(crate) fn worth(&self, token: &Token, amount: Amount) -> Option<Worth> {
        let by_name = self.0.by_name.read().unwrap_or_else(PoisonError::into_inner);
        let by_symbol = || {
            by_name.iter().find(|(name, _)| name.eq_ignore_ascii_case(&token.symbol)).map(|(_, price)| price)
        };
        let price = by_name.get(&token.mint).or_else(by_symbol)?;
        let unit = U256::from(10).pow(U256::from(token.decimals + PRICE_DECIMALS - WORTH_DECIMALS));
        let worth = (U256::from(amount.base_units()) * U256::from(*price)).div_ceil(unit);
        // What does not fit is beyond all limits.
        Some(Worth(worth.try_into().unwrap_or(u128::MAX)))
    }
}

fn read(path: &Path) -> Result<HashMap<String, Price>, PricesError> {
    let text = std::fs::read_to_string(path)
        .map_err(|source| PricesError::Unreadable { path: path.to_owned(), source })?;
    let texts: HashMap<String, String> = serde_json::from_str(&text)
        .map_err(|source| PricesError::Malformed { path: path.to_owned(), source })?;
    let price = |(token, text): (String, String)| match Amount::parse_human(&text, PRICE_DECIMALS) {
        Ok(price) => Ok((token, price.base_units())),
        Err(source) => Err(PricesError::Invalid { path: path.to_owned(), token, source }),
    };
    // Symbols are found in either case, so of two prices one would be taken by chance.
    let mut known = HashSet::new();
    match texts.keys().find(|token| !known.insert(token.to_ascii_lowercase())) {
        Some(token) => Err(PricesError::Ambiguous { path: path.to_owned(), token: token.clone() }),
        None => texts.into_iter().map(price).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prices(text: &str) -> Result<Prices, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("prices.json");
        std::fs::write(&path, text).unwrap();
        Prices::open(&path).map_err(|error| chain(&error).to_string())
    }

    #[test]
    fn an_amount_is_worth_its_price_rounded_up() {
        let prices = prices(r#"{"sol": "150.25", "mint": "0.000000000000001", "WHALE": "3e22"}"#).unwrap();
        let sol = Token::new("So1", "SOL", 9);
        let worth =
            |token: &Token, amount: u128| prices.worth(token, Amount::new(amount)).unwrap().to_string();
        assert_eq!(worth(&sol, 2_000_000_000), "300.5");
        assert_eq!(worth(&sol, 1), "0.000001");
        assert_eq!(worth(&Token::new("mint", "SOL", 9), 1_000_000_000_000_000_000), "0.000001");
        assert_eq!(prices.worth(&Token::new("x", "BTC", 8), Amount::new(1)), None);
        let whale = Token::new("w", "WHALE", 0);
        assert_eq!(worth(&whale, 1), "30000000000000000000000");
        let whale = prices.worth(&whale, Amount::MAX).unwrap();
        assert_eq!(whale, Worth(u128::MAX), "it does not fit, and is beyond all limits");
        assert_eq!(whale.plus(whale), whale);
    }

    #[test]
    fn files_without_prices_are_refused() {
        for (text, said) in [
            ("[]", "is not a JSON object"),
            (r#"{"SOL": 150}"#, "is not a JSON object"),
            (r#"{"SOL": "-1"}"#, r#"has no price of "SOL""#),
            (r#"{"SOL": "1e-16"}"#, "at most 15 digits"),
            (r#"{"SOL": "1", "Sol": "2"}"#, "has two prices of"),
        ] {
            let error = prices(text).unwrap_err();
            assert!(error.contains(said), "{text}: {error}");
        }
        let missing = Prices::open(Path::new("/nowhere/prices.json")).unwrap_err();
        assert!(missing.to_string().contains("cannot read the prices"), "{missing}");
    }
}
