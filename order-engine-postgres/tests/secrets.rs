//! The password of the database is in no `Debug`, no error and no log line.

mod common;
#[path = "common/engine.rs"]
mod engine;
#[path = "common/secret.rs"]
mod secret;

use std::sync::Arc;

use common::{execute, text};
use engine::{builder, simulator};
use order_engine_core::{Engine, OrderStore, StoreErrorKind};
use order_engine_postgres::testing::{PostgresServer, fresh_name};
use order_engine_postgres::{PostgresFanout, PostgresOptions, PostgresStore};
use secret::{Log, SECRET, error_hides, hides};
use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection, PgConnection};

/// Returns a server on which the role `canary` needs its password.
async fn server() -> PostgresServer {
    let server = PostgresServer::start();
    let mut admin = PgConnection::connect(&server.url()).await.unwrap();
    let role = format!("CREATE ROLE canary SUPERUSER LOGIN PASSWORD '{SECRET}'");
    execute(&mut admin, &role).await;
    let rules = text(&mut admin, "SHOW hba_file").await;
    let rules = format!(
        "COPY (VALUES ('host all canary 127.0.0.1/32 scram-sha-256'), ('host all all 127.0.0.1/32 trust'))
        TO '{rules}'"
    );
    execute(&mut admin, &rules).await;
    execute(&mut admin, "SELECT pg_reload_conf()").await;
    let url = format!("postgres://canary@127.0.0.1:{}/postgres", server.port());
    // The server reads its rules some time after the call.
    while PgConnection::connect(&url).await.is_ok() {}
    server
}

fn options(server: &PostgresServer, password: &str) -> PostgresOptions {
    let url = format!("postgres://canary:{password}@127.0.0.1:{}/postgres", server.port());
    PostgresOptions::new(&url).unwrap().with_schema(fresh_name()).unwrap()
}

#[test]
fn options_show_where_they_lead_and_no_password() {
    let log = Log::begin();
    let url = format!("postgres://alice:{SECRET}@db.local:6432/trading");
    let options = PostgresOptions::new(&url).unwrap();
    let shown = format!("{options:?}");
    for part in ["alice", "db.local", "6432", "trading", "order_engine"] {
        assert!(shown.contains(part), "{shown}");
    }
    hides(&options);
    hides(&PostgresOptions::new(&format!("postgres://db/trading?password={SECRET}")).unwrap());
    let key = format!("-----BEGIN PRIVATE KEY-----\n{SECRET}\n-----END PRIVATE KEY-----");
    let connect = PgConnectOptions::new().password(SECRET).ssl_client_key_from_pem(key);
    hides(&PostgresOptions::from(connect.options([("engine.token", SECRET)])));
    // Behind a question mark that is not escaped, the rest of a password looks like parameters.
    for password in [SECRET.to_owned(), format!("schema={SECRET}"), format!("pooling={SECRET}")] {
        match PostgresOptions::new(&format!("postgres://alice:1?{password}@db.local/trading")) {
            Ok(options) => hides(&options),
            Err(error) => error_hides(&error),
        }
    }
    log.hides();
}

#[test]
fn an_unknown_parameter_of_a_url_is_named_and_its_value_is_not_logged() {
    let log = Log::begin();
    let options = PostgresOptions::new(&format!("postgres://db/trading?sslpassword={SECRET}")).unwrap();
    hides(&options);
    assert!(log.text().contains("sslpassword"), "{}", log.text());
    log.hides();
}

#[test]
fn a_url_that_cannot_be_used_is_not_repeated() {
    for url in [
        format!("postgres://alice:{SECRET}/x@db/trading"),
        format!("postgres://alice:{SECRET}@db:port/trading"),
        format!("postgres://alice:{SECRET}@[db/trading"),
        format!("alice:{SECRET}@db/trading"),
        format!("postgres://alice:{SECRET}@db/trading?sslmode=x"),
        format!("postgres://alice:{SECRET}@db/trading?port=x"),
        format!("postgres://alice:{SECRET}@db/trading?schema=X"),
        format!("postgres://alice:{SECRET}@db/trading?pooling=x"),
    ] {
        error_hides(&PostgresOptions::new(&url).unwrap_err());
    }
}

#[tokio::test]
async fn what_is_made_of_options_shows_no_password() {
    let server = server().await;
    let log = Log::begin();
    let options = options(&server, SECRET);
    let store = PostgresStore::open(options.clone()).await.unwrap();
    store.check().await.unwrap();
    let fanout = PostgresFanout::open(options).await.unwrap();
    let engine = builder(Arc::new(store.clone()), &simulator().await);
    let engine = engine.sink(fanout.sink()).source(fanout.source());
    hides(&engine);
    let engine: Engine = engine.build().await.unwrap();
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
    let server = server().await;
    let log = Log::begin();
    let wrong = options(&server, &format!("{SECRET}-2"));
    let refused = PostgresStore::open(wrong.clone()).await.unwrap_err();
    assert_eq!(refused.kind(), StoreErrorKind::Misconfigured, "{refused}");
    error_hides(&refused);
    error_hides(&PostgresFanout::open(wrong).await.unwrap_err());
    let url = |address: &str| format!("postgres://alice:{SECRET}@{address}");
    let port = server.port();
    let encrypted = format!("127.0.0.1:{port}/postgres?sslmode=require");
    for address in ["127.0.0.1:1/postgres", "no-such-host.invalid/postgres", &encrypted] {
        let options = PostgresOptions::new(&url(address)).unwrap();
        error_hides(&PostgresStore::open(options.clone()).await.unwrap_err());
        error_hides(&PostgresFanout::open(options).await.unwrap_err());
    }
    log.hides();
}
