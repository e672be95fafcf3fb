//! The broker with a scripted chain, in this process: each way in which an account changes.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use order_engine_brokerage::broker::{Broker, PlaceError, Placed};
use order_engine_brokerage::settle::{LedgerSink, settlement};
use order_engine_brokerage::worker::work;
use order_engine_core::testing::{ScriptedRouter, ScriptedVenue, Sending, sol, usdc};
use order_engine_core::{
    Activity, Amount, Deadline, EngineConfig, Failure, FailureCode, FeedCursor, FeedScope, Fill, OrderEvent,
    OrderId, OrderQuery, OrderRequest, OrderUpdate, PauseScope, Status, StatusSink as _, StepError,
    SubmitError, UserId,
};
use order_engine_postgres::testing::{fresh_name, shared_url};
use sqlx::{Connection as _, PgConnection, PgPool};
use tokio::sync::watch;
use uuid::Uuid;

const SOL: u128 = 1_000_000_000;

/// A broker in a database of its own.
struct Fixture {
    broker: Broker,
    router: Arc<ScriptedRouter>,
    venue: Arc<ScriptedVenue>,
    url: String,
    /// Ends the worker when it is dropped.
    stop: watch::Sender<bool>,
}

impl Fixture {
    async fn new() -> Self {
        let shared = shared_url();
        let name = fresh_name();
        let mut connection = PgConnection::connect(&shared).await.unwrap();
        // The name is made of letters, digits and underscores.
        let create = sqlx::AssertSqlSafe(format!("CREATE DATABASE {name}"));
        sqlx::raw_sql(create).execute(&mut connection).await.unwrap();
        let url = format!("{}/{name}", shared.rsplit_once('/').unwrap().0);
        let (router, venue) = (Arc::new(ScriptedRouter::new()), Arc::new(ScriptedVenue::new()));
        let ports = (Arc::clone(&router) as _, Arc::clone(&venue) as _);
        let broker = Broker::open(&url, ports, config()).await.unwrap();
        Self { broker, router, venue, url, stop: watch::channel(false).0 }
    }

    fn work(&self) {
        let (engine, stopped) = (self.broker.engine().clone(), self.stop.subscribe());
        tokio::spawn(async move { work(engine, &config(), 8, stopped).await });
    }

    async fn deposit(&self, sols: u128) {
        let amount = Amount::new(sols * SOL);
        assert!(self.broker.deposit(random(), &alice(), &sol(), amount).await.unwrap());
    }

    /// Returns what alice has of SOL and USDC.
    async fn has(&self) -> (u128, u128) {
        let balances = self.broker.balances(&alice()).await.unwrap();
        let of = |mint: &str| balances.get(mint).map_or(0, |amount| amount.base_units());
        (of(&sol().mint), of(&usdc().mint))
    }

    /// Waits until the accounts of alice are so. Settling follows the end of an order.
    async fn until_has(&self, expected: (u128, u128)) {
        let settled = async {
            while self.has().await != expected {
                tokio::task::yield_now().await;
            }
        };
        let is_settled = tokio::time::timeout(Duration::from_secs(30), settled).await.is_ok();
        assert!(is_settled, "{:?} instead of {expected:?}", self.has().await);
        assert_eq!(self.sums().await, expected, "the balances are the sums of the ledger");
    }

    async fn sums(&self) -> (u128, u128) {
        let sum = async |mint: String| {
            let sql = "SELECT coalesce(sum(amount), 0)::text FROM brokerage.ledger WHERE token = $1";
            let mut connection = PgConnection::connect(&self.url).await.unwrap();
            let (sum,): (String,) = sqlx::query_as(sql).bind(mint).fetch_one(&mut connection).await.unwrap();
            sum.parse::<u128>().unwrap()
        };
        (sum(sol().mint).await, sum(usdc().mint).await)
    }

    async fn ended(&self, id: OrderId) -> Status {
        self.broker.engine().wait(id).await.unwrap().unwrap().status()
    }

    /// Returns all events of an order as a sink receives them.
    async fn updates(&self, id: OrderId) -> Vec<OrderUpdate> {
        let order = self.broker.engine().order(id).await.unwrap().unwrap();
        let events = self.broker.engine().events(id, 0, u32::MAX).await.unwrap();
        events.into_iter().map(|event| OrderUpdate::new(order.head(), Arc::new(event))).collect()
    }
}

fn config() -> EngineConfig {
    EngineConfig::default()
}

