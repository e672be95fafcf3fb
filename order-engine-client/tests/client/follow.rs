//! Streams miss no event and repeat none, whatever happens to connections and servers.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::site::Site;
use order_engine_client::{After, AllEvents, Error, Event, Item, OrderEvents, OrderForm, Status};
use order_engine_core::testing::Link;
use tokio::time::timeout;

fn form() -> OrderForm {
    OrderForm::new("1.5", "SOL", "USDC")
}

async fn rest_of(mut events: OrderEvents) -> Vec<Event> {
    let mut rest = Vec::new();
    while let Some(event) = events.next().await {
        rest.push(event.unwrap());
    }
    rest
}

async fn until_interrupted(events: &mut OrderEvents) -> String {
    loop {
        if let Item::Interrupted { reason } = events.next_item().await.unwrap().unwrap() {
            return reason;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_is_followed_through_a_restart() {
    let (site, server) = Site::new().await;
    let client = site.client();
    let placed = client.place(&form()).await.unwrap();
    let mut events = client.follow(&placed.order_id, 0).await.unwrap();
    let first = events.next().await.unwrap().unwrap();
    assert_eq!((first.seq, first.status), (1, Status::Pending));
    server.end().await;
    until_interrupted(&mut events).await;
    let reason = until_interrupted(&mut events).await;
    assert!(reason.contains("cannot reach"), "{reason}");
    let server = site.restart().await;
    server.work();
    let rest = rest_of(events).await;
    let seqs: Vec<u64> = rest.iter().map(|event| event.seq).collect();
    assert_eq!(seqs, (2..=rest.len() as u64 + 1).collect::<Vec<_>>());
    let last = rest.last().unwrap();
    assert_eq!(last.status, Status::Confirmed);
    assert!(last.tx_hash.is_some() && last.amount_out.is_some() && last.json().contains("filledAt"));
    // Who has the last event is told that there is no more.
    assert!(client.follow(&placed.order_id, last.seq).await.unwrap().next().await.is_none());
    let page = client.events(&placed.order_id, 0).await.unwrap();
    assert_eq!((page.events.len(), page.last_seq), (rest.len() + 1, last.seq));
    server.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_falls_silent_is_made_again() {
    let (site, server) = Site::new().await;
    let settings = site.settings().with_silence_max(Duration::from_millis(50));
    let client = order_engine_client::Client::new(&settings).unwrap();
    let placed = client.place(&form()).await.unwrap();
    let mut events = client.follow(&placed.order_id, 0).await.unwrap();
    assert_eq!(events.next().await.unwrap().unwrap().seq, 1);
    site.network.set(Link::Silent);
    assert_eq!(until_interrupted(&mut events).await, "it fell silent");
    // The new connection would wait for its answer until the old network is gone.
    site.network.set(Link::Cut);
    site.network.set(Link::Up);
    server.work();
    assert_eq!(rest_of(events).await.last().unwrap().status, Status::Confirmed);
    server.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_given_up_and_asked_again_loses_nothing() {
    let (site, server) = Site::new().await;
    let client = site.client();
    let placed = client.place(&form()).await.unwrap();
    let mut events = client.follow(&placed.order_id, 0).await.unwrap();
    server.work();
    let mut seqs = Vec::new();
    loop {
        // Every future of it is polled once and dropped.
        match timeout(Duration::ZERO, events.next()).await {
            Ok(Some(event)) => seqs.push(event.unwrap().seq),
            Ok(None) => break,
            Err(_) => tokio::task::yield_now().await,
        }
    }
    assert_eq!(seqs, (1..=events.last_seq()).collect::<Vec<_>>());
    assert!(seqs.len() > 5);
    server.end().await;
}

/// Takes events until so many orders have ended, and returns the numbers of each order's.
async fn until_ended(
    events: &mut AllEvents,
    orders: usize,
    mut seqs: BTreeMap<String, Vec<u64>>,
) -> BTreeMap<String, Vec<u64>> {
    let mut ended = 0;
    while ended < orders {
        let event = events.next().await.unwrap().unwrap();
        ended += usize::from(event.status.is_terminal());
        seqs.entry(event.order_id).or_default().push(event.seq);
    }
    seqs
}

#[tokio::test(flavor = "multi_thread")]
async fn all_orders_are_followed_through_cuts_and_a_restart() {
    let (site, server) = Site::new().await;
    let client = site.client();
    let before = client.place(&form().with_user_id("alice")).await.unwrap();
    let mut events = client.follow_all(After::Now, None).await.unwrap();
    let begun_at = events.cursor().to_owned();
    assert!(!begun_at.is_empty());
    // Cut before the first event: what happens meanwhile is not missed, because the place is known.
    site.network.set(Link::Cut);
    assert!(matches!(events.next_item().await, Some(Ok(Item::Interrupted { .. }))));
    site.network.set(Link::Up);
    client.place(&form().with_user_id("bob")).await.unwrap();
    server.end().await;
    let server = site.restart().await;
    server.work();
    let seqs = until_ended(&mut events, 2, BTreeMap::new()).await;
    assert_eq!(seqs.len(), 2);
    for (order_id, seqs) in &seqs {
        // The first order was accepted before the stream began.
        let first = if *order_id == before.order_id { 2 } else { 1 };
        assert_eq!(*seqs, (first..first + seqs.len() as u64).collect::<Vec<_>>());
    }
    // Behind a place that was kept, everything comes again, and from the start what was before it as well.
    let mut again = client.follow_all(After::Cursor(begun_at), None).await.unwrap();
    assert_eq!(until_ended(&mut again, 2, BTreeMap::new()).await, seqs);
    let mut of_bob = client.follow_all(After::Start, Some("bob")).await.unwrap();
    assert_eq!(until_ended(&mut of_bob, 1, BTreeMap::new()).await.len(), 1);
    server.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_notice_is_passed_on_and_a_refusal_ends_a_stream() {
    let (site, server) = Site::new().await;
    let client = site.client();
    let error = client.follow("0190163d-8694-739b-aea5-966c26f8ad91", 0).await.unwrap_err();
    assert_eq!(error.code(), Some("order-not-found"));
    let error = client.follow_all(After::Cursor("nonsense".into()), None).await.unwrap_err();
    assert!(matches!(error, Error::Refused(problem) if problem.errors[0].field == "Last-Event-ID"));
    let mut events = client.follow_all(After::Now, None).await.unwrap();
    server.app.notify("maintenance at noon");
    let item = events.next_item().await.unwrap().unwrap();
    assert_eq!(item, Item::Notice { message: "maintenance at noon".into() });
    server.end().await;
}
