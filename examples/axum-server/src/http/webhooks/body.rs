//! What the routes of webhooks read and answer.

use axum::body::Body;
use axum::http::HeaderMap;
use chrono::{DateTime, Utc};
use order_engine_core::UserId;
use serde::Serialize;
use serde_json::value::RawValue;
use utoipa::ToSchema;

use crate::http::body::{BODY_BYTES_MAX, read_fields};
use crate::webhooks::endpoint::{Endpoint, EndpointId, Reason};
use crate::webhooks::kinds::KINDS;
use crate::webhooks::target::{InvalidTarget, TargetRules, TargetUrl};
use crate::wire::fields::{Fields, ValueError, plain};
use crate::wire::name::read_name;
use crate::wire::order_form::USER_ID_MAX_CHARS;
use crate::wire::problem::Problem;
use crate::wire::{serialize_optional_time, serialize_time};

/// The longest description.
const DESCRIPTION_MAX_CHARS: usize = 200;

/// The schema of a new webhook.
#[derive(ToSchema)]
#[schema(as = WebhookForm, rename_all = "camelCase")]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "the fields are read one by one, so that all their errors are told")]
pub(crate) struct NewEndpointSchema {
    /// Where events are posted.
    url: String,
    /// The kinds of events; all without it.
    events: Option<Vec<String>>,
    #[schema(max_length = 200)]
    description: Option<String>,
    /// Whose. With authentication, it is the credential's.
    #[schema(max_length = 255, min_length = 1)]
    user_id: Option<String>,
}

/// The schema of a change of a webhook. What is missing stays as it is.
#[derive(ToSchema)]
#[schema(as = WebhookChange, rename_all = "camelCase")]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "the fields are read one by one, so that all their errors are told")]
pub(crate) struct ChangeSchema {
    url: Option<String>,
    events: Option<Vec<String>>,
    #[schema(max_length = 200)]
    description: Option<String>,
    /// Whether events are posted. A webhook that was given up starts again where it stopped.
    enabled: Option<bool>,
    /// With `enabled`: start behind all that waits.
    skip: Option<bool>,
}

/// What a client says of an endpoint. What is missing stays as it is.
#[derive(Debug, Default)]
pub(super) struct EndpointForm {
    pub(super) url: Option<TargetUrl>,
    pub(super) kinds: Option<Vec<String>>,
    pub(super) description: Option<String>,
    pub(super) is_enabled: Option<bool>,
    /// Whether what waits is left out.
    pub(super) skips: bool,
    pub(super) user: Option<UserId>,
}

impl EndpointForm {
    /// Reads the form of a new endpoint.
    pub(super) async fn of_new(
        headers: &HeaderMap,
        body: Body,
        rules: &TargetRules,
    ) -> Result<Self, Problem> {
        let mut fields = read_fields(headers, body, BODY_BYTES_MAX).await?;
        if !fields.has("url") {
            fields.reject("url", "required", "The field is required.");
        }
        let user = |value: &RawValue| read_name(&plain::<String>(value, "a string")?, USER_ID_MAX_CHARS);
        let user = fields.read("userId", user).map(UserId::new);
        let form = Self { user, ..Self::read(&mut fields, rules) };
        fields.finish()?;
        Ok(form)
    }

    /// Reads the form of a change.
    pub(super) async fn of_change(
        headers: &HeaderMap,
        body: Body,
        rules: &TargetRules,
    ) -> Result<Self, Problem> {
        let mut fields = read_fields(headers, body, BODY_BYTES_MAX).await?;
        let flag = |value: &RawValue| plain(value, "true or false");
        let is_enabled = fields.read("enabled", flag);
        let skips = fields.read("skip", flag).unwrap_or(false);
        if skips && is_enabled != Some(true) {
            fields.reject("skip", "invalid", "Goes with \"enabled\": true.");
        }
        let form = Self { is_enabled, skips, ..Self::read(&mut fields, rules) };
        fields.finish()?;
        Ok(form)
    }

    fn read(fields: &mut Fields, rules: &TargetRules) -> Self {
        Self {
            url: fields.read("url", |value| target(value, rules)),
            kinds: fields.read("events", kinds),
            description: fields.read("description", description),
            ..Self::default()
        }
    }
}

