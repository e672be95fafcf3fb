#![doc = include_str!("../README.md")]

mod connect;
mod controls;
mod error;
mod fanout;
mod feed;
mod nonces;
mod options;
mod outbox;
mod read;
mod rows;
mod schema;
mod session;
mod sql;
mod store;
mod submit;
mod submit_statement;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
mod values;
mod write;

pub use error::sqlstate;
pub use fanout::PostgresFanout;
pub use options::{OptionsError, PostgresOptions};
pub use sqlx;
pub use store::PostgresStore;
pub use submit_statement::SubmitStatement;
