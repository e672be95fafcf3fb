//! Measures transactions of a host that accept an order on PostgreSQL, against transactions that insert a plain
//! row of the same size, and against the same with a NOTIFY.

use std::error::Error;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::{Parser, ValueEnum};
use order_engine_core::Engine;
use order_engine_core::testing::{ScriptedRouter, ScriptedVenue, request};
use order_engine_postgres::testing::PostgresServer;
use order_engine_postgres::{PostgresOptions, PostgresStore};
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection, Row as _};

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

/// Measures how many transactions of a host a second accept an order, beside transactions that insert a plain
/// row. Each debits an account first. The kinds take turns in one run.
#[derive(Clone, Debug, Parser)]
#[command(name = "host-transactions", max_term_width = 100)]
struct Args {
    /// The number of clients, each with a connection and an account of its own.
    #[arg(long, default_value_t = 32)]
    clients: usize,

    /// The number of rounds, in each of which every kind has a turn.
    #[arg(long, default_value_t = 5)]
    rounds: usize,

    /// How long a turn takes, in seconds.
    #[arg(long, default_value_t = 5)]
    seconds: u64,

    /// By how much each flush of PostgreSQL's log is delayed, in microseconds: a slower disk.
    #[arg(long, default_value_t = 2_000)]
    flush_us: u32,

    /// The kinds of transactions that take turns.
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = [Kind::Plain, Kind::SubmitIn, Kind::Notify])]
    kinds: Vec<Kind>,
}

/// What a transaction does besides its debit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Kind {
    /// It inserts a row into a table of the host.
    Plain,
    /// It accepts an order, which is announced after the commit.
    SubmitIn,
    /// It inserts a row and notifies, as an order that is announced by its own transaction.
    Notify,
}

/// Debits an account.
const DEBIT: &str = "UPDATE accounts SET balance = balance - 1 WHERE id = $1";
/// Inserts a row with a key and an index, like an order's.
const INSERT: &str = "INSERT INTO plain (id, user_id, request) VALUES (gen_random_uuid(), $1, $2)";
/// How many bytes an order and its first event have as rows.
const ROW_BYTES: &str = "SELECT (sum(pg_column_size(o)) + sum(pg_column_size(e)))::bigint AS bytes
    FROM order_engine.orders AS o JOIN order_engine.order_writes AS e USING (order_id)";

/// A host and its engine.
#[derive(Clone)]
struct Host {
    url: String,
    store: PostgresStore,
    engine: Engine,
    /// The text of a plain row.
    text: Arc<str>,
}

impl Host {
    async fn start(server: &PostgresServer, args: &Args) -> Result<Self> {
        let url = server.url();
        let mut admin = PgConnection::connect(&url).await?;
        for sql in [
            format!("ALTER SYSTEM SET commit_delay = {}", args.flush_us),
            "ALTER SYSTEM SET commit_siblings = 0".to_owned(),
            "SELECT pg_reload_conf()".to_owned(),
            "CREATE TABLE accounts (id bigint PRIMARY KEY, balance bigint NOT NULL) WITH (fillfactor = 50)"
                .to_owned(),
            format!("INSERT INTO accounts SELECT id, 0 FROM generate_series(0, {}) AS id", args.clients),
            "CREATE TABLE plain (id uuid PRIMARY KEY, user_id text NOT NULL, request text NOT NULL)"
                .to_owned(),
            "CREATE INDEX plain_user ON plain (user_id, id)".to_owned(),
        ] {
            sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut admin).await?;
        }
        let store = PostgresStore::open(PostgresOptions::new(&url)?).await?;
        let engine = Engine::builder()
            .store(Arc::new(store.clone()))
            .router(Arc::new(ScriptedRouter::default()))
            .venue(Arc::new(ScriptedVenue::default()))
            .build()
            .await?;
        engine.submit(request()).await?;
        let bytes: i64 = sqlx::query(ROW_BYTES).fetch_one(&mut admin).await?.try_get("bytes")?;
        Ok(Self { url, store, engine, text: "x".repeat(usize::try_from(bytes)?).into() })
    }

    /// Makes transactions of a kind, one after the other, until a time. Returns how many.
    async fn transact(self, kind: Kind, account: i64, until: Instant) -> Result<u64> {
        let mut connection = PgConnection::connect(&self.url).await?;
        let mut transactions = 0;
        while Instant::now() < until {
            let mut transaction = connection.begin().await?;
            transaction.execute(sqlx::query(DEBIT).bind(account)).await?;
            if kind == Kind::SubmitIn {
                let request = request().with_user_id(account.to_string());
                let submitted = self.store.submit_in(&self.engine, &mut transaction, request).await?;
                transaction.commit().await?;
                submitted.announce();
            } else {
                let insert = sqlx::query(INSERT).bind(account.to_string()).bind(&*self.text);
                transaction.execute(insert).await?;
                if kind == Kind::Notify {
                    transaction.execute("SELECT pg_notify('orders', 'due')").await?;
                }
                transaction.commit().await?;
            }
            transactions += 1;
        }
        Ok(transactions)
    }

    /// Returns how many transactions of a kind all clients make in a second.
    async fn rate(&self, kind: Kind, args: &Args) -> Result<f64> {
        let begun = Instant::now();
        let until = begun + Duration::from_secs(args.seconds);
        let mut clients = Vec::new();
        for account in 0..args.clients {
            clients.push(tokio::spawn(self.clone().transact(kind, i64::try_from(account)?, until)));
        }
        let mut transactions = 0;
        for client in clients {
            transactions += client.await??;
        }
        #[allow(clippy::cast_precision_loss)] // A count of transactions is small.
        Ok(transactions as f64 / begun.elapsed().as_secs_f64())
    }
}

fn median(rates: &mut [f64]) -> f64 {
    rates.sort_by(f64::total_cmp);
    rates[rates.len() / 2]
}

#[tokio::main]
async fn main() -> Result<()> {
    let args = Args::parse();
    let server = PostgresServer::start();
    let host = Host::start(&server, &args).await?;
    println!(
        "{} clients, each flush delayed by {} µs, plain rows of {} bytes",
        args.clients,
        args.flush_us,
        host.text.len()
    );
    let mut rates = vec![Vec::new(); args.kinds.len()];
    for round in 1..=args.rounds {
        for (kind, rates) in args.kinds.iter().zip(&mut rates) {
            let rate = host.rate(*kind, &args).await?;
            println!("round {round}: {kind:?} {rate:.0} a second");
            rates.push(rate);
        }
    }
    for (kind, of_kind) in args.kinds.iter().zip(&rates) {
        // Rates of one round were measured next to each other, whatever else the machine did.
        let mut shares: Vec<f64> = of_kind.iter().zip(&rates[0]).map(|(rate, first)| rate / first).collect();
        let (rate, share) = (median(&mut of_kind.clone()), 100.0 * median(&mut shares));
        println!("{kind:?}: median {rate:.0} a second, {share:.0} % of the first kind in the same round");
    }
    Ok(())
}
