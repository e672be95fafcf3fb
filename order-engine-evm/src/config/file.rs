//! The settings as they stand in the file.

use std::num::NonZeroU64;
use std::path::PathBuf;

use alloy_primitives::{Address, U256};
use order_engine_chain::config::{ConfigError, Explorer, NodesTable, RemoteSignerTable};
use order_engine_core::{Amount, Token};
use order_engine_routing::Fee;
use serde::Deserialize;

use crate::config::address::address;
use crate::fees::FeePolicy;
use crate::pools::Deployment;
use crate::rpc::Finality;
use crate::venue::{AllowanceGoal, EvmVenueOptions, PermitPolicy};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct File {
    pub(super) chain: String,
    pub(super) chain_id: NonZeroU64,
    #[serde(default)]
    pub(super) finality: FinalitySetting,
    pub(super) explorer: Option<Explorer>,
    pub(super) nodes: NodesTable,
    pub(super) wallet: Wallet,
    pub(super) tokens: Vec<TokenEntry>,
    pub(super) deployment: Contracts,
    pub(super) pools: Pools,
    #[serde(default)]
    pub(super) fees: Fees,
    #[serde(default)]
    pub(super) venue: VenueSettings,
}

/// `"finalized"`, `"safe"`, or `{ confirmations = 12 }`.
#[derive(Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum FinalitySetting {
    #[default]
    Finalized,
    Safe,
    Confirmations(u64),
}

impl From<FinalitySetting> for Finality {
    fn from(setting: FinalitySetting) -> Self {
        match setting {
            FinalitySetting::Finalized => Self::Finalized,
            FinalitySetting::Safe => Self::Safe,
            FinalitySetting::Confirmations(blocks) => Self::Confirmations(blocks),
        }
    }
}

/// Who signs: one of three.
#[derive(Clone, Deserialize)]
#[serde(rename_all = "snake_case", rename_all_fields = "snake_case", deny_unknown_fields)]
pub(super) enum Wallet {
    Keystore { file: PathBuf, password: Password },
    Environment(String),
    Remote(RemoteSignerTable<Address>),
}

/// Where the password of a key file is.
#[derive(Clone, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Password {
    File(PathBuf),
    Environment(String),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TokenEntry {
    symbol: String,
    address: String,
    decimals: u8,
    allowance: Option<String>,
}

/// Returns how much of each token the router is to be allowed to take: `"unlimited"`, or an amount as `"2500.5"`.
pub(super) fn allowances(entries: &[TokenEntry]) -> Result<Vec<AllowanceGoal>, ConfigError> {
    let goal = |(entry, text): (&TokenEntry, &String)| {
        let token = address("tokens.address", &entry.address)?;
        if text == "unlimited" {
            return Ok(AllowanceGoal::unlimited(token));
        }
        let amount = Amount::parse_human(text, entry.decimals).ok().filter(|amount| !amount.is_zero());
        let invalid =
            || ConfigError::invalid("tokens.allowance", "must be \"unlimited\" or an amount of the token");
        Ok(AllowanceGoal::exactly(token, U256::from(amount.ok_or_else(invalid)?.base_units())))
    };
    entries.iter().filter_map(|entry| Some((entry, entry.allowance.as_ref()?))).map(goal).collect()
}

