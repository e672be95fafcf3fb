//! The bodies of the requests for an order and for a quote.

use std::ops::RangeInclusive;
use std::time::Duration;

use chrono::{DateTime, Datelike};
use order_engine_core::{
    Amount, AmountError, ClientOrderId, Deadline, OrderRequest, PriceProtection, QuoteRequest, Token, UserId,
};
use serde_json::value::RawValue;
use utoipa::ToSchema;

use crate::tokens::TokenRegistry;
use crate::wire::fields::{Fields, ValueError, plain};
use crate::wire::literal::Literal;
use crate::wire::name::{composed, read_name};
use crate::wire::problem::Problem;
use crate::wire::schema;

/// The user of orders that name none.
pub(crate) const ANONYMOUS: &str = "anonymous";
/// The header that carries a client order id.
pub(crate) const IDEMPOTENCY_KEY: &str = "Idempotency-Key";

const SLIPPAGE_BPS_DEFAULT: u16 = 50;
const BPS_MAX: u16 = 10_000;
/// The longest user id, in characters; as long as a client order id may be.
pub(crate) const USER_ID_MAX_CHARS: usize = 255;
/// Ten years: longer than any order lives, and short enough that its end has a four-digit year.
const TTL_MS_MAX: u64 = 315_360_000_000;

/// The years of which a time may be: those that RFC 3339 can show, from the one in which clocks begin.
const YEARS: RangeInclusive<i32> = 1970..=9999;

/// The schema of a request for an order.
#[derive(ToSchema)]
#[schema(as = OrderForm, rename_all = "camelCase")]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "the fields are read one by one, so that all their errors are told")]
pub(crate) struct OrderFormSchema {
    /// What is sold: a registered symbol or mint. Also called `inputToken`.
    token_in: String,
    /// What is bought. Also called `outputToken`.
    token_out: String,
    /// How much is sold, in units of the token: exactly one of this and `amountBaseUnits`.
    #[schema(schema_with = schema::human_amount, required = false)]
    amount: String,
    #[schema(schema_with = schema::base_units, required = false)]
    amount_base_units: String,
    /// The only type is `market`.
    #[schema(schema_with = schema::order_type)]
    order_type: Option<String>,
    /// An executable quote of `POST /api/quote` for the same tokens and amount: its least output is the floor of the order.
    quote_id: Option<String>,
    /// Only check the order and say what would be traded, without placing it.
    dry_run: Option<bool>,
    /// How far below its first quote the output may be, in basis points.
    #[schema(default = 50, maximum = 10_000)]
    slippage_bps: Option<u16>,
    /// How far the order may move the price, in basis points. The server has a default, and refuses what goes beyond.
    #[schema(maximum = 10_000)]
    max_price_impact_bps: Option<u16>,
    /// The least output, in units of the output token. Also called `minAmountOut`. Without it, the first quote less
    /// the slippage is the floor for the order's whole life.
    #[schema(schema_with = schema::optional_human_amount)]
    min_out: Option<String>,
    /// Whether the first quote is the floor, or each attempt has a floor of its own.
    #[schema(schema_with = schema::price_protection)]
    price_protection: Option<String>,
    /// The user. With authentication, it is the credential's.
    #[schema(max_length = 255, min_length = 1)]
    user_id: Option<String>,
    /// A name for the order, unique for its user; the same as the header `Idempotency-Key`.
    #[schema(max_length = 255, min_length = 1)]
    client_order_id: Option<String>,
    /// When the order fails unless it may have executed already. Either this or `ttlMs`.
    #[schema(format = DateTime)]
    expires_at: Option<String>,
    /// The same as a time from now, in milliseconds.
    #[schema(minimum = 1, maximum = 315_360_000_000_u64)]
    ttl_ms: Option<u64>,
}

