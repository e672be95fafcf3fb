//! Orders are placed once, whatever happens to requests, to answers and to the store.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::site::Site;
use async_trait::async_trait;
use order_engine_client::{Client, Error, OrderForm, Status};
use order_engine_core::testing::{Call, Intercept, Reply};
use order_engine_core::{Activity, NewOrder, OrderId, PauseScope, StoreError, StoreErrorKind};
use order_engine_server::{LimitSettings, Options};

/// Takes the first so many orders and never says that it did, however often it is asked.
#[derive(Debug)]
struct SaysNothing {
    of: usize,
    ids: Mutex<Vec<OrderId>>,
}

impl SaysNothing {
    fn of(orders: usize) -> Arc<Self> {
        Arc::new(Self { of: orders, ids: Mutex::default() })
    }

    fn says_nothing_of(&self, id: OrderId) -> Result<(), StoreError> {
        let is_one = self.ids.lock().unwrap().contains(&id);
        if is_one { Err(StoreError::new(StoreErrorKind::Unavailable, "the answer is lost")) } else { Ok(()) }
    }
}

#[async_trait]
impl Intercept for SaysNothing {
    async fn before(&self, call: Call<'_>) -> Result<(), StoreError> {
        match call {
            Call::LastSeqs(ids) => ids.iter().try_for_each(|id| self.says_nothing_of(*id)),
            _ => Ok(()),
        }
    }

    async fn after(&self, call: Call<'_>, _: Reply<'_>) -> Result<(), StoreError> {
        let Call::Create(orders) = call else { return Ok(()) };
        for NewOrder { order, .. } in orders {
            let mut ids = self.ids.lock().unwrap();
            if ids.len() < self.of && !ids.contains(&order.id) {
                ids.push(order.id);
            }
        }
        orders.iter().try_for_each(|new| self.says_nothing_of(new.order.id))
    }
}

fn form() -> OrderForm {
    OrderForm::new("1.5", "SOL", "USDC")
}

/// Waits until the server has so many orders, whose answers are lost.
async fn until_placed(site: &Site, orders: usize) {
    while site.orders().await < orders {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_whose_answer_is_lost_is_placed_once() {
    let (site, server) = Site::new().await;
    let (network, client) = site.losing(2).await;
    let placed = client.place(&form()).await.unwrap();
    network.assert_done();
    assert!(placed.is_replay && placed.status == Status::Pending);
    assert_eq!(placed.client_order_id.len(), 36, "the client made a key");
    assert_eq!(site.orders().await, 1);
    let named = site.client().order_named(&placed.client_order_id, None).await.unwrap();
    assert_eq!(named.order_id, placed.order_id);
    server.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_in_doubt_is_placed_once() {
    let (site, server) = Site::intercepted(SaysNothing::of(2)).await;
    let placed = site.client().place(&form()).await.unwrap();
    assert!(placed.is_replay);
    assert_eq!(site.orders().await, 1);
    server.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_repeat_is_told_the_key() {
    let (site, server) = Site::intercepted(SaysNothing::of(1)).await;
    let client = site.client().repeating_for(Duration::ZERO);
    let error = client.place(&form()).await.unwrap_err();
    assert_eq!(error.code(), Some("outcome-unknown"));
    let Error::InDoubt { key, order_id, .. } = error else { panic!("{error}") };
    let placed = client.place(&form().with_client_order_id(key)).await.unwrap();
    assert!(placed.is_replay);
    assert_eq!(Some(placed.order_id), order_id);
    assert_eq!(site.orders().await, 1);
    server.end().await;
}

/// The repetition is refused, for a pause, and says nothing of the first request.
#[tokio::test(flavor = "multi_thread")]
async fn an_order_in_doubt_is_looked_up_if_its_repetition_is_refused() {
    let (site, server) = Site::new().await;
    let (network, client) = site.losing(1).await;
    let placing = tokio::spawn(async move { client.place(&form()).await });
    until_placed(&site, 1).await;
    let engine = server.app.engine();
    engine.pause(Activity::Accepting, PauseScope::All, "a test").await.unwrap();
    let placed = placing.await.unwrap().unwrap();
    network.assert_done();
    assert!(placed.is_replay);
    let error = site.client().place(&form()).await.unwrap_err();
    assert_eq!(error.code(), Some("paused"), "a first request is told at once");
    assert_eq!(site.orders().await, 1);
    server.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_order_of_a_batch_is_placed_once() {
    let (site, server) = Site::intercepted(SaysNothing::of(1)).await;
    let forms = [form(), OrderForm::new("0", "SOL", "USDC"), form().with_client_order_id("mine"), form()];
    let results = site.client().place_all(&forms).await;
    let [first, refused, named, last] = &results[..] else { panic!("{results:?}") };
    assert_eq!(refused.as_ref().unwrap_err().code(), Some("invalid-request"));
    let [first, named, last] = [first, named, last].map(|result| result.as_ref().unwrap());
    assert_eq!(named.client_order_id, "mine");
    assert!([first, named, last].iter().any(|placed| placed.is_replay));
    assert_eq!(site.orders().await, 3);
    server.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_whose_answer_is_lost_is_placed_once() {
    let (site, server) = Site::new().await;
    let (network, client) = site.losing(1).await;
    let results = client.place_all(&[form(), form()]).await;
    network.assert_done();
    assert!(results.iter().all(|result| result.as_ref().is_ok_and(|placed| placed.is_replay)), "{results:?}");
    assert_eq!(site.orders().await, 2);
    server.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_asks_too_often_waits_as_long_as_the_server_says() {
    let mut limits = LimitSettings::default();
    limits.address_rate = Some("2/1".parse().unwrap());
    let options = Options { limits, ..Options::default() };
    let (site, server) = Site::of(Arc::new(order_engine_core::MemoryStore::new()), options).await;
    let client = site.client();
    for n in 0..6 {
        client.place(&form().with_client_order_id(n.to_string())).await.unwrap();
    }
    let impatient = client.repeating_for(Duration::ZERO);
    let error = loop {
        if let Err(error) = impatient.time().await {
            break error;
        }
    };
    let problem = error.problem().unwrap();
    assert_eq!((problem.status, problem.code.as_str()), (429, "too-many-requests"));
    assert!(problem.retry_after.is_some_and(|time| time >= Duration::from_secs(1)));
    server.end().await;
}

/// What never arrived is in no doubt.
#[tokio::test(flavor = "multi_thread")]
async fn an_order_that_was_never_sent_is_in_no_doubt() {
    let (site, server) = Site::new().await;
    server.end().await;
    let address = site.settings();
    drop(site);
    let client = Client::new(&address.with_repeat_for(Duration::ZERO)).unwrap();
    let error = client.place(&form()).await.unwrap_err();
    assert!(matches!(error, Error::Unreachable { may_have_arrived: false, .. }), "{error}");
    assert!(error.is_passing());
}
