//! The Lua scripts. A server runs one at a time, from its first line to its last.

use std::sync::LazyLock;

use redis::{Cmd, Pipeline};

/// A Lua script.
#[derive(Debug)]
pub(crate) struct Script {
    code: &'static str,
    /// The name under which a server keeps the script.
    hash: String,
}

impl Script {
    fn new(code: &'static str) -> Self {
        Self { code, hash: redis::Script::new(code).get_hash().to_owned() }
    }

    /// Returns a call of the script, to which its arguments are added.
    pub(crate) fn call(&self, prefix: &str) -> Cmd {
        let mut cmd = redis::cmd("EVALSHA");
        cmd.arg(&self.hash).arg(1).arg(prefix);
        cmd
    }
}

/// Declares scripts: the flags of each, and the files that it consists of.
///
/// The first line of a script makes the server check before the first statement whether it can take writes
/// at all: that it is no replica, has memory left, and can write to its disk.
macro_rules! scripts {
    ($($name:ident $flags:literal $($part:literal)+;)*) => {
        $(
            pub(crate) static $name: LazyLock<Script> = LazyLock::new(|| {
                Script::new(concat!(
                    "#!lua", $flags, "\n",
                    include_str!("scripts/common.lua"),
                    $(include_str!(concat!("scripts/", $part, ".lua"))),+
                ))
            });
        )*

        /// Returns the commands that load all scripts into a server.
        pub(crate) fn load_all() -> Pipeline {
            let mut pipeline = Pipeline::new();
            for script in [$(&*$name),*] {
                pipeline.cmd("SCRIPT").arg("LOAD").arg(script.code);
            }
            pipeline
        }
    };
}

scripts! {
    ACK_DELIVERIES "" "intent_log" "outbox_entry" "ack_deliveries";
    APPEND "" "intent_log" "changes" "history" "attention" "lanes" "feed" "add_to_feed" "nonces" "add_outbox_entries" "append";
    BACKLOG " flags=no-writes" "due" "backlog";
    CHECK "" "check";
    CLAIM "" "changes" "history" "order_row" "lanes" "due" "claim";
    CLAIM_DELIVERIES "" "intent_log" "history" "outbox_entry" "claim_deliveries";
    CREATE "" "intent_log" "changes" "order_row" "lanes" "feed" "add_to_feed" "add_outbox_entries" "create";
    DUE_ORDERS " flags=no-writes" "due" "due_orders";
    EVENTS " flags=no-writes" "history" "events";
    LIST " flags=no-writes" "order_row" "list";
    MAKE_DUE "" "changes" "lanes" "make_due";
    PAUSE "" "pause";
    PURGE "" "intent_log" "history" "feed" "feed_members" "nonces" "delete_order" "purge";
    READ_FEED " flags=no-writes" "history" "feed" "read_feed";
    RELEASE "" "intent_log" "changes" "attention" "lanes" "release";
    RENEW "" "changes" "lanes" "renew";
    REPAIR "" "intent_log" "changes" "history" "outbox_entry" "lanes" "feed" "feed_members" "nonces" "delete_order" "repair";
    UNREGISTER_SINK "" "intent_log" "outbox_entry" "unregister_sink";
}
