//! The worker under apalis: layers, panics, restarts and races.
#![allow(clippy::disallowed_methods)] // Tests may use the runtime directly.

mod common;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use apalis::prelude::*;
use chrono::DateTime;
use common::Fixture;
use order_engine_core::testing::{Sending, request};
use order_engine_core::{
    EngineConfig, OrderEvent, OrderId, OrderTask, Status, enqueue_due_orders, execute_order,
    until_queue_stalls,
};

#[tokio::test(start_paused = true)]
async fn a_timeout_layer_drops_the_handler_and_the_order_goes_on() {
    let mut config = EngineConfig::default();
    config.step_timeout = Duration::from_mins(1);
    let fixture = Fixture::with_config(config).await;
    fixture.router.hang_next();
    let order = fixture.submit(request()).await;
    let engine = fixture.engine.clone();
    let worker = WorkerBuilder::new("timeouts")
        .backend(engine.backend(2))
        .timeout(Duration::from_secs(2))
        .build(execute_order);
    let context = tokio::spawn(worker.run());
    let records = fixture.events_to_the_end(order.id).await;
    assert_eq!(records.last().unwrap().status, Status::Confirmed);
    assert_eq!(records.last().unwrap().attempt, 1, "a dropped handler resumes the same attempt");
    assert_eq!(fixture.venue.executions(order.id), 1);
    context.abort();
}

