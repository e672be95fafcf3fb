//! The default tokens of the simulator, and the prices of tokens.

use order_engine_core::Token;

/// The token in which the chain is paid: wrapped SOL, whose base unit is the lamport.
pub(crate) const NATIVE_MINT: &str = "So11111111111111111111111111111111111111112";

/// A default token and its price.
struct ListedToken {
    mint: &'static str,
    symbol: &'static str,
    decimals: u8,
    /// The mean price in millionths of a dollar.
    mean_price_micro_usd: u64,
    /// The largest deviation of the market price from its mean, in millionths.
    swing_ppm: u32,
}

/// The addresses are those of Solana's mainnet, so that orders look as they do there. The prices only have
/// to be plausible.
const LISTED_TOKENS: [ListedToken; 5] = [
    ListedToken {
        mint: NATIVE_MINT,
        symbol: "SOL",
        decimals: 9,
        mean_price_micro_usd: 150_000_000,
        swing_ppm: 15_000,
    },
    ListedToken {
        mint: "EPjFWdd5AufqSSqeM2qN1xzybapC8G4wEGkZwyTDt1v",
        symbol: "USDC",
        decimals: 6,
        mean_price_micro_usd: 1_000_000,
        swing_ppm: 300,
    },
    ListedToken {
        mint: "Es9vMFrzaCERmJfrF4H2FYD4KCoNkY11McCe8BenwNYB",
        symbol: "USDT",
        decimals: 6,
        mean_price_micro_usd: 1_000_000,
        swing_ppm: 300,
    },
    // Ether as the Wormhole bridge wraps it, with 8 decimals instead of 18.
    ListedToken {
        mint: "7vfCXTUXx5WJV5JADk17DUJ4ksgau7utNKj4b963voxs",
        symbol: "ETH",
        decimals: 8,
        mean_price_micro_usd: 3_000_000_000,
        swing_ppm: 12_000,
    },
    // Bitcoin as the Wormhole bridge wraps it.
    ListedToken {
        mint: "3NZ9JMVBmGAqocybic2c7LQCJScmgsAZ6vQqTDzcqmJh",
        symbol: "BTC",
        decimals: 8,
        mean_price_micro_usd: 90_000_000_000,
        swing_ppm: 10_000,
    },
];

/// The largest deviation of the price of any other token from its mean.
const UNLISTED_SWING_PPM: u32 = 15_000;

/// Returns SOL, USDC, USDT, ETH and BTC with their addresses on Solana.
pub fn default_tokens() -> Vec<Token> {
    LISTED_TOKENS.iter().map(|listed| Token::new(listed.mint, listed.symbol, listed.decimals)).collect()
}

/// Returns the mean price of a token in millionths of a dollar, and its swing in millionths. The mean price
/// of a token that is not listed is one dollar.
pub(crate) fn valuation(token: &Token) -> (u64, u32) {
    LISTED_TOKENS
        .iter()
        .find(|listed| listed.mint == token.mint)
        .map_or((1_000_000, UNLISTED_SWING_PPM), |listed| (listed.mean_price_micro_usd, listed.swing_ppm))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mints_are_addresses_of_32_bytes_and_differ() {
        let tokens = default_tokens();
        for token in &tokens {
            assert_eq!(bs58::decode(&token.mint).into_vec().unwrap().len(), 32, "{}", token.symbol);
        }
        let mints: std::collections::BTreeSet<_> = tokens.iter().map(|token| &token.mint).collect();
        assert_eq!(mints.len(), tokens.len());
    }
}
