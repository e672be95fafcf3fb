//! What is paused: the list, and how operators set and end a pause.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use chrono::{DateTime, Utc};
use order_engine_core::{Activity, Pause, PauseScope, Token, UserId, VenueName};
use serde::Serialize;
use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::act::{Act, Asked, Kind, Operator};
use crate::app::AppState;
use crate::http::params::Params;
use crate::store_watch::Part;
use crate::tokens::TokenRegistry;
use crate::wire::fields::{Fields, ValueError, plain};
use crate::wire::name::{composed, read_name};
use crate::wire::order_form::USER_ID_MAX_CHARS;
use crate::wire::problem::Problem;
use crate::wire::serialize_time;

/// How many characters of a reason a store keeps.
const REASON_CHARS_MAX: usize = 500;

/// What is paused.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Pauses)]
pub(crate) struct PausesBody {
    pauses: Vec<PauseBody>,
}

#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Pause)]
struct PauseBody {
    #[schema(value_type = String)]
    activity: Activity,
    #[serde(flatten)]
    scope: ScopeBody,
    reason: String,
    #[serde(serialize_with = "serialize_time")]
    #[schema(value_type = String, format = DateTime)]
    since: DateTime<Utc>,
}

/// For which orders: those of all, of a venue, of a pair, or of a user.
#[derive(Debug, Default, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = PauseScope)]
struct ScopeBody {
    scope: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    venue: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    token_in: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    token_out: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user_id: Option<String>,
}

impl ScopeBody {
    /// Names tokens by their symbols where they are registered.
    fn new(scope: &PauseScope, tokens: &TokenRegistry) -> Self {
        let symbol = |mint: &String| Some(tokens.find(mint).map_or(mint, |token| &token.symbol).clone());
        match scope {
            PauseScope::All => Self { scope: "all", ..Self::default() },
            PauseScope::Venue(venue) => {
                Self { scope: "venue", venue: Some(venue.to_string()), ..Self::default() }
            }
            PauseScope::Pair { input, output } => {
                Self { scope: "pair", token_in: symbol(input), token_out: symbol(output), ..Self::default() }
            }
            PauseScope::User(user) => {
                Self { scope: "user", user_id: Some(user.to_string()), ..Self::default() }
            }
            // One that only a newer engine knows.
            _ => Self { scope: "other", ..Self::default() },
        }
    }
}

/// Returns what is paused now.
pub(super) async fn listed(app: &AppState) -> Result<PausesBody, Problem> {
    let pauses = app.store_watch.in_time(Part::Reads, app.engine.pauses()).await?;
    let body = |pause: Pause| PauseBody {
        activity: pause.activity,
        scope: ScopeBody::new(&pause.scope, &app.tokens),
        reason: pause.reason,
        since: pause.since,
    };
    Ok(PausesBody { pauses: pauses.into_iter().map(body).collect() })
}

/// List what is paused.
#[utoipa::path(
    get,
    path = "/api/operator/pauses",
    operation_id = "listPauses",
    tag = "Operators",
    responses((status = 200, description = "The pauses.", body = PausesBody)),
)]
pub(crate) async fn list(
    _: Operator,
    State(app): State<AppState>,
    params: Params,
) -> Result<Response, Problem> {
    params.only(&[])?;
    Ok(Json(listed(&app).await?).into_response())
}

/// `POST /api/operator/pauses`: pauses an activity for all orders, or for those of a venue, a pair or a user.
#[derive(Debug, Serialize)]
pub(crate) struct SetPause {
    activity: Activity,
    scope: PauseScope,
    reason: String,
}

/// `POST /api/operator/pauses/end`: ends a pause.
#[derive(Debug, Serialize)]
pub(crate) struct EndPause {
    activity: Activity,
    scope: PauseScope,
}

impl Act for SetPause {
    const NAME: &'static str = "pause";
    const KIND: Kind = Kind::Change;

    async fn read(app: &AppState, mut asked: Asked) -> Result<Self, Problem> {
        let what = read_what(&mut asked.fields, app);
        let reason = read_reason(&mut asked.fields);
        asked.finish()?;
        let ((activity, scope), reason) = what.zip(reason).ok_or_else(incomplete)?;
        if let PauseScope::Venue(name) = &scope {
            check_venue(app, name).await?;
        }
        Ok(Self { activity, scope, reason })
    }

