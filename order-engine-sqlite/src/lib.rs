#![doc = include_str!("../README.md")]

mod clock;
mod connect;
mod controls;
mod database;
mod error;
mod feed;
mod folder;
mod items;
mod machine;
mod nonces;
mod open_file;
mod options;
mod outbox;
mod read;
mod rows;
mod schema;
mod session;
mod sql;
mod store;
mod submit;
mod values;
mod write;
mod writer;

pub use options::{OptionsError, SqliteOptions};
pub use sqlx;
pub use store::SqliteStore;
