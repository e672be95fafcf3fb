//! How much of each pair can be traded. Routers answer about amounts only, so amounts are tried.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::iter;
use order_engine_core::{Amount, Engine, FailureCode, QuoteRequest, Token};
use tokio::time::Instant;

/// For how long an answer is good. Pools change with each trade, and these are rough figures.
const FRESH: Duration = Duration::from_secs(30);
/// How many pairs are tried at a time.
const AT_A_TIME: usize = 8;
/// How often the range between two powers of ten is halved: to a hundredth of it.
const HALVINGS: u32 = 7;
/// How many powers of ten may be refused between good ones.
const ROUNDED: u32 = 2;
/// The greatest power of ten that an amount can be.
const POWER_MAX: u32 = 38;

/// What can be traded of a pair, in base units of the token that is sold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Limits {
    /// About the least amount that buys anything.
    pub(crate) least: Amount,
    /// About the greatest amount within the limit of the price impact.
    pub(crate) greatest: Amount,
}

/// Whether a pair can be traded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tradable {
    /// Nobody knows yet.
    Unknown,
    No,
    Within(Limits),
}

/// What was found out of the pairs.
#[derive(Clone, Debug, Default)]
pub(crate) struct PairLimits(Arc<Mutex<Known>>);

#[derive(Debug, Default)]
struct Known {
    /// The limits of a pair of mints; none of one that is not traded.
    limits: HashMap<(String, String), Option<Limits>>,
    begun_at: Option<Instant>,
}

/// What a router says of an amount.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    TooSmall,
    Good,
    TooLarge,
    /// Nothing of the pair is traded, or nobody knows at the moment.
    Neither,
}

impl PairLimits {
    /// Returns what is known of a pair.
    pub(crate) fn of(&self, input: &Token, output: &Token) -> Tradable {
        match self.known().limits.get(&(input.mint.clone(), output.mint.clone())) {
            None => Tradable::Unknown,
            Some(None) => Tradable::No,
            Some(Some(limits)) => Tradable::Within(*limits),
        }
    }

    /// Finds out what can be traded, unless that was done a short time ago or is being done.
    pub(crate) async fn refresh(&self, engine: &Engine, pairs: Vec<(Token, Token)>, impact_bps: u16) {
        {
            let mut known = self.known();
            if known.begun_at.is_some_and(|begun_at| begun_at.elapsed() < FRESH) {
                return;
            }
            known.begun_at = Some(Instant::now());
        }
        let found = pairs.into_iter().map(|(input, output)| {
            let market = Market { engine: engine.clone(), input, output, impact_bps };
            async move {
                let limits = search(&market).await;
                ((market.input.mint, market.output.mint), limits)
            }
        });
        let mut found = iter(found).buffer_unordered(AT_A_TIME);
        while let Some((pair, limits)) = found.next().await {
            self.known().limits.insert(pair, limits);
        }
    }

    fn known(&self) -> std::sync::MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Who says whether an amount can be traded.
trait Ask: Sync {
    fn ask(&self, amount: u128) -> impl Future<Output = Verdict> + Send;
}

/// A pair, as the router of an engine sees it.
#[derive(Debug)]
struct Market {
    engine: Engine,
    input: Token,
    output: Token,
    impact_bps: u16,
}

impl Ask for Market {
    async fn ask(&self, amount: u128) -> Verdict {
        let mut request = QuoteRequest::new(self.input.clone(), self.output.clone(), Amount::new(amount));
        request.max_price_impact_bps = Some(self.impact_bps);
        let code = match self.engine.quote(&request).await {
            Ok(quotation) => match quotation.refusal() {
                None => return Verdict::Good,
                Some(refusal) => refusal.failure.code,
            },
            Err(error) => error.failure.code,
        };
        if code == FailureCode::AMOUNT_TOO_SMALL {
            Verdict::TooSmall
        } else if [FailureCode::PRICE_IMPACT, FailureCode::NO_ROUTE].contains(&code) {
            Verdict::TooLarge
        } else {
            Verdict::Neither
        }
    }
}

/// Searches for the limits: first the powers of ten on both sides of each, and then between them.
async fn search(market: &impl Ask) -> Option<Limits> {
    let (mut good, mut too_large) = (None, 0);
    for power in 0..=POWER_MAX {
        match market.ask(10_u128.pow(power)).await {
            Verdict::Good => {
                good = Some((good.map_or(power, |(first, _)| first), power));
                too_large = 0;
            }
            // Small outputs are rounded, and look like a price impact: the first such verdict is not the last word.
            Verdict::TooLarge if good.is_some() && too_large == ROUNDED => break,
            Verdict::TooLarge if good.is_some() => too_large += 1,
            Verdict::TooLarge | Verdict::TooSmall => {}
            Verdict::Neither => break,
        }
    }
    let (first, greatest_power) = good?;
    // Both bounds are amounts that were found to be good.
    let (mut bad, mut least) = (10_u128.pow(first) / 10, 10_u128.pow(first));
    let (mut greatest, mut too_large) =
        (10_u128.pow(greatest_power), 10_u128.checked_pow(greatest_power + 1).unwrap_or(u128::MAX));
    for _ in 0..HALVINGS {
        let middle = bad.midpoint(least);
        *(if market.ask(middle).await == Verdict::Good { &mut least } else { &mut bad }) = middle;
        let middle = greatest.midpoint(too_large);
        *(if market.ask(middle).await == Verdict::Good { &mut greatest } else { &mut too_large }) = middle;
    }
    Some(Limits { least: Amount::new(least), greatest: Amount::new(greatest) })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A market with these limits.
    struct Between(u128, u128);

    impl Ask for Between {
        async fn ask(&self, amount: u128) -> Verdict {
            match amount {
                amount if amount < self.0 => Verdict::TooSmall,
                amount if amount > self.1 => Verdict::TooLarge,
                _ => Verdict::Good,
            }
        }
    }

    /// A market that always says the same.
    struct Always(Verdict);

    impl Ask for Always {
        async fn ask(&self, _: u128) -> Verdict {
            self.0
        }
    }

    #[tokio::test]
    async fn the_limits_are_found_to_a_hundredth_and_are_good() {
        for (least, greatest) in [(1, 9), (37, 37_000_000), (1_000, 123_456_789_000_000_000), (1, u128::MAX)]
        {
            let found = search(&Between(least, greatest)).await.unwrap();
            let (low, high) = (found.least.base_units(), found.greatest.base_units());
            assert!((least..=least + least / 10 + 1).contains(&low), "{least}: {low}");
            assert!((greatest - greatest / 10 - 1..=greatest).contains(&high), "{greatest}: {high}");
        }
        assert_eq!(search(&Always(Verdict::Neither)).await, None);
        assert_eq!(search(&Always(Verdict::TooSmall)).await, None);
    }
}
