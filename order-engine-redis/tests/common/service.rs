//! Engines with their workers, on a simulated chain.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use order_engine_core::{
    Amount, Engine, EngineConfig, OrderId, OrderRequest, OrderState, OrderStore, Runtime, Status, StoreError,
};
use order_engine_redis::RedisFanout;
use order_engine_sim::{Execution, SimConfig, Simulator, default_tokens};
use tempfile::TempDir;
use tokio::task::JoinHandle;

/// A chain with a ledger, which is the truth of what was executed.
pub struct Chain {
    pub sim: Simulator,
    folder: TempDir,
}

impl Chain {
    pub async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let config = SimConfig {
            step_delay: Duration::from_millis(10),
            ledger: Some(folder.path().join("ledger.jsonl")),
            ..SimConfig::default()
        };
        Self { sim: Simulator::open(config, Runtime::tokio()).await.unwrap(), folder }
    }

    /// Returns how many times each order was executed, from the ledger.
    pub async fn executed(&self) -> BTreeMap<OrderId, usize> {
        self.sim.flush().await.unwrap();
        let ledger = order_engine_sim::read_ledger(self.folder.path().join("ledger.jsonl")).unwrap();
        let mut executed = BTreeMap::new();
        for Execution { order_id, executed: is_executed, .. } in ledger {
            *executed.entry(order_id).or_default() += usize::from(is_executed);
        }
        executed
    }
}

/// An engine like that of another process: with a worker, unless it only serves clients.
pub struct Service {
    pub engine: Engine,
    worker: Option<JoinHandle<()>>,
}

impl Service {
    pub async fn start(
        store: Arc<dyn OrderStore>,
        fanout: Option<&RedisFanout>,
        chain: &Chain,
        config: EngineConfig,
    ) -> Self {
        let mut builder =
            Engine::builder().store(store).router(chain.sim.router()).venue(chain.sim.venue()).config(config);
        if let Some(fanout) = fanout {
            builder = builder.sink(fanout.sink()).source(fanout.source());
        }
        Self { engine: builder.build().await.unwrap(), worker: None }
    }

    pub fn with_worker(mut self) -> Self {
        self.worker = Some(tokio::spawn(self.engine.run(10)));
        self
    }

    /// Checks that the history of an order is complete and leads to its state, and returns its status.
    pub async fn check_history(&self, id: OrderId) -> Status {
        let order = answered(|| self.engine.order(id)).await.expect("an acknowledged order is there");
        let events = answered(|| self.engine.events(id, 0, u32::MAX)).await;
        assert!(events.iter().map(|event| event.seq).eq(1..=order.seq), "{id}");
        assert_eq!(OrderState::replay(&events), Ok(order.state.clone()), "{id}");
        order.status()
    }
}

/// Repeats a call until it succeeds: a server that is back may still be loading its file.
async fn answered<T, F>(ask: impl Fn() -> F) -> T
where
    F: Future<Output = Result<T, StoreError>>,
{
    loop {
        match ask().await {
            Err(error) if error.is_transient() => tokio::time::sleep(Duration::from_millis(20)).await,
            answer => return answer.unwrap(),
        }
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        if let Some(worker) = &self.worker {
            worker.abort();
        }
    }
}

pub fn request(client_order_id: String) -> OrderRequest {
    let tokens = default_tokens();
    OrderRequest::new("alice", tokens[0].clone(), tokens[1].clone(), Amount::new(1_000_000_000))
        .with_client_order_id(order_engine_core::ClientOrderId::new(client_order_id))
        .with_slippage_bps(100)
}
