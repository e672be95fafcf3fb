//! Lists of orders, in pages.

use axum::Json;
use axum::extract::State;
use order_engine_core::{Order, OrderId, OrderQuery, Status, UndecodableOrder};
use serde::Serialize;

use crate::app::AppState;
use crate::auth::caller::Caller;
use crate::http::params::{Params, parse_order_id};
use crate::store_watch::Part;
use crate::wire::problem::Problem;
use crate::wire::status::ListedBody;

/// How many orders a page has if the client gives no limit.
const PAGE: u64 = 50;
/// How many orders a page has at most.
const PAGE_MAX: u64 = 200;

/// A page of orders.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct OrdersBody {
    orders: Vec<ListedBody>,
    /// Where the next page begins; `null` for the last page.
    next_cursor: Option<OrderId>,
}

/// `GET /api/orders?status=&userId=&limit=&cursor=`: the newest first.
pub(crate) async fn list(
    State(app): State<AppState>,
    caller: Caller,
    params: Params,
) -> Result<Json<OrdersBody>, Problem> {
    let params = params.only(&["status", "userId", "attention", "limit", "cursor"])?;
    let mut query = read_query(&params)?;
    query.user_id = caller.acting_as(query.user_id)?;
    let wanted = query.limit as usize;
    // One order more than the page has shows whether there is a next page.
    query.limit += 1;
    let mut orders = app.store_watch.in_time(Part::Reads, app.engine.orders(&query)).await?;
    let has_more = orders.len() > wanted;
    orders.truncate(wanted);
    let id = |listed: &Result<Order, UndecodableOrder>| {
        listed.as_ref().map_or_else(|e| e.order_id, |order| order.id)
    };
    let next_cursor = orders.last().filter(|_| has_more).map(id);
    Ok(Json(OrdersBody { orders: orders.iter().map(ListedBody::new).collect(), next_cursor }))
}

fn read_query(params: &Params) -> Result<OrderQuery, Problem> {
    let limit = params.number("limit")?.unwrap_or(PAGE);
    let limit = u32::try_from(limit).ok().filter(|limit| (1..=PAGE_MAX).contains(&u64::from(*limit)));
    let out_of_range =
        || Problem::invalid_field("limit", "out-of-range", format!("Must be 1 to {PAGE_MAX}."));
    let mut query = OrderQuery::new(limit.ok_or_else(out_of_range)?);
    query.user_id = params.user_id()?;
    query.status = params.text("status").map(read_status).transpose()?;
    query.attention = read_attention(params)?;
    query.before = params.text("cursor").map(read_cursor).transpose()?;
    Ok(query)
}

fn read_status(text: &str) -> Result<Status, Problem> {
    let status = Status::ALL.into_iter().find(|status| status.as_str() == text);
    status.ok_or_else(|| Problem::invalid_field("status", "invalid", "There is no such status."))
}

fn read_cursor(text: &str) -> Result<OrderId, Problem> {
    parse_order_id(text).ok_or_else(|| Problem::invalid_field("cursor", "invalid", "This is no cursor."))
}

/// Returns whether the list is limited to orders that need attention.
fn read_attention(params: &Params) -> Result<bool, Problem> {
    match params.text("attention") {
        None => Ok(false),
        Some("any") => Ok(true),
        Some(_) => Err(Problem::invalid_field("attention", "invalid", "Must be any.")),
    }
}
