//! Several venues in one engine: each order is executed on the venue of its route, and none is in the way of
//! another.
#![allow(clippy::disallowed_methods)] // Tests may use the runtime directly.

mod common;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use common::{Fixture, Setup};
use order_engine_core::testing::{
    Call, Intercept, InterceptedVenue, ScriptedRouter, ScriptedVenue, Sending, request, usdc,
};
use order_engine_core::{
    Activity, Amount, BuildError, Candidate, DexRouter, Engine, EngineConfig, EventRecord, Failure,
    FailureClass, FailureCode, MemoryStore, Order, OrderEvent, OrderRequest, PauseScope, QuoteRequest, Route,
    Status, StepError, StoreError, SubmitError, Token, TokioClock, Venue, VenueName, VenueRouters,
};

/// Offers a route over each venue that the symbol of the sold token names, at a rate: "base:3 main:2".
#[derive(Debug)]
struct ByToken;

#[async_trait]
impl DexRouter for ByToken {
    fn dexes(&self) -> Vec<String> {
        vec!["any".into()]
    }

    async fn quote(&self, request: &QuoteRequest) -> Result<Vec<Candidate>, StepError> {
        let offers = request.input.symbol.split(' ').filter_map(|offer| offer.split_once(':'));
        let candidate = |(venue, rate): (&str, &str)| {
            let amount_out = Amount::new(request.amount.base_units() * rate.parse::<u128>().unwrap());
            Candidate::quoted(venue, Route::new("any", vec![], request.amount, amount_out).with_venue(venue))
        };
        Ok(offers.map(candidate).collect())
    }
}

/// Returns a request to sell a token for which there are these offers.
fn offered(offers: &str) -> OrderRequest {
    let mint = offers.replace([':', ' '], "-");
    request().with_pair(Token::new(mint, offers, 9), usdc())
}

/// An engine with the venues `main` and `base`.
async fn two_venues(config: EngineConfig) -> (Fixture, Arc<ScriptedVenue>) {
    let base = Arc::new(ScriptedVenue::new());
    (two_venues_with(config, base.clone()).await, base)
}

async fn two_venues_with(config: EngineConfig, base: Arc<dyn Venue>) -> Fixture {
    let router: Option<Arc<dyn DexRouter>> = Some(Arc::new(ByToken));
    Fixture::with(Setup { config, router, named_venues: vec![("base", base)], ..Setup::default() }).await
}

async fn order(fixture: &Fixture, of: &Order) -> Order {
    fixture.engine.order(of.id).await.unwrap().unwrap()
}

#[tokio::test(start_paused = true)]
async fn an_order_is_executed_on_the_venue_of_its_route() {
    let (fixture, base) = two_venues(EngineConfig::default()).await;
    let worker = fixture.work();
    for (offers, on_main, on_base) in [("main:2 base:3", 0, 1), ("main:2 base:1", 1, 0), ("base:1", 0, 1)] {
        let order = fixture.submit(offered(offers)).await;
        let order = fixture.until_terminal(order.id).await;
        assert_eq!(order.status(), Status::Confirmed);
        assert_eq!((fixture.venue.executions(order.id), base.executions(order.id)), (on_main, on_base));
        let name = if on_base == 1 { "base" } else { "main" };
        assert_eq!(order.state.venue().map(VenueName::as_str), Some(name));
    }
    worker.stop().await;
}

/// Lets no call of a venue return.
#[derive(Debug)]
struct Hangs(&'static [&'static str]);

#[async_trait]
impl Intercept for Hangs {
    fn intercepts(&self, call: Call<'_>) -> bool {
        self.0.contains(&call.name())
    }

    async fn before(&self, _: Call<'_>) -> Result<(), StoreError> {
        std::future::pending().await
    }
}

