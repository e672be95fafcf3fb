//! Orders of one's own: place, quote, list, show, cancel.

use std::fmt::Write as _;

use order_engine_client::{OrderForm, Placed};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::watch::watch;
use crate::args::{List, Submit, Swap};
use crate::client::{Client, segment};
use crate::failure::Failure;
use crate::output::{Output, field, pairs, table};

/// How many orders the server gives on a page at most.
const PAGE_MAX: usize = 200;

fn form(swap: &Swap) -> Map<String, Value> {
    let mut form = Map::new();
    form.insert("tokenIn".into(), json!(swap.token_in));
    form.insert("tokenOut".into(), json!(swap.token_out));
    // As text, so that no digit is lost.
    form.insert("amount".into(), json!(swap.amount));
    let numbers = [("slippageBps", swap.slippage_bps), ("maxPriceImpactBps", swap.max_price_impact_bps)];
    for (name, value) in numbers {
        if let Some(value) = value {
            form.insert(name.into(), json!(value));
        }
    }
    form
}

/// Places an order, under a name, so that it can be placed again without a second order.
pub(crate) async fn submit(client: &Client, output: &Output, submit: Submit) -> Result<(), Failure> {
    let key = submit.client_order_id.clone().unwrap_or_else(|| Uuid::new_v4().to_string());
    let form = order_form(&submit).with_client_order_id(&key);
    let placed = client.place(&form, submit.repeat_for).await.map_err(|failure| match failure {
        Failure::Unreachable { .. } => Failure::InDoubt { key, reason: failure.to_string() },
        other => other,
    })?;
    output.show(&document(&placed), |document| {
        pairs(&[
            ("order", field(document, "orderId")),
            ("status", field(document, "status")),
            ("created", field(document, "createdAt")),
            ("client order id", placed.client_order_id.clone()),
        ])
    })?;
    if submit.watch { watch(client, output, &placed.order_id, 0, None).await } else { Ok(()) }
}

fn order_form(submit: &Submit) -> OrderForm {
    let Swap { amount, token_in, token_out, slippage_bps, max_price_impact_bps } = &submit.swap;
    let mut form = OrderForm::new(amount, token_in, token_out);
    if let Some(bps) = slippage_bps {
        form = form.with_slippage_bps(*bps);
    }
    if let Some(bps) = max_price_impact_bps {
        form = form.with_max_price_impact_bps(*bps);
    }
    if let Some(amount) = &submit.min_out {
        form = form.with_min_out(amount);
    }
    if let Some(user) = &submit.user {
        form = form.with_user_id(user);
    }
    if let Some(ttl) = submit.ttl {
        form = form.with_ttl(ttl);
    }
    form
}

/// Returns what the server answered. An order that was looked up after a doubt has its own document, of which this is the part that every
/// answer has.
fn document(placed: &Placed) -> Value {
    serde_json::from_str(placed.json()).unwrap_or_else(|_| {
        json!({
            "orderId": placed.order_id,
            "jobId": placed.order_id,
            "status": placed.status.as_str(),
            "wsUrl": placed.ws_url,
            "createdAt": placed.created_at,
        })
    })
}

pub(crate) async fn quote(client: &Client, output: &Output, swap: &Swap) -> Result<(), Failure> {
    let quote = client.post("/api/quote", &Value::Object(form(swap))).await?;
    output.show(&quote, |quote| {
        let [input, output] = ["tokenIn", "tokenOut"].map(|name| field(quote, name));
        let of = |name: &str, token: &str| match &quote[name] {
            Value::Null => "-".to_owned(),
            _ => format!("{} {token}", field(quote, name)),
        };
        let head = pairs(&[
            ("sell", of("amount", &input)),
            ("buy", of("amountOut", &output)),
            ("at least", of("minOut", &output)),
            ("exchange", field(quote, "chosenDex")),
        ]);
        let rows: Vec<_> = quote["quotes"].as_array().into_iter().flatten().map(quote_row).collect();
        format!("{head}\n\n{}", table(&["EXCHANGE", "OUTPUT", "PRICE", "IMPACT"], &rows))
    })
}

fn quote_row(quote: &Value) -> Vec<String> {
    match quote.get("error") {
        Some(error) => vec![field(quote, "dex"), format!("no: {}", field(error, "message"))],
        None => {
            let impact = match &quote["priceImpactBps"] {
                Value::Null => "-".to_owned(),
                bps => format!("{bps} bps"),
            };
            vec![field(quote, "dex"), field(quote, "amountOut"), field(quote, "price"), impact]
        }
    }
}

pub(crate) async fn list(client: &Client, output: &Output, list: &List) -> Result<(), Failure> {
    let mut orders = Vec::new();
    let mut cursor: Option<String> = None;
    while orders.len() < list.limit {
        let limit = (list.limit - orders.len()).min(PAGE_MAX);
        let mut path = format!("/api/orders?limit={limit}");
        for (name, value) in [("status", &list.status), ("userId", &list.user), ("cursor", &cursor)] {
            if let Some(value) = value {
                let _ = write!(path, "&{name}={}", segment(value));
            }
        }
        if list.attention {
            path.push_str("&attention=any");
        }
        let mut page = client.get(&path).await?;
        cursor = page["nextCursor"].as_str().map(str::to_owned);
        let Some(page) = page["orders"].as_array_mut() else {
            return Err(Failure::Unexpected("a list without orders".into()));
        };
        orders.append(page);
        if cursor.is_none() {
            break;
        }
    }
    show_list(output, &json!({ "orders": orders }))
}

