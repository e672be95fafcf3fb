//! Who makes a request.

use axum::extract::FromRequestParts;
use axum::http::StatusCode;
use axum::http::request::Parts;
use order_engine_core::UserId;

use crate::auth::scope::{Scope, Scopes};
use crate::auth::tenure::Tenure;
use crate::wire::name::composed;
use crate::wire::problem::Problem;

/// Who makes a request. Handlers get it from the gate in front of the routes.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    /// The user, or `None` for everybody who reaches a server without authentication.
    user: Option<UserId>,
    scopes: Scopes,
    tenure: Tenure,
}

impl Caller {
    /// Returns the user of a credential, whose name is compared as people see it.
    pub(crate) fn new(user: &str, scopes: Scopes, tenure: Tenure) -> Self {
        Self { user: Some(UserId::new(composed(user))), scopes, tenure }
    }

    /// Returns who asks a server without authentication: anyone, for anything.
    pub(crate) fn anyone() -> Self {
        Self { user: None, scopes: Scopes::of(&Scope::ALL), tenure: Tenure::default() }
    }

    /// Returns who asks for what needs no credential: somebody who may do nothing else.
    pub(crate) fn nobody() -> Self {
        // The name is no user's, so that nothing belongs to it.
        Self::new("", Scopes::default(), Tenure::default())
    }

    pub(crate) const fn user(&self) -> Option<&UserId> {
        self.user.as_ref()
    }

    pub(crate) const fn may(&self, scope: Scope) -> bool {
        self.scopes.has(scope)
    }

    /// Returns for how long the credential holds.
    pub(crate) const fn tenure(&self) -> &Tenure {
        &self.tenure
    }

    /// Returns whether the caller sees what belongs to a user.
    pub(crate) fn sees(&self, owner: &UserId) -> bool {
        self.user.as_ref().is_none_or(|user| user == owner)
    }

    /// Returns the user whose orders a request means that names this one, or none.
    pub(crate) fn acting_as(&self, named: Option<UserId>) -> Result<Option<UserId>, Problem> {
        match (&self.user, named) {
            (Some(user), Some(named)) if *user != named => Err(Problem::new(
                StatusCode::FORBIDDEN,
                "user-mismatch",
                "The credential is of another user than the one that the request names.",
            )),
            (Some(user), _) => Ok(Some(user.clone())),
            (None, named) => Ok(named),
        }
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        parts.extensions.get::<Self>().cloned().ok_or_else(|| {
            let detail = "The server did not find out who asks.";
            Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "no-caller", detail)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn caller(user: &str) -> Caller {
        Caller::new(user, Scopes::default(), Tenure::default())
    }

    #[test]
    fn a_user_acts_for_nobody_else() {
        let alice = caller("alice");
        let user = |name: &str| Some(UserId::new(name));
        assert_eq!(alice.acting_as(None).unwrap(), user("alice"));
        assert_eq!(alice.acting_as(user("alice")).unwrap(), user("alice"));
        for other in ["bob", "anonymous", "Alice"] {
            let refused = alice.acting_as(user(other)).unwrap_err();
            let (status, code, _) = refused.parts();
            assert_eq!((status, code), (403, "user-mismatch"), "{other}");
        }
        assert_eq!(caller("Zoe\u{308}").user(), user("Zo\u{eb}").as_ref());
        assert!(alice.sees(&UserId::new("alice")) && !alice.sees(&UserId::new("bob")));
    }

    #[test]
    fn without_authentication_everybody_acts_for_everybody() {
        let anyone = Caller::anyone();
        assert_eq!(anyone.acting_as(None).unwrap(), None);
        assert_eq!(anyone.acting_as(Some(UserId::new("bob"))).unwrap(), Some(UserId::new("bob")));
        assert!(anyone.sees(&UserId::new("bob")) && Scope::ALL.into_iter().all(|scope| anyone.may(scope)));
        assert!(!Scope::ALL.into_iter().any(|scope| Caller::nobody().may(scope)));
    }

    /// A handler that no gate stands in front of serves nobody, rather than everybody.
    #[tokio::test]
    async fn without_a_gate_there_is_no_caller() {
        let (mut parts, ()) = axum::http::Request::new(()).into_parts();
        let refused = Caller::from_request_parts(&mut parts, &()).await.unwrap_err();
        assert_eq!((refused.parts().0, refused.parts().1), (500, "no-caller"));
    }
}
