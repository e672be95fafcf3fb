use std::fmt::{self, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use chrono::{DateTime, Utc};

use super::clock::ManualClock;
use crate::ports::runtime::Clock;

/// The initial value of the hash (FNV-1a, 64 bits).
const EMPTY: u64 = 0xcbf2_9ce4_8422_2325;

/// The log of a simulation, with the virtual time of each line: as a hash, by which two runs are compared,
/// and as text on demand. Clones are one trace.
#[derive(Clone, Debug)]
pub struct Trace {
    clock: ManualClock,
    begun: DateTime<Utc>,
    state: Arc<Mutex<State>>,
}

#[derive(Debug)]
struct State {
    hash: u64,
    lines: Option<Vec<String>>,
}

impl Trace {
    /// Returns a trace that begins now. It keeps its text if `keeps_lines` is set.
    pub fn new(clock: &ManualClock, keeps_lines: bool) -> Self {
        let state = State { hash: EMPTY, lines: keeps_lines.then(Vec::new) };
        Self { clock: clock.clone(), begun: clock.now(), state: Arc::new(Mutex::new(state)) }
    }

    /// Adds a line with the current time.
    pub fn note(&self, what: fmt::Arguments<'_>) {
        let at_ms = (self.clock.now() - self.begun).num_milliseconds();
        let mut state = self.state();
        let mut hasher = Hasher(state.hash);
        // Writing into the hasher cannot fail.
        let _ = writeln!(hasher, "{at_ms} {what}");
        state.hash = hasher.0;
        if let Some(lines) = &mut state.lines {
            lines.push(format!("{:>4}.{:03} {what}", at_ms / 1_000, at_ms % 1_000));
        }
    }

    /// Returns the hash of all lines.
    pub fn hash(&self) -> u64 {
        self.state().hash
    }

    /// Returns all lines, or none if the trace does not keep them.
    pub fn lines(&self) -> Vec<String> {
        self.state().lines.clone().unwrap_or_default()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Hasher(u64);

impl Write for Hasher {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for byte in text.bytes() {
            self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
        Ok(())
    }
}
