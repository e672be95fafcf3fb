//! Path and query parameters.

use std::convert::Infallible;

use axum::extract::{FromRequestParts, Path, Query};
use axum::http::request::Parts;
use order_engine_core::{OrderId, UserId};

use crate::app::AppState;
use crate::auth::caller::Caller;
use crate::observe::request::about;
use crate::store_watch::Part;
use crate::wire::name::read_name;
use crate::wire::order_form::USER_ID_MAX_CHARS;
use crate::wire::problem::{FieldError, Problem};

/// The order that a path names, if the caller may see it. `None` stands for a text that is no order id and for an order of
/// somebody else, which are answered like an unknown order.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OrderInPath(pub(crate) Option<OrderId>);

impl FromRequestParts<AppState> for OrderInPath {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &AppState) -> Result<Self, Problem> {
        let caller = Caller::from_request_parts(parts, app).await?;
        let text = Path::<String>::from_request_parts(parts, app).await.ok();
        let id = text.and_then(|Path(text)| parse_order_id(&text));
        id.inspect(|id| about(*id));
        visible(app, &caller, id).await.map(Self)
    }
}

/// The order that the parameter `orderId` names, if the caller may see it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OrderInQuery(pub(crate) Option<OrderId>);

impl FromRequestParts<AppState> for OrderInQuery {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &AppState) -> Result<Self, Problem> {
        let caller = Caller::from_request_parts(parts, app).await?;
        let Ok(params) = Params::from_request_parts(parts, app).await;
        let id = params.text("orderId").and_then(parse_order_id);
        id.inspect(|id| about(*id));
        visible(app, &caller, id).await.map(Self)
    }
}

/// Returns an order's id if the caller may see the order.
pub(crate) async fn visible(
    app: &AppState,
    caller: &Caller,
    id: Option<OrderId>,
) -> Result<Option<OrderId>, Problem> {
    let Some(id) = id.filter(|_| caller.user().is_some()) else { return Ok(id) };
    let owner = match app.known.owner(id) {
        Some(owner) => Some(owner),
        None => app
            .store_watch
            .in_time(Part::Reads, app.engine.order(id))
            .await?
            .map(|order| order.request.user_id.clone()),
    };
    Ok(owner.filter(|owner| caller.sees(owner)).map(|_| id))
}

/// Reads an order id. Only its canonical form, in either case, is one.
pub(crate) fn parse_order_id(text: &str) -> Option<OrderId> {
    let id: OrderId = text.parse().ok()?;
    id.to_string().eq_ignore_ascii_case(text).then_some(id)
}

/// The query parameters.
#[derive(Debug, Default)]
pub(crate) struct Params(Vec<(String, String)>);

impl<S: Send + Sync> FromRequestParts<S> for Params {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Infallible> {
        let query = Query::<Vec<(String, String)>>::from_request_parts(parts, state).await;
        Ok(query.map(|Query(params)| Self(params)).unwrap_or_default())
    }
}

impl Params {
    /// Fails if there are others than these parameters, or one of them twice: a filter that is mistyped must not
    /// list everything.
    pub(crate) fn only(self, known: &[&str]) -> Result<Self, Problem> {
        let error = |(index, (name, _)): (usize, &(String, String))| {
            let (code, message) = if !known.contains(&name.as_str()) {
                ("unknown", "There is no such parameter.")
            } else if self.0[..index].iter().any(|(earlier, _)| earlier == name) {
                ("duplicate", "The parameter is given more than once.")
            } else {
                return None;
            };
            Some(FieldError { field: name.clone(), code, message: message.to_owned() })
        };
        let errors: Vec<FieldError> = self.0.iter().enumerate().filter_map(error).collect();
        if errors.is_empty() { Ok(self) } else { Err(Problem::invalid(errors)) }
    }

    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// Returns a parameter that is a whole number.
    pub(crate) fn number(&self, name: &str) -> Result<Option<u64>, Problem> {
        self.text(name).map(|text| parse_number(name, text)).transpose()
    }

    /// Returns how many entries a page shall have: what the parameter `limit` says, which may be at most `most`.
    pub(crate) fn limit(&self, unless_said: u32, most: u32) -> Result<u32, Problem> {
        let Some(limit) = self.number("limit")? else { return Ok(unless_said) };
        let limit = u32::try_from(limit).ok().filter(|limit| (1..=most).contains(limit));
        limit.ok_or_else(|| Problem::invalid_field("limit", "out-of-range", format!("Must be 1 to {most}.")))
    }

    /// Returns the user that the parameter `userId` names.
    pub(crate) fn user_id(&self) -> Result<Option<UserId>, Problem> {
        let read = |text| read_name(text, USER_ID_MAX_CHARS);
        let name = self.text("userId").map(read).transpose();
        let name = name.map_err(|error| Problem::invalid_field("userId", error.code, error.message))?;
        Ok(name.map(UserId::new))
    }

    /// Returns the number of the event after which to go on; 0 is before the first.
    pub(crate) fn after(&self) -> Result<u64, Problem> {
        Ok(self.number("after")?.unwrap_or(0))
    }
}

/// Reads a whole number, or returns the problem of the field.
pub(crate) fn parse_number(field: &str, text: &str) -> Result<u64, Problem> {
    text.parse().map_err(|_| Problem::invalid_field(field, "invalid", "Must be a whole number."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_and_repeated_parameters_are_named() {
        let only = |names: &[&str]| {
            let pairs = names.iter().map(|name| ((*name).to_owned(), "x".to_owned())).collect();
            let errors = |problem: Problem| -> Vec<(String, &str)> {
                problem.parts().2.iter().map(|error| (error.field.clone(), error.code)).collect()
            };
            Params(pairs).only(&["status", "limit"]).map(|_| ()).map_err(errors)
        };
        assert_eq!(only(&["limit", "status"]), Ok(()));
        assert_eq!(only(&["Status"]), Err(vec![("Status".to_owned(), "unknown")]));
        assert_eq!(only(&["limit", "limit"]), Err(vec![("limit".to_owned(), "duplicate")]));
    }

    #[test]
    fn an_order_id_has_one_canonical_form() {
        let id = "0190163d-8694-739b-aea5-966c26f8ad91";
        assert_eq!(parse_order_id(id).unwrap().to_string(), id);
        assert_eq!(parse_order_id(&id.to_uppercase()).unwrap().to_string(), id);
        for text in ["", "abc", "0190163d8694739baea5966c26f8ad91", "{0190163d-8694-739b-aea5-966c26f8ad91}"]
        {
            assert_eq!(parse_order_id(text), None, "{text}");
        }
    }
}
