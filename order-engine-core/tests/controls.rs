//! Pauses, caps on transactions in flight, and orders that must not begin yet.
#![allow(clippy::disallowed_methods)] // Tests may use the runtime directly.

mod common;

use std::time::Duration;

use chrono::TimeDelta;
use common::Fixture;
use order_engine_core::testing::{Sending, request, sol, usdc};
use order_engine_core::{
    Activity, EngineConfig, OrderId, OrderStore as _, PauseScope, Status, Submission, SubmitError,
};

async fn status(fixture: &Fixture, id: OrderId) -> Status {
    fixture.engine.order(id).await.unwrap().unwrap().status()
}

/// Lets another process notice a change: it has a second for that.
async fn a_second() {
    tokio::time::sleep(Duration::from_secs(1)).await;
}

fn user(name: &str) -> PauseScope {
    PauseScope::User(name.into())
}

fn pair() -> PauseScope {
    PauseScope::Pair { input: sol().mint, output: usdc().mint }
}

#[tokio::test(start_paused = true)]
async fn paused_accepting_refuses_the_orders_in_its_scope() {
    let fixture = Fixture::new().await;
    let other = fixture.restart().await;
    let (alices, bobs) = (request(), request().with_user_id("bob"));
    let back = request().with_user_id("bob").with_pair(usdc(), sol());
    for (scope, refused) in [
        (PauseScope::All, [true, true, true]),
        (user("alice"), [true, false, false]),
        (pair(), [true, true, false]),
        (PauseScope::Venue("sim".into()), [false, false, false]),
    ] {
        fixture.engine.pause(Activity::Accepting, scope.clone(), "maintenance").await.unwrap();
        a_second().await;
        for engine in [&fixture.engine, &other.engine] {
            for (request, is_refused) in [&alices, &bobs, &back].into_iter().zip(refused) {
                match engine.submit(request.clone()).await {
                    Err(SubmitError::Paused(pause)) => {
                        assert!(is_refused, "{scope:?}");
                        assert_eq!(
                            (pause.scope.clone(), pause.reason.as_str()),
                            (scope.clone(), "maintenance")
                        );
                    }
                    submitted => {
                        assert!(!is_refused && matches!(submitted, Ok(Submission::Created(_))), "{scope:?}");
                    }
                }
            }
        }
        assert!(other.engine.resume(Activity::Accepting, &scope).await.unwrap());
        assert!(!other.engine.resume(Activity::Accepting, &scope).await.unwrap());
        a_second().await;
        assert!(fixture.engine.submit(alices.clone()).await.is_ok());
    }
}

#[tokio::test(start_paused = true)]
async fn paused_routing_lets_orders_of_its_scope_wait_and_no_others() {
    for scope in [user("alice"), pair()] {
        let fixture = Fixture::new().await;
        fixture.engine.pause(Activity::Routing, scope.clone(), "bad prices").await.unwrap();
        let worker = fixture.work();
        let held = fixture.submit(request()).await;
        let free = fixture.submit(request().with_user_id("bob").with_pair(usdc(), sol())).await;
        assert_eq!(fixture.engine.wait(free.id).await.unwrap().unwrap().status(), Status::Confirmed);
        tokio::time::sleep(Duration::from_mins(1)).await;
        assert_eq!(status(&fixture, held.id).await, Status::Pending);
        fixture.engine.resume(Activity::Routing, &scope).await.unwrap();
        let resumed = tokio::time::timeout(Duration::from_mins(1), fixture.engine.wait(held.id)).await;
        assert_eq!(resumed.unwrap().unwrap().unwrap().status(), Status::Confirmed);
        worker.stop().await;
    }
}

