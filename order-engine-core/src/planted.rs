//! Bugs that can be planted, to check that the tests catch them.
//!
//! A test that cannot fail shows nothing. Each of these bugs was made, or nearly made, somewhere.
//! `scripts/planted-bugs` plants one after another and runs the tests, which must fail each time.
//!
//! The bugs are behind the feature `planted-bugs`, which no build for use enables: without it none of them is
//! compiled. With it the environment variable `PLANTED_BUG` names the bug to plant.

/// Returns whether a bug is planted: without the feature, a constant `false`.
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
            /// All bugs.
            pub const ALL: &'static [Self] = &[$(Self::$bug),+];

            /// Returns the name by which the bug is planted.
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
    /// A store writes for every caller, whatever lease it holds.
    NoFence = "no-fence",
    /// A store compares the epoch of a lease, and not its owner.
    EpochWithoutToken = "epoch-without-token",
    /// A claim does not raise the epoch.
    ClaimKeepsEpoch = "claim-keeps-epoch",
    /// A claimed order stays due, so that other workers claim it as well.
    ClaimLeavesDue = "claim-leaves-due",
    /// A store does not compare the revision.
    NoRevision = "no-revision",
    /// A cancel leaves the lease to the worker.
    CancelLeavesLease = "cancel-leaves-lease",
    /// A client order id creates a new order each time.
    NamesAreNotUnique = "names-are-not-unique",
    /// A commit after its time limit is written.
    LimitIsIgnored = "limit-is-ignored",
    /// An append adds no outbox entries.
    AppendSkipsOutbox = "append-skips-outbox",
    /// An ack counts for events that were written during the delivery.
    DeliveryPaysForLater = "delivery-pays-for-later",
    /// Events are published before their commit.
    PublishBeforeCommit = "publish-before-commit",
    /// A submission is answered before the order is written.
    AnswerBeforeCommit = "answer-before-commit",
    /// A write without a reply is taken as written.
    UnansweredIsWritten = "unanswered-is-written",
    /// A transaction is submitted before it is committed.
    SendBeforeCommit = "send-before-commit",
    /// A transaction is taken as dead at its last valid height.
    ExpiryOffByOne = "expiry-off-by-one",
    /// Absence is taken as a proof, whatever height the node has reached that reports it.
    AbsenceWithoutEvidence = "absence-without-evidence",
    /// A transaction that the venue does not know is taken as dead.
    AbsenceIsDeath = "absence-is-death",
    /// The search is made before the height is read, and its evidence is ignored.
    SearchBeforeHeight = "search-before-height",
    /// A transaction with another nonce is taken as a sibling.
    SiblingHasOwnNonce = "sibling-has-own-nonce",
    /// The landing of a transaction that does nothing is taken as an execution.
    CancelIsExecution = "cancel-is-execution",
    /// A used nonce is taken as death, without a search for who used it.
    NonceWithoutSearch = "nonce-without-search",
    /// A sibling is submitted before it is committed.
    SiblingBeforeCommit = "sibling-before-commit",
    /// The search is made before the account's finalized nonce is read, and its evidence is ignored.
    SearchBeforeNonce = "search-before-nonce",
    /// Of an attempt's transactions only the last one is looked at.
    LastOneDecides = "last-one-decides",
    /// An order is taken as cancelled when its cancel is sent, and not when it has landed.
    GapAfterCancel = "gap-after-cancel",
    /// A fee is raised although the nonce is used.
    BumpAfterDeath = "bump-after-death",
    /// A transaction with a higher fee promises less than the original.
    BumpPromisesLess = "bump-promises-less",
    /// A nonce is given out that another transaction has.
    NonceGivenTwice = "nonce-given-twice",
    /// An account's opaque value counts as left behind by any other one, also by one that was read earlier.
    EarlierValueDecides = "earlier-value-decides",
    /// A nonce that nobody uses is left to others.
    GapIsLeft = "gap-is-left",
    /// A refused write reserves its nonce.
    RefusedReserves = "refused-reserves",
    /// A transaction is committed, and so sent for the first time, after the deadline.
    LateFirstSend = "late-first-send",
    /// A transaction in a block that may be abandoned is taken as final.
    InclusionIsFinal = "inclusion-is-final",
    /// The price that the first quote fixed is forgotten when an order is quoted again.
    FloorForgotten = "floor-forgotten",
    /// A cancelled transaction is submitted again.
    CancelledIsSentAgain = "cancelled-is-sent-again",
    /// Leases are never renewed.
    LeasesAreNotRenewed = "leases-are-not-renewed",
    /// A worker goes on after its lease is lost.
    LostLeaseIsIgnored = "lost-lease-is-ignored",
    /// The worker's own clock decides that an order has expired.
    OwnClockDecides = "own-clock-decides",
    /// Orders are quarantined for claims without an execution.
    ClaimsAreStrikes = "claims-are-strikes",
    /// A suspected order is executed beside others.
    SuspectsAreNotAlone = "suspects-are-not-alone",
    /// An event that one subscriber has is taken as delivered to all.
    OneListenerSpeaksForAll = "one-listener-speaks-for-all",
    /// A subscription skips events that it did not get.
    SubscriptionSkipsGaps = "subscription-skips-gaps",
    /// A panic ends the task in which it happens.
    PanicEndsTask = "panic-ends-task",
    /// A batch that the venue cannot observe is observed again as a whole.
    BatchStaysTogether = "batch-stays-together",
    /// An outage uses an attempt.
    OutageUsesAttempt = "outage-uses-attempt",
    /// One pair may take all slots.
    NoBulkhead = "no-bulkhead",
    /// Orders stay claimed that a worker does not start.
    ClaimsAreHoarded = "claims-are-hoarded",
    /// The claim of an execution that was dropped is taken back.
    DropIsYield = "drop-is-yield",
    /// A relay waits for the slowest delivery of a batch.
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
