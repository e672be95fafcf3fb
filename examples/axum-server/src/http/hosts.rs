//! Under which names the server answers. A page of a foreign name that resolves to this machine (DNS rebinding) is of
//! the same origin as the server for its browser, so only the name tells it apart.

use std::net::{IpAddr, SocketAddr};

use axum::http::header::HOST;
use axum::http::uri::Authority;
use axum::http::{Request, StatusCode};

use crate::address::{PublicUrl, host_name};
use crate::limits::proxies::Arrival;
use crate::wire::problem::Problem;

/// The names under which the server answers, in addition to the loopback names and its public URL.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AllowedHosts {
    is_any: bool,
    names: Vec<String>,
}

/// The error for a text that is no host.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is no host: it must be a name or an address without scheme, port and path, such as dex.example.org"
)]
pub struct InvalidHost(String);

impl AllowedHosts {
    /// Reads a list of names and addresses, without ports. `*` in the list allows every name; an empty text is none.
    ///
    /// # Errors
    /// If one of them is no host.
    pub fn parse(hosts: &[String]) -> Result<Self, InvalidHost> {
        let parse = |host: &String| {
            let authority: Option<Authority> = bracketed(host).parse().ok();
            let is_host =
                authority.as_ref().is_some_and(|authority| authority.port().is_none() && is_plain(authority));
            authority
                .filter(|_| is_host)
                .map(|host| host_name(&host))
                .ok_or_else(|| InvalidHost(host.clone()))
        };
        let is_any = hosts.iter().any(|host| host == "*");
        let names = hosts
            .iter()
            .filter(|host| !matches!(host.as_str(), "*" | ""))
            .map(parse)
            .collect::<Result<_, _>>()?;
        Ok(Self { is_any, names })
    }

    /// Checks the names under which a request reaches a trusted proxy, if it passes one, and the server that listens at
    /// `local`.
    pub(crate) fn check<B>(
        &self,
        public_url: Option<&PublicUrl>,
        local: SocketAddr,
        arrival: &Arrival,
        request: &Request<B>,
    ) -> Result<(), Problem> {
        let authority = requested(request).ok_or_else(|| {
            let detail = "A request must have one Host header, which is a name or an address.";
            Problem::new(StatusCode::BAD_REQUEST, "bad-host", detail)
        })?;
        let is_ours = |authority: &Authority| {
            let name = host_name(authority);
            let is_public = public_url.is_some_and(|url| url.host() == name);
            self.is_any || is_public || self.names.contains(&name) || is_of_this_machine(&name, local)
        };
        // The name that a proxy passes on is one under which answers send clients back.
        if is_ours(&authority) && arrival.host.as_ref().is_none_or(is_ours) {
            return Ok(());
        }
        let detail = "The server does not answer under this name.";
        Err(Problem::new(StatusCode::MISDIRECTED_REQUEST, "host-not-allowed", detail))
    }
}

/// Returns the only host that a request names: that of an absolute target, or else that of its header, which must be
/// there in any case.
fn requested<B>(request: &Request<B>) -> Option<Authority> {
    let mut headers = request.headers().get_all(HOST).iter();
    let (Some(header), None) = (headers.next(), headers.next()) else { return None };
    let header: Authority = header.to_str().ok()?.parse().ok()?;
    Some(request.uri().authority().cloned().unwrap_or(header)).filter(is_plain)
}

/// Returns whether there is a host, without the name of a user before it.
fn is_plain(authority: &Authority) -> bool {
    !authority.host().is_empty() && !authority.as_str().contains('@')
}

/// Returns a host as it stands in a URL, where an IPv6 address has brackets.
fn bracketed(host: &str) -> String {
    if host.parse::<std::net::Ipv6Addr>().is_ok() { format!("[{host}]") } else { host.to_owned() }
}

