//! What needs an operator, and how the engine is.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use chrono::{DateTime, Utc};
use order_engine_core::telemetry::chain;
use order_engine_core::{
    Activity, Backlog, ChainView, Durability, Health, LaneBacklog, OrderId, OrderQuery, PartHealth,
    PauseScope, SinkBacklog, VenueHealth,
};
use serde::Serialize;
use utoipa::ToSchema;

use super::act::{Act, Asked, Kind, Operator};
use crate::app::AppState;
use crate::http::params::{Params, parse_order_id};
use crate::store_watch::Part;
use crate::wire::problem::Problem;
use crate::wire::serialize_time;
use crate::wire::status::{ListedBody, id_of};

/// How many orders a page has unless the request says so, and at most.
const PAGE: u32 = 50;
const PAGE_MAX: u32 = 200;
/// How long the store may take to say how it is.
const STORE_TIME_MAX: Duration = Duration::from_secs(1);

/// `GET /api/operator/attention?limit=&cursor=`: the orders of all users that need an operator, the newest first.
#[derive(Debug, Serialize)]
pub(crate) struct ListAttention {
    limit: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    cursor: Option<OrderId>,
}

#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = AttentionList)]
pub(crate) struct AttentionBody {
    orders: Vec<ListedBody>,
    /// Where the next page begins; `null` for the last page.
    #[schema(value_type = Option<String>, format = Uuid)]
    next_cursor: Option<OrderId>,
}

impl Act for ListAttention {
    const NAME: &'static str = "list-attention";
    const KIND: Kind = Kind::Look;

    async fn read(_: &AppState, asked: Asked) -> Result<Self, Problem> {
        asked.fields.finish()?;
        let params = asked.params.only(&["limit", "cursor"])?;
        let cursor = |text| {
            parse_order_id(text)
                .ok_or_else(|| Problem::invalid_field("cursor", "invalid", "This is no cursor."))
        };
        Ok(Self {
            limit: params.limit(PAGE, PAGE_MAX)?,
            cursor: params.text("cursor").map(cursor).transpose()?,
        })
    }

    async fn perform(self, app: &AppState) -> Result<Response, Problem> {
        // One order more than the page has shows whether there is a next page.
        let mut query = OrderQuery::new(self.limit + 1).with_attention();
        query.before = self.cursor;
        let mut orders = app.store_watch.in_time(Part::Reads, app.engine.orders(&query)).await?;
        let has_more = orders.len() > self.limit as usize;
        orders.truncate(self.limit as usize);
        let next_cursor = orders.last().filter(|_| has_more).map(id_of);
        let orders = orders.iter().map(ListedBody::new).collect();
        Ok(Json(AttentionBody { orders, next_cursor }).into_response())
    }
}

/// How the engine of this process is, and what waits in the store of all processes.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[allow(clippy::struct_excessive_bools, reason = "clients read each by its name")]
#[schema(as = Stats)]
pub(crate) struct StatsBody {
    #[serde(serialize_with = "serialize_time")]
    #[schema(value_type = String, format = DateTime)]
    time: DateTime<Utc>,
    durability: &'static str,
    /// Whether the store takes writes.
    is_writable: bool,
    /// What waits; `null` if the store does not say.
    backlog: Option<BacklogBody>,
    /// Whether the kill switch is on: accepting and sending are paused for everything.
    is_halted: bool,
    pauses: usize,
    workers: usize,
    is_stalled: bool,
    sources_connected: bool,
    is_stopping: bool,
    streams: usize,
    venues: Vec<VenueBody>,
    missing_venues: Vec<String>,
    panicked: Vec<PanickedBody>,
}

#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Backlog)]
struct BacklogBody {
    execute: LaneBody,
    observe: LaneBody,
    attention: u64,
    sinks: Vec<SinkBody>,
}

#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Lane)]
struct LaneBody {
    orders: u64,
    due: u64,
    due_for_ms: Option<u64>,
}

#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = SinkBacklog)]
struct SinkBody {
    sink: String,
    orders: u64,
    pending_for_ms: Option<u64>,
}

