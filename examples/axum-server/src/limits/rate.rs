//! Rates of requests, and what clients are told of them.

use std::fmt::Write as _;
use std::hash::Hash;
use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroU32;
use std::str::FromStr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use governor::clock::{Clock as _, DefaultClock};
use governor::middleware::StateInformationMiddleware;
use governor::state::keyed::DefaultKeyedStateStore;
use governor::{Quota, RateLimiter};

/// The headers of draft-ietf-httpapi-ratelimit-headers.
const POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
const STANDING: HeaderName = HeaderName::from_static("ratelimit");

/// After how many requests those are forgotten who have all of their quota again.
const FORGET_INTERVAL: u32 = 4_096;

/// So many requests in so many seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    count: NonZeroU32,
    seconds: NonZeroU32,
}

/// The error for a text that is no rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a rate is a number of requests and of seconds, such as 100/1, or off")]
pub struct InvalidRate;

/// A rate, or none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MaybeRate(pub Option<Rate>);

impl FromStr for MaybeRate {
    type Err = InvalidRate;

    fn from_str(text: &str) -> Result<Self, InvalidRate> {
        if text == "off" {
            return Ok(Self(None));
        }
        let (count, seconds) = text.split_once('/').ok_or(InvalidRate)?;
        let number = |text: &str| text.parse().map_err(|_| InvalidRate);
        Rate::new(number(count)?, number(seconds)?).map(|rate| Self(Some(rate))).ok_or(InvalidRate)
    }
}

impl Rate {
    /// Returns a rate, unless it is none: no request, no second, or more of them than nanoseconds.
    pub fn new(count: u32, seconds: u32) -> Option<Self> {
        let rate = Self { count: NonZeroU32::new(count)?, seconds: NonZeroU32::new(seconds)? };
        rate.quota().map(|_| rate)
    }

    /// Returns how many seconds so many requests take.
    fn seconds_for(self, requests: u32) -> u64 {
        (u64::from(requests) * u64::from(self.seconds.get())).div_ceil(u64::from(self.count.get()))
    }

    fn quota(self) -> Option<Quota> {
        let seconds = Duration::from_secs(u64::from(self.seconds.get()));
        Some(Quota::with_period(seconds / self.count.get())?.allow_burst(self.count))
    }
}

/// Counts the requests of each key.
#[derive(Debug)]
pub(crate) struct Limiter<K: Hash + Eq + Clone> {
    name: &'static str,
    rate: Rate,
    requests: RateLimiter<K, DefaultKeyedStateStore<K>, DefaultClock, StateInformationMiddleware>,
    checks: AtomicU32,
}

/// How a key stands with a limit after a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Standing {
    name: &'static str,
    rate: Rate,
    remaining: u32,
    /// In how many seconds the next request is served, if this one is not.
    pub(crate) wait_s: Option<u64>,
}

impl<K: Hash + Eq + Clone> Limiter<K> {
    pub(crate) fn new(name: &'static str, rate: Rate) -> Option<Self> {
        let requests = RateLimiter::keyed(rate.quota()?).with_middleware();
        Some(Self { name, rate, requests, checks: AtomicU32::new(0) })
    }

    /// Counts a request of a key.
    pub(crate) fn count(&self, key: &K) -> Standing {
        if self.checks.fetch_add(1, Ordering::Relaxed) % FORGET_INTERVAL == FORGET_INTERVAL - 1 {
            self.requests.retain_recent();
        }
        let (remaining, wait_s) = match self.requests.check_key(key) {
            Ok(state) => (state.remaining_burst_capacity(), None),
            Err(early) => {
                let wait = early.wait_time_from(DefaultClock::default().now());
                let wait_s = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
                (0, Some(wait_s.max(1)))
            }
        };
        Standing { name: self.name, rate: self.rate, remaining, wait_s }
    }
}

/// Sets the headers that tell a client its limits, and how it stands with each.
pub(crate) fn tell(standings: &[Standing], headers: &mut HeaderMap) {
    let (mut policies, mut states) = (String::new(), String::new());
    for Standing { name, rate, remaining, .. } in standings {
        let comma = if policies.is_empty() { "" } else { ", " };
        let reset_s = rate.seconds_for(rate.count.get() - remaining);
        // Writing to a text cannot fail.
        let _ = write!(policies, "{comma}\"{name}\";q={};w={}", rate.count, rate.seconds);
        let _ = write!(states, "{comma}\"{name}\";r={remaining};t={reset_s}");
    }
    for (name, value) in [(POLICY, policies), (STANDING, states)] {
        if let Some(value) = HeaderValue::from_str(&value).ok().filter(|value| !value.is_empty()) {
            headers.insert(name, value);
        }
    }
}

/// Returns what stands for a client's address: of IPv6 a client has a network of 64 bits at least.
pub(crate) fn client_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX)).into(),
        v4 @ IpAddr::V4(_) => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rate(text: &str) -> Rate {
        text.parse::<MaybeRate>().unwrap().0.unwrap()
    }

    #[test]
    fn rates_are_numbers_of_requests_in_seconds() {
        assert_eq!(Some(rate("100/1")), Rate::new(100, 1));
        assert_eq!("off".parse(), Ok(MaybeRate(None)));
        for text in ["", "100", "0/1", "1/0", "-1/1", "1/1/1", "100/s", "4294967296/1"] {
            assert_eq!(text.parse::<MaybeRate>(), Err(InvalidRate), "{text}");
        }
    }

    #[test]
    fn each_key_has_its_own_quota() {
        let limiter = Limiter::new("user", rate("2/3600")).unwrap();
        let remaining: Vec<_> = (0..2).map(|_| limiter.count(&"alice").remaining).collect();
        assert_eq!(remaining, [1, 0]);
        let refused = limiter.count(&"alice");
        let wait_s = refused.wait_s.unwrap();
        assert!((1_790..=1_800).contains(&wait_s), "{wait_s}");
        assert_eq!(limiter.count(&"bob").wait_s, None);
    }

    #[test]
    fn who_has_all_of_the_quota_again_is_forgotten() {
        let limiter = Limiter::new("address", rate("1000000/1")).unwrap();
        for n in 0..FORGET_INTERVAL {
            limiter.count(&n);
        }
        assert!(limiter.requests.len() < FORGET_INTERVAL as usize, "{}", limiter.requests.len());
    }

    #[test]
    fn clients_are_told_their_limits() {
        let user = Limiter::new("user", rate("10/5")).unwrap();
        let address = Limiter::new("address", rate("3/3600")).unwrap();
        let mut headers = HeaderMap::new();
        tell(&[], &mut headers);
        assert!(headers.is_empty());
        tell(&[address.count(&"a"), user.count(&"b")], &mut headers);
        assert_eq!(headers[POLICY], r#""address";q=3;w=3600, "user";q=10;w=5"#);
        assert_eq!(headers[STANDING], r#""address";r=2;t=1200, "user";r=9;t=1"#);
    }

    #[test]
    fn a_client_of_ipv6_is_a_network() {
        let client = |text: &str| client_of(text.parse().unwrap()).to_string();
        assert_eq!(client("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::");
        assert_eq!(client("::ffff:10.0.0.1"), "10.0.0.1");
        assert_eq!(client("10.0.0.1"), "10.0.0.1");
    }
}
