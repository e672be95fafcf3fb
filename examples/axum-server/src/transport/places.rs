//! How many connections an address may have.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// How many connections an address beyond the loopback has at most, if nothing is set. A proxy on another machine needs
/// more; one on this machine has all its clients at the loopback.
const REMOTE_MAX: usize = 1_024;

/// The connections of each address, live streams included.
#[derive(Clone, Debug)]
pub(crate) struct Addresses(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    /// The most that one address may have; without it the default, which does not bound the loopback.
    max: Option<usize>,
    taken: Mutex<HashMap<IpAddr, usize>>,
}

/// The place of one connection. Dropping it releases it.
#[derive(Debug, Default)]
pub(crate) struct AddressPlace(Option<(Addresses, IpAddr)>);

impl Addresses {
    pub(crate) fn new(max: Option<usize>) -> Self {
        Self(Arc::new(Shared { max, taken: Mutex::default() }))
    }

    /// Takes a place for a connection of an address, or returns `None` if it has as many as it may have.
    pub(crate) fn take(&self, address: IpAddr) -> Option<AddressPlace> {
        let address = network_of(address);
        let default = if address.is_loopback() { usize::MAX } else { REMOTE_MAX };
        let mut taken = self.taken();
        let count = taken.entry(address).or_default();
        // A count of zero was made just now. A bound of zero would lock everybody out.
        if *count >= self.0.max.unwrap_or(default).max(1) {
            return None;
        }
        *count += 1;
        Some(AddressPlace(Some((self.clone(), address))))
    }

    fn taken(&self) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
        self.0.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for AddressPlace {
    fn drop(&mut self) {
        let Some((addresses, address)) = &self.0 else { return };
        let mut taken = addresses.taken();
        if let Some(count) = taken.get_mut(address) {
            *count -= 1;
            if *count == 0 {
                taken.remove(address);
            }
        }
    }
}

/// Returns what one client has: an IPv4 address, or the 64 bits of an IPv6 network.
fn network_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) if !address.is_loopback() => {
            IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() >> 64 << 64))
        }
        address => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn an_address_has_as_many_places_as_were_set_and_gets_them_back() {
        let addresses = Addresses::new(Some(2));
        let first = addresses.take(ip("192.0.2.1")).unwrap();
        let second = addresses.take(ip("::ffff:192.0.2.1")).unwrap();
        assert!(addresses.take(ip("192.0.2.1")).is_none());
        assert!(addresses.take(ip("192.0.2.2")).is_some(), "each address has its own");
        drop(first);
        assert!(addresses.take(ip("192.0.2.1")).is_some());
        drop(second);
        assert!(addresses.taken().is_empty(), "nothing is kept of those that left");
    }

    #[test]
    fn a_network_of_ipv6_is_one_client() {
        let addresses = Addresses::new(Some(1));
        let _first = addresses.take(ip("2001:db8:0:1::1")).unwrap();
        assert!(addresses.take(ip("2001:db8:0:1:ffff::2")).is_none());
        assert!(addresses.take(ip("2001:db8:0:2::1")).is_some());
    }

    #[test]
    fn without_a_setting_only_the_loopback_is_unbounded() {
        let addresses = Addresses::new(None);
        for (address, places) in [("127.0.0.1", 2_000), ("::1", 2_000), ("192.0.2.1", REMOTE_MAX)] {
            let held: Vec<_> = (0..2_000).map_while(|_| addresses.take(ip(address))).collect();
            assert_eq!(held.len(), places, "{address}");
        }
    }
}
