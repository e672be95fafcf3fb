//! Lists of orders, in pages.

use axum::Json;
use axum::extract::State;
use chrono::{DateTime, TimeDelta, Utc};
use order_engine_core::{Order, OrderId, OrderQuery, Sort, Status, Token, UndecodableOrder};
use serde::Serialize;
use utoipa::ToSchema;

use crate::app::AppState;
use crate::auth::caller::Caller;
use crate::http::params::{Params, parse_order_id};
use crate::store_watch::{Part, StoreFailure};
use crate::wire::problem::Problem;
use crate::wire::status::{ListedBody, id_of};

/// How many orders a page has if the client gives no limit.
const PAGE: u32 = 50;
/// How many orders a page has at most.
const PAGE_MAX: u32 = 200;
/// How many pages of the store are looked through for the orders of a token, of which the store has no index.
const PAGES_MAX: usize = 5;

/// A page of orders.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Orders)]
pub(crate) struct OrdersBody {
    orders: Vec<ListedBody>,
    /// Where the next page begins; `null` for the last page.
    #[schema(value_type = Option<String>, format = Uuid)]
    next_cursor: Option<OrderId>,
}

/// Which orders a client wants.
#[derive(Debug)]
struct Filter {
    /// What the store can find. Its limit is the one of the page.
    query: OrderQuery,
    /// Only those with one of these statuses, if there are any.
    statuses: Vec<Status>,
    /// Only those that sell or buy this token.
    token: Option<Token>,
}

/// A part of a list.
struct Found {
    orders: Vec<Result<Order, UndecodableOrder>>,
    /// The last order that was looked at, if more may follow.
    looked_up_to: Option<OrderId>,
}

/// List orders, the newest first unless said.
///
/// A page may have fewer orders than its limit, and none, although more follow: it is the last one if it has no `nextCursor`.
#[utoipa::path(
    get,
    path = "/api/orders",
    operation_id = "listOrders",
    tag = "Orders",
    params(
        ("status" = Option<String>, Query, description = "Only those with this status, or one of several with commas between."),
        ("userId" = Option<String>, Query, description = "Whose. With authentication, it is the credential's."),
        ("token" = Option<String>, Query, description = "Only those that sell or buy this token: a registered symbol or mint."),
        ("from" = Option<String>, Query, format = DateTime, description = "Only those placed at this time or later."),
        ("to" = Option<String>, Query, format = DateTime, description = "Only those placed before this time."),
        ("sort" = Option<String>, Query, description = "Which come first: `newest`, unless said, or `oldest`. A cursor goes on in the direction of its list."),
        ("attention" = Option<String>, Query, description = "`any`: only those that an operator should look at."),
        ("limit" = Option<u64>, Query, minimum = 1, maximum = 200, description = "How many at most; 50 unless said."),
        ("cursor" = Option<String>, Query, format = Uuid, description = "The `nextCursor` of the page before."),
    ),
    responses((status = 200, description = "A page of orders.", body = OrdersBody)),
)]
pub(crate) async fn list(
    State(app): State<AppState>,
    caller: Caller,
    params: Params,
) -> Result<Json<OrdersBody>, Problem> {
    let known = ["status", "userId", "token", "from", "to", "sort", "attention", "limit", "cursor"];
    let params = params.only(&known)?;
    let mut filter = read_filter(&app, &params)?;
    filter.query.user_id = caller.acting_as(filter.query.user_id)?;
    let wanted = filter.query.limit as usize;
    let Found { mut orders, looked_up_to } = find(&app, filter).await?;
    let has_more = orders.len() > wanted;
    orders.truncate(wanted);
    let next_cursor = if has_more { orders.last().map(id_of) } else { looked_up_to };
    Ok(Json(OrdersBody { orders: orders.iter().map(ListedBody::new).collect(), next_cursor }))
}

/// Returns the first orders that a client wants: one more than the page has, if there are as many.
async fn find(app: &AppState, mut filter: Filter) -> Result<Found, StoreFailure> {
    let wanted = filter.query.limit as usize + 1;
    // Of a token's orders, many others may lie in between.
    filter.query.limit = if filter.token.is_some() { PAGE_MAX } else { filter.query.limit + 1 };
    let (mut orders, mut looked_up_to) = (Vec::new(), None);
    for _ in 0..PAGES_MAX {
        let page = page(app, &filter).await?;
        let is_last = page.len() < filter.query.limit as usize;
        let last = page.last().map(id_of).filter(|_| !is_last);
        orders.extend(page.into_iter().filter(|listed| filter.has_token(listed)));
        looked_up_to = last;
        let Some(last) = last.filter(|_| orders.len() < wanted) else { break };
        filter.query = filter.query.past(last);
    }
    Ok(Found { orders, looked_up_to })
}

