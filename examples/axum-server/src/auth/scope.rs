//! What a credential allows.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// One thing that a credential may allow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Scope {
    /// To see one's own orders, and quotes.
    Read,
    /// To place and to cancel orders.
    Trade,
    /// What operators do: the metrics, and routes of their own, which show orders of all users and record who looked.
    Operate,
}

impl Scope {
    /// All scopes.
    pub const ALL: [Self; 3] = [Self::Read, Self::Trade, Self::Operate];

    /// Returns its name in keys and in tokens.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Trade => "trade",
            Self::Operate => "operate",
        }
    }

    const fn bit(self) -> u8 {
        1 << self as u8
    }
}

/// A set of scopes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Scopes(u8);

/// The error for a text that names no scopes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("scopes are one or more of read, trade and operate, with commas between them")]
pub struct InvalidScopes;

impl Scopes {
    /// Returns the set of these scopes.
    pub fn of(scopes: &[Scope]) -> Self {
        Self(scopes.iter().fold(0, |bits, scope| bits | scope.bit()))
    }

    /// Returns whether the set has a scope.
    pub const fn has(self, scope: Scope) -> bool {
        self.0 & scope.bit() != 0
    }

    /// Returns the scopes that a token's claim names, between spaces. Names that mean nothing here are of other services.
    pub(crate) fn of_claim(claim: &str) -> Self {
        let named = |scope: &Scope| claim.split(' ').any(|name| name == scope.as_str());
        let scopes: Vec<Scope> = Scope::ALL.into_iter().filter(named).collect();
        Self::of(&scopes)
    }
}

impl FromStr for Scopes {
    type Err = InvalidScopes;

    fn from_str(text: &str) -> Result<Self, InvalidScopes> {
        let scope = |name: &str| Scope::ALL.into_iter().find(|scope| scope.as_str() == name.trim());
        let scopes: Option<Vec<Scope>> = text.split(',').map(scope).collect();
        scopes.map(|scopes| Self::of(&scopes)).ok_or(InvalidScopes)
    }
}

impl fmt::Display for Scopes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> =
            Scope::ALL.into_iter().filter(|scope| self.has(*scope)).map(Scope::as_str).collect();
        f.write_str(&names.join(","))
    }
}

impl Serialize for Scopes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Scopes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        // A set may be empty, though nobody is asked to name nothing.
        if text.is_empty() { Ok(Self::default()) } else { text.parse().map_err(serde::de::Error::custom) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scopes_are_named() {
        let both: Scopes = "read, trade".parse().unwrap();
        assert_eq!(both, Scopes::of(&[Scope::Trade, Scope::Read]));
        assert_eq!(both.to_string(), "read,trade");
        assert!(both.has(Scope::Read) && both.has(Scope::Trade) && !both.has(Scope::Operate));
        for text in ["", "read,", "write", "Read", "read trade"] {
            assert_eq!(text.parse::<Scopes>(), Err(InvalidScopes), "{text:?}");
        }
    }

    #[test]
    fn a_claim_may_name_scopes_of_others() {
        assert_eq!(Scopes::of_claim("openid trade email"), Scopes::of(&[Scope::Trade]));
        assert_eq!(Scopes::of_claim("traders"), Scopes::default());
        assert_eq!(Scopes::of_claim(""), Scopes::default());
    }
}