/// The schema of a request for a quote.
#[derive(ToSchema)]
#[schema(as = QuoteForm, rename_all = "camelCase")]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "the fields are read one by one, so that all their errors are told")]
pub(crate) struct QuoteFormSchema {
    /// What would be sold: a registered symbol or mint. Also called `inputToken`.
    token_in: String,
    /// What would be bought. Also called `outputToken`.
    token_out: String,
    /// How much, in units of the token: exactly one of this and `amountBaseUnits`.
    #[schema(schema_with = schema::human_amount, required = false)]
    amount: String,
    #[schema(schema_with = schema::base_units, required = false)]
    amount_base_units: String,
    #[schema(schema_with = schema::order_type)]
    order_type: Option<String>,
    #[schema(default = 50, maximum = 10_000)]
    slippage_bps: Option<u16>,
    #[schema(maximum = 10_000)]
    max_price_impact_bps: Option<u16>,
}

/// The part that requests for orders and for quotes have in common.
struct Swap {
    quote: QuoteRequest,
    slippage_bps: u16,
}

/// Reads the body and the header of a request for an order.
pub(crate) fn order_request(
    mut fields: Fields,
    idempotency_key: Option<&str>,
    tokens: &TokenRegistry,
) -> Result<OrderRequest, Problem> {
    let swap = read_swap(&mut fields, tokens);
    read_order_type(&mut fields);
    let output_decimals = swap.as_ref().map(|swap| swap.quote.output.decimals);
    let min_amount_out =
        fields.read_either(["minOut", "minAmountOut"], |value| human_amount(value, output_decimals));
    let price_protection = read_price_protection(&mut fields);
    let user_id = fields.read("userId", |value| name(value, USER_ID_MAX_CHARS));
    let client_order_id = read_client_order_id(&mut fields, idempotency_key);
    let deadline = read_deadline(&mut fields);
    fields.finish()?;
    let Swap { quote, slippage_bps } = swap.ok_or_else(incomplete)?;
    let QuoteRequest { input, output, amount, max_price_impact_bps, .. } = quote;
    let user_id = UserId::new(user_id.as_deref().unwrap_or(ANONYMOUS));
    let mut request = OrderRequest::new(user_id, input, output, amount).with_slippage_bps(slippage_bps);
    request.client_order_id = client_order_id.map(ClientOrderId::new);
    request.min_amount_out = min_amount_out;
    request.price_protection = price_protection.unwrap_or_default();
    request.max_price_impact_bps = max_price_impact_bps;
    request.deadline = deadline;
    Ok(request)
}

/// Returns the user whom a request for an order names, if it names one as it should.
pub(crate) fn named_user(fields: &Fields) -> Option<UserId> {
    let text: String = plain(fields.peek("userId")?, "a string").ok()?;
    Some(UserId::new(composed(&text)))
}

/// Reads the body of a request for a quote, and returns the request and the slippage in basis points.
pub(crate) fn quote_request(
    mut fields: Fields,
    tokens: &TokenRegistry,
) -> Result<(QuoteRequest, u16), Problem> {
    let swap = read_swap(&mut fields, tokens);
    read_order_type(&mut fields);
    fields.finish()?;
    let Swap { quote, slippage_bps } = swap.ok_or_else(incomplete)?;
    Ok((quote, slippage_bps))
}

/// Returns the problem of a swap with a missing part. It is never sent, because the missing part has an error
/// of its own; it is there instead of a panic.
fn incomplete() -> Problem {
    Problem::invalid(Vec::new())
}

fn read_swap(fields: &mut Fields, tokens: &TokenRegistry) -> Option<Swap> {
    let input = read_token(fields, ["tokenIn", "inputToken"], tokens);
    let output = read_token(fields, ["tokenOut", "outputToken"], tokens);
    if let (Some(input), Some(output)) = (&input, &output)
        && input.mint == output.mint
    {
        fields.reject("tokenOut", "same-token", "The input and the output token must differ.");
    }
    let decimals = input.as_ref().map(|token| token.decimals);
    let amount = read_amount(fields, decimals);
    let slippage_bps = read_slippage(fields);
    let max_price_impact_bps = fields.read("maxPriceImpactBps", |value| basis_points(value, 0));
    let mut quote = QuoteRequest::new(input?, output?, amount?);
    quote.max_price_impact_bps = max_price_impact_bps;
    Some(Swap { quote, slippage_bps: slippage_bps? })
}

