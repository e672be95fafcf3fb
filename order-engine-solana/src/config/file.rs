//! The settings as they stand in the file.

use std::num::NonZeroU64;
use std::path::{Path, PathBuf};
use std::time::Duration;

use order_engine_chain::config::{Explorer, NodesTable, RemoteSignerTable, Secret};
use serde::Deserialize;
use solana_pubkey::Pubkey;

use crate::config::{ConfigError, address};
use crate::fees::FeePolicy;
use crate::pools::WatchOptions;
use crate::rpc::ClusterOptions;
use crate::rpc::wire::ACCOUNTS_MAX;
use crate::venue::SolanaVenueOptions;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct File {
    pub(super) chain: String,
    pub(super) genesis_hash: Option<String>,
    pub(super) explorer: Option<Explorer>,
    pub(super) nodes: Nodes,
    pub(super) wallet: Wallet,
    pub(super) tokens: Vec<TokenEntry>,
    pub(super) pools: Pools,
    #[serde(default)]
    pub(super) fees: Fees,
    #[serde(default)]
    pub(super) venue: VenueSettings,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Nodes {
    #[serde(default)]
    urls: Vec<Secret>,
    /// An environment variable with URLs, separated by commas.
    urls_variable: Option<String>,
    #[serde(default)]
    websockets: Vec<Secret>,
    quorum: Option<usize>,
    timeout_ms: Option<NonZeroU64>,
    ca_file: Option<PathBuf>,
}

impl Nodes {
    /// Returns how the pools are watched through these nodes.
    pub(super) fn watch(&self, interval_ms: NonZeroU64) -> Result<WatchOptions, ConfigError> {
        let urls: Vec<&str> = self.websockets.iter().map(Secret::reveal).collect();
        if !urls.iter().all(|url| url.starts_with("ws://") || url.starts_with("wss://")) {
            return Err(ConfigError::invalid("nodes.websockets", "each must be a ws:// or wss:// URL"));
        }
        Ok(WatchOptions::new(urls).with_full_read_interval(Duration::from_millis(interval_ms.get())))
    }

    pub(super) fn options(self, folder: &Path) -> Result<ClusterOptions, ConfigError> {
        let Self { urls, urls_variable, websockets: _, quorum, timeout_ms, ca_file } = self;
        let table = NodesTable { urls, urls_variable, quorum, timeout_ms, ca_file };
        table.options(folder)
    }
}

/// Who signs: one of three tables.
#[derive(Clone, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum Wallet {
    KeypairFile(PathBuf),
    Environment(String),
    Remote(RemoteSignerTable<Pubkey>),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TokenEntry {
    pub(super) symbol: String,
    pub(super) mint: String,
    pub(super) decimals: u8,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Pools {
    #[serde(default)]
    pub(super) addresses: Vec<String>,
    pub(super) file: Option<PathBuf>,
    #[serde(default)]
    pub(super) agreement: bool,
    #[serde(default = "default_interval")]
    pub(super) interval_ms: NonZeroU64,
}

fn default_interval() -> NonZeroU64 {
    const { NonZeroU64::new(400).unwrap() }
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Fees {
    percentile: Option<u8>,
    floor_micro_lamports: Option<u64>,
    cap_lamports: Option<u64>,
    unit_margin_percent: Option<u32>,
}

impl Fees {
    fn policy(&self) -> Result<FeePolicy, ConfigError> {
        if self.percentile.is_some_and(|percentile| percentile > 100) {
            return Err(ConfigError::invalid("fees.percentile", "must be from 0 to 100"));
        }
        let unless_set = FeePolicy::default();
        Ok(FeePolicy {
            percentile: self.percentile.unwrap_or(unless_set.percentile),
            floor_micro_lamports: self.floor_micro_lamports.unwrap_or(unless_set.floor_micro_lamports),
            cap_lamports: self.cap_lamports.unwrap_or(unless_set.cap_lamports),
            unit_margin_percent: self.unit_margin_percent.unwrap_or(unless_set.unit_margin_percent),
        })
    }
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct VenueSettings {
    finality_margin: Option<u64>,
    busy_account: Option<String>,
    complete_from_slot: Option<u64>,
    #[serde(default)]
    pub(super) nonce_accounts: usize,
    #[serde(default)]
    lookup_tables: Vec<String>,
}

impl VenueSettings {
    pub(super) fn options(self, fees: &Fees) -> Result<SolanaVenueOptions, ConfigError> {
        if self.nonce_accounts > ACCOUNTS_MAX {
            return Err(ConfigError::invalid(
                "venue.nonce_accounts",
                format!("must be at most {ACCOUNTS_MAX}"),
            ));
        }
        let mut options = SolanaVenueOptions::default().with_fees(fees.policy()?);
        if let Some(heights) = self.finality_margin {
            options = options.with_finality_margin(heights);
        }
        if let Some(account) = self.busy_account {
            options = options.with_busy_account(address("venue.busy_account", &account)?);
        }
        if let Some(slot) = self.complete_from_slot {
            options = options.with_complete_from_slot(slot);
        }
        let tables = self.lookup_tables.iter().map(|table| address("venue.lookup_tables", table));
        Ok(options.with_lookup_tables(tables.collect::<Result<Vec<_>, _>>()?))
    }
}
