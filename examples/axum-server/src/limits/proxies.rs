//! What proxies in front of the server say of a request: whose it is, under which name it came, and whether over TLS.
//!
//! Anybody can send these headers, so they count only as far as trusted proxies have written them: read from the right, where the
//! nearest proxy writes.

use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderName};
use clap::ValueEnum;
use ipnet::IpNet;

/// The proxies whose word is taken.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum TrustedProxies {
    /// None.
    #[default]
    None,
    /// So many, through all of which every request comes.
    Count(usize),
    /// Those with an address of these networks.
    Networks(Vec<IpNet>),
}

/// The error for a text that names no proxies.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("trusted proxies are a number of them, or networks such as 10.0.0.0/8,::1 with commas between them")]
pub struct InvalidProxies;

impl FromStr for TrustedProxies {
    type Err = InvalidProxies;

    fn from_str(text: &str) -> Result<Self, InvalidProxies> {
        if let Ok(count) = text.parse() {
            return Ok(if count == 0 { Self::None } else { Self::Count(count) });
        }
        let network = |text: &str| {
            let text = text.trim();
            let address = || text.parse::<IpAddr>().ok().map(IpNet::from);
            text.parse::<IpNet>().ok().or_else(address).ok_or(InvalidProxies)
        };
        text.split(',').map(network).collect::<Result<_, _>>().map(Self::Networks)
    }
}

/// Which headers the proxies write. Only one kind counts: a proxy passes on what a client sends of the other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
#[non_exhaustive]
pub enum ForwardedHeader {
    /// `X-Forwarded-For`, `X-Forwarded-Proto` and `X-Forwarded-Host`.
    #[default]
    XForwarded,
    /// `Forwarded` (RFC 7239).
    Forwarded,
}

/// Who has connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Peer {
    pub(crate) address: IpAddr,
    /// Whether the connection is encrypted.
    pub(crate) is_secure: bool,
}

/// How a request has arrived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Arrival {
    /// The address of the client.
    pub(crate) client: IpAddr,
    /// Whether the client's connection is encrypted, as a proxy says if there is one.
    pub(crate) is_secure: bool,
    /// The name under which the client has reached the proxy, if a proxy says so.
    pub(crate) host: Option<Authority>,
}

/// One station of a request, as the proxy after it has seen it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Hop {
    address: Option<IpAddr>,
    is_secure: bool,
    host: Option<Authority>,
}

impl TrustedProxies {
    /// Returns how a request has arrived that came from a peer with these headers.
    pub(crate) fn arrival(&self, peer: Peer, headers: &HeaderMap, kind: ForwardedHeader) -> Arrival {
        let Peer { address, is_secure } = peer;
        let peer = address.to_canonical();
        let direct = Arrival { client: peer, is_secure, host: None };
        if !self.trusts(peer, 0) {
            return direct;
        }
        let hops = match kind {
            ForwardedHeader::XForwarded => x_forwarded(headers),
            ForwardedHeader::Forwarded => forwarded(headers),
        };
        // Each proxy has written from whom it got the request; the last to be believed is who is no proxy.
        let mut seen = direct;
        for (n, hop) in hops.into_iter().rev().enumerate() {
            let Some(address) = hop.address else { break };
            seen = Arrival { client: address, is_secure: hop.is_secure, host: hop.host };
            if !self.trusts(address, n + 1) {
                break;
            }
        }
        seen
    }

    /// Returns whether the station with this address, `distance` stations before the server's peer, is a proxy.
    fn trusts(&self, address: IpAddr, distance: usize) -> bool {
        match self {
            Self::None => false,
            Self::Count(count) => distance < *count,
            Self::Networks(networks) => networks.iter().any(|network| network.contains(&address)),
        }
    }
}

/// Returns the values of a header that is a list, over all its lines.
fn list<'a>(headers: &'a HeaderMap, name: &'a str) -> Vec<&'a str> {
    let name = HeaderName::from_bytes(name.as_bytes()).ok();
    let lines = name.into_iter().flat_map(|name| headers.get_all(name));
    let values = lines.filter_map(|line| line.to_str().ok()).flat_map(|line| line.split(','));
    values.map(str::trim).collect()
}

/// Reads `X-Forwarded-*`. Most proxies write one scheme and one name; those that write one a station fit the addresses.
fn x_forwarded(headers: &HeaderMap) -> Vec<Hop> {
    let [addresses, schemes, hosts] =
        ["x-forwarded-for", "x-forwarded-proto", "x-forwarded-host"].map(|name| list(headers, name));
    let at = |values: &[&str], n: usize| {
        let fitting = if values.len() == addresses.len() { values.get(n) } else { values.last() };
        fitting.copied().map(str::to_owned)
    };
    let hop = |(n, address): (usize, &&str)| Hop {
        address: node(address),
        is_secure: at(&schemes, n).is_some_and(|scheme| scheme.eq_ignore_ascii_case("https")),
        host: at(&hosts, n).and_then(|host| host.parse().ok()),
    };
    addresses.iter().enumerate().map(hop).collect()
}

/// Reads `Forwarded`.
fn forwarded(headers: &HeaderMap) -> Vec<Hop> {
    list(headers, "forwarded").into_iter().map(element).collect()
}

fn element(text: &str) -> Hop {
    let mut hop = Hop::default();
    for pair in text.split(';') {
        let Some((name, value)) = pair.split_once('=') else { continue };
        let value = value.trim().trim_matches('"');
        match name.trim().to_ascii_lowercase().as_str() {
            "for" => hop.address = node(value),
            "proto" => hop.is_secure = value.eq_ignore_ascii_case("https"),
            "host" => hop.host = value.parse().ok(),
            _ => {}
        }
    }
    hop
}