fn read_token(fields: &mut Fields, names: [&str; 2], tokens: &TokenRegistry) -> Option<Token> {
    let given = names.iter().any(|name| fields.has(name));
    if !given {
        fields.reject(names[0], "required", "The field is required.");
    }
    fields.read_either(names, |value| {
        let text: String = plain(value, "a token's symbol or mint")?;
        tokens
            .find(&text)
            .cloned()
            .ok_or_else(|| ValueError::new("unknown-token", "The token is not registered."))
    })
}

/// Reads the amount in either unit. Of an unknown token only the form of the amount is checked.
fn read_amount(fields: &mut Fields, decimals: Option<u8>) -> Option<Amount> {
    match (fields.has("amount"), fields.has("amountBaseUnits")) {
        (true, true) => {
            fields.reject("amountBaseUnits", "conflict", "Give either amount or amountBaseUnits.");
        }
        (false, false) => fields.reject("amount", "required", "Give amount or amountBaseUnits."),
        _ => {}
    }
    let human = fields.read("amount", |value| human_amount(value, decimals));
    let base_units = fields.read("amountBaseUnits", base_unit_amount);
    human.or(base_units)
}

pub(crate) fn human_amount(value: &RawValue, decimals: Option<u8>) -> Result<Amount, ValueError> {
    let literal = Literal::from_json(value)
        .ok_or_else(|| ValueError::invalid("Must be a number or a decimal string."))?;
    if literal.is_negative() {
        return Err(not_positive());
    }
    let scaled = match (literal.scaled(decimals.unwrap_or(0)), decimals) {
        // Without the token its decimals are unknown, and the token has an error already.
        (Err(AmountError::TooPrecise { .. }), None) => return Ok(Amount::ZERO),
        (scaled, _) => scaled,
    };
    positive(&scaled)
}

pub(crate) fn base_unit_amount(value: &RawValue) -> Result<Amount, ValueError> {
    let text: String = plain(value, "a string of decimal digits")?;
    positive(&text.parse())
}

fn positive(amount: &Result<Amount, AmountError>) -> Result<Amount, ValueError> {
    match amount {
        Ok(amount) if amount.is_zero() => Err(not_positive()),
        Ok(amount) => Ok(*amount),
        Err(AmountError::TooPrecise { decimals }) => Err(ValueError::new(
            "too-precise",
            format!("The token has {decimals} decimals; give no more digits than that."),
        )),
        Err(AmountError::TooLarge) => Err(ValueError::new("too-large", "The amount is too large.")),
        Err(_) => Err(ValueError::invalid("Must be a plain decimal number.")),
    }
}

fn not_positive() -> ValueError {
    ValueError::new("out-of-range", "The amount must be greater than zero.")
}

fn read_order_type(fields: &mut Fields) {
    fields.read("orderType", |value| match plain::<String>(value, "a string")?.as_str() {
        "market" => Ok(()),
        _ => Err(ValueError::new("unsupported", "Only market orders are supported.")),
    });
}

fn read_price_protection(fields: &mut Fields) -> Option<PriceProtection> {
    fields.read("priceProtection", |value| match plain::<String>(value, "a string")?.as_str() {
        "first-quote" => Ok(PriceProtection::FirstQuote),
        "each-quote" => Ok(PriceProtection::EachQuote),
        _ => Err(ValueError::new("unsupported", "Must be first-quote or each-quote.")),
    })
}

