//! The table of a signer in another process.

use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::{Deserialize, Deserializer};

use crate::config::Secret;
use crate::keys::{KeyError, RemoteSignerOptions, read_secret_variable};

/// A signer over HTTP for a wallet with an address `A`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, bound(deserialize = "A: FromStr"))]
pub struct RemoteSignerTable<A> {
    url: Secret,
    #[serde(deserialize_with = "address")]
    address: A,
    /// An environment variable with what the header `Authorization` has.
    authorization_variable: Option<String>,
    ca_file: Option<PathBuf>,
}

impl<A: Clone> RemoteSignerTable<A> {
    /// Returns the options that the table describes. Files are found from this folder.
    ///
    /// # Errors
    /// If the variable is missing.
    pub fn options(&self, folder: &Path) -> Result<RemoteSignerOptions<A>, KeyError> {
        let mut options = RemoteSignerOptions::new(self.url.reveal(), self.address.clone());
        if let Some(variable) = &self.authorization_variable {
            options.authorization = Some(read_secret_variable(variable)?);
        }
        if let Some(path) = &self.ca_file {
            options = options.with_ca_file(folder.join(path));
        }
        Ok(options)
    }
}

fn address<'de, A: FromStr, D: Deserializer<'de>>(deserializer: D) -> Result<A, D::Error> {
    let text = String::deserialize(deserializer)?;
    text.parse().map_err(|_| serde::de::Error::custom("it must be an address"))
}
