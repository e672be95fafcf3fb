//! The password of the server is in no `Debug`, no error and no log line.

mod common;
#[path = "common/secret.rs"]
mod secret;

use std::sync::Arc;

use common::service::Chain;
use order_engine_core::{Engine, OrderStore, StoreErrorKind};
use order_engine_redis::testing::{DURABLE, RedisServer};
use order_engine_redis::{RedisFanout, RedisOptions, RedisStore};
use secret::{Log, SECRET, error_hides, hides};

fn options(password: &str, address: &str) -> RedisOptions {
    RedisOptions::new(&format!("redis://:{password}@{address}")).unwrap()
}

#[test]
fn options_show_where_they_lead_and_no_password() {
    let log = Log::begin();
    let options = options(SECRET, "cache.local:6432/3").with_prefix("orders").unwrap();
    let shown = format!("{options:?}");
    for part in ["cache.local", "6432", "orders"] {
        assert!(shown.contains(part), "{shown}");
    }
    hides(&options);
    log.hides();
}

#[test]
fn a_url_that_cannot_be_used_is_not_repeated() {
    for url in [
        format!("redis://:{SECRET}/x@host"),
        format!("redis://:{SECRET}@host:port"),
        format!("redis://:{SECRET}@host/database"),
        format!("redis://:{SECRET}@[host"),
        format!("redis://%ff:{SECRET}@host"),
        format!("unix:///socket?pass={SECRET}"),
        format!(":{SECRET}@host"),
    ] {
        error_hides(&RedisOptions::new(&url).unwrap_err());
    }
}

#[tokio::test]
async fn what_is_made_of_options_shows_no_password() {
    let log = Log::begin();
    let server = RedisServer::start(&[&DURABLE[..], &["--requirepass", SECRET]].concat());
    let options = options(SECRET, &format!("127.0.0.1:{}", server.port()));
    let store = RedisStore::open(options.clone()).await.unwrap();
    store.check().await.unwrap();
    let fanout = RedisFanout::open(options).await.unwrap();
    let chain = Chain::new().await;
    let engine = Engine::builder().store(Arc::new(store.clone())).router(chain.sim.router());
    let engine = engine.venue(chain.sim.venue()).sink(fanout.sink()).source(fanout.source());
    hides(&engine);
    let engine = engine.build().await.unwrap();
    hides(&store);
    hides(&fanout);
    hides(&fanout.sink());
    hides(&fanout.source());
    hides(&engine);
    hides(&engine.backend(10));
    hides(&engine.health().await);
    log.hides();
}

#[tokio::test]
async fn a_connection_that_fails_shows_no_password() {
    let log = Log::begin();
    let server = RedisServer::start(&["--requirepass", "another"]);
    let address = format!("127.0.0.1:{}", server.port());
    let refused = RedisStore::open(options(SECRET, &address)).await.unwrap_err();
    assert_eq!(refused.kind(), StoreErrorKind::Misconfigured, "{refused}");
    error_hides(&refused);
    for address in [&*address, "127.0.0.1:1", "no-such-host.invalid:6379"] {
        error_hides(&RedisStore::open(options(SECRET, address)).await.unwrap_err());
        error_hides(&RedisFanout::open(options(SECRET, address)).await.unwrap_err());
    }
    log.hides();
}
