#![doc = include_str!("../README.md")]

mod connect;
mod error;
mod fanout;
mod link;
mod options;
mod outbox;
mod read;
mod rows;
mod script;
mod server;
mod store;
#[cfg(feature = "testing")]
pub mod testing;
mod write;

pub use fanout::RedisFanout;
pub use options::{OptionsError, RedisOptions};
pub use store::RedisStore;
