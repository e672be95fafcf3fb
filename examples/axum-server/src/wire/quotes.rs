//! Quotes and routes as clients see them.

use chrono::{DateTime, Utc};
use order_engine_core::{
    Amount, Candidate, CandidateOutcome, Leg, OrderRequest, Quotation, QuoteRequest, Route, amount,
};
use serde::Serialize;
use serde_json::value::RawValue;
use utoipa::ToSchema;

use crate::wire::error::ErrorBody;
use crate::wire::{schema, serialize_optional_time};

/// The quote of one exchange, or why it has none.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Candidate)]
pub(crate) struct QuoteBody<'a> {
    dex: &'a str,
    #[serde(flatten)]
    outcome: QuoteOutcome<'a>,
}

#[derive(Debug, Serialize, ToSchema)]
#[serde(untagged)]
#[schema(as = QuoteOutcome)]
enum QuoteOutcome<'a> {
    Quoted(RouteDetails<'a>),
    Rejected { error: ErrorBody },
}

/// What a route yields, in human units and in base units.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct RouteAmounts {
    amount_out: String,
    #[schema(schema_with = schema::base_units)]
    amount_out_base_units: Amount,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = f64)]
    price: Option<Box<RawValue>>,
    /// The price before the trade and without fees.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = f64)]
    mid_price: Option<Box<RawValue>>,
    /// How far the output stays below what the mid price promises.
    #[serde(skip_serializing_if = "Option::is_none")]
    price_impact_bps: Option<u32>,
    /// The chain's own fee for the swaps, in units of the output token. It is not part of `amountOut`.
    #[serde(skip_serializing_if = "Option::is_none")]
    chain_fee: Option<String>,
}

/// What a route yields, and by which swaps.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct RouteDetails<'a> {
    #[serde(flatten)]
    amounts: RouteAmounts,
    legs: Vec<LegBody<'a>>,
}

/// A route with its legs.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Route)]
pub(crate) struct RouteBody<'a> {
    dex: &'a str,
    #[serde(flatten)]
    details: RouteDetails<'a>,
}

/// A swap in one pool. Its tokens may be other ones than the order's, so its amounts are in base units only.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Leg)]
struct LegBody<'a> {
    dex: &'a str,
    pool: &'a str,
    input_mint: &'a str,
    output_mint: &'a str,
    #[schema(schema_with = schema::base_units)]
    amount_in_base_units: Amount,
    #[schema(schema_with = schema::base_units)]
    amount_out_base_units: Amount,
}

/// The answer to a request for a quote.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Quotation)]
pub(crate) struct QuotationBody<'a> {
    token_in: &'a str,
    token_out: &'a str,
    amount: String,
    #[schema(schema_with = schema::base_units)]
    amount_base_units: Amount,
    slippage_bps: u16,
    quotes: Vec<QuoteBody<'a>>,
    chosen_dex: Option<&'a str>,
    route: Option<RouteBody<'a>>,
    amount_out: Option<String>,
    #[schema(schema_with = schema::optional_base_units)]
    amount_out_base_units: Option<Amount>,
    min_out: Option<String>,
    #[schema(schema_with = schema::optional_base_units)]
    min_out_base_units: Option<Amount>,
    /// What an order gives as its `quoteId` to have this least output. An order without a route has none.
    quote_id: Option<String>,
    /// Until when it may.
    #[serde(serialize_with = "serialize_optional_time")]
    #[schema(value_type = Option<String>, format = DateTime)]
    expires_at: Option<DateTime<Utc>>,
}

/// Returns a price as a JSON number with all its digits. Readers may round it; the server does not.
pub(crate) fn price_number(text: &str) -> Option<Box<RawValue>> {
    RawValue::from_string(text.to_owned()).ok()
}

/// The decimals of the token that is sold and of the token that is bought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Decimals {
    pub(crate) input: u8,
    pub(crate) output: u8,
}

