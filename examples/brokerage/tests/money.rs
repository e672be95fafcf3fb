//! The money check: users trade while the broker and its database are killed again and again, and in the end every
//! account is compared with the chain's own record.
//!
//! The long form: `ORDERS=10000 cargo test --release -p order-engine-brokerage --test money -- --nocapture`.

#[path = "money/books.rs"]
mod books;
#[path = "money/customers.rs"]
mod customers;
#[path = "money/programs.rs"]
mod programs;

use std::sync::Arc;
use std::time::{Duration, Instant};

use books::Books;
use customers::Customers;
use order_engine_postgres::testing::PostgresServer;
use programs::{Service, SimVenue};

/// How often the broker is killed, and how often the database.
const KILLS: usize = 30;
const CRASHES: usize = 5;
/// How many orders users wait for at a time, at least and at most.
const AT_A_TIME: (usize, usize) = (40, 200);

#[tokio::test(flavor = "multi_thread")]
async fn no_unit_is_lost_or_made_by_thirty_kills_and_five_crashes_of_the_database() {
    let orders = std::env::var("ORDERS").map_or(400, |text| text.parse().expect("a number"));
    let limit = Duration::from_secs(300 + orders as u64);
    let check = tokio::time::timeout(limit, check(orders));
    check.await.expect("every order ends, and is settled");
}

async fn check(orders: usize) {
    let folder = tempfile::tempdir().unwrap();
    let database = Arc::new(tokio::task::spawn_blocking(PostgresServer::start).await.unwrap());
    let venue = SimVenue::start(folder.path()).await;
    let mut service = Service::start(folder.path(), &database.url(), &venue.url).await;
    let began = Instant::now();
    let customers = Customers::new(orders, &service.url);
    customers.pay_in().await;

    let disturbing = async {
        for n in 1..=KILLS + CRASHES {
            customers.have_seen_end(n * orders / (KILLS + CRASHES + 1)).await;
            if n.is_multiple_of((KILLS + CRASHES) / CRASHES) {
                crash(&database).await;
            } else {
                service.kill().await;
                service = Service::start(folder.path(), &database.url(), &venue.url).await;
                customers.turn_to(&service.url);
            }
        }
    };
    let at_a_time = (orders / 50).clamp(AT_A_TIME.0, AT_A_TIME.1);
    tokio::join!(disturbing, customers.trade(at_a_time));
    let traded = began.elapsed();
    let retried = customers.retry_what_failed().await;

    let books = Books::when_settled(&database.url()).await;
    customers.see_what_is(&books).await;
    assert_eq!(service.terminate().await, Some(0), "{}", service.log());
    let chain = order_engine_sim::read_ledger(SimVenue::ledger(folder.path())).unwrap();
    let summary = books.check(&chain, &customers.answers());
    println!(
        "{orders} orders with {KILLS} kills and {CRASHES} crashes of the database in {traded:.1?}, {retried} retries, \
         settled after {:.1?}: {summary}",
        began.elapsed(),
    );
}

/// Cuts the power of the database, and starts it again.
async fn crash(database: &Arc<PostgresServer>) {
    let database = Arc::clone(database);
    let crash = move || {
        database.kill();
        database.restart();
    };
    tokio::task::spawn_blocking(crash).await.unwrap();
}
