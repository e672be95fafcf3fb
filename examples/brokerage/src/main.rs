//! The program: starts, serves, and ends when it is asked to.

use std::error::Error;
use std::io::IsTerminal as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use clap::Parser;
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use order_engine_brokerage::broker::Broker;
use order_engine_brokerage::{http, worker};
use order_engine_core::telemetry::chain;
use order_engine_core::{DexRouter, EngineConfig, RetryPolicy, Runtime, Venue};
use order_engine_sim::default_tokens;
use order_engine_sim::rpc::{RpcClient, RpcOptions, RpcRouter, RpcVenue};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

/// A small broker: accounts and orders in one PostgreSQL database.
#[derive(Parser)]
struct Args {
    /// The database
    #[arg(long, env = "DATABASE_URL", hide_env_values = true)]
    database_url: String,
    /// The node of the chain
    #[arg(long, env = "VENUE_URL", hide_env_values = true)]
    venue_url: String,
    /// The port to listen on; 0 takes a free one and prints it
    #[arg(long, env = "PORT", default_value_t = 3000)]
    port: u16,
    /// How many orders are executed at a time
    #[arg(long, env = "SLOTS", default_value_t = 32)]
    slots: usize,
    /// After a crash, how long the orders of the dead process wait, in milliseconds
    #[arg(long, env = "LEASE_MS", default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(1..))]
    lease_ms: u64,
    /// How often an order waits for its worst price to come back, first a second and each time longer, before it
    /// fails and is refunded
    #[arg(long, env = "PRICE_LOOKS", default_value_t = RetryPolicy::default().price.max_failures)]
    price_looks: u32,
}

/// How long the program takes to end at most: less than the 30 seconds after which Kubernetes kills it.
const GRACE: Duration = Duration::from_secs(20);
/// How often the samples of histograms are folded into their buckets.
const UPKEEP: Duration = Duration::from_secs(5);
/// How often a node that does not answer yet is asked again.
const NODE_POLL: Duration = Duration::from_secs(1);

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let args = Args::parse();
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_ansi(std::io::stderr().is_terminal()).init();
    // The recorder comes before the engine, which describes its metrics when it is built.
    let metrics = record_metrics()?;
    let listener = TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, args.port))).await?;
    let mut terminate = signal(SignalKind::terminate())?;

    let retry = RetryPolicy::default();
    let price = retry.price.with_max_failures(args.price_looks);
    let config = EngineConfig::default()
        .with_lease_duration(Duration::from_millis(args.lease_ms))
        .with_retry(retry.with_price(price));
    let trading = tokio::select! {
        trading = trading(&args.venue_url) => trading?,
        // It waits for its node, and has done nothing yet.
        _ = terminate.recv() => return Ok(()),
    };
    let broker = Broker::open(&args.database_url, trading, config.clone()).await?;
    let engine = broker.engine().clone();
    let (stop, stopped) = watch::channel(false);
    let worker = tokio::spawn({
        let (engine, stopped) = (engine.clone(), stopped.clone());
        async move { worker::work(engine, &config, args.slots, stopped).await }
    });

    println!("listening on http://{}", listener.local_addr()?);
    let routes = http::routes(broker, default_tokens(), metrics);
    let mut ending = stopped.clone();
    let serving = axum::serve(listener, routes).with_graceful_shutdown(async move {
        let _ = ending.wait_for(|is_stopped| *is_stopped).await;
    });
    let serving = tokio::spawn(serving.into_future());

    terminate.recv().await;
    tracing::info!("ending");
    stop.send(true)?;
    // New requests are refused, orders come to the end of their steps, and their leases are released, so that the
    // next process goes on at once. What takes longer is not lost either: its leases expire.
    let (drained, served, finished) = tokio::join!(
        engine.shutdown(GRACE),
        tokio::time::timeout(GRACE, serving),
        tokio::time::timeout(GRACE, worker),
    );
    drained?;
    served???;
    finished???;
    tracing::info!("ended");
    Ok(())
}

/// Installs the recorder of the process's metrics.
fn record_metrics() -> Result<PrometheusHandle, Box<dyn Error>> {
    let recorder = PrometheusBuilder::new().build_recorder();
    let handle = recorder.handle();
    metrics::set_global_recorder(recorder)?;
    let upkeep = handle.clone();
    tokio::spawn(async move {
        loop {
            tokio::time::sleep(UPKEEP).await;
            upkeep.run_upkeep();
        }
    });
    Ok(handle)
}

/// Returns the router and the venue behind a node: this is what your adapter replaces.
///
/// The venue says itself what bounds its transactions, and the engine has to know that; so a node that starts later than
/// this process is waited for.
async fn trading(url: &str) -> Result<(Arc<dyn DexRouter>, Arc<dyn Venue>), Box<dyn Error>> {
    let client = RpcClient::new(RpcOptions::new(url), Runtime::tokio())?;
    let router = RpcRouter::new(&client);
    let venue = loop {
        match RpcVenue::connect(client.clone(), &router).await {
            Err(error) if error.is_transient() => {
                tracing::warn!(error = %chain(&error), "the node does not answer yet");
                tokio::time::sleep(NODE_POLL).await;
            }
            connected => break connected?,
        }
    };
    if let Err(error) = router.refresh().await {
        tracing::warn!(error = %chain(&error), "the pools are not known yet");
    }
    Ok((Arc::new(router), Arc::new(venue)))
}