fn alice() -> UserId {
    "alice".into()
}

fn random() -> Uuid {
    Uuid::from_u128(order_engine_core::Runtime::tokio().entropy.next_u128())
}

fn one_sol(key: &str) -> OrderRequest {
    OrderRequest::new(alice(), sol(), usdc(), Amount::new(SOL)).with_client_order_id(key)
}

#[tokio::test]
async fn an_order_costs_its_input_at_once_and_pays_its_output_when_it_is_executed() {
    let fixture = Fixture::new().await;
    fixture.deposit(2).await;
    let Placed { order, is_new } = fixture.broker.place(one_sol("a")).await.unwrap();
    assert!(is_new);
    assert_eq!(fixture.has().await, (SOL, 0));
    fixture.work();
    assert_eq!(fixture.ended(order.id).await, Status::Confirmed);
    let order = fixture.broker.engine().order(order.id).await.unwrap().unwrap();
    let paid = order.state.fill().unwrap().amount_out.base_units();
    fixture.until_has((SOL, paid)).await;
}

#[tokio::test]
async fn a_repetition_costs_nothing_and_a_conflict_neither() {
    let fixture = Fixture::new().await;
    fixture.deposit(5).await;
    let placed = join_all((0..8).map(|_| fixture.broker.place(one_sol("a")))).await;
    let placed: Vec<Placed> = placed.into_iter().map(Result::unwrap).collect();
    assert_eq!(placed.iter().filter(|placed| placed.is_new).count(), 1);
    assert!(placed.iter().all(|other| other.order.id == placed[0].order.id));
    let conflict = fixture.broker.place(one_sol("a").with_slippage_bps(7)).await.unwrap_err();
    assert!(matches!(conflict, PlaceError::Conflict(id) if id == placed[0].order.id), "{conflict}");
    assert_eq!(fixture.has().await, (4 * SOL, 0));
}

#[tokio::test]
async fn an_account_with_too_little_gets_no_order() {
    let fixture = Fixture::new().await;
    let refused = fixture.broker.place(one_sol("a")).await.unwrap_err();
    assert!(matches!(refused, PlaceError::Insufficient), "{refused}");
    assert_eq!(fixture.broker.engine().orders(&OrderQuery::new(10)).await.unwrap().len(), 0);
    // Several at once cannot spend the same balance.
    fixture.deposit(3).await;
    let keys = ["a", "b", "c", "d", "e", "f"];
    let placed = join_all(keys.map(|key| fixture.broker.place(one_sol(key)))).await;
    assert_eq!(placed.iter().filter(|placed| placed.is_ok()).count(), 3);
    assert_eq!(fixture.has().await, (0, 0));
}

#[tokio::test]
async fn orders_that_fail_are_refunded_once() {
    let fixture = Fixture::new().await;
    fixture.deposit(3).await;
    let cancelled = fixture.broker.place(one_sol("cancelled")).await.unwrap().order.id;
    let late = one_sol("late").with_deadline(Deadline::After(Duration::from_millis(1)));
    let late = fixture.broker.place(late).await.unwrap().order.id;
    assert_eq!(fixture.has().await, (SOL, 0));
    fixture.broker.engine().cancel(cancelled).await.unwrap().unwrap();
    fixture.work();
    for id in [cancelled, late] {
        assert_eq!(fixture.ended(id).await, Status::Failed);
    }
    fixture.until_has((3 * SOL, 0)).await;
    // A repeated delivery, here by two relays at a time, changes nothing.
    let sink = LedgerSink::new(PgPool::connect(&fixture.url).await.unwrap());
    let updates = fixture.updates(cancelled).await;
    for delivered in join_all([sink.deliver(&updates), sink.deliver(&updates)]).await {
        delivered.unwrap();
    }
    fixture.until_has((3 * SOL, 0)).await;
}

