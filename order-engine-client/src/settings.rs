//! Where the server is, and the key.

#[cfg(feature = "config")]
mod file;

use std::time::Duration;

use crate::secret::Secret;

const URL_DEFAULT: &str = "http://127.0.0.1:3000";
/// A restart takes seconds.
const REPEAT_FOR: Duration = Duration::from_secs(30);
/// The server sends something every 20 seconds. What is silent for longer than two of these is cut.
const SILENCE_MAX: Duration = Duration::from_secs(45);

/// What a client needs to know. Without settings it is a server on this machine, and no key.
///
/// ```
/// use order_engine_client::{Client, Settings};
///
/// let client = Client::new(&Settings::new("https://trader.example").with_key("oek_0123"))?;
/// assert!(!format!("{client:?}").contains("oek_0123"));
/// # Ok::<(), order_engine_client::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    url: String,
    key: Option<Secret>,
    may_send_key_in_the_clear: bool,
    repeat_for: Duration,
    silence_max: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self::new(URL_DEFAULT)
    }
}

impl Settings {
    /// Returns settings for a server: `http://host:port` or `https://host:port`.
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            key: None,
            may_send_key_in_the_clear: false,
            repeat_for: REPEAT_FOR,
            silence_max: SILENCE_MAX,
        }
    }

    /// Sets the API key or the token.
    pub fn with_key(mut self, key: &str) -> Self {
        self.key = Some(Secret::new(key)).filter(|key| !key.is_empty());
        self
    }

    /// Sends the key over `http://` to another machine, where everybody on the way can read it.
    pub fn with_insecure_http(mut self) -> Self {
        self.may_send_key_in_the_clear = true;
        self
    }

    /// Sets for how long a request is repeated that may be (30 seconds).
    pub fn with_repeat_for(mut self, time: Duration) -> Self {
        self.repeat_for = time;
        self
    }

    /// Sets for how long a stream may be silent before it connects again (45 seconds). The server sends something every 20.
    pub fn with_silence_max(mut self, time: Duration) -> Self {
        self.silence_max = time;
        self
    }

    /// Returns the address of the server.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Returns the key.
    pub const fn key(&self) -> Option<&Secret> {
        self.key.as_ref()
    }

    pub(crate) const fn may_send_key_in_the_clear(&self) -> bool {
        self.may_send_key_in_the_clear
    }

    pub(crate) const fn silence_max(&self) -> Duration {
        self.silence_max
    }

    pub(crate) const fn repeat_for(&self) -> Duration {
        self.repeat_for
    }
}