/// Submits orders for a venue that hangs, and shows that orders of the other are done as if it were not there.
async fn delays_no_other(hanging: &'static [&'static str]) {
    let base = InterceptedVenue::new(Arc::new(ScriptedVenue::new()), Arc::new(Hangs(hanging)));
    let config = EngineConfig::default().with_observe_capacity(8).with_observe_concurrency(2);
    let fixture = two_venues_with(config, Arc::new(base)).await;
    let worker = fixture.work_with(8);
    for n in 0..40 {
        // Each has a pair of its own, so no pair is held back.
        fixture.submit(offered(&format!("base:{}", n + 1))).await;
    }
    tokio::time::sleep(Duration::from_secs(3)).await;
    for n in 0..20 {
        let from = tokio::time::Instant::now();
        let order = fixture.submit(offered(&format!("main:{}", n + 1))).await;
        let order = fixture.until_terminal(order.id).await;
        assert_eq!(order.status(), Status::Confirmed);
        assert!(from.elapsed() < Duration::from_secs(2), "{hanging:?}: {:?}", from.elapsed());
    }
    worker.kill().await;
}

#[tokio::test(start_paused = true)]
async fn a_venue_whose_building_hangs_delays_no_order_of_another() {
    delays_no_other(&["prepare"]).await;
}

#[tokio::test(start_paused = true)]
async fn a_venue_whose_sending_hangs_delays_no_order_of_another() {
    delays_no_other(&["submit"]).await;
}

#[tokio::test(start_paused = true)]
async fn a_venue_whose_answers_hang_delays_no_order_of_another() {
    delays_no_other(&["view"]).await;
    delays_no_other(&["observe"]).await;
}

#[tokio::test(start_paused = true)]
async fn an_order_waits_for_a_process_that_has_its_venue() {
    let (fixture, base) = two_venues(EngineConfig::default()).await;
    base.next_sendings([Sending::LandsUnheard]);
    base.set_down(true);
    let worker = fixture.work();
    let sent = fixture.submit(offered("base:1")).await;
    fixture.reaches(sent.id, |record| matches!(record.event, OrderEvent::SubmissionStarted)).await;
    worker.stop().await;
    fixture.engine.shutdown(Duration::from_secs(1)).await.unwrap();

    let lacking = without_base(&fixture).await;
    let worker = lacking.work();
    tokio::time::sleep(Duration::from_secs(20)).await;
    assert_eq!(lacking.engine.health().await.missing_venues, ["base".into()]);
    assert!(order(&lacking, &sent).await.state.attention().is_none(), "another process may have it");
    let unknown = |record: &EventRecord| matches!(record.event, OrderEvent::OutcomeUnknown { .. });
    lacking.reaches(sent.id, unknown).await;
    let message = lacking.engine.events(sent.id, 0, 100).await.unwrap().last().unwrap().message();
    assert!(message.contains("its venue is not among the venues of this process"), "{message}");
    worker.stop().await;
    lacking.engine.shutdown(Duration::from_secs(1)).await.unwrap();

    base.set_down(false);
    let having = fixture.restart().await;
    let _worker = having.work();
    let ended = having.until_terminal(sent.id).await;
    assert_eq!((ended.status(), base.executions(sent.id)), (Status::Confirmed, 1));
    assert!(ended.state.attention().is_none());
}

/// Starts a process that has the venue `main` only.
async fn without_base(fixture: &Fixture) -> Fixture {
    fixture.restart_with(Setup { router: Some(Arc::new(ByToken)), ..Setup::default() }).await
}