#[tokio::test]
async fn a_retry_costs_the_input_again_and_once() {
    let fixture = Fixture::new().await;
    fixture.deposit(1).await;
    let old = fixture.broker.place(one_sol("a")).await.unwrap().order.id;
    assert!(matches!(fixture.broker.retry(old).await.unwrap_err(), PlaceError::NotFailed));
    fixture.venue.next_sendings([Sending::Reverts; 3]);
    fixture.broker.engine().cancel(old).await.unwrap().unwrap();
    // Whether or not the sink has refunded the old order yet, the account has enough.
    let new = fixture.broker.retry(old).await.unwrap();
    assert!(new.is_new);
    assert_eq!(fixture.has().await, (0, 0));
    let again = fixture.broker.retry(old).await.unwrap();
    assert_eq!((again.order.id, again.is_new), (new.order.id, false));
    assert_eq!(fixture.has().await, (0, 0));
    let unknown = fixture.broker.retry(OrderId::from_bytes([7; 16])).await.unwrap_err();
    assert!(matches!(unknown, PlaceError::Unknown));
    // The retry fails on the chain as often as it may, and is refunded as well.
    fixture.work();
    assert_eq!(fixture.ended(new.order.id).await, Status::Failed);
    fixture.until_has((SOL, 0)).await;
}

#[tokio::test]
async fn what_an_execution_did_not_use_is_given_back() {
    let fixture = Fixture::new().await;
    fixture.deposit(1).await;
    let order = fixture.broker.place(one_sol("a")).await.unwrap().order;
    let fill = Fill::new(Amount::new(SOL - 5), Amount::new(70), 1);
    let mut accepted = fixture.updates(order.id).await.remove(0);
    assert_eq!(settlement(&accepted), []);
    Arc::make_mut(&mut accepted.event).event = OrderEvent::Confirmed { tx_id: "tx".into(), fill };
    let sink = LedgerSink::new(PgPool::connect(&fixture.url).await.unwrap());
    sink.deliver(&[accepted]).await.unwrap();
    fixture.until_has((5, 70)).await;
}

#[tokio::test]
async fn nobody_pays_while_accepting_is_paused_and_a_deposit_counts_once() {
    let fixture = Fixture::new().await;
    let (id, amount) = (random(), Amount::new(SOL));
    assert!(fixture.broker.deposit(id, &alice(), &sol(), amount).await.unwrap());
    assert!(!fixture.broker.deposit(id, &alice(), &sol(), amount).await.unwrap());
    let engine = fixture.broker.engine();
    engine.pause(Activity::Accepting, PauseScope::All, "maintenance").await.unwrap();
    let refused = fixture.broker.place(one_sol("a")).await.unwrap_err();
    assert!(matches!(refused, PlaceError::Submit(SubmitError::Paused(_))), "{refused}");
    assert_eq!(fixture.has().await, (SOL, 0));
    engine.resume(Activity::Accepting, &PauseScope::All).await.unwrap();
    assert!(fixture.broker.place(one_sol("a")).await.unwrap().is_new);
}

#[tokio::test]
async fn an_order_that_waits_keeps_the_status_in_which_it_stopped() {
    let fixture = Fixture::new().await;
    fixture.deposit(1).await;
    let busy = Failure::new(FailureCode::QUOTE_UNAVAILABLE, "The exchange is busy");
    fixture.router.fail_next(StepError::transient(busy));
    let id = fixture.broker.place(one_sol("a")).await.unwrap().order.id;
    let engine = fixture.broker.engine();
    let mut events = engine.subscribe(id, 0).await.unwrap().unwrap();
    fixture.work();
    // The history first, then live events, to the last one.
    let mut waits = Vec::new();
    while let Some(event) = events.next().await {
        let event = event.unwrap();
        if let OrderEvent::RetryScheduled { .. } = event.event {
            waits.push((event.status, event.message()));
        }
    }
    let [(status, message)] = &waits[..] else { panic!("{waits:?}") };
    assert_eq!(*status, Status::Routing);
    assert!(message.starts_with("Trying again in "), "{message}");
}

#[tokio::test]
async fn a_feed_tells_a_user_of_all_orders_and_resumes() {
    let fixture = Fixture::new().await;
    fixture.deposit(2).await;
    let engine = fixture.broker.engine();
    let first = fixture.broker.place(one_sol("a")).await.unwrap().order.id;
    let mut feed = engine.feed(FeedScope::User(alice()), Some(FeedCursor::START)).await.unwrap();
    let heard = feed.next().await.unwrap().unwrap();
    assert_eq!((heard.order.id, heard.event.status), (first, Status::Pending));
    // The cursor is kept by the client, who comes back with it later, to any process.
    let cursor = heard.cursor;
    let second = fixture.broker.place(one_sol("b")).await.unwrap().order.id;
    let mut feed = engine.feed(FeedScope::User(alice()), Some(cursor)).await.unwrap();
    let heard = feed.next().await.unwrap().unwrap();
    assert_eq!(heard.order.id, second);
}
