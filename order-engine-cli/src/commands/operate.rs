//! What operators do.

use std::time::Duration;

use serde_json::{Map, Value, json};

use super::orders::{order_text, show_list};
use crate::args::{Activity, Resolve, Scope};
use crate::client::{Client, segment};
use crate::failure::Failure;
use crate::output::{Output, field, table};

/// Lists what needs an operator, all of it.
pub(crate) async fn attention(client: &Client, output: &Output) -> Result<(), Failure> {
    let mut orders = Vec::new();
    let mut path = "/api/operator/attention?limit=200".to_owned();
    loop {
        let mut page = client.get(&path).await?;
        let cursor = page["nextCursor"].as_str().map(segment);
        orders.append(
            page["orders"]
                .as_array_mut()
                .ok_or_else(|| Failure::Unexpected("a list without orders".into()))?,
        );
        match cursor {
            Some(cursor) => path = format!("/api/operator/attention?limit=200&cursor={cursor}"),
            None => break,
        }
    }
    show_list(output, &json!({ "orders": orders }))
}

pub(crate) async fn resolve(client: &Client, output: &Output, resolve: &Resolve) -> Result<(), Failure> {
    let mut body = Map::new();
    let outcome = if resolve.executed { "executed" } else { "not-executed" };
    body.insert("outcome".into(), json!(outcome));
    body.insert("note".into(), json!(resolve.note));
    for (name, amount) in [("amountIn", &resolve.amount_in), ("amountOut", &resolve.amount_out)] {
        if let Some(amount) = amount {
            body.insert(name.into(), json!(amount));
        }
    }
    if let Some(height) = resolve.height {
        body.insert("height".into(), json!(height));
    }
    let path = format!("/api/operator/orders/{}/resolve", segment(&resolve.id));
    let order = client.post(&path, &Value::Object(body)).await?;
    output.show(&order, order_text)
}

/// Does something with an order that needs nothing said.
pub(crate) async fn on_order(client: &Client, output: &Output, id: &str, verb: &str) -> Result<(), Failure> {
    let order = client.post(&format!("/api/operator/orders/{}/{verb}", segment(id)), &json!({})).await?;
    output.show(&order, |order| {
        if order["status"].is_null() {
            format!("order  {}", field(order, "orderId"))
        } else {
            order_text(order)
        }
    })
}

pub(crate) async fn purge(client: &Client, output: &Output, older_than: Duration) -> Result<(), Failure> {
    let body = json!({ "olderThanS": older_than.as_secs() });
    let purged = client.post_long("/api/operator/purge", &body).await?;
    output.show(&purged, |purged| format!("deleted  {}", field(purged, "deleted")))
}

fn what(activity: Activity, scope: &Scope) -> Map<String, Value> {
    let mut what = Map::new();
    what.insert("activity".into(), json!(activity.as_str()));
    if let Some(venue) = &scope.venue {
        what.insert("venue".into(), json!(venue));
    }
    if let Some(user) = &scope.user {
        what.insert("userId".into(), json!(user));
    }
    if let Some((token_in, token_out)) = &scope.pair {
        what.insert("tokenIn".into(), json!(token_in));
        what.insert("tokenOut".into(), json!(token_out));
    }
    what
}

pub(crate) async fn pause(
    client: &Client,
    output: &Output,
    activity: Activity,
    scope: &Scope,
    reason: &str,
) -> Result<(), Failure> {
    let mut body = what(activity, scope);
    body.insert("reason".into(), json!(reason));
    let pauses = client.post("/api/operator/pauses", &Value::Object(body)).await?;
    output.show(&pauses, pauses_text)
}

pub(crate) async fn resume(
    client: &Client,
    output: &Output,
    activity: Activity,
    scope: &Scope,
) -> Result<(), Failure> {
    let body = Value::Object(what(activity, scope));
    let pauses = client.post("/api/operator/pauses/end", &body).await?;
    output.show(&pauses, pauses_text)
}

pub(crate) async fn pauses(client: &Client, output: &Output) -> Result<(), Failure> {
    let pauses = client.get("/api/operator/pauses").await?;
    output.show(&pauses, pauses_text)
}

pub(crate) async fn halt(client: &Client, output: &Output, reason: &str) -> Result<(), Failure> {
    let pauses = client.post("/api/operator/halt", &json!({ "reason": reason })).await?;
    output.note("Nothing new is accepted or sent. What was sent before may still land.\n")?;
    output.show(&pauses, pauses_text)
}

pub(crate) async fn unhalt(client: &Client, output: &Output) -> Result<(), Failure> {
    let pauses = client.post("/api/operator/halt/end", &json!({})).await?;
    output.show(&pauses, pauses_text)
}

fn pauses_text(pauses: &Value) -> String {
    let rows: Vec<_> = pauses["pauses"].as_array().into_iter().flatten().map(pause_row).collect();
    if rows.is_empty() {
        return "Nothing is paused.".to_owned();
    }
    table(&["PAUSED", "FOR", "SINCE", "REASON"], &rows)
}

fn pause_row(pause: &Value) -> Vec<String> {
    let scope = match pause["scope"].as_str() {
        Some("venue") => format!("venue {}", field(pause, "venue")),
        Some("user") => format!("user {}", field(pause, "userId")),
        Some("pair") => format!("pair {}/{}", field(pause, "tokenIn"), field(pause, "tokenOut")),
        _ => field(pause, "scope"),
    };
    vec![field(pause, "activity"), scope, field(pause, "since"), field(pause, "reason")]
}
