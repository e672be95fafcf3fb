use crate::Rate;

/// How the network and the chain misbehave. By default they do not.
///
/// Whether a fault strikes follows from the seed, the transaction and the moment, never from the
/// order of calls. No fault breaks what an engine may rely on: a transaction executes at most once,
/// never after its last valid height, what is final stays, and a search that finds nothing says
/// truly how far it has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FaultConfig {
    /// How often a request to send is lost on the way: the answer is ambiguous, nothing arrived.
    pub lost_request_rate: Rate,
    /// How often the answer is lost on the way back: it is ambiguous too, and all of it happened.
    pub lost_reply_rate: Rate,
    /// How often a transaction is accepted and then forgotten. Sending it again gives it another
    /// chance.
    pub drop_rate: Rate,
    /// How often the network delivers a transaction a second time, after it landed.
    pub duplicate_rate: Rate,
    /// How often a transaction lands later than it should.
    pub delay_rate: Rate,
    /// By how many slots at most. Beyond its last valid height it does not land at all.
    pub delay_slots: u64,
    /// How often a transaction lands in the very last moment of its last valid height.
    pub late_rate: Rate,
    /// How often a transaction lands in a block that is abandoned before it is final. It then lands
    /// again some slots later, or is forgotten. Without a step delay a landing is final at once, and
    /// nothing can be abandoned.
    pub reorg_rate: Rate,
    /// How often a call is answered by a node that is honestly behind: it tells the heights, what
    /// landed, and how far it has searched, all as of its own past. The call before or after it may
    /// reach another node, even in the same moment. Blocks that are abandoned by now it has forgotten.
    pub node_lag_rate: Rate,
    /// By how many slots that node is behind.
    pub node_lag_slots: u64,
    /// How often a search is answered from an index that lags behind its node.
    pub history_lag_rate: Rate,
    /// By how many slots it lags.
    pub history_lag_slots: u64,
    /// How often a search is answered by a node that keeps recent landings only.
    pub history_prune_rate: Rate,
    /// How many slots that node keeps.
    pub history_kept_slots: u64,
}
