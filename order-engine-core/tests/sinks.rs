//! The events that sinks get, and that no order waits for a sink.
#![allow(clippy::disallowed_methods)] // Tests may use the runtime directly.

mod common;

use std::sync::Arc;
use std::time::Duration;

use common::{Fixture, Setup};
use order_engine_core::testing::{
    CrashPoint, CrashPoints, RecordingSink, ScriptedRouter, ScriptedVenue, When, assert_broadcasts,
    assert_path, request,
};
use order_engine_core::{
    BuildError, Cancellation, ChannelSink, Engine, MemoryStore, OrderId, Status, StatusSink, TracingSink,
};

const TO_CONFIRMED: [Status; 5] =
    [Status::Pending, Status::Routing, Status::Building, Status::Submitted, Status::Confirmed];

async fn run_orders(fixture: &Fixture, count: usize) -> Vec<OrderId> {
    let mut ids = Vec::new();
    for _ in 0..count {
        ids.push(fixture.submit(request()).await.id);
    }
    for id in &ids {
        fixture.events_to_the_end(*id).await;
        assert_path(&fixture.engine, *id, &TO_CONFIRMED).await;
    }
    ids
}

/// Returns the number of events that these orders have in all.
async fn count_events(engine: &Engine, ids: &[OrderId]) -> usize {
    let mut events = 0;
    for id in ids {
        events += engine.events(*id, 0, u32::MAX).await.unwrap().len();
    }
    events
}

#[tokio::test(start_paused = true)]
async fn every_sink_gets_every_event_once_and_in_order() {
    let sinks = [RecordingSink::best_effort("hints"), RecordingSink::durable("ledger")];
    let fixture = Fixture::with_sinks(sinks.clone()).await;
    let worker = fixture.work();
    let ids = run_orders(&fixture, 20).await;
    let events = count_events(&fixture.engine, &ids).await;
    for sink in &sinks {
        sink.has_taken(events).await;
        for id in &ids {
            assert_broadcasts(&fixture.engine, sink, *id, 1).await;
        }
    }
    worker.stop().await;
}

/// A method that makes a sink fail.
type Fault = fn(&RecordingSink);

