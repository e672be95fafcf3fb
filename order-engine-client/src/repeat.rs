//! When a request is repeated.

use std::time::Duration;

use tokio::time::{Instant, sleep_until};
use uuid::Uuid;

use crate::error::Error;

/// How long to wait at first, and at most.
const WAIT: Duration = Duration::from_millis(250);
const WAIT_MAX: Duration = Duration::from_secs(5);

/// Waits that double, each a little different, so that not all clients come back at once.
#[derive(Debug)]
pub(crate) struct Backoff {
    wait: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { wait: WAIT }
    }
}

impl Backoff {
    /// Returns the next wait: as long as the server asks for at least.
    pub(crate) fn next(&mut self, retry_after: Option<Duration>) -> Duration {
        let wait = self.wait;
        self.wait = (wait * 2).min(WAIT_MAX);
        (wait / 2 + wait.mul_f64(fraction() / 2.0)).max(retry_after.unwrap_or_default())
    }
}

/// Returns a number between zero and one, another one each time.
fn fraction() -> f64 {
    let random = Uuid::new_v4().into_bytes()[0];
    f64::from(random) / 256.0
}

/// The repetitions of one request.
#[derive(Debug)]
pub(crate) struct Repeats {
    until: Instant,
    backoff: Backoff,
}

impl Repeats {
    /// Returns repetitions for so long.
    pub(crate) fn during(time: Duration) -> Self {
        Self { until: Instant::now() + time, backoff: Backoff::default() }
    }

    /// Waits until the request is repeated. Returns false if it is not.
    pub(crate) async fn wait(&mut self, error: &Error) -> bool {
        let at = Instant::now() + self.backoff.next(error.retry_after());
        if !error.is_repeated() || at > self.until {
            return false;
        }
        sleep_until(at).await;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_a_bound_and_are_as_long_as_the_server_asks() {
        let mut backoff = Backoff::default();
        for most_ms in [250, 500, 1_000, 2_000, 4_000, 5_000, 5_000] {
            let wait = backoff.next(None);
            let most = Duration::from_millis(most_ms);
            assert!(wait >= most / 2 && wait <= most, "{wait:?} of {most:?}");
        }
        assert_eq!(backoff.next(Some(Duration::from_secs(7))), Duration::from_secs(7));
    }
}
