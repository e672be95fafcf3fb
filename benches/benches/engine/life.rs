//! The events of an order, as an engine wrote them.

use std::sync::Arc;
use std::time::Duration;

use apalis::prelude::{Monitor, WorkerBuilder};
use order_engine_core::store::{Append, Guard};
use order_engine_core::{
    Amount, Engine, EventRecord, MemoryStore, NewOrder, Order, OrderId, OrderRequest, Runtime, Submission,
    execute_order,
};
use order_engine_sim::{Rate, SimConfig, Simulator, default_tokens};

/// The events of an order from its creation to its confirmation.
pub(crate) struct Life {
    pub(crate) request: OrderRequest,
    pub(crate) records: Vec<EventRecord>,
}

impl Life {
    /// Executes an order on a venue that takes no time, and returns its events.
    pub(crate) async fn live() -> Self {
        let config = SimConfig { step_delay: Duration::ZERO, fail_rate: Rate::NEVER, ..SimConfig::default() };
        let simulator = Simulator::open(config, Runtime::tokio()).await.expect("a simulator");
        let engine = Engine::builder()
            .store(Arc::new(MemoryStore::new()))
            .router(simulator.router())
            .venue(simulator.venue())
            .build()
            .await
            .expect("an engine");
        let worker = engine.clone();
        let monitor = Monitor::new()
            .register(move |_| WorkerBuilder::new("life").backend(worker.backend(10)).build(execute_order));
        tokio::spawn(monitor.run());
        let request = request();
        let submission = engine.submit(request.clone()).await.expect("the store takes it");
        let Submission::Created(order) = submission else { panic!("it has no name that could be taken") };
        let mut events = engine.subscribe(order.id, 0).await.expect("the store answers").expect("it exists");
        let mut records = Vec::new();
        while let Some(event) = events.next().await {
            records.push(EventRecord::clone(&*event.expect("the subscriber does not lag")));
        }
        assert!(records.last().is_some_and(|last| last.status.is_terminal()));
        Self { request, records }
    }

    /// Returns the same events of another order: its creation, and one append of all others.
    pub(crate) fn again(&self, number: u128) -> (NewOrder, Append) {
        let [first, rest @ ..] = self.records.as_slice() else { panic!("a life has a beginning") };
        let id = OrderId::new(first.at, number << 64);
        let (mut order, event) = Order::accept(id, self.request.clone(), first.max_attempts, first.at);
        let new = NewOrder::new(Arc::new(order.clone()), Arc::new(event));
        let advance = |record: &EventRecord| {
            Arc::new(order.advance_mut(record.event.clone(), record.at).expect("it went the same way before"))
        };
        let events = rest.iter().map(advance).collect();
        (new, Append::new(Guard::Revision { revoke: false }, Arc::new(order), events))
    }
}

fn request() -> OrderRequest {
    let tokens = default_tokens();
    OrderRequest::new("bench", tokens[0].clone(), tokens[1].clone(), Amount::new(1_000_000_000))
}
