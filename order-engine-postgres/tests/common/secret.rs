//! A planted secret, and the places where it must not be.
#![allow(missing_docs, unreachable_pub)] // A test file uses this.

use std::error::Error;
use std::fmt::Debug;
use std::io;
use std::sync::{Arc, Mutex};

use tracing::subscriber::DefaultGuard;
use tracing_subscriber::util::SubscriberInitExt as _;

pub const SECRET: &str = "planted-canary";

/// Fails if the text of a value has the secret.
#[track_caller]
pub fn hides(value: &impl Debug) {
    for text in [format!("{value:?}"), format!("{value:#?}")] {
        assert!(!text.contains(SECRET), "{text}");
    }
}

/// Fails if an error or one of its causes has the secret.
#[track_caller]
pub fn error_hides(error: &(dyn Error + 'static)) {
    let mut cause = Some(error);
    while let Some(error) = cause {
        hides(&error);
        assert!(!error.to_string().contains(SECRET), "{error}");
        cause = error.source();
    }
}

/// What this thread logs at any level, as long as it is kept.
pub struct Log {
    lines: Lines,
    _guard: DefaultGuard,
}

#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl io::Write for Lines {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Log {
    pub fn begin() -> Self {
        let lines = Lines::default();
        let writer = lines.clone();
        let logs = tracing_subscriber::fmt().with_max_level(tracing::Level::TRACE);
        let guard = logs.with_writer(move || writer.clone()).set_default();
        Self { lines, _guard: guard }
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.lines.0.lock().unwrap()).into_owned()
    }

    #[track_caller]
    pub fn hides(&self) {
        assert!(!self.text().contains(SECRET), "{}", self.text());
    }
}