#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = VenueHealth)]
struct VenueBody {
    name: String,
    is_building: bool,
    is_observing: bool,
    view: Option<ViewBody>,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ChainView)]
struct ViewBody {
    processed: u64,
    confirmed: u64,
    finalized: u64,
}

#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Panicked)]
struct PanickedBody {
    name: &'static str,
    panics: u64,
    last_panic: String,
    is_resting: bool,
}

/// How the engine is, and what waits. It shows nobody's orders.
#[utoipa::path(
    get,
    path = "/api/operator/stats",
    operation_id = "getStats",
    tag = "Operators",
    responses((status = 200, description = "The state of the engine.", body = StatsBody)),
)]
pub(crate) async fn stats(
    _: Operator,
    State(app): State<AppState>,
    params: Params,
) -> Result<Json<StatsBody>, Problem> {
    params.only(&[])?;
    let health = tokio::time::timeout(STORE_TIME_MAX, app.engine.health());
    let silent = |_| Problem::unavailable("store-unavailable", "The store does not answer. Try again.");
    let health = health.await.map_err(silent)?;
    let pauses = app.store_watch.in_time(Part::Reads, app.engine.pauses()).await?;
    let is_paused = |activity: Activity| {
        pauses.iter().any(|pause| pause.activity == activity && pause.scope == PauseScope::All)
    };
    let is_halted = is_paused(Activity::Accepting) && is_paused(Activity::Sending);
    Ok(Json(StatsBody::new(&app, health, is_halted, pauses.len())))
}

impl StatsBody {
    fn new(app: &AppState, health: Health, is_halted: bool, pauses: usize) -> Self {
        if let Err(error) = &health.store {
            tracing::warn!(error = %chain(error), "the store cannot say what waits");
        }
        Self {
            time: Utc::now(),
            durability: durability(health.durability),
            is_writable: health.store.is_ok(),
            is_halted,
            pauses,
            workers: health.workers,
            is_stalled: health.is_stalled(),
            sources_connected: health.sources_connected,
            is_stopping: health.is_stopping || app.is_draining(),
            streams: app.sockets.total(),
            backlog: health.store.as_ref().ok().map(BacklogBody::new),
            venues: health.venues.iter().map(VenueBody::new).collect(),
            missing_venues: health.missing_venues.iter().map(ToString::to_string).collect(),
            panicked: health.panicked.into_iter().map(PanickedBody::new).collect(),
        }
    }
}

const fn durability(durability: Durability) -> &'static str {
    match durability {
        Durability::Full => "full",
        Durability::BoundedLoss => "bounded-loss",
        Durability::Volatile => "volatile",
        // One that only a newer engine knows.
        _ => "unknown",
    }
}

fn ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

impl BacklogBody {
    fn new(backlog: &Backlog) -> Self {
        Self {
            execute: LaneBody::new(backlog.execute),
            observe: LaneBody::new(backlog.observe),
            attention: backlog.attention,
            sinks: backlog.sinks.iter().map(SinkBody::new).collect(),
        }
    }
}

impl LaneBody {
    fn new(lane: LaneBacklog) -> Self {
        Self { orders: lane.orders, due: lane.due, due_for_ms: lane.due_for.map(ms) }
    }
}

impl SinkBody {
    fn new(backlog: &SinkBacklog) -> Self {
        Self {
            sink: backlog.sink.to_string(),
            orders: backlog.orders,
            pending_for_ms: backlog.pending_for.map(ms),
        }
    }
}

impl VenueBody {
    fn new(venue: &VenueHealth) -> Self {
        let view =
            |ChainView { processed, confirmed, finalized, .. }| ViewBody { processed, confirmed, finalized };
        Self {
            name: venue.name.to_string(),
            is_building: venue.is_building,
            is_observing: venue.is_observing,
            view: venue.view.map(view),
        }
    }
}

impl PanickedBody {
    fn new(PartHealth { name, panics, last_panic, is_resting, .. }: PartHealth) -> Self {
        Self { name, panics, last_panic, is_resting }
    }
}
