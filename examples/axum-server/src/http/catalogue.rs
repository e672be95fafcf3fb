//! The codes of problems, explained where their `type` leads.

use axum::Json;
use axum::extract::Path;
use axum::http::StatusCode;
use axum::http::header::CACHE_CONTROL;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use crate::wire::catalogue::{CATALOGUE, Entry};
use crate::wire::problem::Problem;

/// The codes of problems.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ProblemKinds)]
pub(crate) struct CatalogueBody {
    problems: Vec<Entry>,
}

/// List the codes of problems.
#[utoipa::path(
    get,
    path = "/problems",
    operation_id = "listProblems",
    tag = "Operations",
    responses((status = 200, description = "All codes.", body = CatalogueBody)),
)]
pub(crate) async fn list() -> Response {
    answer(CATALOGUE.to_vec())
}

/// Get what a code means: where the `type` of a problem leads.
#[utoipa::path(
    get,
    path = "/problems/{code}",
    operation_id = "getProblem",
    tag = "Operations",
    params(("code" = String, Path, description = "The code.")),
    responses((status = 200, description = "What the code means, with each status that it has.", body = CatalogueBody)),
)]
pub(crate) async fn one(Path(code): Path<String>) -> Result<Response, Problem> {
    let found: Vec<_> = CATALOGUE.iter().filter(|entry| entry.code == code).copied().collect();
    if found.is_empty() {
        return Err(Problem::new(StatusCode::NOT_FOUND, "not-found", "There is no such code."));
    }
    Ok(answer(found))
}

fn answer(problems: Vec<Entry>) -> Response {
    ([(CACHE_CONTROL, "no-cache")], Json(CatalogueBody { problems })).into_response()
}