#[tokio::test(start_paused = true)]
async fn an_order_that_is_not_signed_is_routed_again_without_its_venue() {
    let base = InterceptedVenue::new(Arc::new(ScriptedVenue::new()), Arc::new(Hangs(&["prepare"])));
    let fixture = two_venues_with(EngineConfig::default(), Arc::new(base)).await;
    let worker = fixture.work();
    let routed = fixture.submit(offered("base:2 main:2")).await;
    let is_building = |record: &EventRecord| record.status == Status::Building;
    fixture.reaches(routed.id, is_building).await;
    worker.kill().await;
    fixture.engine.shutdown(Duration::from_secs(1)).await.unwrap();

    let lacking = without_base(&fixture).await;
    let worker = lacking.work();
    let ended = lacking.until_terminal(routed.id).await;
    assert_eq!((ended.status(), lacking.venue.executions(routed.id)), (Status::Confirmed, 1));
    worker.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_route_without_a_venue_is_not_taken_and_the_history_says_why() {
    let lacking = without_base(&Fixture::new().await).await;
    let worker = lacking.work();
    let order = lacking.submit(offered("base:2 main:1")).await;
    let order = lacking.until_terminal(order.id).await;
    assert_eq!(order.state.venue().map(VenueName::as_str), Some("main"));
    let events = lacking.engine.events(order.id, 0, 100).await.unwrap();
    let rejected = events.iter().find_map(|record| match &record.event {
        OrderEvent::RouteChosen { candidates, .. } => Some(candidates[0].clone()),
        _ => None,
    });
    assert!(format!("{rejected:?}").contains("no venue with the name 'base'"), "{rejected:?}");
    let nowhere = lacking.submit(offered("base:1")).await;
    let failure = lacking.until_terminal(nowhere.id).await.state.failure().cloned().unwrap();
    assert!(failure.message.contains("no venue with the name 'base'"), "{failure:?}");
    worker.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_paused_venue_gives_its_orders_to_others_or_lets_them_wait_without_using_an_attempt() {
    let (fixture, base) = two_venues(EngineConfig::default()).await;
    let worker = fixture.work();
    let scope = PauseScope::Venue("base".into());
    for activity in [Activity::Sending, Activity::Routing] {
        fixture.engine.pause(activity, scope.clone(), "maintenance").await.unwrap();
        let elsewhere = fixture.submit(offered("base:2 main:1")).await;
        let waits = fixture.submit(offered("base:3")).await;
        let ended = fixture.until_terminal(elsewhere.id).await;
        assert_eq!((ended.status(), fixture.venue.executions(ended.id)), (Status::Confirmed, 1));
        tokio::time::sleep(Duration::from_mins(5)).await;
        let waiting = order(&fixture, &waits).await;
        assert_eq!((waiting.state.attempt(), base.sent(waits.id).len()), (1, 0));
        fixture.engine.resume(activity, &scope).await.unwrap();
        let ended = fixture.until_terminal(waits.id).await;
        assert_eq!((ended.status(), ended.state.attempt()), (Status::Confirmed, 1));
    }
    worker.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_pause_of_the_only_venue_is_a_pause_of_all_its_orders() {
    let fixture = Fixture::new().await;
    let scope = PauseScope::Venue(VenueName::default());
    fixture.engine.pause(Activity::Accepting, scope.clone(), "maintenance").await.unwrap();
    assert!(matches!(fixture.engine.submit(request()).await, Err(SubmitError::Paused(_))));
    fixture.engine.resume(Activity::Accepting, &scope).await.unwrap();
    fixture.engine.pause(Activity::Sending, scope.clone(), "maintenance").await.unwrap();
    let worker = fixture.work();
    let waits = fixture.submit(request()).await;
    tokio::time::sleep(Duration::from_mins(1)).await;
    assert_eq!(order(&fixture, &waits).await.status(), Status::Pending, "it is not even routed");
    fixture.engine.resume(Activity::Sending, &scope).await.unwrap();
    assert_eq!(fixture.until_terminal(waits.id).await.status(), Status::Confirmed);
    worker.stop().await;
}

#[tokio::test(start_paused = true)]
async fn the_cap_of_a_venue_counts_its_orders_only() {
    let config = EngineConfig::default().with_venue_in_flight_max(Some(1));
    let (fixture, base) = two_venues(config).await;
    let worker = fixture.work();
    fixture.venue.next_sendings([Sending::Dropped]);
    let stuck = fixture.submit(offered("main:1")).await;
    fixture.reaches(stuck.id, |record| record.status == Status::Submitted).await;
    let behind = fixture.submit(offered("main:2")).await;
    let beside = fixture.submit(offered("base:1")).await;
    assert_eq!(fixture.until_terminal(beside.id).await.status(), Status::Confirmed);
    assert_eq!(base.executions(beside.id), 1);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(fixture.venue.sent(behind.id).is_empty(), "the venue is full");
    // The stuck one is sent again, and lands.
    assert_eq!(fixture.until_terminal(behind.id).await.status(), Status::Confirmed);
    worker.stop().await;
}

#[tokio::test(start_paused = true)]
async fn health_tells_of_each_venue() {
    let (fixture, base) = two_venues(EngineConfig::default()).await;
    base.grow(7);
    let worker = fixture.work();
    let order = fixture.submit(offered("base:1")).await;
    fixture.until_terminal(order.id).await;
    let venues = fixture.engine.health().await.venues;
    let names: Vec<_> = venues.iter().map(|venue| venue.name.as_str()).collect();
    assert_eq!(names, ["base", "main"]);
    assert_eq!(venues[0].view.map(|view| view.finalized), Some(7));
    assert_eq!(venues[1].view, None, "nobody has asked it yet");
    assert!(venues.iter().all(|venue| venue.is_building && venue.is_observing));

    base.set_down(true);
    base.next_sendings([Sending::LandsUnheard]);
    let order = fixture.submit(offered("base:1")).await;
    fixture.reaches(order.id, |record| record.status == Status::Submitted).await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    let venues = fixture.engine.health().await.venues;
    assert_eq!((venues[0].is_observing, venues[1].is_observing), (false, true));
    worker.kill().await;
}

#[tokio::test(start_paused = true)]
async fn a_router_that_fails_or_hangs_hides_no_other() {
    let (failing, hanging) = (Arc::new(ScriptedRouter::new()), Arc::new(ScriptedRouter::new()));
    let routers = VenueRouters::new(Arc::new(TokioClock::new()))
        .with("main", ByToken)
        .with("failing", failing.clone())
        .with("hanging", hanging.clone());
    let quote = async |offers: &str| {
        let down = Failure::new(FailureCode::QUOTE_UNAVAILABLE, "The node is down");
        failing.fail_next(StepError::unavailable(down));
        hanging.hang_next();
        routers.quote(&offered(offers).quote_request()).await
    };
    let from = tokio::time::Instant::now();
    let candidates = quote("any:1").await.unwrap();
    assert_eq!(from.elapsed(), Duration::from_secs(2));
    let venues: Vec<_> =
        candidates.iter().map(|candidate| candidate.route().map(|route| route.venue.as_str())).collect();
    assert_eq!(venues, [Some("main"), None, None]);
    let error = quote("").await.unwrap_err();
    assert_eq!(
        (error.failure.message.as_str(), error.class),
        ("The node is down", FailureClass::Unavailable)
    );
}

#[tokio::test(start_paused = true)]
async fn a_quotation_leaves_out_what_has_no_venue() {
    let (fixture, _) = two_venues(EngineConfig::default()).await;
    let quote = async |offers| fixture.engine.quote(&offered(offers).quote_request()).await.unwrap().route;
    assert_eq!(quote("moon:9 base:1").await.unwrap().venue, "base".into());
    assert_eq!(quote("moon:9").await, None);
}

#[tokio::test]
async fn two_venues_have_two_names() {
    let builder = Engine::builder().store(MemoryStore::new()).router(ScriptedRouter::new());
    let unnamed = builder.venue(ScriptedVenue::new()).named_venue("main", ScriptedVenue::new());
    let error = unnamed.build().await.unwrap_err();
    assert!(matches!(&error, BuildError::VenueNameTaken(name) if *name == VenueName::default()), "{error}");
}
