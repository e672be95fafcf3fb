//! Calls of a script over many items.

use order_engine_core::ItemRejected;
use redis::{Cmd, FromRedisValue};

use crate::error::Error;
use crate::replies;
use crate::session::Session;

/// The most items of one call. Other clients wait while it runs, which takes about a millisecond; larger
/// calls are hardly cheaper an item.
const ITEMS: usize = 64;

/// Returns calls of a script over items. `begin` returns a call without items, and `add` adds an item to it.
pub(crate) fn calls<T>(items: &[T], begin: impl Fn() -> Cmd, add: impl Fn(&T, &mut Cmd)) -> Vec<Cmd> {
    let add = |item: &T, call: &mut Cmd| {
        add(item, call);
        Ok(())
    };
    Batch::new(items, begin, add).calls
}

/// Calls of a script over items, some of which were rejected before anything is sent.
pub(crate) struct Batch {
    calls: Vec<Cmd>,
    rejected: Vec<Option<ItemRejected>>,
}

impl Batch {
    /// Makes calls. `begin` returns a call without items, and `add` adds an item to it.
    pub(crate) fn new<T>(
        items: &[T],
        begin: impl Fn() -> Cmd,
        add: impl Fn(&T, &mut Cmd) -> Result<(), ItemRejected>,
    ) -> Self {
        let (mut calls, mut rejected) = (Vec::new(), Vec::with_capacity(items.len()));
        for chunk in items.chunks(ITEMS) {
            let mut call = begin();
            let mut is_empty = true;
            for item in chunk {
                let added = add(item, &mut call);
                is_empty &= added.is_err();
                rejected.push(added.err());
            }
            if !is_empty {
                calls.push(call);
            }
        }
        Self { calls, rejected }
    }

    /// Sends the calls, and returns one result an item.
    pub(crate) async fn write<T: FromRedisValue>(
        self,
        session: &Session,
    ) -> Result<Vec<Result<T, ItemRejected>>, Error> {
        let mut replies = replies::decode_items(session.write_all(self.calls).await?)?.into_iter();
        let result = |rejected: Option<ItemRejected>| match rejected {
            Some(rejected) => Ok(Err(rejected)),
            None => replies.next().map(Ok).ok_or_else(|| Error::Reply("an item has no reply".to_owned())),
        };
        self.rejected.into_iter().map(result).collect()
    }
}
