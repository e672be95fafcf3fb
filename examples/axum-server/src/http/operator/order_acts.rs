//! What operators do with one order, and need say nothing for: cancel, try again, release from quarantine, make due.

use std::marker::PhantomData;

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use order_engine_core::{ChangeError, OrderId, Retry, RetryError, SubmitError};
use serde::Serialize;
use utoipa::ToSchema;

use super::act::{Act, Asked, Kind};
use super::order::{change, conflict, is_unreadable, load, shown};
use crate::app::AppState;
use crate::http::cancel::cancel_order;
use crate::store_watch::Part;
use crate::wire::problem::Problem;
use crate::wire::status::StatusBody;

/// What is done with an order.
pub(crate) trait Verb: 'static {
    /// Its name in the audit log.
    const NAME: &'static str;

    /// Does it.
    fn perform(app: &AppState, id: OrderId) -> impl Future<Output = Result<Response, Problem>> + Send;
}

/// An act on an order that needs nothing said.
#[derive(Debug, Serialize)]
pub(crate) struct OnOrder<V> {
    #[serde(skip)]
    id: OrderId,
    #[serde(skip)]
    verb: PhantomData<fn() -> V>,
}

impl<V: Verb> Act for OnOrder<V> {
    const NAME: &'static str = V::NAME;
    const KIND: Kind = Kind::Change;

    async fn read(_: &AppState, asked: Asked) -> Result<Self, Problem> {
        let id = asked.order()?;
        asked.finish()?;
        Ok(Self { id, verb: PhantomData })
    }

    fn target(&self) -> Option<String> {
        Some(self.id.to_string())
    }

    async fn perform(self, app: &AppState) -> Result<Response, Problem> {
        V::perform(app, self.id).await
    }
}

/// `POST /api/operator/orders/{orderId}/cancel`: cancels an order of whichever user.
#[derive(Debug)]
pub(crate) enum CancelOrder {}

impl Verb for CancelOrder {
    const NAME: &'static str = "cancel";

    async fn perform(app: &AppState, id: OrderId) -> Result<Response, Problem> {
        let (status, body) = cancel_order(app, id).await?;
        Ok((status, Json(body)).into_response())
    }
}

/// `POST /api/operator/orders/{orderId}/retry`: makes a new order of a failed one.
#[derive(Debug)]
pub(crate) enum RetryOrder {}

impl Verb for RetryOrder {
    const NAME: &'static str = "retry";

    async fn perform(app: &AppState, id: OrderId) -> Result<Response, Problem> {
        let retry = async {
            match app.engine.retry(id).await {
                Err(RetryError::Change(error)) => Err(error),
                Err(RetryError::Submit(SubmitError::Store(error))) => Err(ChangeError::Store(error)),
                Err(RetryError::Submit(error)) => Ok(Some(Err(not_accepted(&error)))),
                Err(error) => Ok(Some(Err(not_accepted(&error)))),
                Ok(retry) => Ok(retry.map(Ok)),
            }
        };
        match change(app, retry).await?? {
            Retry::Created(order) => {
                Ok((StatusCode::CREATED, Json(StatusBody::listed(&order))).into_response())
            }
            Retry::Existing(order) => Ok(shown(&order)),
            Retry::NotFailed(order) => {
                Err(conflict("not-failed", "Only an order that has failed is tried again.", &order))
            }
            Retry::NameTaken(order) => {
                let detail = format!("The user gave the name of the new order to another one, {}.", order.id);
                Err(Problem::new(StatusCode::CONFLICT, "name-taken", detail))
            }
        }
    }
}

fn not_accepted(error: &(dyn std::error::Error + 'static)) -> Problem {
    match error.downcast_ref::<SubmitError>() {
        Some(SubmitError::ShuttingDown) => Problem::shutting_down(),
        Some(SubmitError::Paused(_)) => {
            Problem::unavailable("paused", "New orders are not accepted at the moment.")
        }
        _ => {
            let detail = format!("The order is not acceptable any more: {error}.");
            Problem::new(StatusCode::CONFLICT, "not-acceptable", detail)
        }
    }
}

/// `POST /api/operator/orders/{orderId}/release`: lifts the quarantine of an order.
#[derive(Debug)]
pub(crate) enum ReleaseOrder {}

impl Verb for ReleaseOrder {
    const NAME: &'static str = "release";

    async fn perform(app: &AppState, id: OrderId) -> Result<Response, Problem> {
        let order = load(app, id).await?;
        if order.state.quarantine().is_none() {
            return Err(conflict("not-quarantined", "The order is not in quarantine.", &order.into()));
        }
        change(app, Box::pin(app.engine.lift_quarantine(id))).await.map(|order| shown(&order))
    }
}

/// `POST /api/operator/orders/{orderId}/make-due`: ends the wait of an order, also of one that this server could not decode.
#[derive(Debug)]
pub(crate) enum MakeOrderDue {}

/// The answer.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = MadeDue)]
pub(crate) struct MadeDueBody {
    #[schema(value_type = String, format = Uuid)]
    order_id: OrderId,
}

impl Verb for MakeOrderDue {
    const NAME: &'static str = "make-due";

    async fn perform(app: &AppState, id: OrderId) -> Result<Response, Problem> {
        let call = async {
            match app.engine.order(id).await {
                Ok(None) => return Ok(None),
                Ok(Some(_)) => {}
                Err(error) if is_unreadable(&error) => {}
                Err(error) => return Err(error),
            }
            app.engine.make_due(id).await.map(Some)
        };
        let made_due = app.store_watch.in_time(Part::Writes, call).await?;
        made_due.ok_or_else(Problem::order_not_found)?;
        Ok(Json(MadeDueBody { order_id: id }).into_response())
    }
}
