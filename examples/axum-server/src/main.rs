//! The program: reads its configuration, starts, serves, and ends in good order.

use std::future::pending;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use order_engine_server::{
    AllowedOrigins, AppState, Config, Host, InvalidOrigin, LogFormat, Metrics, MetricsTaken, Options,
    StartError, serve,
};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::ParseError;

/// Why the program ends before its time: one line for whoever started it.
#[derive(Debug, thiserror::Error)]
enum Fatal {
    #[error("the log filter makes no sense: {0}")]
    LogFilter(#[from] ParseError),
    #[error("{0}")]
    Origin(#[from] InvalidOrigin),
    #[error(
        "there is no authentication, so the server refuses to listen on the public address {0}; \
         use --allow-public-unauthenticated if anybody who can reach it may trade"
    )]
    Public(SocketAddr),
    #[error("cannot listen on {address}: {error}")]
    Listen { address: SocketAddr, error: std::io::Error },
    #[error("{0}")]
    Start(#[from] StartError),
    #[error("cannot wait for signals: {0}")]
    Signals(std::io::Error),
    #[error("{0}")]
    Metrics(#[from] MetricsTaken),
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(Config::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(fatal) => {
            eprintln!("order-engine-server: {fatal}");
            ExitCode::FAILURE
        }
    }
}

async fn run(config: Config) -> Result<(), Fatal> {
    init_logs(&config)?;
    let address = SocketAddr::new(config.host, config.port);
    if !config.host.is_loopback() && !config.allow_public_unauthenticated {
        return Err(Fatal::Public(address));
    }
    let allowed_origins = AllowedOrigins::parse(&config.allowed_origins)?;
    // The port comes first: a second server on the same port must not touch the first one's store.
    let listener = TcpListener::bind(address).await.map_err(|error| Fatal::Listen { address, error })?;
    let local_addr = listener.local_addr().map_err(|error| Fatal::Listen { address, error })?;
    let mut shutdown = Shutdown::new().map_err(Fatal::Signals)?;
    // Before the engine, which describes its metrics when it is built.
    let metrics = Metrics::install()?;
    tokio::spawn(metrics.clone().upkeep());
    let host = Host::start(&config).await?;
    tracing::warn!("there is no authentication: anybody who can reach this server can trade");
    tracing::info!(store.durability = ?host.engine.durability(), "listening on http://{local_addr}");
    let options = Options {
        public_url: config.public_url.clone(),
        allowed_origins,
        max_connections: config.max_connections,
        max_sockets: config.max_sockets,
        max_sockets_per_order: config.max_sockets_per_order,
        worker: host.worker(),
        role: config.role,
        metrics: Some(metrics),
    };
    let app = AppState::new(host.engine.clone(), host.tokens.clone(), local_addr, options);
    serve_until(&mut shutdown, listener, app, config.shutdown_timeout()).await;
    tokio::select! {
        () = host.stop(config.shutdown_timeout()) => tracing::info!("ended"),
        () = shutdown.wait() => tracing::warn!("a second signal: what is in hand continues when its leases expire"),
    }
    Ok(())
}

/// Serves until a signal comes, and then for as long as clients take to leave, up to `timeout`.
async fn serve_until(shutdown: &mut Shutdown, listener: TcpListener, app: AppState, timeout: Duration) {
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let serving = serve(listener, app, async {
        // A sender that is gone means the same as one that sends.
        let _ = stopped.await;
    });
    let bounded = async {
        shutdown.wait().await;
        tracing::info!(timeout_s = timeout.as_secs(), "shutting down");
        // An error says that serving has ended already.
        let _ = stop.send(());
        at_most(shutdown, timeout).await;
    };
    tokio::select! {
        () = serving => {}
        () = bounded => {}
    }
}

/// Waits for so long, or for a second signal: whoever sends one does not want to wait.
async fn at_most(shutdown: &mut Shutdown, timeout: Duration) {
    tokio::select! {
        () = tokio::time::sleep(timeout) => tracing::warn!("some clients did not leave in time"),
        () = shutdown.wait() => tracing::warn!("a second signal: the clients are not waited for"),
    }
}

fn init_logs(config: &Config) -> Result<(), ParseError> {
    let filter = EnvFilter::builder().parse(&config.log)?;
    let logs = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match config.log_format {
        LogFormat::Json => logs.json().flatten_event(true).init(),
        _ => logs.with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr())).init(),
    }
    Ok(())
}

/// The signals that ask for an end.
struct Shutdown {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
}

impl Shutdown {
    fn new() -> std::io::Result<Self> {
        Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    async fn wait(&mut self) {
        tokio::select! {
            signal = self.interrupt.recv() => if signal.is_none() { pending().await },
            signal = self.terminate.recv() => if signal.is_none() { pending().await },
        }
    }
}
