//! The faults of the network and the chain.

use crate::rate::Rate;

/// The rates at which the network and the chain misbehave. By default they do not.
///
/// Whether a fault strikes depends on the seed, the transaction and the time, never on the order of calls.
/// No fault breaks a promise on which an engine relies: a transaction executes at most once and never after
/// its last valid height, one transaction of an account and nonce lands, in the order of the nonces, finalized
/// landings stay, and a search that finds nothing reports truthfully how far it reached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FaultConfig {
    /// How often a request to send a transaction is lost: the result is ambiguous, and nothing arrived.
    pub lost_request_rate: Rate,
    /// How often the reply to such a request is lost: the result is ambiguous, and the transaction arrived.
    pub lost_reply_rate: Rate,
    /// How often a transaction is accepted and then forgotten. If it is sent again, it gets a new chance.
    pub drop_rate: Rate,
    /// How often the network delivers a transaction a second time, after it landed.
    pub duplicate_rate: Rate,
    /// How often a transaction lands later than usual.
    pub delay_rate: Rate,
    /// The most slots of such a delay. A transaction delayed beyond its last valid height does not land. One with
    /// a nonce holds up the later ones of its account.
    pub delay_slots: u64,
    /// How often a transaction lands in the last moment of its last valid height, if it has one.
    pub late_rate: Rate,
    /// How often a transaction lands in a block that is abandoned before it is final. It then lands again
    /// some slots later, or is forgotten. Without a step delay landings are final at once, and no block is
    /// abandoned.
    ///
    /// On a chain with nonces: how often, for each height, the newest blocks are abandoned before that of the
    /// height comes. Empty ones take their place, and their transactions go back to the nodes.
    pub reorg_rate: Rate,
    /// How often a node that is behind answers a call. It reports heights, landings and how far it has
    /// searched, all as of its own past, but without blocks that have been abandoned since. The calls before
    /// and after it may reach other nodes, even at the same time.
    pub node_lag_rate: Rate,
    /// The number of slots by which that node is behind.
    pub node_lag_slots: u64,
    /// How often the index of a node lags behind the node in a search.
    pub history_lag_rate: Rate,
    /// The number of slots by which the index lags.
    pub history_lag_slots: u64,
    /// How often a node that keeps only recent landings answers a search.
    pub history_prune_rate: Rate,
    /// The number of slots that such a node keeps.
    pub history_kept_slots: u64,
    /// How often, for each account and height, somebody else who has the account's key uses its next nonce. They do
    /// not send again what the nodes lose of an abandoned block. Only on a chain with nonces, like all of the
    /// following.
    pub foreign_rate: Rate,
    /// The most blocks that are abandoned at once; one at least. Final blocks stay.
    pub reorg_slots: u64,
    /// How often the nodes lose a transaction of an abandoned block instead of taking it back.
    pub reorg_loss_rate: Rate,
    /// How often, for each height, the nodes forget a transaction that waits for a block.
    pub eviction_rate: Rate,
    /// How often the base fee is high for a period.
    pub fee_spike_rate: Rate,
    /// The slots of such a period.
    pub fee_spike_slots: u64,
    /// The base fee in such a period, in percent of the usual one.
    pub fee_spike_percent: u32,
}
