//! Settings that the configuration files of all chains have, and errors that name a setting and show no value, which may be a secret.

mod error;
mod explorer;
mod nodes;
mod secret;
mod signer;

pub use error::{ConfigError, parse, read};
pub use explorer::Explorer;
pub use nodes::NodesTable;
pub use secret::Secret;
pub use signer::RemoteSignerTable;
