//! URLs that may contain a password or a key. No `Debug`, help text or error shows them.

use std::error::Error;
use std::ffi::OsStr;
use std::fmt;
use std::marker::PhantomData;
use std::str::FromStr;

use axum::http::Uri;
use clap::builder::TypedValueParser;
use clap::error::ErrorKind;
use clap::{Arg, Command};
use order_engine_core::telemetry::chain;

/// The URL of a venue's node, which may have a key in it.
#[derive(Clone, PartialEq, Eq)]
pub struct VenueUrl(String);

impl VenueUrl {
    /// Returns the URL.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The error for a text that is no URL of a node. It does not show the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be an absolute http:// or https:// URL")]
pub struct InvalidVenueUrl;

impl FromStr for VenueUrl {
    type Err = InvalidVenueUrl;

    fn from_str(text: &str) -> Result<Self, InvalidVenueUrl> {
        let uri: Uri = text.parse().map_err(|_| InvalidVenueUrl)?;
        let is_http = matches!(uri.scheme_str(), Some("http" | "https"));
        if is_http { Ok(Self(text.to_owned())) } else { Err(InvalidVenueUrl) }
    }
}

impl fmt::Debug for VenueUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("VenueUrl")
    }
}

/// Parses the URL of an argument. Its errors name the argument and the reason, while those of clap's own
/// parsers repeat the value.
#[derive(Clone, Copy)]
pub(crate) struct SecretUrl<T>(PhantomData<fn() -> T>);

impl<T> SecretUrl<T> {
    pub(crate) const fn parser() -> Self {
        Self(PhantomData)
    }
}

impl<T> TypedValueParser for SecretUrl<T>
where
    T: FromStr<Err: Error + 'static> + Clone + Send + Sync + 'static,
{
    type Value = T;

    fn parse_ref(&self, command: &Command, arg: Option<&Arg>, value: &OsStr) -> Result<T, clap::Error> {
        let parsed = match value.to_str() {
            Some(text) => text.parse().map_err(|error: T::Err| chain(&error).to_string()),
            None => Err("it is not UTF-8".to_owned()),
        };
        parsed.map_err(|reason| {
            let name = arg.map(Arg::to_string).unwrap_or_default();
            command.clone().error(ErrorKind::ValueValidation, format!("invalid value for '{name}': {reason}"))
        })
    }
}
