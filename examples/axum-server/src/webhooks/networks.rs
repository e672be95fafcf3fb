//! Which addresses webhooks may go to. A user names the URL, and the server stands in its operator's network: without a bound it would
//! call what is meant for nobody outside.

use std::net::IpAddr;
use std::str::FromStr;
use std::sync::LazyLock;

use ipnet::{IpNet, Ipv6Net};

/// What is not of the public internet in IPv4, or answers secrets there.
const REFUSED_V4: [&str; 15] = [
    "0.0.0.0/8",        // this network; Linux connects to itself
    "10.0.0.0/8",       // private
    "100.64.0.0/10",    // carriers' NAT, and the metadata of a cloud
    "127.0.0.0/8",      // loopback
    "168.63.129.16/32", // the metadata of a cloud, at a public address
    "169.254.0.0/16",   // link-local, and the metadata of most clouds
    "172.16.0.0/12",    // private
    "192.0.0.0/24",     // protocols, and the metadata of a cloud
    "192.0.2.0/24",     // documentation
    "192.88.99.0/24",   // relays of 6to4
    "192.168.0.0/16",   // private
    "198.18.0.0/15",    // benchmarks
    "198.51.100.0/24",  // documentation
    "203.0.113.0/24",   // documentation
    "224.0.0.0/3",      // multicast, reserved, broadcast
];
/// All of IPv6 that is given out. The rest is loopback, private (`fc00::/7`), link-local, multicast, or an IPv4 address in another
/// form: mapped (`::ffff:0:0/96`), translated (`64:ff9b::/96` and `64:ff9b:1::/48`).
const GIVEN_OUT_V6: &str = "2000::/3";
/// What of it is not of the public internet.
const REFUSED_V6: [&str; 4] = [
    "2001::/23",     // protocols; Teredo, which has an IPv4 address in it
    "2001:db8::/32", // documentation
    "2002::/16",     // 6to4, which has an IPv4 address in it
    "3fff::/20",     // documentation
];

static REFUSED: LazyLock<Vec<IpNet>> = LazyLock::new(|| {
    REFUSED_V4.iter().chain(&REFUSED_V6).map(|network| network.parse().expect("a network")).collect()
});
static GIVEN_OUT: LazyLock<Ipv6Net> = LazyLock::new(|| GIVEN_OUT_V6.parse().expect("a network"));

/// Networks that webhooks may go to besides the public internet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WebhookNetworks(Vec<IpNet>);

/// The error for a text that names no networks.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("networks are such as 10.0.0.0/8,fd00::/8, with commas between them")]
pub struct InvalidNetworks;

impl FromStr for WebhookNetworks {
    type Err = InvalidNetworks;

    fn from_str(text: &str) -> Result<Self, InvalidNetworks> {
        let network = |text: &str| {
            let text = text.trim();
            let address = || text.parse::<IpAddr>().ok().map(IpNet::from);
            text.parse::<IpNet>().ok().or_else(address).ok_or(InvalidNetworks)
        };
        text.split(',').map(network).collect::<Result<_, _>>().map(Self)
    }
}

impl WebhookNetworks {
    /// Returns whether a webhook may go to an address.
    pub(crate) fn allow(&self, address: IpAddr) -> bool {
        is_public(address) || self.name(address)
    }

    /// Returns whether an address is of a network that the operator has named.
    pub(crate) fn name(&self, address: IpAddr) -> bool {
        self.0.iter().any(|network| network.contains(&address))
    }
}

fn is_public(address: IpAddr) -> bool {
    let is_given_out = match address {
        IpAddr::V4(_) => true,
        IpAddr::V6(address) => GIVEN_OUT.contains(&address),
    };
    is_given_out && !REFUSED.iter().any(|network| network.contains(&address))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allow(networks: &WebhookNetworks, address: &str) -> bool {
        networks.allow(address.parse().unwrap_or_else(|_| panic!("{address}")))
    }

    #[test]
    fn only_public_addresses_are_allowed() {
        let none = WebhookNetworks::default();
        for address in [
            "0.0.0.0",
            "0.1.2.3",
            "10.0.0.1",
            "10.255.255.255",
            "100.64.0.1",
            "100.100.100.200",
            "100.127.255.255",
            "127.0.0.1",
            "127.8.8.8",
            "168.63.129.16",
            "169.254.0.1",
            "169.254.169.254",
            "169.254.170.2",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.1",
            "192.0.0.192",
            "192.0.2.1",
            "192.88.99.1",
            "192.168.1.1",
            "198.18.0.1",
            "198.19.255.255",
            "198.51.100.7",
            "203.0.113.7",
            "224.0.0.1",
            "239.255.255.255",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::127.0.0.1",
            "::ffff:127.0.0.1",
            "::ffff:8.8.8.8",
            "::ffff:0:8.8.8.8",
            "64:ff9b::8.8.8.8",
            "64:ff9b::10.0.0.1",
            "64:ff9b:1::1",
            "100::1",
            "2001::1",
            "2001:2::1",
            "2001:db8::1",
            "2002:7f00:1::",
            "3fff::1",
            "5f00::1",
            "fc00::1",
            "fd00:ec2::254",
            "fd20:ce::254",
            "fe80::1",
            "fec0::1",
            "ff02::1",
        ] {
            assert!(!allow(&none, address), "{address}");
        }
        for address in [
            "1.1.1.1",
            "8.8.8.8",
            "9.255.255.255",
            "11.0.0.1",
            "100.63.255.255",
            "100.128.0.1",
            "168.63.129.17",
            "169.253.1.1",
            "172.15.0.1",
            "172.32.0.1",
            "192.0.1.1",
            "192.167.1.1",
            "223.255.255.255",
            "2001:4860:4860::8888",
            "2606:4700::1111",
            "2a00::1",
        ] {
            assert!(allow(&none, address), "{address}");
        }
    }

    #[test]
    fn the_operator_allows_more() {
        let networks: WebhookNetworks = "10.1.0.0/16, ::1,127.0.0.1".parse().unwrap();
        for (address, is_allowed) in [
            ("10.1.2.3", true),
            ("10.2.2.3", false),
            ("::1", true),
            ("127.0.0.1", true),
            ("127.0.0.2", false),
            ("::ffff:10.1.2.3", false),
            ("8.8.8.8", true),
        ] {
            assert_eq!(allow(&networks, address), is_allowed, "{address}");
        }
        for text in ["", "10.0.0.0/33", "private", "10.0.0.0/8;::1"] {
            assert_eq!(text.parse::<WebhookNetworks>(), Err(InvalidNetworks), "{text}");
        }
    }
}
