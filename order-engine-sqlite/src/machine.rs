//! The clocks of the machine.

use std::fmt::Debug;
use std::time::Duration;

/// The clocks of a machine, in milliseconds.
pub(crate) trait Machine: Debug + Send + Sync + 'static {
    /// Returns the system's time, since 1970. An administrator may set it.
    fn system_time_ms(&self) -> i64;

    /// Returns the id of the machine's present boot; none where the system has no such ids.
    fn boot_id(&self) -> Option<String>;

    /// Returns a time that goes on steadily, suspends included, and cannot be set: the time since the boot, or,
    /// where boots have no ids, since some moment of this process.
    fn steady_ms(&self) -> i64;
}

fn ms(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
}

/// This machine.
#[derive(Debug)]
pub(crate) struct ThisMachine;

impl Machine for ThisMachine {
    fn system_time_ms(&self) -> i64 {
        chrono::Utc::now().timestamp_millis()
    }

    #[cfg(target_os = "linux")]
    fn boot_id(&self) -> Option<String> {
        match std::fs::read_to_string("/proc/sys/kernel/random/boot_id") {
            Ok(boot_id) => Some(boot_id.trim().to_owned()),
            Err(error) => {
                tracing::warn!(%error, "the machine's boot id cannot be read; the store uses the system's time");
                None
            }
        }
    }

    #[cfg(target_os = "linux")]
    fn steady_ms(&self) -> i64 {
        let time = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
        // The time since a boot is never negative.
        ms(Duration::try_from(time).unwrap_or_default())
    }

    #[cfg(not(target_os = "linux"))]
    fn boot_id(&self) -> Option<String> {
        None
    }

    #[cfg(not(target_os = "linux"))]
    fn steady_ms(&self) -> i64 {
        static BEGAN: std::sync::LazyLock<std::time::Instant> =
            std::sync::LazyLock::new(std::time::Instant::now);
        ms(BEGAN.elapsed())
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    /// What the kernel says of the time since the boot, in hundredths of a second.
    fn kernels_hundredths() -> i64 {
        let uptime = std::fs::read_to_string("/proc/uptime").unwrap();
        let (seconds, hundredths) = uptime.split_whitespace().next().unwrap().split_once('.').unwrap();
        seconds.parse::<i64>().unwrap() * 100 + hundredths.parse::<i64>().unwrap()
    }

    #[test]
    fn the_time_since_the_boot_is_the_kernels() {
        let before = kernels_hundredths();
        let since_boot_ms = ThisMachine.steady_ms();
        let after = kernels_hundredths();
        assert!((before..=after).contains(&(since_boot_ms / 10)), "{before}, {since_boot_ms}, {after}");
    }

    #[test]
    fn a_boot_has_one_name() {
        let boot_id = ThisMachine.boot_id();
        assert!(boot_id.as_ref().is_some_and(|boot_id| boot_id.len() == 36), "{boot_id:?}");
        assert_eq!(boot_id, ThisMachine.boot_id());
    }
}
