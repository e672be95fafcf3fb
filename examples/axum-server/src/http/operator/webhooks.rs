//! The webhooks of all users: how they are, what was sent to them, and to send it once more.

use axum::Json;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use super::act::{Act, Asked, Kind};
use crate::app::AppState;
use crate::http::params::Params;
use crate::http::webhooks::body::EndpointBody;
use crate::http::webhooks::deliveries::{EventName, LogPage};
use crate::http::webhooks::path::webhooks;
use crate::store_watch::Part;
use crate::webhooks::endpoint::{Endpoint, EndpointId, EndpointStatus};
use crate::wire::problem::Problem;

/// How many webhooks a page has unless the request says so, and at most.
const PAGE: u32 = 50;
const PAGE_MAX: u32 = 200;
/// How many webhooks a request reads at a time, and how often: of those with a status, many others may lie in between.
const READ: usize = 200;
const READS_MAX: usize = 5;

/// `GET /api/operator/webhooks?status=&limit=&cursor=`: the webhooks of all users, by their ids.
#[derive(Debug, Serialize)]
pub(crate) struct ListWebhooks {
    /// Only those with one of these statuses, if there are any.
    #[serde(rename = "status")]
    statuses: Vec<&'static str>,
    limit: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    cursor: Option<EndpointId>,
}

/// A page of webhooks. It may have fewer than were asked for, also where there is a next one.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = AllWebhooks)]
pub(crate) struct AllWebhooksBody<'a> {
    webhooks: Vec<EndpointBody<'a>>,
    /// Where the next page begins; `null` for the last page.
    #[schema(value_type = Option<String>)]
    next_cursor: Option<EndpointId>,
}

impl Act for ListWebhooks {
    const NAME: &'static str = "list-webhooks";
    const KIND: Kind = Kind::Look;

    async fn read(app: &AppState, asked: Asked) -> Result<Self, Problem> {
        webhooks(app)?;
        asked.fields.finish()?;
        let params = asked.params.only(&["status", "limit", "cursor"])?;
        let cursor = |text: &str| {
            text.parse().map_err(|_| Problem::invalid_field("cursor", "invalid", "This is no cursor."))
        };
        Ok(Self {
            statuses: statuses(&params)?,
            limit: params.limit(PAGE, PAGE_MAX)?,
            cursor: params.text("cursor").map(cursor).transpose()?,
        })
    }

    async fn perform(self, app: &AppState) -> Result<Response, Problem> {
        let (endpoints, next_cursor) = self.find(app).await?;
        let webhooks = endpoints.iter().map(EndpointBody::new).collect();
        Ok(Json(AllWebhooksBody { webhooks, next_cursor }).into_response())
    }
}

impl ListWebhooks {
    /// Returns the endpoints of the page, and where the next one begins.
    async fn find(&self, app: &AppState) -> Result<(Vec<Endpoint>, Option<EndpointId>), Problem> {
        let (store, limit) = (&webhooks(app)?.store, self.limit as usize);
        let (mut found, mut place) = (Vec::new(), self.cursor);
        for _ in 0..READS_MAX {
            let read = app.store_watch.in_time(Part::Reads, store.all(place, READ)).await?;
            let is_last = read.len() < READ;
            for endpoint in read {
                if found.len() == limit {
                    return Ok((found, place));
                }
                place = Some(endpoint.id);
                if self.wants(&endpoint) {
                    found.push(endpoint);
                }
            }
            if is_last {
                return Ok((found, None));
            }
        }
        Ok((found, place))
    }

    fn wants(&self, endpoint: &Endpoint) -> bool {
        self.statuses.is_empty() || self.statuses.contains(&endpoint.status().as_str())
    }
}

fn statuses(params: &Params) -> Result<Vec<&'static str>, Problem> {
    let read = |name: &str| {
        let status = EndpointStatus::ALL.map(EndpointStatus::as_str).into_iter().find(|known| *known == name);
        status.ok_or_else(|| Problem::invalid_field("status", "invalid", "There is no such status."))
    };
    params.text("status").map_or(Ok(Vec::new()), |text| text.split(',').map(read).collect())
}

/// `GET /api/operator/webhooks/{webhookId}/deliveries?limit=&cursor=`: what was sent to a webhook of whichever user.
#[derive(Debug, Serialize)]
pub(crate) struct ListDeliveries {
    #[serde(skip)]
    id: EndpointId,
    #[serde(flatten)]
    page: LogPage,
}

impl Act for ListDeliveries {
    const NAME: &'static str = "list-deliveries";
    const KIND: Kind = Kind::Look;

    async fn read(app: &AppState, asked: Asked) -> Result<Self, Problem> {
        webhooks(app)?;
        let id = asked.webhook()?;
        asked.fields.finish()?;
        Ok(Self { id, page: LogPage::read(asked.params)? })
    }

    fn target(&self) -> Option<String> {
        Some(self.id.to_string())
    }

    async fn perform(self, app: &AppState) -> Result<Response, Problem> {
        load(app, self.id).await?;
        self.page.of(app, self.id).await.map(|page| Json(page).into_response())
    }
}

/// `POST /api/operator/webhooks/{webhookId}/redeliver`: sends an event of its user to a webhook once more.
#[derive(Debug, Serialize)]
pub(crate) struct Redeliver {
    #[serde(skip)]
    id: EndpointId,
    #[serde(flatten)]
    event: EventName,
}

impl Act for Redeliver {
    const NAME: &'static str = "redeliver";
    const KIND: Kind = Kind::Change;

    async fn read(app: &AppState, asked: Asked) -> Result<Self, Problem> {
        webhooks(app)?;
        let id = asked.webhook()?;
        asked.params.only(&[])?;
        Ok(Self { id, event: EventName::read(asked.fields)? })
    }

    fn target(&self) -> Option<String> {
        Some(self.id.to_string())
    }

    async fn perform(self, app: &AppState) -> Result<Response, Problem> {
        let endpoint = load(app, self.id).await?;
        self.event.send(app, &endpoint).await.map(|attempt| Json(attempt).into_response())
    }
}

async fn load(app: &AppState, id: EndpointId) -> Result<Endpoint, Problem> {
    let found = app.store_watch.in_time(Part::Reads, webhooks(app)?.store.endpoint(id)).await?;
    found.ok_or_else(Problem::webhook_not_found)
}
