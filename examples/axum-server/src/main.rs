//! The program: reads its configuration, starts, serves, and shuts down.

use std::future::pending;
use std::io::IsTerminal as _;
use std::net::SocketAddr;
use std::pin::pin;
use std::process::ExitCode;

use order_engine_core::telemetry::chain;
use order_engine_server::{
    Access, AllowedHosts, AllowedOrigins, AppState, AuditError, AuditLog, CheckError, ClientCaps, Command,
    CommandError, Config, Host, InvalidAccess, InvalidHost, InvalidOrigin, KeyCommand, LogFormat, Metrics,
    MetricsTaken, Options, Prices, PricesError, StartError, Tls, TlsError, check, raise_limit, serve,
    shut_down,
};
#[cfg(feature = "otel")]
use order_engine_server::{Otel, OtelError};
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::oneshot;
use tracing_subscriber::Layer as _;
use tracing_subscriber::filter::{ParseError, Targets};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

/// Why the program cannot start, as one line for the operator.
#[derive(Debug, thiserror::Error)]
enum Fatal {
    #[error("the log filter is invalid")]
    LogFilter(#[from] ParseError),
    #[error(transparent)]
    Host(#[from] InvalidHost),
    #[error(transparent)]
    Command(#[from] CommandError),
    #[error(transparent)]
    Check(#[from] CheckError),
    #[error(transparent)]
    Access(#[from] InvalidAccess),
    #[error(transparent)]
    Audit(#[from] AuditError),
    #[error(transparent)]
    Tls(#[from] TlsError),
    #[error(transparent)]
    Prices(#[from] PricesError),
    #[cfg(feature = "otel")]
    #[error(transparent)]
    Otel(#[from] OtelError),
    #[error(transparent)]
    Origin(#[from] InvalidOrigin),
    #[error(
        "there is no authentication, so the server refuses to listen on the public address {0}; set --api-keys, or \
         --jwks or --jwt-secret, or use --allow-public-unauthenticated if every client that reaches it may trade"
    )]
    Public(SocketAddr),
    #[error("cannot listen on {address}")]
    Listen { address: SocketAddr, source: std::io::Error },
    #[error(transparent)]
    Start(#[from] StartError),
    #[error("cannot wait for signals")]
    Signals(#[source] std::io::Error),
    #[error(transparent)]
    Metrics(#[from] MetricsTaken),
}

#[tokio::main]
async fn main() -> ExitCode {
    let config = Config::of_process();
    let done = match config.command.clone() {
        Some(Command::Keys { command }) => run_keys(&command, &config),
        Some(Command::Check) => {
            check(config.host, config.port, config.tls.tls_cert.is_some()).await.map_err(Fatal::from)
        }
        _ => Box::pin(run(config)).await,
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(fatal) => {
            eprintln!("order-engine-server: {}", chain(&fatal));
            ExitCode::FAILURE
        }
    }
}

fn run_keys(command: &KeyCommand, config: &Config) -> Result<(), Fatal> {
    let audit = AuditLog::open(config.audit_log.clone())?;
    let file = config.auth.api_keys.clone();
    Ok(command.run(file, &audit, &mut std::io::stdout(), &mut std::io::stderr())?)
}

async fn run(config: Config) -> Result<(), Fatal> {
    #[cfg(feature = "otel")]
    let otel = Otel::open()?;
    init_logs(
        &config,
        #[cfg(feature = "otel")]
        otel.as_ref(),
    )?;
    let done = serve_clients(config).await;
    #[cfg(feature = "otel")]
    if let Some(otel) = otel {
        otel.shut_down().await;
    }
    done
}

async fn serve_clients(config: Config) -> Result<(), Fatal> {
    let address = SocketAddr::new(config.host, config.port);
    let access = Access::open(&config.auth)?;
    let audit = AuditLog::open(config.audit_log.clone())?;
    if !config.host.is_loopback() && access.is_open() && !config.allow_public_unauthenticated {
        return Err(Fatal::Public(address));
    }
    let tls = Tls::open(&config.tls)?;
    let prices = config.limits.prices.as_deref().map(Prices::open).transpose()?;
    let allowed_hosts = AllowedHosts::parse(&config.allowed_hosts)?;
    let allowed_origins = AllowedOrigins::parse(&config.allowed_origins)?;
    // The port comes first: a second server on the same port must not touch the first one's store.
    let listener = TcpListener::bind(address).await.map_err(|source| Fatal::Listen { address, source })?;
    let local_addr = listener.local_addr().map_err(|source| Fatal::Listen { address, source })?;
    let mut shutdown = Shutdown::new().map_err(Fatal::Signals)?;
    // The recorder comes before the engine, which describes its metrics when it is built.
    let metrics = Metrics::install()?;
    tokio::spawn(metrics.clone().upkeep());
    let host = tokio::select! {
        started = Host::start(&config) => started?,
        // It waits for its venue, and has done nothing yet.
        () = shutdown.wait() => return Ok(()),
    };
    let descriptors = raise_limit();
    let asked = ClientCaps { connections: config.max_connections, streams: config.max_sockets };
    let caps = asked.fit(descriptors);
    tracing::info!(
        descriptors,
        connections = caps.connections,
        streams = caps.streams,
        "at most so many clients are served at a time"
    );
    if access.is_open() {
        tracing::warn!("there is no authentication: every client that reaches this server can trade");
    }
    tokio::spawn(access.clone().upkeep());
    if let Some(prices) = prices.clone() {
        tokio::spawn(prices.upkeep());
    }
    let scheme = if tls.is_some() { "https" } else { "http" };
    if let Some(tls) = &tls {
        tokio::spawn(tls.clone().upkeep());
    }
    // Without a certificate the signal does nothing, so that a supervisor may send it whatever the settings are.
    tokio::spawn(reload_on_request(tls.clone(), signal(SignalKind::hangup()).map_err(Fatal::Signals)?));
    tracing::info!(store.durability = ?host.engine.durability(), "listening on {scheme}://{local_addr}");
    let options = Options {
        public_url: config.public_url.clone(),
        allowed_hosts,
        allowed_origins,
        max_connections: caps.connections,
        max_connections_per_address: config.max_connections_per_address,
        max_sockets: caps.streams,
        max_sockets_per_order: config.max_sockets_per_order,
        max_price_impact_bps: config.max_price_impact_bps,
        worker: host.worker(),
        chain: host.chain.clone(),
        role: config.role,
        metrics: Some(metrics),
        store_pool: host.store_pool.clone(),
        tls,
        access_log: config.access_log,
        access,
        limits: config.limits.clone(),
        prices,
        signing_secret: config.auth.signing_secret.clone(),
        webhooks: host.webhooks.clone(),
        audit,
    };
    let app = AppState::new(host.engine.clone(), host.tokens.clone(), local_addr, options);
    let (stop, stopped) = oneshot::channel::<()>();
    let mut serving = pin!(serve(listener, app.clone(), async {
        // A dropped sender means the same as a message.
        let _ = stopped.await;
    }));
    tokio::select! {
        () = &mut serving => {}
        () = shutdown.wait() => {}
    }
    let close = || {
        // An error means that serving has ended already.
        let _ = stop.send(());
    };
    let in_order = shut_down(config.shutdown_times(), serving, || app.drain(), close, |left| host.stop(left));
    tokio::select! {
        () = in_order => tracing::info!("ended"),
        () = shutdown.wait() => tracing::warn!("a second signal: claimed orders continue when their leases expire"),
    }
    Ok(())
}

/// Reads the certificate again, if there is one, whenever the process gets this signal.
async fn reload_on_request(tls: Option<Tls>, mut hangups: Signal) {
    while hangups.recv().await.is_some() {
        if let Some(tls) = &tls {
            tls.reload();
        }
    }
}

/// Writes the log, and takes spans down. What the log leaves out, the spans may have.
fn init_logs(config: &Config, #[cfg(feature = "otel")] otel: Option<&Otel>) -> Result<(), ParseError> {
    let filter: Targets = config.log.parse()?;
    let registry = tracing_subscriber::registry();
    #[cfg(feature = "otel")]
    let registry = registry.with(otel.map(Otel::layer));
    let logs = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    match config.log_format {
        LogFormat::Json => registry.with(logs.json().flatten_event(true).with_filter(filter)).init(),
        _ => registry.with(logs.with_ansi(std::io::stderr().is_terminal()).with_filter(filter)).init(),
    }
    Ok(())
}

/// The signals that ask the program to end.
struct Shutdown {
    interrupt: Signal,
    terminate: Signal,
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