impl Decimals {
    /// Returns the decimals of an order's tokens.
    pub(crate) fn of(request: &OrderRequest) -> Self {
        Self { input: request.input.decimals, output: request.output.decimals }
    }
}

fn amounts(route: &Route, decimals: Decimals) -> RouteAmounts {
    let price = amount::price((route.amount_in, decimals.input), (route.amount_out, decimals.output));
    let analysis = route.analysis.as_ref();
    let mid_price = analysis.and_then(|analysis| analysis.mid_price_text(decimals.input, decimals.output));
    RouteAmounts {
        amount_out: route.amount_out.to_human(decimals.output),
        amount_out_base_units: route.amount_out,
        price: price.as_deref().and_then(price_number),
        mid_price: mid_price.as_deref().and_then(price_number),
        price_impact_bps: analysis.and_then(|analysis| analysis.price_impact_bps),
        chain_fee: analysis.map(|analysis| analysis.chain_cost.to_human(decimals.output)),
    }
}

impl<'a> RouteBody<'a> {
    pub(crate) fn new(route: &'a Route, decimals: Decimals) -> Self {
        Self { dex: &route.dex, details: RouteDetails::new(route, decimals) }
    }
}

impl<'a> RouteDetails<'a> {
    fn new(route: &'a Route, decimals: Decimals) -> Self {
        let legs = route.legs.iter().map(LegBody::new).collect();
        Self { amounts: amounts(route, decimals), legs }
    }
}

impl<'a> LegBody<'a> {
    fn new(leg: &'a Leg) -> Self {
        Self {
            dex: &leg.dex,
            pool: &leg.pool,
            input_mint: &leg.input_mint,
            output_mint: &leg.output_mint,
            amount_in_base_units: leg.amount_in,
            amount_out_base_units: leg.amount_out,
        }
    }
}

/// Returns all candidates, in the order of the router.
pub(crate) fn quotes(candidates: &[Candidate], decimals: Decimals) -> Vec<QuoteBody<'_>> {
    let quote = |candidate| QuoteBody::new(candidate, decimals);
    candidates.iter().map(quote).collect()
}

impl<'a> QuoteBody<'a> {
    fn new(candidate: &'a Candidate, decimals: Decimals) -> Self {
        let outcome = match &candidate.outcome {
            CandidateOutcome::Quoted(route) => QuoteOutcome::Quoted(RouteDetails::new(route, decimals)),
            CandidateOutcome::Rejected(failure) => QuoteOutcome::Rejected { error: ErrorBody::new(failure) },
        };
        Self { dex: &candidate.dex, outcome }
    }
}

impl<'a> QuotationBody<'a> {
    pub(crate) fn new(request: &'a QuoteRequest, slippage_bps: u16, quotation: &'a Quotation) -> Self {
        let QuoteRequest { input, output, amount, .. } = request;
        let decimals = Decimals { input: input.decimals, output: output.decimals };
        let route = quotation.route.as_ref();
        let amount_out = route.map(|route| route.amount_out);
        let min_out = quotation.min_amount_out(slippage_bps);
        let human = |amount: Amount| amount.to_human(output.decimals);
        Self {
            token_in: &input.symbol,
            token_out: &output.symbol,
            amount: amount.to_human(input.decimals),
            amount_base_units: *amount,
            slippage_bps,
            quotes: quotes(&quotation.candidates, decimals),
            chosen_dex: route.map(|route| route.dex.as_str()),
            route: route.map(|route| RouteBody::new(route, decimals)),
            amount_out: amount_out.map(human),
            amount_out_base_units: amount_out,
            min_out: min_out.map(human),
            min_out_base_units: min_out,
            quote_id: None,
            expires_at: None,
        }
    }

    /// Says how to order at the quote.
    pub(crate) fn make_executable(&mut self, quote_id: String, expires_at: DateTime<Utc>) {
        self.quote_id = Some(quote_id);
        self.expires_at = Some(expires_at);
    }
}