/// Returns whether a name always means this machine: a loopback name, or an address, if the server listens beyond the
/// loopback. No name that somebody else registers can be one.
fn is_of_this_machine(name: &str, local: SocketAddr) -> bool {
    match name.parse::<IpAddr>() {
        Ok(address) => address.is_loopback() || !local.ip().is_loopback(),
        Err(_) => name == "localhost" || name.ends_with(".localhost"),
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use axum::response::IntoResponse as _;

    use super::*;
    use crate::limits::proxies::{ForwardedHeader, Peer, TrustedProxies};

    const LOOPBACK: &str = "127.0.0.1:3000";

    fn hosts(names: &[&str]) -> AllowedHosts {
        AllowedHosts::parse(&names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>()).unwrap()
    }

    /// Returns the status of the refusal of a request with these `Host` headers, or 0.
    fn refusal(allowed: &AllowedHosts, local: &str, target: &str, headers: &[&str]) -> u16 {
        let mut request = Request::builder().uri(target);
        for header in headers {
            request = request.header(HOST, *header);
        }
        let public: PublicUrl = "https://dex.example.org/engine".parse().unwrap();
        let request = request.body(()).unwrap();
        let direct = TrustedProxies::None.arrival(
            Peer { address: Ipv4Addr::LOCALHOST.into(), is_secure: false },
            request.headers(),
            ForwardedHeader::default(),
        );
        let checked = allowed.check(Some(&public), local.parse().unwrap(), &direct, &request);
        checked.map_or_else(|problem| problem.into_response().status().as_u16(), |()| 0)
    }

    #[test]
    fn loopback_names_the_public_url_and_listed_names_are_answered() {
        let allowed = hosts(&["10.0.0.7", "Backend.Internal", "fd00::7"]);
        for host in [
            "localhost",
            "LOCALHOST:3000",
            "localhost.",
            "app.localhost:1",
            "127.0.0.1",
            "127.8.9.1:80",
            "[::1]:3000",
            "dex.example.org",
            "dex.example.org:8443",
            "10.0.0.7:3000",
            "backend.internal",
            "[fd00::7]:1",
        ] {
            assert_eq!(refusal(&allowed, LOOPBACK, "/", &[host]), 0, "{host}");
        }
    }

    #[test]
    fn foreign_names_are_refused() {
        for host in [
            "evil.example",
            "localhost.evil.example",
            "example.org",
            "10.0.0.8",
            "127.0.0.1.evil.example",
            "[fd00::8]",
        ] {
            assert_eq!(refusal(&AllowedHosts::default(), LOOPBACK, "/", &[host]), 421, "{host}");
        }
        assert_eq!(refusal(&AllowedHosts::default(), LOOPBACK, "http://evil.example/", &["localhost"]), 421);
        assert_eq!(refusal(&hosts(&["*"]), LOOPBACK, "/", &["evil.example"]), 0);
    }

    #[test]
    fn addresses_are_answered_by_a_server_that_listens_beyond_the_loopback() {
        for (host, expected) in [("10.0.0.8:3000", 0), ("[fd00::8]", 0), ("evil.example", 421)] {
            assert_eq!(refusal(&AllowedHosts::default(), "0.0.0.0:3000", "/", &[host]), expected, "{host}");
        }
    }

    #[test]
    fn a_request_without_one_host_is_bad() {
        let bad: [&[&str]; 6] = [
            &[],
            &["localhost", "localhost"],
            &["localhost", "evil.example"],
            &["a b"],
            &["alice@localhost"],
            &[""],
        ];
        for headers in bad {
            assert_eq!(refusal(&hosts(&["*"]), LOOPBACK, "/", headers), 400, "{headers:?}");
        }
        assert_eq!(refusal(&hosts(&["*"]), LOOPBACK, "http://localhost/", &[]), 400);
    }

    #[test]
    fn hosts_have_neither_scheme_nor_port_nor_path() {
        for text in ["https://a", "a:80", "a/b", "alice@a", "a b"] {
            assert_eq!(AllowedHosts::parse(&[text.to_owned()]), Err(InvalidHost(text.to_owned())));
        }
    }
}