#[tokio::test(start_paused = true)]
async fn a_sink_that_fails_for_a_minute_loses_no_event_and_delays_no_order() {
    let faults: [(&str, Fault); 3] = [
        ("refuses", RecordingSink::refuse),
        ("panics", RecordingSink::panic),
        ("hangs", RecordingSink::hang),
    ];
    for (name, fault) in faults {
        let (bad, good) = (RecordingSink::durable(name), RecordingSink::durable("good"));
        let fixture = Fixture::with_sinks([bad.clone(), good.clone()]).await;
        let worker = fixture.work();
        fault(&bad);
        let began = tokio::time::Instant::now();
        let ids = run_orders(&fixture, 100).await;
        let events = count_events(&fixture.engine, &ids).await;
        good.has_taken(events).await;
        assert!(began.elapsed() < Duration::from_secs(1), "{name}: no order waited for the bad sink");
        tokio::time::sleep_until(began + Duration::from_mins(1)).await;
        assert!(bad.refusals() > 0, "{name}");
        assert!(bad.events().is_empty(), "{name}");
        let sinks = fixture.engine.health().await.store.unwrap().sinks;
        let sinks: Vec<_> = sinks.iter().map(|sink| (&*sink.sink, sink.orders)).collect();
        assert_eq!(sinks, [("good", 0), (name, 100)]);
        bad.take();
        bad.has_taken(events).await;
        for id in ids {
            assert_broadcasts(&fixture.engine, &bad, id, 1).await;
            assert_broadcasts(&fixture.engine, &good, id, 1).await;
        }
        worker.stop().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_best_effort_sink_that_fails_misses_events_and_delays_no_order() {
    for fault in [RecordingSink::refuse as Fault, RecordingSink::panic, RecordingSink::hang] {
        let (bad, good) = (RecordingSink::best_effort("bad"), RecordingSink::best_effort("good"));
        let fixture = Fixture::with_sinks([bad.clone(), good.clone()]).await;
        let worker = fixture.work();
        fault(&bad);
        let ids = run_orders(&fixture, 5).await;
        good.has_taken(count_events(&fixture.engine, &ids).await).await;
        assert!(bad.refusals() > 0);
        assert!(bad.events().is_empty());
        worker.stop().await;
    }
}

#[tokio::test(start_paused = true)]
async fn two_processes_deliver_each_event_once() {
    let sink = RecordingSink::durable("ledger");
    let first = Fixture::with_sinks([sink.clone()]).await;
    let second = first.restart().await;
    let workers = [first.work(), second.work()];
    let mut ids = run_orders(&first, 30).await;
    ids.extend(run_orders(&second, 30).await);
    sink.has_taken(count_events(&first.engine, &ids).await).await;
    for id in ids {
        assert_broadcasts(&first.engine, &sink, id, 1).await;
    }
    for worker in workers {
        worker.stop().await;
    }
}

#[tokio::test(start_paused = true)]
async fn events_of_a_process_without_the_sink_are_delivered_too() {
    let sink = RecordingSink::durable("ledger");
    let relaying = Fixture::with_sinks([sink.clone()]).await;
    let api = relaying.restart_with(Setup::default()).await;
    let order = api.submit(request()).await;
    assert!(matches!(api.engine.cancel(order.id).await.unwrap(), Some(Cancellation::Cancelled(_))));
    sink.has_taken(2).await;
    assert_broadcasts(&relaying.engine, &sink, order.id, 1).await;
}

#[tokio::test(start_paused = true)]
async fn a_relay_that_crashes_at_any_point_loses_no_event() {
    let points = [
        (CrashPoint::ClaimDeliveries, When::Before),
        (CrashPoint::ClaimDeliveries, When::After),
        (CrashPoint::AckDeliveries, When::Before),
        (CrashPoint::AckDeliveries, When::After),
    ];
    for (point, when) in points {
        let sink = RecordingSink::durable("ledger");
        let crash = CrashPoints::new();
        let setup = Setup {
            sinks: vec![Arc::new(sink.clone())],
            intercept: Some(Arc::new(crash.clone())),
            ..Setup::default()
        };
        let fixture = Fixture::with(setup).await;
        let worker = fixture.work();
        crash.arm(point, when);
        let order = fixture.submit(request()).await;
        crash.reached().await;
        let fixture = fixture.crash(worker).await;
        let worker = fixture.work();
        fixture.events_to_the_end(order.id).await;
        tokio::time::sleep(Duration::from_mins(2)).await;
        let history = fixture.engine.events(order.id, 0, u32::MAX).await.unwrap();
        let delivered: Vec<u64> = sink.events_of(order.id).iter().map(|event| event.seq).collect();
        let mut distinct = delivered.clone();
        distinct.sort_unstable();
        distinct.dedup();
        assert_eq!(distinct, (1..=history.len() as u64).collect::<Vec<_>>(), "{point:?} {when:?}");
        // Events are repeated only from the point at which the relay crashed, and again in order.
        let repetitions = delivered.windows(2).filter(|pair| pair[1] <= pair[0]).count();
        let ack_is_lost = (point, when) == (CrashPoint::AckDeliveries, When::Before);
        assert_eq!(repetitions, usize::from(ack_is_lost), "{point:?} {when:?}: {delivered:?}");
        worker.stop().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_in_the_middle_of_a_delivery_leaves_it_to_the_next_process() {
    let sink = RecordingSink::durable("ledger");
    let fixture = Fixture::with_sinks([sink.clone()]).await;
    sink.hang();
    let order = fixture.submit(request()).await;
    while sink.refusals() == 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let began = tokio::time::Instant::now();
    fixture.engine.shutdown(Duration::from_secs(5)).await.unwrap();
    sink.take();
    let next = fixture.restart().await;
    sink.has_taken(1).await;
    assert!(began.elapsed() < Duration::from_secs(2), "the entry was released");
    assert_broadcasts(&next.engine, &sink, order.id, 1).await;
}

#[tokio::test(start_paused = true)]
async fn a_sink_that_is_used_no_more_can_be_unregistered() {
    let sink = RecordingSink::durable("ledger");
    let fixture = Fixture::with_sinks([sink.clone()]).await;
    sink.refuse();
    let order = fixture.submit(request()).await;
    fixture.engine.cancel(order.id).await.unwrap();
    let successor = fixture.restart_with(Setup::default()).await;
    fixture.engine.shutdown(Duration::from_secs(5)).await.unwrap();
    let day = Duration::from_hours(24);
    tokio::time::sleep(2 * day).await;
    assert_eq!(successor.engine.purge(day).await.unwrap(), 0, "the order still has an outbox entry");
    assert_eq!(successor.engine.unregister_sink("ledger").await.unwrap(), 1);
    assert!(successor.engine.health().await.store.unwrap().sinks.is_empty());
    assert_eq!(successor.engine.purge(day).await.unwrap(), 1);
}

#[tokio::test]
async fn two_durable_sinks_cannot_share_a_name() {
    let sink = |name| Arc::new(RecordingSink::durable(name)) as Arc<dyn StatusSink>;
    let built = Engine::builder()
        .store(Arc::new(MemoryStore::new()))
        .router(Arc::new(ScriptedRouter::new()))
        .venue(Arc::new(ScriptedVenue::new()))
        .sink(sink("ledger"))
        .sink(sink("webhook"))
        .sink(sink("ledger"))
        .build()
        .await;
    assert!(matches!(built.unwrap_err(), BuildError::SinkNameTaken(name) if &*name == "ledger"));
}

#[tokio::test(start_paused = true)]
async fn a_channel_gets_the_committed_events() {
    let (sink, mut updates) = ChannelSink::new("sockets", 64);
    let setup = Setup { sinks: vec![Arc::new(sink), Arc::new(TracingSink)], ..Setup::default() };
    let fixture = Fixture::with(setup).await;
    let order = fixture.submit(request()).await;
    fixture.engine.cancel(order.id).await.unwrap();
    for seq in 1..=2 {
        let update = updates.recv().await.unwrap();
        assert_eq!((update.order.id, update.event.seq), (order.id, seq));
        assert_eq!(update.order, order.head());
    }
}
