//! What the server answers has the types that the crate says.

use std::sync::Arc;

use crate::site::Site;
use order_engine_client::{Client, ListedOrder, OrderForm, OrderQuery, QuoteForm, Status};
use order_engine_core::MemoryStore;
use order_engine_server::{Access, AuditLog, AuthSettings, KeyCommand, Options};

#[tokio::test(flavor = "multi_thread")]
async fn every_answer_is_read() {
    let (site, server) = Site::new().await;
    let client = site.client();
    let quote = client.quote(&QuoteForm::new("1.5", "SOL", "USDC").with_slippage_bps(100)).await.unwrap();
    assert_eq!((quote.token_in.as_str(), quote.amount.as_str()), ("SOL", "1.5"));
    assert!(quote.quotes.len() >= 2);
    assert!(quote.route.unwrap().legs.iter().all(|leg| !leg.pool.is_empty()));
    let form = OrderForm::of_base_units(1_500_000_000, "SOL", "USDC")
        .with_quote_id(quote.quote_id.unwrap())
        .with_client_order_id("mine")
        .with_user_id("alice");
    let rehearsed = client.dry_run(&form).await.unwrap();
    assert_eq!(rehearsed.amount, "1.5");
    let placed = client.place(&form).await.unwrap();
    assert!(!placed.is_replay && placed.ws_url.starts_with("ws://") && placed.json().contains("jobId"));
    assert!(client.place(&form).await.unwrap().is_replay);
    let order = client.order(&placed.order_id).await.unwrap();
    assert_eq!((order.status, order.amount_base_units.as_str()), (Status::Pending, "1500000000"));
    assert_eq!(order.min_out, quote.min_out);
    assert_eq!(client.order_named("mine", Some("alice")).await.unwrap().order_id, placed.order_id);
    let query = OrderQuery::default().with_status(Status::Pending).with_user_id("alice").with_token("SOL");
    let page = client.orders(&query.with_limit(1)).await.unwrap();
    assert!(matches!(&page.orders[..], [ListedOrder::Order(order)] if order.order_id == placed.order_id));
    let oldest = client.orders(&OrderQuery::default().with_oldest_first().with_limit(1)).await.unwrap();
    assert_eq!(oldest.orders, page.orders);
    let cancelled = client.cancel(&placed.order_id).await.unwrap();
    assert_eq!((cancelled.cancel.as_str(), cancelled.status), ("cancelled", Status::Failed));
    assert_eq!(client.cancel(&placed.order_id).await.unwrap(), cancelled, "it may be repeated");
    let order = client.order(&placed.order_id).await.unwrap();
    assert_eq!(order.error.unwrap().code, "cancelled");
    let other = client.place(&OrderForm::new("1", "SOL", "USDC")).await.unwrap().order_id;
    let cancelled = client.cancel_all(&[&placed.order_id, "unknown", &other]).await.unwrap();
    let outcomes: Vec<_> = cancelled
        .iter()
        .map(|result| match result {
            Ok(cancelled) => cancelled.cancel.as_str(),
            Err(error) => error.code().unwrap_or_default(),
        })
        .collect();
    assert_eq!(outcomes, ["cancelled", "order-not-found", "cancelled"]);
    assert!(client.pairs().await.unwrap().iter().any(|pair| pair.token_in == "SOL" && pair.least.is_some()));
    assert!(client.tokens().await.unwrap().iter().any(|token| token.symbol == "SOL" && token.decimals == 9));
    assert!(client.time().await.unwrap().unix_ms > 0);
    assert!(client.chain().await.unwrap().is_simulated);
    let error = client.quote(&QuoteForm::new("x", "SOL", "SOL")).await.unwrap_err();
    assert_eq!(error.problem().unwrap().errors.len(), 2);
    server.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_opens_the_server_and_is_shown_nowhere() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys.json");
    let mut out = Vec::new();
    let create = KeyCommand::Create { user: "alice".into(), scopes: "read".parse().unwrap(), expires: None };
    create.run(Some(path.clone()), &AuditLog::default(), &mut out, &mut Vec::new()).unwrap();
    let key = String::from_utf8(out).unwrap().trim().to_owned();
    let mut settings = AuthSettings::default();
    settings.api_keys = Some(path);
    let options = Options { access: Access::open(&settings).unwrap(), ..Options::default() };
    let (site, server) = Site::of(Arc::new(MemoryStore::new()), options).await;
    assert_eq!(site.client().pairs().await.unwrap_err().code(), Some("no-credential"));
    let client = Client::new(&site.settings().with_key(&key)).unwrap();
    assert!(client.orders(&OrderQuery::default()).await.unwrap().orders.is_empty());
    let error = client.place(&OrderForm::new("1", "SOL", "USDC")).await.unwrap_err();
    assert_eq!(error.code(), Some("missing-scope"));
    let seen = format!("{client:?} {:?} {error:?} {error}", site.settings().with_key(&key));
    assert!(!seen.contains(&key[key.len() - 20..]), "{seen}");
    server.end().await;
}