/// Returns the address of a station, which may have a port, or none for one that does not show it.
fn node(text: &str) -> Option<IpAddr> {
    let address = text.parse::<IpAddr>().ok();
    let with_port = || text.parse::<SocketAddr>().ok().map(|address| address.ip());
    let in_brackets = || text.strip_prefix('[')?.strip_suffix(']')?.parse().ok();
    address.or_else(with_port).or_else(in_brackets).map(|address| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arrival(proxies: &str, peer: &str, lines: &[(&'static str, &'static str)]) -> Arrival {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, value.parse().unwrap());
        }
        let kind = if headers.contains_key("forwarded") && !headers.contains_key("x-forwarded-for") {
            ForwardedHeader::Forwarded
        } else {
            ForwardedHeader::XForwarded
        };
        proxies.parse::<TrustedProxies>().unwrap().arrival(
            Peer { address: peer.parse().unwrap(), is_secure: false },
            &headers,
            kind,
        )
    }

    fn client(proxies: &str, peer: &str, lines: &[(&'static str, &'static str)]) -> String {
        arrival(proxies, peer, lines).client.to_string()
    }

    const FOR: &str = "x-forwarded-for";

    #[test]
    fn proxies_are_a_number_or_networks() {
        assert_eq!("0".parse(), Ok(TrustedProxies::None));
        assert_eq!("2".parse(), Ok(TrustedProxies::Count(2)));
        let networks = vec!["10.0.0.0/8".parse().unwrap(), "::1/128".parse().unwrap()];
        assert_eq!("10.0.0.0/8, ::1".parse(), Ok(TrustedProxies::Networks(networks)));
        for text in ["", "-1", "10.0.0.0/33", "proxy.example", "10.0.0.1,"] {
            assert_eq!(text.parse::<TrustedProxies>(), Err(InvalidProxies), "{text}");
        }
    }

    #[test]
    fn without_proxies_nobodys_word_is_taken() {
        assert_eq!(client("0", "9.9.9.9", &[(FOR, "1.1.1.1")]), "9.9.9.9");
        assert_eq!(client("10.0.0.0/8", "9.9.9.9", &[(FOR, "1.1.1.1")]), "9.9.9.9");
    }

    #[test]
    fn what_a_client_writes_itself_does_not_count() {
        let spoofed = [(FOR, "6.6.6.6, 1.1.1.1")];
        assert_eq!(client("1", "10.0.0.1", &spoofed), "1.1.1.1");
        assert_eq!(client("10.0.0.0/8", "10.0.0.1", &spoofed), "1.1.1.1");
        let two = [(FOR, "6.6.6.6, 1.1.1.1"), (FOR, "10.0.0.2")];
        assert_eq!(client("2", "10.0.0.1", &two), "1.1.1.1");
        assert_eq!(client("10.0.0.0/8", "10.0.0.1", &two), "1.1.1.1");
        // A name that claims to be a proxy ends the chain with the one who wrote it.
        assert_eq!(client("10.0.0.0/8", "10.0.0.1", &[(FOR, "unknown, 10.0.0.2")]), "10.0.0.2");
        assert_eq!(client("1", "10.0.0.1", &[]), "10.0.0.1");
        // A client writes the kind that the proxy does not.
        let other = [(FOR, "1.1.1.1"), ("forwarded", "for=6.6.6.6")];
        assert_eq!(client("1", "10.0.0.1", &other), "1.1.1.1");
    }

    #[test]
    fn addresses_have_many_forms() {
        for (text, address) in [
            ("1.1.1.1:99", "1.1.1.1"),
            ("[2001:db8::1]:99", "2001:db8::1"),
            ("[2001:db8::1]", "2001:db8::1"),
            ("2001:db8::1", "2001:db8::1"),
            ("::ffff:1.1.1.1", "1.1.1.1"),
        ] {
            assert_eq!(client("1", "::ffff:10.0.0.1", &[(FOR, text)]), address, "{text}");
        }
    }

    #[test]
    fn the_name_and_the_scheme_are_the_clients() {
        let lines = [(FOR, "1.1.1.1"), ("x-forwarded-proto", "https"), ("x-forwarded-host", "dex.example")];
        let arrived = arrival("1", "10.0.0.1", &lines);
        assert!(arrived.is_secure);
        assert_eq!(arrived.host.as_ref().map(Authority::as_str), Some("dex.example"));
        assert!(!arrival("0", "10.0.0.1", &lines).is_secure);
        let chain = [(FOR, "1.1.1.1, 10.0.0.2"), ("x-forwarded-proto", "https, http")];
        assert!(arrival("2", "10.0.0.1", &chain).is_secure);
    }

    #[test]
    fn the_standard_header_is_read() {
        let lines = [("forwarded", r#"for=6.6.6.6, For="[2001:db8::1]:99";proto=HTTPS;host=dex.example"#)];
        let arrived = arrival("1", "10.0.0.1", &lines);
        assert_eq!(arrived.client.to_string(), "2001:db8::1");
        assert_eq!(
            (arrived.is_secure, arrived.host.as_ref().map(Authority::as_str)),
            (true, Some("dex.example"))
        );
        let hidden = arrival("2", "10.0.0.1", &[("forwarded", "for=6.6.6.6, for=_hidden")]);
        assert_eq!(hidden.client.to_string(), "10.0.0.1");
    }
}
