//! The Lua scripts. A server runs one at a time, from its first line to its last.

use std::sync::LazyLock;

use redis::{Cmd, Pipeline};

/// A script.
#[derive(Debug)]
pub(crate) struct Script {
    code: &'static str,
    /// The name under which a server keeps it.
    hash: String,
}

impl Script {
    fn new(code: &'static str) -> Self {
        Self { code, hash: redis::Script::new(code).get_hash().to_owned() }
    }

    /// A call of the script; arguments are added to it.
    pub(crate) fn call(&self, prefix: &str) -> Cmd {
        let mut cmd = redis::cmd("EVALSHA");
        cmd.arg(&self.hash).arg(1).arg(prefix);
        cmd
    }
}

/// Declares the scripts. The first line of each makes the server check before the first statement whether
/// it can take writes at all: that it is no replica, has memory left, and can write to its disk.
macro_rules! scripts {
    ($($name:ident $flags:literal $($part:literal)+;)*) => {
        $(
            pub(crate) static $name: LazyLock<Script> = LazyLock::new(|| {
                Script::new(concat!(
                    "#!lua", $flags, "\n", include_str!("scripts/prelude.lua"), $(include_str!(concat!("scripts/", $part))),+
                ))
            });
        )*

        /// Makes a server know all scripts.
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
    APPEND "" "runs.lua" "history.lua" "owe.lua" "append.lua";
    BACKLOG " flags=no-writes" "backlog.lua";
    CHECK "" "check.lua";
    CLAIM "" "history.lua" "claim.lua";
    CLAIM_DEBTS "" "runs.lua" "debt.lua" "claim_debts.lua";
    CREATE "" "runs.lua" "owe.lua" "create.lua";
    DUE " flags=no-writes" "due.lua";
    EVENTS " flags=no-writes" "events.lua";
    UNREGISTER_SINK "" "runs.lua" "debt.lua" "unregister_sink.lua";
    LIST " flags=no-writes" "list.lua";
    MEND "" "runs.lua" "debt.lua" "forget.lua" "mend.lua";
    PURGE "" "runs.lua" "forget.lua" "purge.lua";
    RELEASE "" "runs.lua" "history.lua" "release.lua";
    RENEW "" "renew.lua";
    MAKE_DUE "" "make_due.lua";
    SETTLE "" "runs.lua" "debt.lua" "settle.lua";
}
