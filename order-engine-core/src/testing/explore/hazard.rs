use std::fmt;
use std::str::FromStr;

macro_rules! hazards {
    ($($(#[doc = $doc:literal])* $name:ident = $text:literal,)*) => {
        /// A fault, a request at a bad moment, or a check at the end, that a run can do without.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[non_exhaustive]
        pub enum Hazard {
            $($(#[doc = $doc])* $name,)*
        }

        impl Hazard {
            /// All hazards.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// Returns the name of the hazard on a command line.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)*
                }
            }
        }
    };
}

hazards! {
    /// Calls of the store fail without an effect.
    StoreErrors = "store-errors",
    /// Calls of the store succeed, and the reply is lost.
    StoreReplies = "store-replies",
    /// Calls of the store take long.
    StoreStalls = "store-stalls",
    /// Calls of the store panic.
    StorePanics = "store-panics",
    /// The store is down for all processes for a while.
    Outages = "outages",
    /// Calls of the venue fail, or their replies are lost.
    VenueErrors = "venue-errors",
    /// Calls of the venue take longer than the engine waits.
    VenueStalls = "venue-stalls",
    /// The venue panics as it prepares a transaction.
    PreparePanics = "prepare-panics",
    /// The venue panics as it submits or observes a transaction.
    ObservePanics = "observe-panics",
    /// Calls of the router fail or stall.
    RouterErrors = "router-errors",
    /// Calls of the router panic.
    RouterPanics = "router-panics",
    /// Sinks refuse events, or take them and fail.
    SinkErrors = "sink-errors",
    /// Sinks hang.
    SinkStalls = "sink-stalls",
    /// Sinks panic.
    SinkPanics = "sink-panics",
    /// Sources of hints panic. Hints are lost, doubled, delayed and reordered in any case.
    SourcePanics = "source-panics",
    /// A little time passes in every call.
    Delays = "delays",
    /// Processes are killed.
    Kills = "kills",
    /// Processes crash in the middle of a call, before or after its effect.
    Crashes = "crashes",
    /// Processes are suspended in the middle of a call, and go on after their leases have expired.
    Zombies = "zombies",
    /// Processes are suspended until after their leases have expired, and resumed.
    Suspensions = "suspensions",
    /// Processes shut down.
    Shutdowns = "shutdowns",
    /// Clocks are hours apart, and run fast or slow.
    Clocks = "clocks",
    /// The network and the chain of the site misbehave.
    Chain = "chain",
    /// Orders have deadlines.
    Deadlines = "deadlines",
    /// Orders are cancelled.
    Cancels = "cancels",
    /// Subscribers disconnect, and connect again to another process.
    Subscribers = "subscribers",
    /// One order kills every process that prepares it, or makes every worker panic that does.
    Killers = "killers",
    /// At the end no other order may be in quarantine.
    Quarantine = "quarantine",
    /// No task of an engine may end with a panic.
    Tasks = "tasks",
    /// At the end each process has to execute an order alone.
    Alone = "alone",
}

impl fmt::Display for Hazard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A text that is not the name of a hazard.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is no hazard")]
pub struct UnknownHazard(String);

impl FromStr for Hazard {
    type Err = UnknownHazard;

    fn from_str(text: &str) -> Result<Self, UnknownHazard> {
        let hazard = Self::ALL.iter().find(|hazard| hazard.as_str() == text);
        hazard.copied().ok_or_else(|| UnknownHazard(text.to_owned()))
    }
}
