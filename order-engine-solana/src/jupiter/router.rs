//! Jupiter as a router, and as the builder of the routes that it proposes.

use std::collections::BTreeSet;

use async_trait::async_trait;
use order_engine_core::{
    Amount, Candidate, DexRouter, Failure, FailureCode, Leg, QuoteRequest, Route, StepError,
};
use solana_pubkey::Pubkey;

use crate::RpcError;
use crate::jupiter::api::{Api, ApiError, InstructionsJson, JupiterOptions, Quote, Wanted};
use crate::jupiter::instruction::{check_setup, check_swap};
use crate::swap_builder::{Swap, SwapBuilder, SwapRequest};

/// The name of the exchange in legs, by which the builder knows its own.
const JUPITER: &str = "Jupiter";
/// How often a quote is asked for again because the price fell below the one for which the slippage was computed.
const TRIES_MAX: u32 = 3;

/// Proposes the route of Jupiter's swap API, and builds its instruction: a [`DexRouter`] and a [`SwapBuilder`] for a venue of its
/// own. **It is written from the service's public documentation, and was never run against the live service.**
///
/// The service is not believed. The instruction has to sell exactly the order's amount and to enforce the order's least
/// output by its own arguments, and the venue's simulation has to show that the wallet's account gets that much.
///
/// ```
/// use std::sync::Arc;
///
/// use order_engine_solana::{JupiterOptions, JupiterRouter};
///
/// let jupiter = Arc::new(JupiterRouter::new(JupiterOptions::new("https://api.example/swap/v1").with_api_key("key"))?);
/// assert!(!format!("{jupiter:?}").contains("example"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct JupiterRouter {
    api: Api,
}

impl JupiterRouter {
    /// Returns a router over the service. Nothing is sent yet.
    ///
    /// # Errors
    /// If the HTTP client cannot be made.
    pub fn new(options: JupiterOptions) -> Result<Self, RpcError> {
        Ok(Self { api: Api::new(options)? })
    }

    /// Returns a quote whose least output is at least the one that the swap must pay.
    async fn quote_for(&self, request: &SwapRequest<'_>) -> Result<Quote, StepError> {
        let least = request.min_amount_out;
        let mut expected = u64::try_from(request.leg.amount_out.base_units()).unwrap_or(u64::MAX);
        for _ in 0..TRIES_MAX {
            let slippage_bps = slippage(expected, least).ok_or_else(below)?;
            let wanted = Wanted {
                input_mint: &request.leg.input_mint,
                output_mint: &request.leg.output_mint,
                amount: request.amount_in,
                slippage_bps,
            };
            let quote = self.api.quote(wanted).await?;
            if quote.least_amount >= least {
                return Ok(quote);
            }
            expected = quote.out_amount;
        }
        Err(below())
    }
}

#[async_trait]
impl DexRouter for JupiterRouter {
    fn dexes(&self) -> Vec<String> {
        vec![JUPITER.to_owned()]
    }

    async fn quote(&self, request: &QuoteRequest) -> Result<Vec<Candidate>, StepError> {
        let QuoteRequest { input, output, amount, max_price_impact_bps, .. } = request;
        let refused = |message: String| {
            let failure = Failure::new(FailureCode::NO_ROUTE, message);
            Ok(vec![Candidate::rejected(JUPITER, JUPITER, failure)])
        };
        if max_price_impact_bps.is_some() {
            return refused("Its price impact is not known".to_owned());
        }
        let Ok(units) = u64::try_from(amount.base_units()) else {
            return refused("The amount is larger than the chain can hold".to_owned());
        };
        let (input, output) = (input.mint.as_str(), output.mint.as_str());
        if [input, output].iter().any(|mint| mint.parse::<Pubkey>().is_err()) {
            return refused("A token has no address".to_owned());
        }
        let wanted = Wanted { input_mint: input, output_mint: output, amount: units, slippage_bps: 0 };
        match self.api.quote(wanted).await {
            Ok(quote) => {
                let out = Amount::new(u128::from(quote.out_amount));
                let leg = Leg::new(JUPITER, JUPITER, (input, *amount), (output, out));
                Ok(vec![Candidate::quoted(JUPITER, Route::new(name(&quote), vec![leg], *amount, out))])
            }
            Err(error @ (ApiError::Transport(_) | ApiError::Status(_))) => Err(error.into()),
            Err(error) => refused(order_engine_core::telemetry::chain(&error).to_string()),
        }
    }
}

#[async_trait]
impl SwapBuilder for JupiterRouter {
    async fn swap(&self, request: SwapRequest<'_>) -> Result<Swap, StepError> {
        if request.leg.dex != JUPITER {
            let message = "A leg of the route is none of Jupiter's";
            return Err(StepError::permanent(Failure::new(FailureCode::REJECTED, message)));
        }
        let quote = self.quote_for(&request).await?;
        let told = self.api.instructions(&quote, request.wallet).await?;
        Ok(checked(&told, &request)?)
    }
}

/// Returns the swap of an answer, after its instructions were checked. What it says about fees, and about wrapping, is left
/// out: the venue does both.
fn checked(told: &InstructionsJson, request: &SwapRequest<'_>) -> Result<Swap, ApiError> {
    if told.token_ledger_instruction.is_some() || !told.other_instructions.is_empty() {
        return Err(ApiError::Other("instructions that were not asked for"));
    }
    let mut instructions = Vec::new();
    for setup in &told.setup_instructions {
        let setup = setup.decode()?;
        check_setup(&setup, request.wallet)?;
        instructions.push(setup);
    }
    let swap = told.swap_instruction.decode()?;
    check_swap(&swap, request)?;
    instructions.push(swap);
    let table = |text: &String| text.parse().map_err(|_| ApiError::Other("a table that has no address"));
    let tables = told.address_lookup_table_addresses.iter().map(table).collect::<Result<Vec<_>, _>>()?;
    Ok(Swap::new(instructions).with_lookup_tables(tables).with_payment_checked())
}

/// Returns the name of a route for people: the exchanges behind it.
fn name(quote: &Quote) -> String {
    let exchanges: BTreeSet<&str> = quote.exchanges.iter().map(String::as_str).collect();
    if exchanges.is_empty() {
        return JUPITER.to_owned();
    }
    format!("{JUPITER} ({})", exchanges.into_iter().collect::<Vec<_>>().join(", "))
}

/// Returns by how many basis points an output may be below the expected one and still reach the least; nothing if it does
/// not.
fn slippage(expected: u64, least: u64) -> Option<u16> {
    let spare = expected.checked_sub(least)?;
    let bps = u128::from(spare) * 10_000 / u128::from(expected.max(1));
    u16::try_from(bps).ok()
}

fn below() -> StepError {
    let message = "Jupiter's quote does not reach the least output of the order";
    StepError::requote(Failure::new(FailureCode::SLIPPAGE, message))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_slippage_leaves_the_least_output() {
        assert_eq!(slippage(1_000, 990), Some(100));
        assert_eq!(slippage(1_000, 1_000), Some(0));
        assert_eq!(slippage(999, 1_000), None);
        assert_eq!(slippage(u64::MAX, 0), Some(10_000));
        assert_eq!(slippage(0, 0), Some(0));
        for least in 1..1_000_u64 {
            let bps = u64::from(slippage(1_000, least).unwrap());
            assert!(1_000 * (10_000 - bps) / 10_000 >= least);
        }
    }
}