    async fn perform(self, app: &AppState) -> Result<Response, Problem> {
        let pause = app.engine.pause(self.activity, self.scope, self.reason);
        app.store_watch.in_time(Part::Writes, pause).await?;
        Ok(Json(listed(app).await?).into_response())
    }
}

impl Act for EndPause {
    const NAME: &'static str = "resume";
    const KIND: Kind = Kind::Change;

    async fn read(app: &AppState, mut asked: Asked) -> Result<Self, Problem> {
        let what = read_what(&mut asked.fields, app);
        asked.finish()?;
        let (activity, scope) = what.ok_or_else(incomplete)?;
        Ok(Self { activity, scope })
    }

    async fn perform(self, app: &AppState) -> Result<Response, Problem> {
        let resume = app.engine.resume(self.activity, &self.scope);
        if !app.store_watch.in_time(Part::Writes, resume).await? {
            let detail = "There is no such pause.";
            return Err(Problem::new(StatusCode::NOT_FOUND, "no-such-pause", detail));
        }
        Ok(Json(listed(app).await?).into_response())
    }
}

/// Returns the problem of a pause with a missing part, which is never sent: the missing part has an error of its own.
fn incomplete() -> Problem {
    Problem::invalid(Vec::new())
}

/// Reads the reason of a pause.
pub(super) fn read_reason(fields: &mut Fields) -> Option<String> {
    if !fields.has("reason") {
        fields.reject("reason", "required", "The field is required.");
    }
    fields.read("reason", |value| read_name(&plain::<String>(value, "a string")?, REASON_CHARS_MAX))
}

fn read_what(fields: &mut Fields, app: &AppState) -> Option<(Activity, PauseScope)> {
    if !fields.has("activity") {
        fields.reject("activity", "required", "The field is required.");
    }
    let activity = fields.read("activity", read_activity);
    activity.zip(read_scope(fields, &app.tokens))
}

fn read_activity(value: &RawValue) -> Result<Activity, ValueError> {
    let text: String = plain(value, "a string")?;
    let activity = Activity::ALL.into_iter().find(|activity| activity.as_str() == text);
    activity.ok_or_else(|| ValueError::invalid("Must be accepting, routing or sending."))
}

/// Reads for which orders: one of `venue`, `userId`, or both tokens of a pair. Without any it is all of them.
fn read_scope(fields: &mut Fields, tokens: &TokenRegistry) -> Option<PauseScope> {
    let has_pair = fields.has("tokenIn") || fields.has("tokenOut");
    let given = [fields.has("venue"), fields.has("userId"), has_pair];
    if given.iter().filter(|is_given| **is_given).count() > 1 {
        fields.reject("venue", "conflict", "Give one of venue, userId, or tokenIn and tokenOut.");
    }
    let venue = fields.read("venue", |value| plain::<String>(value, "a string"));
    let user =
        fields.read("userId", |value| read_name(&plain::<String>(value, "a string")?, USER_ID_MAX_CHARS));
    let [input, output] = ["tokenIn", "tokenOut"].map(|name| {
        if has_pair && !fields.has(name) {
            fields.reject(name, "required", "A pair has two tokens.");
        }
        fields.read(name, |value| read_token(value, tokens))
    });
    match given {
        [true, false, false] => Some(PauseScope::Venue(VenueName::from(venue?.as_str()))),
        [false, true, false] => Some(PauseScope::User(UserId::new(composed(&user?)))),
        [false, false, true] => Some(PauseScope::Pair { input: input?.mint, output: output?.mint }),
        [false, false, false] => Some(PauseScope::All),
        _ => None,
    }
}

fn read_token(value: &RawValue, tokens: &TokenRegistry) -> Result<Token, ValueError> {
    let name: String = plain(value, "a token's symbol or mint")?;
    tokens
        .find(&name)
        .cloned()
        .ok_or_else(|| ValueError::new("unknown-token", "The token is not registered."))
}

/// Checks that there is a venue of this name: a pause of one that is mistyped would pause nothing.
async fn check_venue(app: &AppState, name: &VenueName) -> Result<(), Problem> {
    let health = async { Ok(app.engine.health().await) };
    let health = app.store_watch.in_time(Part::Reads, health).await?;
    let is_missing = health.missing_venues.contains(name);
    if is_missing || health.venues.iter().any(|venue| venue.name == *name) {
        return Ok(());
    }
    Err(Problem::invalid_field("venue", "unknown-venue", "There is no venue of this name."))
}
