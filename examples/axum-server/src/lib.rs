#![doc = include_str!("../README.md")]

mod address;
mod app;
mod backend;
mod chain_file;
mod config;
mod descriptors;
mod host;
mod http;
mod listen;
mod live;
mod metrics;
mod secret_url;
mod shutdown;
mod start_error;
mod store_watch;
mod tokens;
mod transport;
mod venue;
mod wire;

pub use address::{InvalidPublicUrl, PublicUrl};
pub use app::{AppState, Options};
pub use backend::{FanoutUrl, InvalidUrl, StoreUrl};
pub use chain_file::{ChainFile, InvalidChainFile};
pub use config::{Config, FeeBumpSettings, InvalidRole, LogFormat, Role, TxBound};
pub use descriptors::{ClientCaps, raise_limit};
pub use host::Host;
pub use http::hosts::{AllowedHosts, InvalidHost};
pub use http::origin::{AllowedOrigins, InvalidOrigin};
pub use listen::serve;
pub use metrics::{Metrics, MetricsTaken};
pub use secret_url::{InvalidVenueUrl, VenueUrl};
pub use shutdown::{ShutdownTimes, shut_down};
pub use start_error::StartError;
pub use tokens::{TokenRegistry, TokenRegistryError};
pub use venue::ChainInfo;
