//! Handlers behind the gate. A route is made of a handler and of what it needs, so there is none without a rule.

use std::pin::Pin;

use axum::extract::{MatchedPath, Request};
use axum::handler::Handler;
use axum::response::{IntoResponse, Response};
use metrics::counter;

use crate::app::AppState;
use crate::gate::Needs;
use crate::limits::rate::tell;
use crate::wire::problem::Problem;

/// A handler behind the gate.
#[derive(Clone, Debug)]
pub(crate) struct Gated<H> {
    pub(crate) needs: Needs,
    pub(crate) handler: H,
}

impl<H, T> Handler<T, AppState> for Gated<H>
where
    H: Handler<T, AppState>,
    T: 'static,
{
    type Future = Pin<Box<dyn Future<Output = Response> + Send>>;

    fn call(self, request: Request, app: AppState) -> Self::Future {
        Box::pin(async move {
            let (mut parts, body) = request.into_parts();
            // Whoever notes the answer knows the route by it.
            let route = parts.extensions.get::<MatchedPath>().cloned();
            if let Some(route) = &route {
                tracing::Span::current().record("http.route", route.as_str());
            }
            let mut standings = Vec::new();
            let mut response = match app.gate.admit(self.needs, &parts, &mut standings).await {
                Ok(caller) => {
                    parts.extensions.insert(caller);
                    self.handler.call(Request::from_parts(parts, body), app).await
                }
                Err(problem) => refuse(problem),
            };
            tell(&standings, response.headers_mut());
            if let Some(route) = route {
                response.extensions_mut().insert(route);
            }
            response
        })
    }
}

/// Counts what is refused for its credential, its scope or its rate, and returns the answer.
pub(crate) fn refuse(problem: Problem) -> Response {
    counter!("order_engine_server_refusals_total", "code" => problem.code()).increment(1);
    problem.into_response()
}