/// Reads the slippage, in basis points or in percent. `None` means that it has an error.
fn read_slippage(fields: &mut Fields) -> Option<u16> {
    let given = fields.has("slippageBps") || fields.has("slippage");
    let bps = fields.read("slippageBps", |value| basis_points(value, 0));
    // One percent is 100 basis points: two decimals of a percent are exact basis points.
    let percent = fields.read("slippage", |value| basis_points(value, 2));
    if let (Some(bps), Some(percent)) = (bps, percent)
        && bps != percent
    {
        fields.reject("slippage", "conflict", "slippage and slippageBps have different values.");
    }
    if given { bps.or(percent) } else { Some(SLIPPAGE_BPS_DEFAULT) }
}

/// Reads basis points that are given with so many decimals less.
fn basis_points(value: &RawValue, decimals: u8) -> Result<u16, ValueError> {
    let literal = Literal::from_json(value).ok_or_else(|| ValueError::invalid("Must be a number."))?;
    let out_of_range = || {
        let message = format!("Must be 0 to {BPS_MAX} basis points, which is 0 to 100 percent.");
        ValueError::new("out-of-range", message)
    };
    if literal.is_negative() {
        return Err(out_of_range());
    }
    match literal.scaled(decimals) {
        Ok(bps) => {
            u16::try_from(bps.base_units()).ok().filter(|bps| *bps <= BPS_MAX).ok_or_else(out_of_range)
        }
        Err(AmountError::TooLarge) => Err(out_of_range()),
        Err(AmountError::TooPrecise { .. }) => {
            Err(ValueError::new("too-precise", "Basis points are whole (0.01 percent)."))
        }
        Err(_) => Err(ValueError::invalid("Must be a number.")),
    }
}

fn read_client_order_id(fields: &mut Fields, header: Option<&str>) -> Option<String> {
    let body = fields.read("clientOrderId", |value| name(value, OrderRequest::CLIENT_ORDER_ID_MAX_CHARS));
    let header = header.and_then(|key| {
        let name = read_name(key, OrderRequest::CLIENT_ORDER_ID_MAX_CHARS);
        name.map_err(|error| fields.reject(IDEMPOTENCY_KEY, error.code, error.message)).ok()
    });
    if body.is_some() && header.is_some() && body != header {
        fields.reject(IDEMPOTENCY_KEY, "conflict", "The header and clientOrderId have different values.");
    }
    body.or(header)
}

/// Reads a name of a JSON string.
fn name(value: &RawValue, max_chars: usize) -> Result<String, ValueError> {
    let text: String = plain(value, "a string")?;
    read_name(&text, max_chars)
}

