//! The broker's interface: a few routes with JSON. Whoever reaches it may trade; put your authentication before
//! it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post, put};
use axum::{Json, Router};
use metrics_exporter_prometheus::PrometheusHandle;
use order_engine_core::telemetry::chain;
use order_engine_core::{
    Amount, Attention, Cancellation, ChangeError, Deadline, EventRecord, Order, OrderId, OrderRequest,
    StoreError, SubmitError, Token, UserId,
};
use serde::Deserialize;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::broker::{Broker, PlaceError};

/// The longest that a client may wait for the end of an order.
const WAIT_MAX: Duration = Duration::from_secs(30);

/// What all requests share.
#[derive(Clone)]
struct App {
    broker: Broker,
    tokens: Arc<[Token]>,
    metrics: PrometheusHandle,
}

/// Returns the routes.
pub fn routes(broker: Broker, tokens: Vec<Token>, metrics: PrometheusHandle) -> Router {
    Router::new()
        .route("/deposits/{id}", put(deposit))
        .route("/orders", post(place))
        .route("/orders/{id}", get(order).delete(cancel))
        .route("/orders/{id}/retry", post(retry))
        .route("/accounts/{user}", get(account))
        .route("/metrics", get(async |State(app): State<App>| app.metrics.render()))
        .with_state(App { broker, tokens: tokens.into(), metrics })
}

#[derive(Deserialize)]
struct DepositForm {
    user: UserId,
    token: String,
    amount: Amount,
}

async fn deposit(
    State(app): State<App>,
    Path(id): Path<Uuid>,
    Json(form): Json<DepositForm>,
) -> Result<Json<Value>, Problem> {
    let is_new = app.broker.deposit(id, &form.user, app.token(&form.token)?, form.amount).await?;
    Ok(Json(json!({ "is_new": is_new })))
}

/// An order as clients place it: amounts in base units, tokens by their symbols.
#[derive(Deserialize)]
struct OrderForm {
    user: UserId,
    key: String,
    input: String,
    output: String,
    amount: Amount,
    #[serde(default)]
    deadline_ms: Option<u64>,
}

async fn place(State(app): State<App>, Json(form): Json<OrderForm>) -> Result<Response, Problem> {
    let (input, output) = (app.token(&form.input)?.clone(), app.token(&form.output)?.clone());
    let mut request = OrderRequest::new(form.user, input, output, form.amount).with_client_order_id(form.key);
    if let Some(ms) = form.deadline_ms {
        request = request.with_deadline(Deadline::After(Duration::from_millis(ms)));
    }
    let placed = app.broker.place(request).await?;
    Ok((StatusCode::ACCEPTED, Json(document(&placed.order, placed.is_new))).into_response())
}

#[derive(Deserialize)]
struct Wait {
    /// How long to wait for the end of the order.
    #[serde(default)]
    wait_ms: u64,
}

async fn order(
    State(app): State<App>,
    Path(id): Path<OrderId>,
    Query(wait): Query<Wait>,
) -> Result<Json<Value>, Problem> {
    let wait = Duration::from_millis(wait.wait_ms).min(WAIT_MAX);
    let engine = app.broker.engine();
    let order = match tokio::time::timeout(wait, engine.wait(id)).await {
        Ok(Ok(ended)) => ended,
        // It has not ended, or this process is about to end: as it is now.
        Ok(Err(_)) | Err(_) => engine.order(id).await?,
    };
    let order = order.ok_or(PlaceError::Unknown)?;
    // The status of an order that waits is the one in which it stopped; its last event says what it waits for.
    let last = engine.events(id, order.seq - 1, 1).await?;
    let mut document = document(&order, false);
    document["message"] = last.first().map(EventRecord::message).into();
    Ok(Json(document))
}

async fn cancel(State(app): State<App>, Path(id): Path<OrderId>) -> Result<Json<Value>, Problem> {
    let cancellation = app.broker.engine().cancel(id).await?.ok_or(PlaceError::Unknown)?;
    let order = match cancellation {
        Cancellation::Cancelled(order) | Cancellation::Pending(order) | Cancellation::TooLate(order) => order,
    };
    Ok(Json(document(&order, false)))
}

async fn retry(State(app): State<App>, Path(id): Path<OrderId>) -> Result<Json<Value>, Problem> {
    let placed = app.broker.retry(id).await?;
    Ok(Json(document(&placed.order, placed.is_new)))
}

async fn account(
    State(app): State<App>,
    Path(user): Path<UserId>,
) -> Result<Json<BTreeMap<String, Amount>>, Problem> {
    let balances = app.broker.balances(&user).await?;
    let by_symbol =
        |(mint, amount)| Some((app.tokens.iter().find(|t| t.mint == mint)?.symbol.clone(), amount));
    Ok(Json(balances.into_iter().filter_map(by_symbol).collect()))
}

fn document(order: &Order, is_new: bool) -> Value {
    json!({
        "id": order.id,
        "is_new": is_new,
        "status": order.status(),
        "attempt": order.state.attempt(),
        "amount_out": order.state.fill().map(|fill| fill.amount_out),
        "attention": order.state.attention().map(Attention::as_str),
        "failure": order.state.failure().map(|failure| failure.message.clone()),
    })
}

impl App {
    fn token(&self, symbol: &str) -> Result<&Token, Problem> {
        let token = self.tokens.iter().find(|token| token.symbol == symbol);
        token.ok_or_else(|| Problem(StatusCode::UNPROCESSABLE_ENTITY, format!("unknown token {symbol:?}")))
    }
}

/// An answer that is not the one the client hoped for. After a 503 the same request may be repeated.
struct Problem(StatusCode, String);

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        (self.0, Json(json!({ "error": self.1 }))).into_response()
    }
}

impl From<PlaceError> for Problem {
    fn from(error: PlaceError) -> Self {
        let status = match &error {
            PlaceError::Unknown => StatusCode::NOT_FOUND,
            PlaceError::Conflict(_) | PlaceError::NotFailed => StatusCode::CONFLICT,
            PlaceError::Insufficient
            | PlaceError::Submit(SubmitError::Invalid(_) | SubmitError::Rejected(_)) => {
                StatusCode::UNPROCESSABLE_ENTITY
            }
            // Only the log says what is wrong with the database.
            _ => return unavailable(&error),
        };
        Self(status, error.to_string())
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        unavailable(&error)
    }
}

impl From<ChangeError> for Problem {
    fn from(error: ChangeError) -> Self {
        unavailable(&error)
    }
}

impl From<sqlx::Error> for Problem {
    fn from(error: sqlx::Error) -> Self {
        unavailable(&error)
    }
}

fn unavailable(error: &(dyn std::error::Error + 'static)) -> Problem {
    tracing::warn!(error = %chain(error), "a request was not served");
    Problem(StatusCode::SERVICE_UNAVAILABLE, "try again".to_owned())
}