#[tokio::test(start_paused = true)]
async fn a_worker_stops_executing_an_order_when_its_lease_is_lost() {
    let mut config = EngineConfig::default();
    config.step_timeout = Duration::from_mins(30);
    let fixture = Fixture::with_config(config).await;
    fixture.router.hang_next();
    let lost = fixture.submit(request()).await;
    let worker = fixture.work_with(1);
    fixture.reaches(lost.id, |record| matches!(record.event, OrderEvent::RoutingStarted { .. })).await;
    // The cancel revokes the lease, which the process notices at the next renewal.
    fixture.engine.cancel(lost.id).await.unwrap();
    let next = fixture.submit(request()).await;
    let ends = tokio::time::timeout(Duration::from_mins(1), fixture.until_terminal(next.id)).await;
    assert_eq!(ends.expect("the slot is free").status(), Status::Confirmed);
    worker.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_caught_panic_affects_no_other_order() {
    let fixture = Fixture::new().await;
    fixture.router.panic_next();
    let mut orders = Vec::new();
    for _ in 0..20 {
        orders.push(fixture.submit(request()).await.id);
    }
    let engine = fixture.engine.clone();
    let worker = WorkerBuilder::new("panics").backend(engine.backend(4)).build(execute_order);
    let running = tokio::spawn(worker.run());
    for id in orders {
        assert_eq!(fixture.events_to_the_end(id).await.last().unwrap().status, Status::Confirmed);
        assert_eq!(fixture.venue.executions(id), 1);
    }
    running.abort();
}

#[tokio::test(start_paused = true)]
async fn each_handler_may_run_on_a_task_of_its_own() {
    let fixture = Fixture::new().await;
    let order = fixture.submit(request()).await;
    let engine = fixture.engine.clone();
    let worker = WorkerBuilder::new("parallel")
        .backend(engine.backend(4))
        .parallelize(tokio::spawn)
        .build(execute_order);
    let running = tokio::spawn(worker.run());
    assert_eq!(fixture.events_to_the_end(order.id).await.last().unwrap().status, Status::Confirmed);
    running.abort();
}

#[tokio::test(start_paused = true)]
async fn two_workers_of_two_processes_share_the_orders_and_execute_each_at_most_once() {
    let first = Fixture::new().await;
    let second = first.restart().await;
    let mut orders = Vec::new();
    for _ in 0..500 {
        orders.push(first.submit(request()).await.id);
    }
    let workers = [first.work(), second.work()];
    for id in orders {
        assert_eq!(first.events_to_the_end(id).await.last().unwrap().status, Status::Confirmed);
        assert_eq!(first.venue.executions(id), 1);
    }
    for worker in workers {
        worker.stop().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_stopped_worker_releases_the_orders_that_it_has_not_started() {
    let first = Fixture::new().await;
    first.router.hang_next();
    let mut orders = Vec::new();
    for _ in 0..50 {
        orders.push(first.submit(request()).await.id);
    }
    let worker = first.work();
    tokio::task::yield_now().await;
    worker.stop().await;
    first.engine.shutdown(Duration::from_secs(30)).await.unwrap();
    let before = tokio::time::Instant::now();
    let second = first.restart().await;
    let worker = second.work();
    for id in orders {
        assert_eq!(second.events_to_the_end(id).await.last().unwrap().status, Status::Confirmed);
    }
    assert!(before.elapsed() < Duration::from_secs(10), "no lease had to expire: {:?}", before.elapsed());
    worker.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_task_without_a_claim_claims_the_row_and_does_nothing_twice() {
    let fixture = Fixture::new().await;
    let order = fixture.submit(request()).await;
    let serialized = serde_json::to_string(&OrderTask::new(order.id)).unwrap();
    let twice: Vec<OrderTask> = (0..2).map(|_| serde_json::from_str(&serialized).unwrap()).collect();
    for task in twice {
        fixture.engine.execute(task).await.unwrap();
    }
    assert_eq!(fixture.events_to_the_end(order.id).await.last().unwrap().status, Status::Confirmed);
    assert_eq!(fixture.venue.executions(order.id), 1);
    assert_eq!(fixture.venue.sent(order.id).len(), 1);
}

/// The queue loses the first job of each order, and doubles all others.
#[tokio::test(start_paused = true)]
async fn a_queue_of_the_host_may_lose_and_double_its_jobs() {
    let fixture = Fixture::new().await;
    let (jobs, mut queue) = tokio::sync::mpsc::unbounded_channel();
    let mut lost = BTreeSet::new();
    let sweeping =
        tokio::spawn(enqueue_due_orders(fixture.engine.clone(), Duration::from_secs(1), move |task| {
            let order_id = task.order_id;
            let copies = if lost.insert(order_id) { 0 } else { 2 };
            let jobs = jobs.clone();
            async move { (0..copies).try_for_each(|_| jobs.send(order_id)) }
        }));
    let working = tokio::spawn({
        let engine = fixture.engine.clone();
        async move {
            while let Some(order_id) = queue.recv().await {
                engine.execute(OrderTask::new(order_id)).await.unwrap();
            }
        }
    });
    let mut orders = Vec::new();
    for _ in 0..20 {
        orders.push(fixture.submit(request()).await.id);
    }
    for id in orders {
        assert_eq!(fixture.events_to_the_end(id).await.last().unwrap().status, Status::Confirmed);
        assert_eq!(fixture.venue.executions(id), 1);
    }
    fixture.engine.shutdown(Duration::from_secs(30)).await.unwrap();
    sweeping.await.unwrap();
    working.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_queue_of_the_host_stands_still_if_orders_are_due_and_no_task_is_done() {
    let fixture = Fixture::new().await;
    let (patience, wait) = (Duration::from_secs(5), Duration::from_mins(1));
    let stalls = || tokio::time::timeout(wait, until_queue_stalls(&fixture.engine, patience));
    assert!(stalls().await.is_err(), "nothing is due");
    let order = fixture.submit(request()).await;
    // Its tasks have nothing to do, but they are done.
    let other_tasks = async {
        loop {
            tokio::time::sleep(Duration::from_secs(4)).await;
            let other = OrderId::new(DateTime::UNIX_EPOCH, 7);
            fixture.engine.execute(OrderTask::new(other)).await.unwrap();
        }
    };
    tokio::select! {
        stalled = stalls() => assert!(stalled.is_err(), "it works"),
        () = other_tasks => {}
    }
    stalls().await.expect("it stands still");
    fixture.engine.execute(OrderTask::new(order.id)).await.unwrap();
    assert!(stalls().await.is_err(), "nothing is due any more");
}

#[tokio::test(start_paused = true)]
async fn a_worker_killed_at_any_event_costs_no_second_execution() {
    // Each round kills the process as soon as the event with this number is committed.
    for seq in 1..=8 {
        let first = Fixture::new().await;
        first.venue.next_sendings([Sending::LandsUnheard]);
        let order = first.submit(request()).await;
        let worker = first.work();
        first.reaches(order.id, |record| record.seq >= seq || record.status.is_terminal()).await;
        let second = first.crash(worker).await;
        let worker = second.work();
        let records = second.events_to_the_end(order.id).await;
        assert_eq!(records.last().unwrap().status, Status::Confirmed, "killed after event {seq}");
        assert_eq!(second.venue.executions(order.id), 1, "killed after event {seq}");
        let signed =
            records.iter().filter(|record| matches!(record.event, OrderEvent::TransactionSigned { .. }));
        assert_eq!(signed.count(), 1, "killed after event {seq}");
        worker.stop().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_restarting_worker_makes_a_backend_anew() {
    let fixture = Fixture::new().await;
    fixture.router.panic_next();
    let engine = fixture.engine.clone();
    let monitor = Monitor::new()
        .register(move |n| {
            WorkerBuilder::new(format!("worker-{n}")).backend(engine.backend(3)).build(execute_order)
        })
        .should_restart(|_, _| true);
    let running = tokio::spawn(monitor.run());
    let order = fixture.submit(request()).await;
    assert_eq!(fixture.events_to_the_end(order.id).await.last().unwrap().status, Status::Confirmed);
    running.abort();
    assert_eq!(Arc::strong_count(&fixture.venue), 2, "only the engine and the test hold the venue");
}
