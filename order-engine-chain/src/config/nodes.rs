//! The table of the nodes.

use std::num::NonZeroU64;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;

use crate::config::{ConfigError, Secret};
use crate::rpc::NodesOptions;

/// The table `nodes` of a configuration.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NodesTable {
    /// The URLs of the nodes, the preferred ones first.
    #[serde(default)]
    pub urls: Vec<Secret>,
    /// An environment variable with more URLs, separated by commas.
    pub urls_variable: Option<String>,
    /// How many nodes have to agree; more than half unless it is told.
    pub quorum: Option<usize>,
    /// The longest time of one call of one node, in milliseconds; two seconds unless it is told.
    pub timeout_ms: Option<NonZeroU64>,
    /// A file with the certificates (PEM) of the authorities that nodes are trusted by, instead of the machine's.
    pub ca_file: Option<PathBuf>,
}

impl NodesTable {
    /// Returns the options that the table describes. Files are found from this folder.
    ///
    /// # Errors
    /// If there is no node, one has no URL of HTTP, the variable is missing, or the quorum is none.
    pub fn options(&self, folder: &Path) -> Result<NodesOptions, ConfigError> {
        let urls = self.all_urls()?;
        let nodes = urls.len();
        let mut options = NodesOptions::new(urls);
        if let Some(quorum) = self.quorum {
            if !(1..=nodes).contains(&quorum) {
                return Err(ConfigError::invalid("nodes.quorum", format!("must be from 1 to {nodes}")));
            }
            options = options.with_quorum(quorum);
        }
        if let Some(timeout_ms) = self.timeout_ms {
            options = options.with_timeout(Duration::from_millis(timeout_ms.get()));
        }
        if let Some(path) = &self.ca_file {
            options = options.with_ca_file(folder.join(path));
        }
        Ok(options)
    }

    fn all_urls(&self) -> Result<Vec<String>, ConfigError> {
        let mut urls: Vec<String> = self.urls.iter().map(|url| url.reveal().to_owned()).collect();
        if let Some(variable) = &self.urls_variable {
            let missing = |_| ConfigError::invalid("nodes.urls_variable", format!("{variable} is not set"));
            let listed = std::env::var(variable).map_err(missing)?;
            urls.extend(listed.split(',').map(|url| url.trim().to_owned()).filter(|url| !url.is_empty()));
        }
        if urls.is_empty() {
            return Err(ConfigError::invalid("nodes.urls", "there must be at least one"));
        }
        if !urls.iter().all(|url| url.starts_with("http://") || url.starts_with("https://")) {
            return Err(ConfigError::invalid("nodes.urls", "each must be an http:// or https:// URL"));
        }
        Ok(urls)
    }
}
