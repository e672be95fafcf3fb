#![doc = include_str!("../README.md")]

mod address;
mod app;
mod config;
mod http;
mod listen;
mod live;
mod tokens;
mod wire;

pub use address::{InvalidPublicUrl, PublicUrl};
pub use app::{AppState, Options};
pub use config::*;
pub use http::origin::{AllowedOrigins, InvalidOrigin};
pub use listen::serve;
pub use tokens::{TokenRegistry, TokenRegistryError};
