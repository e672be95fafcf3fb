#![doc = include_str!("../README.md")]

mod batch;
mod connect;
mod controls;
mod durability;
mod error;
mod fanout;
mod feed;
mod options;
mod outbox;
mod read;
mod replies;
mod rows;
mod schema;
mod scripts;
mod server_info;
mod session;
mod store;
#[cfg(feature = "testing")]
pub mod testing;
mod write;

pub use fanout::RedisFanout;
pub use options::{OptionsError, RedisOptions};
pub use store::RedisStore;
