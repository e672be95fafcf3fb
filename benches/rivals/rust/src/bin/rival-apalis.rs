//! Orders as jobs of the stock `apalis-postgres` storage, with a row for each order and each of its events.

use std::sync::Arc;
use std::time::Duration;

use apalis::prelude::{BoxDynError, Data, TaskBuilder, WorkerBuilder, WorkerBuilderExt};
use apalis_postgres::{Config, PostgresStorage, queries};
use order_engine_rivals::hub::{CONFIRMED, Hub};
use order_engine_rivals::server::{Settings, System, serve};
use order_engine_rivals::{Error, Order, exchange};
use sqlx::PgPool;
use sqlx::postgres::PgPoolOptions;
use uuid::Uuid;

const QUEUE: &str = "orders";
/// The storage looks for jobs as often as it sends a heartbeat, and at once when it was busy.
const POLL: Duration = Duration::from_millis(100);

const TABLES: &str = "
    CREATE TABLE orders (
        id uuid PRIMARY KEY, token_in text NOT NULL, token_out text NOT NULL, amount text NOT NULL,
        status text NOT NULL, detail text, created_at timestamptz NOT NULL DEFAULT now(),
        updated_at timestamptz NOT NULL DEFAULT now()
    );
    CREATE TABLE order_events (
        order_id uuid NOT NULL, seq integer NOT NULL, status text NOT NULL, detail text,
        at timestamptz NOT NULL DEFAULT now(), PRIMARY KEY (order_id, seq)
    )";
const ACCEPT: &str = "
    WITH accepted AS (
        INSERT INTO orders (id, token_in, token_out, amount, status) VALUES ($1, $2, $3, $4, 'pending')
    )
    INSERT INTO order_events (order_id, seq, status) VALUES ($1, 1, 'pending')";
const ADVANCE: &str = "
    WITH advanced AS (
        UPDATE orders SET status = $3, detail = coalesce($4, detail), updated_at = now() WHERE id = $1
    )
    INSERT INTO order_events (order_id, seq, status, detail) VALUES ($1, $2, $3, $4)
    ON CONFLICT (order_id, seq) DO UPDATE SET detail = excluded.detail, at = now()";

struct Apalis {
    pool: PgPool,
}

impl System for Apalis {
    async fn accept(&self, order: Order) -> Result<(), Error> {
        let mut transaction = self.pool.begin().await?;
        sqlx::query(ACCEPT)
            .bind(order.id)
            .bind(&order.request.token_in)
            .bind(&order.request.token_out)
            .bind(&order.request.amount)
            .execute(&mut *transaction)
            .await?;
        let job = TaskBuilder::new(serde_json::to_vec(&order)?).build();
        queries::push_tasks(&mut *transaction, QUEUE, vec![job]).await?;
        Ok(transaction.commit().await?)
    }

    async fn status(&self, id: Uuid) -> Result<Option<String>, Error> {
        let status = sqlx::query_scalar("SELECT status FROM orders WHERE id = $1");
        Ok(status.bind(id).fetch_optional(&self.pool).await?)
    }
}

/// Executes an order from its beginning. A repeated job submits once more.
async fn execute(order: Order, pool: Data<PgPool>, hub: Data<Arc<Hub>>) -> Result<(), BoxDynError> {
    let advance = async |seq: i32, status: &'static str, detail: Option<&str>| {
        let statement = sqlx::query(ADVANCE).bind(order.id).bind(seq).bind(status).bind(detail);
        statement.execute(&*pool).await?;
        hub.publish(order.id, status);
        Result::<_, BoxDynError>::Ok(())
    };
    advance(2, "routing", None).await?;
    let (raydium, meteora) =
        tokio::join!(exchange::raydium(&order.request), exchange::meteora(&order.request));
    let quote = exchange::best(raydium, meteora);
    advance(3, "building", Some(&quote.venue)).await?;
    let transaction = exchange::build(&order.request, &quote).await;
    let signature = exchange::submit(&transaction).await;
    advance(4, "submitted", Some(&signature)).await?;
    exchange::confirm(&signature).await;
    advance(5, CONFIRMED, None).await
}

#[tokio::main]
async fn main() -> Result<(), Error> {
    let Settings { database_url, slots, connections } = Settings::read()?;
    let pool = PgPoolOptions::new().max_connections(connections).connect(&database_url).await?;
    sqlx::raw_sql(TABLES).execute(&pool).await?;
    PostgresStorage::setup(&pool).await?;
    let hub = Arc::<Hub>::default();
    let config =
        Config::default().queue(QUEUE).batch_size(slots).heartbeat_interval(POLL).missed_heartbeats(600);
    let worker = WorkerBuilder::new(format!("orders-{}", std::process::id()))
        .backend(PostgresStorage::<Order>::new(&pool).with_config(config))
        .data(pool.clone())
        .data(Arc::clone(&hub))
        .catch_panic()
        .concurrency(slots)
        .build(execute);
    tokio::select! {
        ended = worker.run() => Ok(ended?),
        served = serve(Apalis { pool }, hub) => served,
    }
}