#[tokio::test(start_paused = true)]
async fn paused_sending_stops_every_process_within_a_second_and_survives_them() {
    let fixture = Fixture::new().await;
    let other = fixture.restart().await;
    let workers = [fixture.work(), other.work()];
    fixture.venue.next_sendings([Sending::Dropped]);
    let sent = fixture.submit(request()).await;
    fixture.reaches(sent.id, |event| event.status == Status::Submitted).await;
    other.engine.pause(Activity::Sending, PauseScope::All, "kill switch").await.unwrap();
    a_second().await;
    let before = fixture.venue.total_sent();
    let held = fixture.submit(request()).await;
    tokio::time::sleep(Duration::from_mins(1)).await;
    assert_eq!(fixture.venue.total_sent(), before, "nothing is sent, and nothing is sent again");
    assert_eq!(status(&fixture, held.id).await, Status::Pending);
    for worker in workers {
        worker.stop().await;
    }
    let restarted = fixture.restart().await;
    let worker = restarted.work();
    tokio::time::sleep(Duration::from_mins(1)).await;
    assert_eq!(fixture.venue.total_sent(), before);
    restarted.engine.resume(Activity::Sending, &PauseScope::All).await.unwrap();
    for id in [sent.id, held.id] {
        let ended = tokio::time::timeout(Duration::from_mins(2), restarted.engine.wait(id)).await;
        assert_eq!(ended.unwrap().unwrap().unwrap().status(), Status::Confirmed);
    }
    assert_eq!([sent.id, held.id].map(|id| fixture.venue.executions(id)), [1, 1]);
    worker.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_deadline_ends_an_order_that_is_held() {
    let fixture = Fixture::new().await;
    fixture.engine.pause(Activity::Routing, user("alice"), "audit").await.unwrap();
    let worker = fixture.work();
    let deadline = order_engine_core::Deadline::After(Duration::from_secs(30));
    let order = fixture.submit(request().with_deadline(deadline)).await;
    let ended = fixture.engine.wait(order.id).await.unwrap().unwrap();
    assert_eq!(ended.state.failure().unwrap().code.as_str(), "expired");
    worker.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_users_cap_holds_that_users_orders_only() {
    let config = EngineConfig::default().with_user_in_flight_max(Some(2));
    let fixture = Fixture::with_config(config).await;
    fixture.venue.next_sendings([Sending::Dropped, Sending::Dropped]);
    let mut in_flight = Vec::new();
    let worker = fixture.work();
    for _ in 0..2 {
        let order = fixture.submit(request()).await;
        fixture.reaches(order.id, |event| event.status == Status::Submitted).await;
        in_flight.push(order.id);
    }
    // Both are in flight until they are sent again, some seconds later.
    let third = fixture.submit(request()).await;
    let bobs = fixture.submit(request().with_user_id("bob")).await;
    assert_eq!(fixture.engine.wait(bobs.id).await.unwrap().unwrap().status(), Status::Confirmed);
    assert_eq!(status(&fixture, third.id).await, Status::Pending);
    for id in in_flight.into_iter().chain([third.id]) {
        assert_eq!(fixture.engine.wait(id).await.unwrap().unwrap().status(), Status::Confirmed);
    }
    worker.stop().await;
}

#[tokio::test(start_paused = true)]
async fn an_order_does_not_begin_before_its_time() {
    let fixture = Fixture::new().await;
    let worker = fixture.work();
    let begins = fixture.store.now().await.unwrap() + TimeDelta::minutes(10);
    let order = fixture.submit(request().with_not_before(begins)).await;
    tokio::time::sleep(Duration::from_mins(5)).await;
    fixture.engine.make_due(order.id).await.unwrap();
    tokio::time::sleep(Duration::from_mins(4)).await;
    assert_eq!(fixture.engine.order(order.id).await.unwrap().unwrap().seq, 1);
    let ended = fixture.engine.wait(order.id).await.unwrap().unwrap();
    assert_eq!(ended.status(), Status::Confirmed);
    let events = fixture.engine.events(order.id, 1, 1).await.unwrap();
    assert!(events[0].at >= begins && events[0].at < begins + TimeDelta::seconds(2), "{}", events[0].at);
    worker.stop().await;
}