/// Returns the first orders of the store past a place: of several statuses the first of each, merged.
async fn page(app: &AppState, filter: &Filter) -> Result<Vec<Result<Order, UndecodableOrder>>, StoreFailure> {
    let read = |query: OrderQuery| async move {
        app.store_watch.in_time(Part::Reads, app.engine.orders(&query)).await
    };
    let mut orders = match filter.statuses.as_slice() {
        [] => return read(filter.query.clone()).await,
        [status] => return read(filter.query.clone().with_status(*status)).await,
        statuses => {
            let mut orders = Vec::new();
            for status in statuses {
                orders.extend(read(filter.query.clone().with_status(*status)).await?);
            }
            orders
        }
    };
    orders.sort_unstable_by_key(id_of);
    if filter.query.sort == Sort::NewestFirst {
        orders.reverse();
    }
    // An order that changed its status meanwhile was found with both.
    orders.dedup_by_key(|listed| id_of(listed));
    orders.truncate(filter.query.limit as usize);
    Ok(orders)
}

impl Filter {
    /// Whether an order is of the token. Of one that cannot be decoded nobody knows.
    fn has_token(&self, listed: &Result<Order, UndecodableOrder>) -> bool {
        let Some(token) = &self.token else { return true };
        let request = listed.as_ref().ok().map(|order| &order.request);
        request.is_some_and(|request| [&request.input.mint, &request.output.mint].contains(&&token.mint))
    }
}

fn read_filter(app: &AppState, params: &Params) -> Result<Filter, Problem> {
    let mut query = OrderQuery::new(params.limit(PAGE, PAGE_MAX)?);
    query.user_id = params.user_id()?;
    query.attention = read_attention(params)?;
    query.sort = read_sort(params)?;
    // Ids grow with the times at which orders are placed.
    query.after =
        read_time(params, "from")?.map(|at| OrderId::new(at - TimeDelta::milliseconds(1), u128::MAX));
    query.before = read_time(params, "to")?.map(|at| OrderId::new(at, 0));
    if let Some(cursor) = params.text("cursor").map(read_cursor).transpose()? {
        query = past_cursor(query, cursor);
    }
    let read_token = |text: &str| {
        let message = "The token is not registered.";
        let token = app.tokens.find(text).cloned();
        token.ok_or_else(|| Problem::invalid_field("token", "unknown-token", message))
    };
    Ok(Filter {
        query,
        statuses: params.text("status").map_or(Ok(Vec::new()), read_statuses)?,
        token: params.text("token").map(read_token).transpose()?,
    })
}

fn read_statuses(text: &str) -> Result<Vec<Status>, Problem> {
    let read = |name: &str| {
        let status = Status::ALL.into_iter().find(|status| status.as_str() == name);
        status.ok_or_else(|| Problem::invalid_field("status", "invalid", "There is no such status."))
    };
    let mut statuses = text.split(',').map(read).collect::<Result<Vec<_>, _>>()?;
    statuses.sort_unstable_by_key(|status| status.as_str());
    statuses.dedup();
    Ok(statuses)
}

fn read_cursor(text: &str) -> Result<OrderId, Problem> {
    parse_order_id(text).ok_or_else(|| Problem::invalid_field("cursor", "invalid", "This is no cursor."))
}

/// Narrows a query to what follows a cursor. A cursor that lies outside of the bounds does not widen them.
fn past_cursor(mut query: OrderQuery, cursor: OrderId) -> OrderQuery {
    match query.sort {
        Sort::NewestFirst => query.before = Some(query.before.map_or(cursor, |before| before.min(cursor))),
        Sort::OldestFirst => query.after = Some(query.after.map_or(cursor, |after| after.max(cursor))),
    }
    query
}

fn read_time(params: &Params, name: &str) -> Result<Option<DateTime<Utc>>, Problem> {
    let read = |text: &str| {
        let at = DateTime::parse_from_rfc3339(text).map(Into::into);
        at.map_err(|_| Problem::invalid_field(name, "invalid", "Must be an RFC 3339 time."))
    };
    params.text(name).map(read).transpose()
}

fn read_sort(params: &Params) -> Result<Sort, Problem> {
    match params.text("sort") {
        None | Some("newest") => Ok(Sort::NewestFirst),
        Some("oldest") => Ok(Sort::OldestFirst),
        Some(_) => Err(Problem::invalid_field("sort", "invalid", "Must be newest or oldest.")),
    }
}

/// Returns whether the list is limited to orders that need attention.
fn read_attention(params: &Params) -> Result<bool, Problem> {
    match params.text("attention") {
        None => Ok(false),
        Some("any") => Ok(true),
        Some(_) => Err(Problem::invalid_field("attention", "invalid", "Must be any.")),
    }
}
