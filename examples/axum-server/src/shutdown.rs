//! The order in which the server ends.

use std::pin::Pin;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};

/// How long the phases of a shutdown may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShutdownTimes {
    /// For how long the server goes on although it says that it is not ready, so that balancers send their clients
    /// elsewhere before connections are refused.
    pub drain: Duration,
    /// How long all of the rest may take.
    pub timeout: Duration,
}

/// Ends in order: calls `drain` and lets the clients find another server, calls `close` and waits for them to disconnect,
/// for at most half of the time, and then for `end`, which is given what is left of it.
pub async fn shut_down<S, E>(
    times: ShutdownTimes,
    serving: Pin<&mut S>,
    drain: impl FnOnce() + Send,
    close: impl FnOnce() + Send,
    end: impl FnOnce(Duration) -> E + Send,
) where
    S: Future<Output = ()> + Send,
    E: Future<Output = ()> + Send,
{
    let mut serving = serving;
    if !times.drain.is_zero() {
        tracing::info!(drain_s = times.drain.as_secs(), "draining: new clients should go elsewhere");
        drain();
        tokio::select! {
            () = &mut serving => {}
            () = sleep(times.drain) => {}
        }
    }
    tracing::info!(timeout_s = times.timeout.as_secs(), "shutting down");
    let deadline = Instant::now() + times.timeout;
    close();
    if timeout(times.timeout / 2, serving).await.is_err() {
        tracing::warn!("some clients did not disconnect in time");
    }
    end(deadline.saturating_duration_since(Instant::now())).await;
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    const TIMES: ShutdownTimes =
        ShutdownTimes { drain: Duration::from_secs(5), timeout: Duration::from_secs(3) };

    /// Shuts down, and returns how long it took, how long the end was given, and after which step each call came.
    async fn ended(
        times: ShutdownTimes,
        serving: impl Future<Output = ()> + Send,
    ) -> (Duration, Duration, [usize; 2]) {
        let (steps, begun) = (AtomicUsize::new(0), Instant::now());
        let step = || steps.fetch_add(1, Ordering::Relaxed);
        let (mut given, mut drained, mut closed) = (Duration::ZERO, usize::MAX, usize::MAX);
        let end = |left| {
            given = left;
            sleep(left)
        };
        shut_down(times, pin!(serving), || drained = step(), || closed = step(), end).await;
        (begun.elapsed(), given, [drained, closed])
    }

    #[tokio::test(start_paused = true)]
    async fn clients_that_stay_take_no_more_than_half_of_one_time() {
        let (took, given, calls) = ended(TIMES, std::future::pending()).await;
        assert_eq!((took, given), (TIMES.drain + TIMES.timeout, TIMES.timeout / 2));
        assert_eq!(calls, [0, 1], "the drain comes first");
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_drain_and_clients_the_end_has_all_of_the_time() {
        let times = ShutdownTimes { drain: Duration::ZERO, ..TIMES };
        let (took, given, calls) = ended(times, std::future::ready(())).await;
        assert_eq!((took, given), (TIMES.timeout, TIMES.timeout));
        assert_eq!(calls, [usize::MAX, 0]);
    }
}