fn target(value: &RawValue, rules: &TargetRules) -> Result<TargetUrl, ValueError> {
    let text: String = plain(value, "a string")?;
    TargetUrl::parse(&text, rules).map_err(|error| {
        let code = match error {
            InvalidTarget::Malformed => "invalid",
            InvalidTarget::Scheme | InvalidTarget::NoTls => "scheme-refused",
            InvalidTarget::Credentials => "credentials-refused",
            InvalidTarget::Fragment => "fragment-refused",
            InvalidTarget::Port => "port-refused",
            InvalidTarget::Address => "address-refused",
        };
        ValueError::new(code, error.to_string())
    })
}

/// Reads the kinds of events, each once. An empty list stands for all of them.
fn kinds(value: &RawValue) -> Result<Vec<String>, ValueError> {
    let mut kinds: Vec<String> = plain(value, "a list of strings")?;
    if kinds.iter().any(|kind| !KINDS.contains(&kind.as_str())) {
        return Err(ValueError::invalid(format!("Each must be one of {}.", KINDS.join(", "))));
    }
    kinds.sort_unstable();
    kinds.dedup();
    Ok(kinds)
}

fn description(value: &RawValue) -> Result<String, ValueError> {
    let text: String = plain(value, "a string")?;
    if text.is_empty() { Ok(text) } else { read_name(&text, DESCRIPTION_MAX_CHARS) }
}

/// An endpoint as its user sees it.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Webhook)]
pub(crate) struct EndpointBody<'a> {
    #[schema(value_type = String)]
    id: EndpointId,
    #[schema(value_type = String)]
    user_id: &'a UserId,
    url: &'a str,
    /// The kinds of events; all, if it is empty.
    events: &'a [String],
    description: &'a str,
    status: &'static str,
    #[serde(serialize_with = "serialize_time")]
    #[schema(value_type = String, format = DateTime)]
    created_at: DateTime<Utc>,
    #[schema(value_type = Option<String>)]
    disabled_reason: Option<Reason>,
    #[serde(serialize_with = "serialize_optional_time")]
    #[schema(value_type = Option<String>, format = DateTime)]
    disabled_at: Option<DateTime<Utc>>,
    failures: u32,
    #[serde(serialize_with = "serialize_optional_time")]
    #[schema(value_type = Option<String>, format = DateTime)]
    failing_since: Option<DateTime<Utc>>,
    #[serde(serialize_with = "serialize_optional_time")]
    #[schema(value_type = Option<String>, format = DateTime)]
    next_attempt_at: Option<DateTime<Utc>>,
    last_error: Option<&'a str>,
    #[serde(serialize_with = "serialize_optional_time")]
    #[schema(value_type = Option<String>, format = DateTime)]
    last_success_at: Option<DateTime<Utc>>,
    /// Until when the secret before the current one signs as well.
    #[serde(serialize_with = "serialize_optional_time")]
    #[schema(value_type = Option<String>, format = DateTime)]
    previous_secret_until: Option<DateTime<Utc>>,
    /// Only where it is shown on purpose.
    #[serde(skip_serializing_if = "Option::is_none")]
    secret: Option<&'a str>,
}

impl<'a> EndpointBody<'a> {
    pub(crate) fn new(endpoint: &'a Endpoint) -> Self {
        let Endpoint { settings, progress, .. } = endpoint;
        Self {
            id: endpoint.id,
            user_id: &endpoint.user,
            url: settings.url.as_str(),
            events: &settings.kinds,
            description: &settings.description,
            status: endpoint.status().as_str(),
            created_at: endpoint.created_at,
            disabled_reason: progress.disabled.as_ref().map(|disabled| disabled.reason),
            disabled_at: progress.disabled.as_ref().map(|disabled| disabled.at),
            failures: progress.failures,
            failing_since: progress.failing_since,
            next_attempt_at: progress.next_attempt_at,
            last_error: progress.last_error.as_deref(),
            last_success_at: progress.last_success_at,
            previous_secret_until: settings.secrets.former_until(Utc::now()),
            secret: None,
        }
    }

    /// Returns the answer that tells the user the secret, once.
    pub(super) fn with_secret(endpoint: &'a Endpoint) -> Self {
        Self { secret: Some(endpoint.settings.secrets.current().reveal()), ..Self::new(endpoint) }
    }
}