/// Writes a list of orders.
pub(crate) fn show_list(output: &Output, list: &Value) -> Result<(), Failure> {
    output.show(list, |list| {
        let rows: Vec<_> = list["orders"].as_array().into_iter().flatten().map(order_row).collect();
        table(&["ORDER", "STATUS", "SELL", "BUY", "USER", "CREATED", "ATTENTION"], &rows)
    })
}

fn order_row(order: &Value) -> Vec<String> {
    let status = if order["status"].is_null() { "unreadable".to_owned() } else { field(order, "status") };
    vec![
        field(order, "orderId"),
        status,
        format!("{} {}", field(order, "amount"), field(order, "tokenIn")),
        format!("{} {}", field(order, "amountOut"), field(order, "tokenOut")),
        field(order, "userId"),
        field(order, "createdAt"),
        field(order, "attention"),
    ]
}

pub(crate) async fn show(
    client: &Client,
    output: &Output,
    id: &str,
    is_operator: bool,
    with_chain: bool,
) -> Result<(), Failure> {
    if is_operator {
        let path = format!("/api/operator/orders/{}?chain={with_chain}", segment(id));
        let view = client.get(&path).await?;
        return output.show(&view, operators_text);
    }
    let order = client.get(&format!("/api/orders/status/{}", segment(id))).await?;
    output.show(&order, |order| {
        let logs = order["logs"].as_array().into_iter().flatten();
        let logs = logs.map(|line| format!("\n  {}", field(&json!({ "line": line }), "line")));
        format!("{}\n{}", order_text(order), logs.collect::<String>())
    })
}

/// Returns an order as people read it.
pub(crate) fn order_text(order: &Value) -> String {
    let error = match &order["error"] {
        Value::Null => "-".to_owned(),
        error => format!("{}: {}", field(error, "code"), field(error, "message")),
    };
    pairs(&[
        ("order", field(order, "orderId")),
        ("client order id", field(order, "clientOrderId")),
        ("user", field(order, "userId")),
        ("status", field(order, "status")),
        ("sell", format!("{} {}", field(order, "amount"), field(order, "tokenIn"))),
        ("buy", format!("{} {}", field(order, "amountOut"), field(order, "tokenOut"))),
        ("at least", field(order, "minOut")),
        ("exchange", field(order, "chosenDex")),
        ("price", field(order, "executionPriceExact")),
        ("transaction", field(order, "txHash")),
        ("attempt", format!("{}/{}", field(order, "attempt"), field(order, "maxAttempts"))),
        ("attention", field(order, "attention")),
        ("error", error),
        ("created", field(order, "createdAt")),
        ("updated", field(order, "updatedAt")),
    ])
}

fn operators_text(view: &Value) -> String {
    let mut text = order_text(&view["order"]);
    if !view["attention"].is_null() {
        let _ = write!(text, "\n\nneeds an operator: {}", field(&view["attention"], "message"));
    }
    let signed: Vec<_> = view["transactions"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|tx| ["purpose", "txHash", "untilHeight", "nonce"].map(|name| field(tx, name)).to_vec())
        .collect();
    if !signed.is_empty() {
        let _ =
            write!(text, "\n\n{}", table(&["SIGNED FOR", "TRANSACTION", "UNTIL HEIGHT", "NONCE"], &signed));
    }
    let Some(chain) = view.get("chain") else { return text };
    if let Some(problem) = chain.get("problem") {
        let _ = write!(text, "\n\non the chain: {}", field(problem, "detail"));
        return text;
    }
    let found: Vec<_> = chain["found"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|tx| {
            ["venue", "txHash", "purpose", "outcome", "isFinal", "amountOutBaseUnits", "height"]
                .map(|name| field(tx, name))
                .to_vec()
        })
        .collect();
    let head = ["VENUE", "ON THE CHAIN", "SIGNED FOR", "OUTCOME", "FINAL", "OUTPUT (BASE UNITS)", "HEIGHT"];
    let _ = write!(text, "\n\n{}", table(&head, &found));
    if found.is_empty() {
        text.push_str("\nNothing is found, which proves nothing.");
    }
    text
}

pub(crate) async fn cancel(
    client: &Client,
    output: &Output,
    id: &str,
    is_operator: bool,
) -> Result<(), Failure> {
    let below = if is_operator { "/api/operator/orders" } else { "/api/orders" };
    let cancelled = client.post(&format!("{below}/{}/cancel", segment(id)), &json!({})).await?;
    output.show(&cancelled, |cancelled| {
        pairs(&[
            ("order", field(cancelled, "orderId")),
            ("cancel", field(cancelled, "cancel")),
            ("status", field(cancelled, "status")),
        ])
    })
}
