//! Bugs that can be planted, to see whether the tests catch them.
//!
//! A test that cannot fail shows nothing. Each bug here is one that was made, or nearly made, somewhere.
//! `scripts/planted-bugs` plants one after another and runs the tests, which must fail each time.
//!
//! Behind the feature `planted-bugs`, which no build that is meant to work enables; without it nothing
//! of this is compiled. With it the environment variable `PLANTED_BUG` names the one to plant.

/// Whether a bug is planted. Without the feature none is, and the compiler removes it.
macro_rules! planted {
    ($bug:ident) => {{
        #[cfg(feature = "planted-bugs")]
        let is_planted = $crate::planted::is_planted($crate::planted::Bug::$bug);
        #[cfg(not(feature = "planted-bugs"))]
        let is_planted = false;
        is_planted
    }};
}
pub(crate) use planted;

/// Declares the bugs, each with the name by which it is planted.
#[cfg(feature = "planted-bugs")]
macro_rules! bugs {
    ($($(#[doc = $doc:literal])+ $bug:ident = $name:literal,)+) => {
        /// A bug that can be planted.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Bug {
            $($(#[doc = $doc])+ $bug,)+
        }

        impl Bug {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$bug),+];

            /// The name by which it is planted.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$bug => $name,)+
                }
            }
        }
    };
}

#[cfg(feature = "planted-bugs")]
bugs! {
    /// A store writes without checking the lease.
    NoFence = "no-fence",
    /// A store compares the epoch of a lease, and not its owner.
    EpochWithoutToken = "epoch-without-token",
    /// A claim does not raise the epoch.
    ClaimKeepsEpoch = "claim-keeps-epoch",
    /// A claimed order stays due, so that others claim it as well.
    ClaimLeavesDue = "claim-leaves-due",
    /// A revision is not compared.
    NoRevision = "no-revision",
    /// A cancel leaves the lease to the worker that holds it.
    CancelLeavesLease = "cancel-leaves-lease",
    /// A client order id makes a new order each time.
    NamesAreNotUnique = "names-are-not-unique",
    /// A commit past the limit that it carries is written.
    LimitIsIgnored = "limit-is-ignored",
    /// An append adds no outbox entries.
    AppendSkipsOutbox = "append-skips-outbox",
    /// An acknowledgement also covers events that were written since the delivery began.
    DeliveryPaysForLater = "delivery-pays-for-later",
    /// Events are published before their commit.
    PublishBeforeCommit = "publish-before-commit",
    /// An accepted order is answered before it is written.
    AnswerBeforeCommit = "answer-before-commit",
    /// A write without an answer counts as done.
    UnansweredIsWritten = "unanswered-is-written",
    /// A transaction is sent before it is committed.
    SendBeforeCommit = "send-before-commit",
    /// A transaction is dead at its last valid height.
    ExpiryOffByOne = "expiry-off-by-one",
    /// Absence is a proof, however far the node that answered had come.
    AbsenceWithoutEvidence = "absence-without-evidence",
    /// A transaction that the venue does not know is dead.
    AbsenceIsDeath = "absence-is-death",
    /// The search is made before the height is read, and its evidence ignored.
    SearchBeforeHeight = "search-before-height",
    /// What landed in a block that may be abandoned is final.
    InclusionIsFinal = "inclusion-is-final",
    /// A cancelled transaction is sent again.
    CancelledIsSentAgain = "cancelled-is-sent-again",
    /// Leases are never renewed.
    LeasesAreNotRenewed = "leases-are-not-renewed",
    /// A worker goes on although its lease is lost.
    LostLeaseIsIgnored = "lost-lease-is-ignored",
    /// The worker's own clock ends an order.
    OwnClockDecides = "own-clock-decides",
    /// Claims without an execution count as strikes.
    ClaimsAreStrikes = "claims-are-strikes",
    /// A suspect is executed together with other orders.
    SuspectsAreNotAlone = "suspects-are-not-alone",
    /// An event that one listener has counts as sent to all.
    OneListenerSpeaksForAll = "one-listener-speaks-for-all",
    /// A subscription skips events that it was not sent.
    SubscriptionSkipsGaps = "subscription-skips-gaps",
    /// A panic ends the task in which it happens.
    PanicEndsTask = "panic-ends-task",
    /// A batch that the venue fails on is observed again as it is.
    BatchStaysTogether = "batch-stays-together",
    /// An outage uses an attempt.
    OutageUsesAttempt = "outage-uses-attempt",
    /// A pair may take all slots.
    NoBulkhead = "no-bulkhead",
    /// A relay waits for the slowest of a batch.
    RelayHasBarrier = "relay-has-barrier",
}

#[cfg(feature = "planted-bugs")]
pub(crate) fn is_planted(bug: Bug) -> bool {
    use std::sync::OnceLock;

    static PLANTED: OnceLock<Option<Bug>> = OnceLock::new();
    let planted = PLANTED.get_or_init(|| {
        let name = std::env::var("PLANTED_BUG").ok()?;
        let found = Bug::ALL.iter().copied().find(|bug| bug.name() == name);
        assert!(found.is_some(), "there is no bug called '{name}'");
        found
    });
    *planted == Some(bug)
}
