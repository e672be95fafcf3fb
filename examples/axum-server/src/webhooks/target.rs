//! The URL of a receiver.

use std::fmt;
use std::net::IpAddr;

use axum::http::Uri;
use serde::{Deserialize, Serialize};

use crate::webhooks::networks::WebhookNetworks;

/// The longest URL, in bytes.
const BYTES_MAX: usize = 2_048;
/// Below it, the ports of public addresses that are no web server's are refused: mail, shells, directories.
const LAST_SYSTEM_PORT: u16 = 1_023;

/// A URL that the rules allowed when it was registered. It may have a token in its path, so no log shows it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct TargetUrl(String);

/// Which URLs may be registered, and which addresses may be called.
#[derive(Clone, Debug, Default)]
pub(crate) struct TargetRules {
    /// Networks besides the public internet.
    pub(crate) networks: WebhookNetworks,
    /// Whether `http://` will do.
    pub(crate) allows_http: bool,
}

/// Why a URL is refused. It does not repeat the URL.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum InvalidTarget {
    #[error("Must be an absolute URL of at most 2,048 bytes.")]
    Malformed,
    #[error("Must begin with https://.")]
    Scheme,
    #[error("Must not begin with https://, which this server was built without.")]
    NoTls,
    #[error("Must not have a user or a password.")]
    Credentials,
    #[error("Must not have a fragment.")]
    Fragment,
    #[error("Must not have this port: 80, 443 and those from 1024 are possible.")]
    Port,
    #[error("Must not have this address: it is not one of the public internet.")]
    Address,
}

impl TargetUrl {
    /// Reads a URL.
    ///
    /// # Errors
    /// If the rules do not allow it. What a name resolves to is checked at each connection.
    pub(crate) fn parse(text: &str, rules: &TargetRules) -> Result<Self, InvalidTarget> {
        if text.len() > BYTES_MAX {
            return Err(InvalidTarget::Malformed);
        }
        // The parser of HTTP's own URLs, which have none, drops it.
        if text.contains('#') {
            return Err(InvalidTarget::Fragment);
        }
        let uri: Uri = text.parse().map_err(|_| InvalidTarget::Malformed)?;
        match uri.scheme_str() {
            Some("https") if cfg!(feature = "tls") => {}
            Some("https") => return Err(InvalidTarget::NoTls),
            Some("http") if rules.allows_http => {}
            Some(_) => return Err(InvalidTarget::Scheme),
            None => return Err(InvalidTarget::Malformed),
        }
        let authority = uri.authority().ok_or(InvalidTarget::Malformed)?;
        if authority.as_str().contains('@') {
            return Err(InvalidTarget::Credentials);
        }
        if authority.host().is_empty() {
            return Err(InvalidTarget::Malformed);
        }
        let has_port = authority.as_str().len() > authority.host().len();
        if has_port && authority.port_u16().is_none() {
            return Err(InvalidTarget::Malformed);
        }
        let address = literal(&uri);
        if address.is_some_and(|address| !rules.networks.allow(address)) {
            return Err(InvalidTarget::Address);
        }
        // A receiver in a network that the operator names may have any port.
        let is_named = address.is_some_and(|address| rules.networks.name(address));
        let is_webs = |port| matches!(port, 80 | 443) || port > LAST_SYSTEM_PORT;
        if authority.port_u16().is_some_and(|port| port == 0 || !(is_named || is_webs(port))) {
            return Err(InvalidTarget::Port);
        }
        Ok(Self(text.to_owned()))
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the URL for a request, if the rules still allow it: the operator may have changed them since.
    pub(crate) fn uri(&self, rules: &TargetRules) -> Result<Uri, InvalidTarget> {
        Self::parse(&self.0, rules)?.0.parse().map_err(|_| InvalidTarget::Malformed)
    }
}

impl fmt::Debug for TargetUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TargetUrl")
    }
}

/// Returns the host if it is an address and no name.
fn literal(uri: &Uri) -> Option<IpAddr> {
    let host = uri.host()?;
    host.trim_start_matches('[').trim_end_matches(']').parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_checked_before_any_name_is_resolved() {
        let rules = TargetRules::default();
        for url in [
            "https://hooks.example/x?y=z",
            "https://hooks.example",
            "https://8.8.8.8:8443/",
            "https://hooks.example:443/",
            "https://[2606:4700::1111]/",
            "https://hooks.example:1024/",
        ] {
            assert!(TargetUrl::parse(url, &rules).is_ok(), "{url}");
        }
        for (url, expected) in [
            ("", InvalidTarget::Malformed),
            ("hooks.example", InvalidTarget::Malformed),
            ("/x", InvalidTarget::Malformed),
            ("https://", InvalidTarget::Malformed),
            ("https:///x", InvalidTarget::Malformed),
            ("https://hooks.example:99999/", InvalidTarget::Malformed),
            ("https://hooks.example:/", InvalidTarget::Malformed),
            ("https://h\u{f6}.example/", InvalidTarget::Malformed),
            ("https://a b/", InvalidTarget::Malformed),
            ("http://hooks.example/", InvalidTarget::Scheme),
            ("ftp://hooks.example/", InvalidTarget::Scheme),
            ("https://alice:secret@hooks.example/", InvalidTarget::Credentials),
            ("https://8.8.8.8@127.0.0.1/", InvalidTarget::Credentials),
            ("https://hooks.example/#x", InvalidTarget::Fragment),
            ("https://hooks.example:25/", InvalidTarget::Port),
            ("https://hooks.example:22/", InvalidTarget::Port),
            ("https://hooks.example:0/", InvalidTarget::Port),
            ("https://127.0.0.1/", InvalidTarget::Address),
            ("https://169.254.169.254/latest", InvalidTarget::Address),
            ("https://[::1]/", InvalidTarget::Address),
            ("https://[::ffff:127.0.0.1]/", InvalidTarget::Address),
            ("https://[fd00:ec2::254]/", InvalidTarget::Address),
        ] {
            assert_eq!(TargetUrl::parse(url, &rules), Err(expected), "{url}");
        }
        let long = format!("https://hooks.example/{}", "x".repeat(BYTES_MAX));
        assert_eq!(TargetUrl::parse(&long, &rules), Err(InvalidTarget::Malformed));
    }

    #[test]
    fn what_the_operator_allows_may_be_http_and_private() {
        let rules = TargetRules { networks: "127.0.0.1".parse().unwrap(), allows_http: true };
        let target = TargetUrl::parse("http://127.0.0.1:22/", &rules).unwrap();
        assert!(target.uri(&rules).is_ok());
        assert_eq!(target.uri(&TargetRules::default()), Err(InvalidTarget::Scheme), "the rules have changed");
        assert_eq!(format!("{target:?}"), "TargetUrl");
    }
}
