//! The state that all requests share.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use chrono::Utc;
use order_engine_core::{Engine, OrderId};
use tokio::sync::Mutex;
use tokio::task::AbortHandle;

use crate::address::PublicUrl;
use crate::audit::AuditLog;
use crate::auth::access::Access;
use crate::auth::secret_text::SecretText;
use crate::config::Role;
use crate::gate::Gate;
use crate::http::hosts::AllowedHosts;
use crate::http::origin::AllowedOrigins;
use crate::limits::admission::Admission;
use crate::limits::prices::Prices;
use crate::limits::proxies::TrustedProxies;
use crate::limits::settings::LimitSettings;
use crate::live::known::KnownOrders;
use crate::live::session::SessionRules;
use crate::live::sockets::{SocketCaps, Sockets};
use crate::metrics::Metrics;
use crate::pair_limits::PairLimits;
use crate::quote_ids::QuoteIds;
use crate::store_pool::StorePool;
use crate::store_watch::StoreWatch;
use crate::tls::Tls;
use crate::tokens::TokenRegistry;
use crate::venue::ChainInfo;
use crate::webhooks::service::Webhooks;
use crate::wire::frame::{ControlFrame, to_json};

/// How requests are served.
#[derive(Clone, Debug)]
pub struct Options {
    /// The URL under which clients reach the server, if it is not the one of their requests.
    pub public_url: Option<PublicUrl>,
    /// The names under which the server answers, in addition to the loopback names and the public URL.
    pub allowed_hosts: AllowedHosts,
    /// The web pages that may use the server in addition to its own.
    pub allowed_origins: AllowedOrigins,
    /// How many connections are served at a time; further ones are told to try again. A connection does not count
    /// any more once it is a live stream.
    pub max_connections: usize,
    /// How many connections, live streams included, one address may have. Without it an address beyond the loopback
    /// has 1,024.
    pub max_connections_per_address: Option<usize>,
    /// How many live streams there may be.
    pub max_sockets: usize,
    /// How many live streams one order may have.
    pub max_sockets_per_order: usize,
    /// The price impact that an order may have if it does not say, in basis points.
    pub max_price_impact_bps: u16,
    /// The task of the worker. If it ends, the server is not ready.
    pub worker: Option<AbortHandle>,
    /// The chain that is traded on, as clients are told.
    pub chain: ChainInfo,
    /// What the process does: a worker serves no clients.
    pub role: Role,
    /// The metrics of the process, if it has any.
    pub metrics: Option<Metrics>,
    /// The connections to the store, for the metrics.
    pub store_pool: StorePool,
    /// The certificate with which clients are served. Without it they are served without TLS.
    pub tls: Option<Tls>,
    /// Whether the log has a line for each request.
    pub access_log: bool,
    /// Who may use the server: everybody, unless it says otherwise.
    pub access: Access,
    /// How much of the server its clients may use.
    pub limits: LimitSettings,
    /// What tokens are worth to the host, for the limits of users.
    pub prices: Option<Prices>,
    /// What signs executable quotes. Without it, only this process takes its own.
    pub signing_secret: Option<SecretText>,
    /// The webhooks of users, if there are any.
    pub webhooks: Option<Webhooks>,
    /// Where acts of operators are recorded.
    pub audit: AuditLog,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            public_url: None,
            allowed_hosts: AllowedHosts::default(),
            allowed_origins: AllowedOrigins::default(),
            max_connections: 16_384,
            max_connections_per_address: None,
            max_sockets: 10_000,
            max_sockets_per_order: 100,
            max_price_impact_bps: 300,
            worker: None,
            chain: ChainInfo::default(),
            role: Role::All,
            metrics: None,
            store_pool: StorePool::None,
            tls: None,
            access_log: false,
            access: Access::default(),
            limits: LimitSettings::default(),
            prices: None,
            signing_secret: None,
            webhooks: None,
            audit: AuditLog::default(),
        }
    }
}

/// A handle to the state that all requests share. Its clones are cheap.
#[derive(Clone, Debug)]
pub struct AppState {
    pub(crate) engine: Engine,
    pub(crate) tokens: Arc<TokenRegistry>,
    pub(crate) options: Arc<Options>,
    pub(crate) sockets: Sockets,
    pub(crate) known: Arc<KnownOrders>,
    pub(crate) session_rules: SessionRules,
    pub(crate) store_watch: Arc<StoreWatch>,
    pub(crate) gate: Arc<Gate>,
    pub(crate) admission: Arc<Admission>,
    pub(crate) quote_ids: QuoteIds,
    pub(crate) pair_limits: PairLimits,
    /// Locked while a purge runs.
    pub(crate) purging: Arc<Mutex<()>>,
    is_draining: Arc<AtomicBool>,
    pub(crate) local_addr: SocketAddr,
}

impl AppState {
    /// Returns the state of a server that listens at `local_addr`.
    pub fn new(engine: Engine, tokens: TokenRegistry, local_addr: SocketAddr, options: Options) -> Self {
        let caps = SocketCaps { total: options.max_sockets, per_order: options.max_sockets_per_order };
        let gate = Gate::new(options.access.clone(), &options.limits);
        let admission = Admission::new(&options.limits, options.prices.clone());
        let quote_ids = QuoteIds::new(options.signing_secret.as_ref());
        Self {
            engine,
            tokens: Arc::new(tokens),
            options: Arc::new(options),
            sockets: Sockets::new(caps),
            known: Arc::default(),
            session_rules: SessionRules::default(),
            store_watch: Arc::default(),
            gate: Arc::new(gate),
            admission: Arc::new(admission),
            quote_ids,
            pair_limits: PairLimits::default(),
            purging: Arc::default(),
            is_draining: Arc::default(),
            local_addr,
        }
    }

    /// Says from now on that the server is not ready, because it is about to shut down, and goes on serving.
    pub fn drain(&self) {
        self.is_draining.store(true, Ordering::Release);
    }

    /// Returns the proxies whose word is taken.
    pub(crate) fn trusted_proxies(&self) -> &TrustedProxies {
        self.options.limits.trusted_proxies.as_ref().unwrap_or(&TrustedProxies::None)
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.is_draining.load(Ordering::Acquire)
    }

    /// Returns the engine.
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// Returns how many live streams there are.
    pub fn streams(&self) -> usize {
        self.sockets.total()
    }

    /// Returns how many live streams an order has.
    pub fn streams_of(&self, order_id: OrderId) -> usize {
        self.sockets.of_order(order_id)
    }

    /// Sends a message to all clients with a live stream, before maintenance for instance.
    pub fn notify(&self, message: &str) {
        self.sockets.notify(&to_json(&ControlFrame::notice(message, Utc::now())));
    }
}
