//! The numbers of orders' last events, read for many subscribers at a time.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::batch::{self, Batcher};
use crate::domain::ids::OrderId;
use crate::ports::order_store::OrderStore;
use crate::ports::runtime::Runtime;
use crate::resilience::supervisor::Supervisor;

/// How many orders one read is about.
const BATCH: usize = 256;

/// Reads the numbers of orders' last events. Requests that come while a read is under way share the next.
#[derive(Debug)]
pub(crate) struct Heads {
    asked: Batcher<OrderId, Option<u64>>,
}

impl Heads {
    /// Starts the task that reads. It ends when this is dropped.
    pub(crate) fn start(store: Arc<dyn OrderStore>, runtime: &Runtime, supervisor: &Arc<Supervisor>) -> Self {
        let (asked, queue) = Batcher::new(2 * BATCH);
        let supervisor = Arc::clone(supervisor);
        let task = batch::run(supervisor, "heads", queue, BATCH, move |ids| read(Arc::clone(&store), ids));
        runtime.spawner.spawn("last_seqs", Box::pin(task));
        Self { asked }
    }

    /// Returns the number of an order's last event. Returns nothing if there is no such order, and also if the
    /// store does not answer: a caller that has to know which of the two reads the store itself.
    pub(crate) async fn of(&self, order_id: OrderId) -> Option<u64> {
        self.asked.call(order_id).await.ok().flatten()
    }
}

async fn read(store: Arc<dyn OrderStore>, asked: Vec<OrderId>) -> Vec<Option<u64>> {
    // An order that is requested many times is read once.
    let mut heads: BTreeMap<OrderId, Option<u64>> = asked.iter().map(|id| (*id, None)).collect();
    let ids: Vec<OrderId> = heads.keys().copied().collect();
    if let Ok(read) = store.last_seqs(&ids).await {
        heads.extend(ids.into_iter().zip(read));
    }
    asked.iter().map(|id| heads.get(id).copied().flatten()).collect()
}
