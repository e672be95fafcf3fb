//! Orders are executed once even if the stock storage duplicates or loses jobs.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use apalis::prelude::TaskSink;
use apalis_postgres::{Config, PostgresStorage};
use apalis_postgres_worker::work;
use order_engine_core::{
    Amount, Engine, EngineConfig, OrderId, OrderRequest, OrderTask, Runtime, Status, Submission,
};
use order_engine_postgres::PostgresStore;
use order_engine_postgres::testing::{fresh_schema, shared_url};
use order_engine_sim::{Rate, SimConfig, Simulator, default_tokens};
use sqlx::PgPool;

const ORDERS: usize = 40;

struct Fixture {
    engine: Engine,
    simulator: Simulator,
    pool: PgPool,
}

impl Fixture {
    async fn new() -> Self {
        let config = SimConfig {
            step_delay: Duration::from_millis(5),
            fail_rate: Rate::NEVER,
            ..SimConfig::default()
        };
        let simulator = Simulator::open(config, Runtime::tokio()).await.unwrap();
        let store = PostgresStore::open(fresh_schema()).await.unwrap();
        // The storage may end a worker in the middle of an order, which then waits until its lease expires.
        let mut config = EngineConfig::default();
        config.lease_duration = Duration::from_secs(2);
        let engine = Engine::builder()
            .config(config)
            .store(Arc::new(store))
            .router(simulator.router())
            .venue(simulator.venue())
            .build()
            .await
            .unwrap();
        let pool = PgPool::connect(&shared_url()).await.unwrap();
        PostgresStorage::setup(&pool).await.unwrap();
        Self { engine, simulator, pool }
    }

    fn work(&self, queue: &'static str) {
        let (engine, pool) = (self.engine.clone(), self.pool.clone());
        tokio::spawn(async move { work(engine, pool, queue, 10, Duration::from_millis(100)).await });
    }

    async fn submit(&self) -> OrderId {
        let tokens = default_tokens();
        let request =
            OrderRequest::new("alice", tokens[0].clone(), tokens[1].clone(), Amount::new(1_000_000_000))
                .with_slippage_bps(100);
        match self.engine.submit(request).await.unwrap() {
            Submission::Created(order) => order.id,
            other => panic!("{other:?}"),
        }
    }

    /// Asserts that every order is confirmed and was executed once.
    async fn assert_executed_once(&self, orders: &BTreeSet<OrderId>) {
        for order in orders {
            let mut events = self.engine.subscribe(*order, 0).await.unwrap().unwrap();
            let mut last = Status::Pending;
            while let Some(event) = events.next().await {
                last = event.unwrap().status;
            }
            assert_eq!(last, Status::Confirmed);
        }
        let executed: Vec<OrderId> =
            self.simulator.executions(None).iter().map(|execution| execution.order_id).collect();
        assert_eq!(executed.len(), orders.len());
        assert_eq!(executed.into_iter().collect::<BTreeSet<_>>(), *orders);
        self.engine.shutdown(Duration::from_secs(10)).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn duplicate_jobs_execute_an_order_once() {
    let fixture = Fixture::new().await;
    fixture.work("duplicate");
    let mut queue =
        PostgresStorage::<OrderTask>::new(&fixture.pool).with_config(Config::default().queue("duplicate"));
    let mut orders = BTreeSet::new();
    for _ in 0..ORDERS {
        let order = fixture.submit().await;
        for _ in 0..3 {
            queue.push(OrderTask::new(order)).await.unwrap();
        }
        orders.insert(order);
    }
    fixture.assert_executed_once(&orders).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_destroyed_queue_loses_no_order() {
    let fixture = Fixture::new().await;
    fixture.work("destroyed");
    let mut orders = BTreeSet::new();
    for n in 0..ORDERS {
        orders.insert(fixture.submit().await);
        if n % 4 == 0 {
            let destroy = "DELETE FROM apalis.jobs WHERE job_type = 'destroyed'";
            sqlx::query(destroy).execute(&fixture.pool).await.unwrap();
        }
    }
    fixture.assert_executed_once(&orders).await;
}
