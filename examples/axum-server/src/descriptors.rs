//! How many files and connections the process may have open, and what follows for its clients.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// What the store, the venue, the log and the listener take, the connections beyond all bounds that are told so, the streams
/// of unknown orders, and a little more.
const RESERVE: u64 = 160;

/// How many clients are served at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientCaps {
    /// The connections that are no WebSockets.
    pub connections: usize,
    /// The live streams.
    pub streams: usize,
}

impl ClientCaps {
    /// Returns the caps with which all clients have a descriptor: what was asked for, if there is room for it. Streams, which
    /// stay, get up to three quarters of the room; what is left is for connections.
    #[must_use]
    pub fn fit(self, descriptors: u64) -> Self {
        let room = usize::try_from(descriptors.saturating_sub(RESERVE)).unwrap_or(usize::MAX).max(2);
        if self.connections.saturating_add(self.streams) <= room {
            return self;
        }
        let streams = self.streams.min(room - room.div_ceil(4));
        Self { connections: self.connections.min(room - streams), streams }
    }
}

/// Raises the number of descriptors that the process may have to the most that the system lets it have, and returns it.
pub fn raise_limit() -> u64 {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current == maximum {
        return current.unwrap_or(u64::MAX);
    }
    let raised = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
    let limit = if raised.is_ok() { maximum } else { current };
    limit.unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_clients_have_a_descriptor() {
        let fit = |connections, streams, descriptors| {
            let ClientCaps { connections, streams } = ClientCaps { connections, streams }.fit(descriptors);
            (connections, streams)
        };
        assert_eq!(fit(100, 200, 1_000_000), (100, 200), "there is room for all");
        assert_eq!(fit(16_384, 10_000, 20_160), (10_000, 10_000), "streams come first");
        assert_eq!(fit(16_384, 10_000, 1_160), (250, 750));
        assert_eq!(fit(10, 10_000, 1_160), (10, 750));
        assert_eq!(fit(usize::MAX, usize::MAX, 160), (1, 1), "there is always some room");
        for descriptors in [0, 160, 161, 1_024, 65_536] {
            let (connections, streams) = fit(16_384, 10_000, descriptors);
            assert!(connections >= 1 && streams >= 1);
            assert!(
                connections + streams <= usize::try_from(descriptors).unwrap().saturating_sub(160).max(2)
            );
        }
    }
}