/// Reads the deadline.
///
/// A deadline that has passed is accepted, and the order fails as expired: the answer to a repeated request
/// must not depend on when it is repeated.
fn read_deadline(fields: &mut Fields) -> Option<Deadline> {
    let at = fields.read("expiresAt", |value| {
        let text: String = plain(value, "an RFC 3339 time")?;
        let at = DateTime::parse_from_rfc3339(&text)
            .map_err(|_| ValueError::invalid("Must be an RFC 3339 time."))?;
        // In whole milliseconds, in which a leap second is the one after it: so it is stored and shown.
        let at = DateTime::from_timestamp_millis(at.timestamp_millis());
        at.filter(|at| YEARS.contains(&at.year()))
            .map(Deadline::At)
            .ok_or_else(|| ValueError::new("out-of-range", "Must be a time of the years 1970 to 9999 UTC."))
    });
    let ttl = fields.read("ttlMs", |value| {
        Literal::from_json(value)
            .and_then(|literal| literal.whole::<u64>())
            .filter(|ms| (1..=TTL_MS_MAX).contains(ms))
            .map(|ms| Deadline::After(Duration::from_millis(ms)))
            .ok_or_else(|| {
                ValueError::new("out-of-range", format!("Must be a whole number from 1 to {TTL_MS_MAX}."))
            })
    });
    if at.is_some() && ttl.is_some() {
        fields.reject("ttlMs", "conflict", "Give either expiresAt or ttlMs.");
    }
    at.or(ttl)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(body: &str) -> Result<OrderRequest, Vec<(String, &'static str)>> {
        read_with_key(body, None)
    }

    fn read_with_key(body: &str, key: Option<&str>) -> Result<OrderRequest, Vec<(String, &'static str)>> {
        order_request(Fields::parse(body).unwrap(), key, &TokenRegistry::default()).map_err(|problem| {
            let (status, code, errors) = problem.parts();
            assert_eq!((status, code), (422, "invalid-request"));
            errors.iter().map(|error| (error.field.clone(), error.code)).collect()
        })
    }

    /// Returns a body with valid tokens and the rest as given.
    fn with(rest: &str) -> String {
        format!(r#"{{"tokenIn":"SOL","tokenOut":"USDC",{rest}}}"#)
    }

    #[track_caller]
    fn assert_rejected(body: &str, field: &str, code: &'static str) {
        assert_eq!(read(body).unwrap_err(), [(field.to_owned(), code)], "{body}");
    }

    #[test]
    fn the_smallest_body_gets_the_defaults() {
        let request = read(&with(r#""amount":1.5"#)).unwrap();
        assert_eq!(request.user_id.as_str(), "anonymous");
        assert_eq!(request.client_order_id, None);
        assert_eq!((request.input.symbol.as_str(), request.output.symbol.as_str()), ("SOL", "USDC"));
        assert_eq!(request.amount, Amount::new(1_500_000_000));
        assert_eq!(request.slippage_bps, 50);
        assert_eq!(request.deadline, None);
        assert_eq!(request.validate(), Ok(()));
    }

    #[test]
    fn every_alias_reads_the_same() {
        let expected = read(&with(r#""amount":1.5,"slippageBps":125,"clientOrderId":"k""#)).unwrap();
        for body in [
            r#"{"inputToken":"SOL","outputToken":"USDC","amount":"1.5","slippage":1.25,"clientOrderId":"k"}"#,
            r#"{"tokenIn":"sol","outputToken":"usdc","amountBaseUnits":"1500000000","slippage":"1.25","clientOrderId":"k"}"#,
            r#"{"tokenIn":"SOL","inputToken":"SOL","tokenOut":"USDC","amount":15e-1,"slippage":1.25,"slippageBps":125,"clientOrderId":"k","orderType":"market","userId":"anonymous","expiresAt":null}"#,
        ] {
            assert_eq!(read(body).as_ref(), Ok(&expected), "{body}");
        }
        assert_eq!(
            read_with_key(&with(r#""amount":1.5,"slippageBps":125"#), Some("k")).as_ref(),
            Ok(&expected)
        );
        let by_mint = format!(
            r#"{{"tokenIn":"{}","tokenOut":"{}","amount":1.5,"slippageBps":125,"clientOrderId":"k"}}"#,
            expected.input.mint, expected.output.mint
        );
        assert_eq!(read(&by_mint), Ok(expected));
    }

    #[test]
    fn a_limit_of_the_price_impact_is_read_in_basis_points() {
        let read = |rest: &str| read(&with(&format!(r#""amount":1.5{rest}"#)));
        let limit = |rest: &str| read(rest).unwrap().max_price_impact_bps;
        let given = [
            "",
            r#","maxPriceImpactBps":null"#,
            r#","maxPriceImpactBps":0"#,
            r#","maxPriceImpactBps":10000"#,
        ];
        assert_eq!(given.map(limit), [None, None, Some(0), Some(10_000)]);
        for (wrong, code) in [("10001", "out-of-range"), ("-1", "out-of-range"), ("0.5", "too-precise")] {
            let rest = format!(r#","maxPriceImpactBps":{wrong}"#);
            assert_eq!(read(&rest).unwrap_err(), [("maxPriceImpactBps".into(), code)]);
        }
        let fields = Fields::parse(&with(r#""amount":1.5,"maxPriceImpactBps":70"#)).unwrap();
        let (quote, _) = quote_request(fields, &TokenRegistry::default()).ok().unwrap();
        assert_eq!(quote.max_price_impact_bps, Some(70));
    }

    #[test]
    fn a_worst_price_is_read_in_human_units_of_the_output() {
        let read = |rest: &str| read(&with(&format!(r#""amount":1.5,{rest}"#)));
        for rest in
            [r#""minOut":"149.5""#, r#""minAmountOut":149.5"#, r#""minOut":149.5,"minAmountOut":"149.50""#]
        {
            assert_eq!(read(rest).unwrap().min_amount_out, Some(Amount::new(149_500_000)), "{rest}");
        }
        assert_eq!(read(r#""minOut":null"#).unwrap().min_amount_out, None);
        let follows = read(r#""priceProtection":"each-quote""#).unwrap();
        assert_eq!(follows.price_protection, PriceProtection::EachQuote);
        assert_eq!(read(r#""minOut":0"#).unwrap_err(), [("minOut".into(), "out-of-range")]);
        assert_eq!(read(r#""minOut":0.0000001"#).unwrap_err(), [("minOut".into(), "too-precise")]);
        assert_eq!(
            read(r#""minOut":1,"minAmountOut":2"#).unwrap_err(),
            [("minAmountOut".into(), "conflict")]
        );
        assert_eq!(
            read(r#""priceProtection":"none""#).unwrap_err(),
            [("priceProtection".into(), "unsupported")]
        );
    }

    #[test]
    fn bad_amounts_are_rejected() {
        for (rest, field, code) in [
            (r#""slippageBps":1"#, "amount", "required"),
            (r#""amount":0"#, "amount", "out-of-range"),
            (r#""amount":"0.000""#, "amount", "out-of-range"),
            (r#""amount":-1"#, "amount", "out-of-range"),
            (r#""amount":"-0.5""#, "amount", "out-of-range"),
            (r#""amount":0.0000000001"#, "amount", "too-precise"),
            (r#""amount":1e400"#, "amount", "too-large"),
            (r#""amount":"1,5""#, "amount", "invalid"),
            (r#""amount":"""#, "amount", "invalid"),
            (r#""amount":true"#, "amount", "invalid"),
            (r#""amount":{}"#, "amount", "invalid"),
            (r#""amountBaseUnits":5"#, "amountBaseUnits", "invalid"),
            (r#""amountBaseUnits":"1.5""#, "amountBaseUnits", "invalid"),
            (r#""amountBaseUnits":"0""#, "amountBaseUnits", "out-of-range"),
            (
                r#""amountBaseUnits":"340282366920938463463374607431768211456""#,
                "amountBaseUnits",
                "too-large",
            ),
            (r#""amount":1,"amountBaseUnits":"1000000000""#, "amountBaseUnits", "conflict"),
        ] {
            assert_rejected(&with(rest), field, code);
        }
    }

    #[test]
    fn bad_tokens_are_rejected() {
        for (body, field, code) in [
            (r#"{"tokenOut":"USDC","amount":1}"#, "tokenIn", "required"),
            (r#"{"tokenIn":null,"tokenOut":"USDC","amount":1}"#, "tokenIn", "required"),
            (r#"{"tokenIn":"SOL","amount":1}"#, "tokenOut", "required"),
            (r#"{"inputToken":"DOGE","tokenOut":"USDC","amount":1.5}"#, "inputToken", "unknown-token"),
            (r#"{"tokenIn":"SOL","tokenOut":7,"amount":1}"#, "tokenOut", "invalid"),
            (r#"{"tokenIn":"SOL","tokenOut":"SOL","amount":1}"#, "tokenOut", "same-token"),
            (
                r#"{"tokenIn":"SOL","inputToken":"ETH","tokenOut":"USDC","amount":1}"#,
                "inputToken",
                "conflict",
            ),
        ] {
            assert_rejected(body, field, code);
        }
    }

    #[test]
    fn bad_options_are_rejected() {
        for (rest, field, code) in [
            (r#""slippageBps":10001"#, "slippageBps", "out-of-range"),
            (r#""slippageBps":-1"#, "slippageBps", "out-of-range"),
            (r#""slippageBps":0.5"#, "slippageBps", "too-precise"),
            (r#""slippageBps":1e99"#, "slippageBps", "out-of-range"),
            (r#""slippageBps":[]"#, "slippageBps", "invalid"),
            (r#""slippage":100.01"#, "slippage", "out-of-range"),
            (r#""slippage":0.005"#, "slippage", "too-precise"),
            (r#""slippage":0.5,"slippageBps":51"#, "slippage", "conflict"),
            (r#""orderType":"limit""#, "orderType", "unsupported"),
            (r#""orderType":1"#, "orderType", "invalid"),
            (r#""userId":"""#, "userId", "out-of-range"),
            (r#""userId":"a\u0000b""#, "userId", "invalid"),
            (r#""userId":7"#, "userId", "invalid"),
            (r#""clientOrderId":"""#, "clientOrderId", "out-of-range"),
            (r#""expiresAt":"tomorrow""#, "expiresAt", "invalid"),
            (r#""expiresAt":"9999-12-31T23:59:59-00:01""#, "expiresAt", "out-of-range"),
            (r#""expiresAt":"1969-12-31T23:59:59Z""#, "expiresAt", "out-of-range"),
            (r#""ttlMs":0"#, "ttlMs", "out-of-range"),
            (r#""ttlMs":1.5"#, "ttlMs", "out-of-range"),
            (r#""ttlMs":1,"expiresAt":"2026-01-01T00:00:00Z""#, "ttlMs", "conflict"),
            (r#""color":"red""#, "color", "unknown"),
            (r#""userId":"a","userId":"a""#, "userId", "duplicate"),
        ] {
            assert_rejected(&with(&format!(r#""amount":1,{rest}"#)), field, code);
        }
        let long = "ä".repeat(256);
        assert_rejected(
            &with(&format!(r#""amount":1,"clientOrderId":"{long}""#)),
            "clientOrderId",
            "out-of-range",
        );
    }

    #[test]
    fn every_bad_field_is_named_once() {
        let errors = read(r#"{"tokenIn":"NOPE","amount":-1,"slippageBps":"x","what":1}"#).unwrap_err();
        assert_eq!(
            errors,
            [
                ("tokenIn".into(), "unknown-token"),
                ("tokenOut".into(), "required"),
                ("amount".into(), "out-of-range"),
                ("slippageBps".into(), "invalid"),
                ("what".into(), "unknown"),
            ]
        );
    }

    #[test]
    fn the_header_must_agree_with_the_body() {
        let body = with(r#""amount":1,"clientOrderId":"a""#);
        assert!(read_with_key(&body, Some("a")).is_ok());
        for (key, code) in [("b", "conflict"), ("", "out-of-range")] {
            let errors = read_with_key(&body, Some(key)).unwrap_err();
            assert_eq!(errors, [("Idempotency-Key".to_owned(), code)]);
        }
    }

    #[test]
    fn deadlines_are_kept_as_given() {
        let request = read(&with(r#""amount":1,"ttlMs":1500"#)).unwrap();
        assert_eq!(request.deadline, Some(Deadline::After(Duration::from_millis(1_500))));
        let request = read(&with(r#""amount":1,"expiresAt":"2026-01-01T02:00:00.123456+02:00""#)).unwrap();
        let at = DateTime::from_timestamp_millis(1_767_225_600_123).unwrap();
        assert_eq!(request.deadline, Some(Deadline::At(at)));
        let leap = read(&with(r#""amount":1,"expiresAt":"2016-12-31T23:59:60Z""#)).unwrap();
        let after = read(&with(r#""amount":1,"expiresAt":"2017-01-01T00:00:00Z""#)).unwrap();
        assert_eq!(leap.deadline, after.deadline);
    }
}