pub(super) fn tokens(entries: Vec<TokenEntry>) -> Result<Vec<Token>, ConfigError> {
    if entries.len() < 2 {
        return Err(ConfigError::invalid("tokens", "there must be at least two"));
    }
    let token = |TokenEntry { symbol, address: text, decimals, .. }| {
        let address = address("tokens.address", &text)?;
        // As addresses stand in orders and pools.
        Ok(Token::new(address.to_string(), symbol, decimals))
    };
    entries.into_iter().map(token).collect()
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Contracts {
    #[serde(default = "uniswap")]
    name: String,
    router: RouterEntry,
    wrapped_native: String,
    v2: Option<V2>,
    v3: Option<V3>,
}

fn uniswap() -> String {
    "Uniswap".to_owned()
}

/// Which contract trades for the wallet: one of two.
#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum RouterEntry {
    #[serde(rename = "swap_router_02")]
    SwapRouter02(String),
    V2(String),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct V2 {
    factory: String,
    /// A fraction, `3/1000` for instance.
    fee: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct V3 {
    factory: String,
}

impl Contracts {
    pub(super) fn contracts(self) -> Result<Deployment, ConfigError> {
        let wrapped = address("deployment.wrapped_native", &self.wrapped_native)?;
        let mut contracts = match &self.router {
            RouterEntry::SwapRouter02(router) => {
                let router = address("deployment.router", router)?;
                Deployment { name: self.name, ..Deployment::uniswap(router, wrapped) }
            }
            RouterEntry::V2(router) => {
                Deployment::fork_of_v2(self.name, address("deployment.router", router)?, wrapped)
            }
        };
        if let Some(V2 { factory, fee: text }) = &self.v2 {
            contracts = contracts.with_v2(address("deployment.v2.factory", factory)?, fee(text)?);
        }
        if let Some(V3 { factory }) = &self.v3 {
            if matches!(self.router, RouterEntry::V2(_)) {
                return Err(ConfigError::invalid(
                    "deployment.v3",
                    "the router of V2 trades with no pools of V3",
                ));
            }
            contracts = contracts.with_v3(address("deployment.v3.factory", factory)?);
        }
        if contracts.v2.is_none() && contracts.v3.is_none() {
            return Err(ConfigError::invalid("deployment", "there must be a factory, v2 or v3"));
        }
        Ok(contracts)
    }
}

fn fee(text: &str) -> Result<Fee, ConfigError> {
    let fee = || {
        let (numerator, denominator) = text.split_once('/')?;
        Fee::new(numerator.trim().parse().ok()?, denominator.trim().parse().ok()?).ok()
    };
    let invalid = || {
        ConfigError::invalid("deployment.v2.fee", "it must be a fraction below one, \"3/1000\" for instance")
    };
    fee().ok_or_else(invalid)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Pools {
    addresses: Vec<String>,
    #[serde(default = "default_interval")]
    pub(super) interval_ms: NonZeroU64,
    #[serde(default = "default_reach")]
    pub(super) reach_ticks: u16,
}

fn default_interval() -> NonZeroU64 {
    const { NonZeroU64::new(1_000).unwrap() }
}

const fn default_reach() -> u16 {
    5_000
}

impl Pools {
    pub(super) fn addresses(&self) -> Result<Vec<Address>, ConfigError> {
        let mut pools = Vec::with_capacity(self.addresses.len());
        for text in &self.addresses {
            let pool = address("pools.addresses", text)?;
            if !pools.contains(&pool) {
                pools.push(pool);
            }
        }
        if pools.is_empty() {
            Err(ConfigError::invalid("pools.addresses", "there must be at least one"))
        } else {
            Ok(pools)
        }
    }
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Fees {
    blocks: Option<u16>,
    percentile: Option<u8>,
    tip_floor_wei: Option<u64>,
    tip_cap_wei: Option<u64>,
    base_fee_percent: Option<u32>,
    cap_wei: Option<u64>,
    gas_margin_percent: Option<u32>,
}

impl Fees {
    fn policy(&self) -> Result<FeePolicy, ConfigError> {
        if self.percentile.is_some_and(|percentile| percentile > 100) {
            return Err(ConfigError::invalid("fees.percentile", "must be from 0 to 100"));
        }
        if self.blocks.is_some_and(|blocks| !(1..=1_024).contains(&blocks)) {
            return Err(ConfigError::invalid("fees.blocks", "must be from 1 to 1024"));
        }
        if self.base_fee_percent.is_some_and(|percent| percent < 100) {
            return Err(ConfigError::invalid("fees.base_fee_percent", "must be at least 100"));
        }
        let unless_set = FeePolicy::default();
        Ok(FeePolicy {
            blocks: self.blocks.unwrap_or(unless_set.blocks),
            percentile: self.percentile.unwrap_or(unless_set.percentile),
            tip_floor_wei: self.tip_floor_wei.map_or(unless_set.tip_floor_wei, u128::from),
            tip_cap_wei: self.tip_cap_wei.map_or(unless_set.tip_cap_wei, u128::from),
            base_fee_percent: self.base_fee_percent.unwrap_or(unless_set.base_fee_percent),
            cap_wei: self.cap_wei.map_or(unless_set.cap_wei, u128::from),
            gas_margin_percent: self.gas_margin_percent.unwrap_or(unless_set.gas_margin_percent),
        })
    }
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct VenueSettings {
    swap_life_s: Option<NonZeroU64>,
    find_max: Option<u64>,
    #[serde(default)]
    permits: PermitSetting,
}

/// `"never"`, `"exact"` or `"unlimited"`.
#[derive(Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
enum PermitSetting {
    #[default]
    Never,
    Exact,
    Unlimited,
}

impl From<PermitSetting> for PermitPolicy {
    fn from(setting: PermitSetting) -> Self {
        match setting {
            PermitSetting::Never => Self::Never,
            PermitSetting::Exact => Self::Exact,
            PermitSetting::Unlimited => Self::Unlimited,
        }
    }
}

impl VenueSettings {
    pub(super) fn options(self, fees: &Fees) -> Result<EvmVenueOptions, ConfigError> {
        let fees = fees.policy()?;
        let mut options = EvmVenueOptions::default().with_fees(fees).with_permits(self.permits.into());
        if let Some(seconds) = self.swap_life_s {
            options = options.with_swap_life_s(seconds.get());
        }
        if let Some(nonces) = self.find_max {
            options = options.with_find_max(nonces);
        }
        Ok(options)
    }
}
