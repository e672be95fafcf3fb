//! When an endpoint that fails is tried again, and when it is given up.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

use crate::webhooks::endpoint::{Disabled, Progress, Reason};

/// The first pause. It doubles.
const FIRST: Duration = Duration::from_secs(5);
/// The longest pause.
const LONGEST: Duration = Duration::from_hours(2);
/// For how long an endpoint may fail.
pub(crate) const GIVE_UP_AFTER: TimeDelta = TimeDelta::hours(24);
/// By how much a pause differs, up or down, so that endpoints of one receiver that failed together do not come back together.
const JITTER_PER_MILLE: u64 = 200;

/// How a round has failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Setback {
    /// The code of the failure.
    pub(crate) error: String,
    /// Whether the receiver says that it wants nothing any more.
    pub(crate) is_gone: bool,
    /// For how long the receiver asks to be left alone.
    pub(crate) retry_after: Option<Duration>,
}

/// Returns the progress after a round that failed. `random` is any number.
pub(crate) fn failed(progress: Progress, setback: Setback, now: DateTime<Utc>, random: u32) -> Progress {
    let failing_since = progress.failing_since.unwrap_or(now);
    let failures = progress.failures.saturating_add(1);
    let reason = if setback.is_gone {
        Some(Reason::Gone)
    } else {
        (now - failing_since >= GIVE_UP_AFTER).then_some(Reason::FailedTooLong)
    };
    let pause = pause(failures, random).max(setback.retry_after.unwrap_or_default().min(LONGEST));
    Progress {
        failures,
        failing_since: Some(failing_since),
        // The last try is at the end of the time, not some hours before it.
        next_attempt_at: Some((now + pause).min((failing_since + GIVE_UP_AFTER).max(now))),
        last_error: Some(setback.error),
        disabled: reason.map(|reason| Disabled { reason, at: now }),
        ..progress
    }
}

/// Returns the progress after a round in which nothing failed.
pub(crate) fn succeeded(progress: &Progress, now: DateTime<Utc>) -> Progress {
    Progress { last_success_at: Some(now), ..Progress::after(progress.cursor) }
}

/// Returns the pause after the failure with this number, from 1.
fn pause(failures: u32, random: u32) -> Duration {
    let doubled = FIRST.saturating_mul(2_u32.saturating_pow(failures.saturating_sub(1))).min(LONGEST);
    let millis = u64::try_from(doubled.as_millis()).unwrap_or(u64::MAX);
    let per_mille = 1_000 - JITTER_PER_MILLE + u64::from(random) % (2 * JITTER_PER_MILLE + 1);
    Duration::from_millis(millis * per_mille / 1_000)
}

#[cfg(test)]
mod tests {
    use order_engine_core::FeedCursor;

    use super::*;

    fn setback() -> Setback {
        Setback { error: "status".to_owned(), is_gone: false, retry_after: None }
    }

    fn start() -> DateTime<Utc> {
        DateTime::from_timestamp(1_767_225_600, 0).unwrap()
    }

    /// Fails until it is disabled, and returns the tries in seconds after the first, and how that ended.
    fn life(random: u32) -> (Vec<i64>, Progress) {
        let (mut now, mut progress) = (start(), Progress::after(FeedCursor::START));
        let mut tries = Vec::new();
        while progress.disabled.is_none() {
            tries.push((now - start()).num_seconds());
            progress = failed(progress, setback(), now, random);
            now = progress.next_attempt_at.unwrap();
        }
        (tries, progress)
    }

    #[test]
    fn an_endpoint_that_fails_is_tried_for_a_day_and_then_disabled() {
        let day = GIVE_UP_AFTER.num_seconds();
        // In the middle of the jitter.
        let (tries, progress) = life(200);
        assert_eq!(tries[..7], [0, 5, 15, 35, 75, 155, 315]);
        assert_eq!((tries.len(), tries.last()), (23, Some(&day)), "{tries:?}");
        let expected = Disabled { reason: Reason::FailedTooLong, at: start() + GIVE_UP_AFTER };
        assert_eq!((progress.disabled, progress.last_error.as_deref()), (Some(expected), Some("status")));
        for random in [0, 17, 400, u32::MAX] {
            let (tries, _) = life(random);
            assert_eq!(tries.last(), Some(&day), "{tries:?}");
            assert!((15..40).contains(&tries.len()), "{tries:?}");
        }
    }

    #[test]
    fn pauses_differ_by_a_fifth_and_never_overflow() {
        assert_eq!((pause(1, 0), pause(1, 400)), (Duration::from_secs(4), Duration::from_secs(6)));
        assert_eq!(pause(u32::MAX, 200), LONGEST);
    }

    #[test]
    fn a_receiver_may_ask_for_time_or_for_nothing() {
        let progress = || Progress::after(FeedCursor::START);
        let busy = Setback { retry_after: Some(Duration::from_mins(10)), ..setback() };
        assert_eq!(
            failed(progress(), busy, start(), 200).next_attempt_at,
            Some(start() + TimeDelta::minutes(10))
        );
        let endless = Setback { retry_after: Some(Duration::MAX), ..setback() };
        assert_eq!(
            failed(progress(), endless, start(), 200).next_attempt_at,
            Some(start() + TimeDelta::hours(2))
        );
        let gone = Setback { is_gone: true, ..setback() };
        assert_eq!(failed(progress(), gone, start(), 200).disabled.unwrap().reason, Reason::Gone);
    }

    #[test]
    fn a_round_without_a_failure_starts_the_time_again() {
        let mut progress = failed(Progress::after(FeedCursor::end_of(3)), setback(), start(), 200);
        progress.tries.insert("evt".to_owned(), 4);
        let now = start() + TimeDelta::hours(5);
        let healthy = succeeded(&progress, now);
        assert_eq!(
            healthy,
            Progress { last_success_at: Some(now), ..Progress::after(FeedCursor::end_of(3)) }
        );
    }
}
