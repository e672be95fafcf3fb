//! A chain with three tokens, pools of V2 and V3, and a wallet that can trade with them.

use std::fmt::Write as _;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::time::Duration;

use alloy_primitives::address;
use order_engine_evm::{Address, U256};
use serde_json::json;
use tokio::task::JoinHandle;

use crate::abi::Token;
use crate::anvil::{Anvil, CHAIN_ID};
use crate::contracts::{Contracts, DEPLOYER, ONE};

/// The tokens' symbols. All have 18 decimals; ETH is the chain's own.
pub const TOKENS: [&str; 3] = ["ETH", "APPLE", "PEAR"];
/// How much of ETH the wallet has, in wei.
pub const WALLET_WEI: u128 = 10_000 * ONE;
/// How much of each other token the wallet has, in base units.
pub const WALLET_TOKENS: u128 = 1_000_000_000 * ONE;

/// The wallet: the key of a published test vector of key files, which everybody knows.
const WALLET: Address = address!("0x008AeEda4D805471dF9b2A5B0f38A0C3bCBA786b");
/// Its key file, and the password of it.
const KEYSTORE: &str = r#"{"crypto":{"cipher":"aes-128-ctr","cipherparams":{"iv":"83dbcc02d8ccb40e466191a123791e0e"},
"ciphertext":"308c28e3102862adca9cf5736e6f0e77c82e94e3430b3b36f0867755b8878047","kdf":"scrypt","kdfparams":{"dklen":32,
"n":1024,"p":2,"r":8,"salt":"ab0c7876052600dd703518d6fc3fe8984592145b591fc8fb5c6d43190334ba19"},
"mac":"9e3723c6680c123b32139cb62530d2f2c66582029d29a3e11b7e89455b5a80db"},"version":3}"#;
const PASSWORD: &str = "testpassword";

/// A local market. It ends with this value.
pub struct Market {
    /// The chain.
    pub chain: Anvil,
    /// The contracts of Uniswap and the tokens.
    pub contracts: Contracts,
    /// The pools, and what they are.
    pub pools: Vec<(Address, &'static str)>,
    miner: JoinHandle<()>,
}

impl Drop for Market {
    fn drop(&mut self) {
        self.miner.abort();
    }
}

impl Market {
    /// Opens a market with a block each so many milliseconds, whose transactions are final nine blocks later.
    pub async fn open(block_ms: u64) -> Self {
        let chain = Anvil::start(&[]);
        let contracts = Contracts::deploy(&chain).await;
        let pools = pools(&chain, &contracts).await;
        fund(&chain, &contracts).await;
        chain.call("evm_setAutomine", json!([false])).await.unwrap();
        // All of this is final when trading begins.
        chain.mine(10).await;
        chain.set_base_fee(1_000_000_000).await;
        let miner = tokio::spawn(mine(chain.url.clone(), Duration::from_millis(block_ms)));
        Self { chain, contracts, pools, miner }
    }

    /// Returns the address of the wallet.
    pub const fn wallet(&self) -> Address {
        WALLET
    }

    /// Returns the contracts of the tokens, in the order of [`TOKENS`].
    pub const fn tokens(&self) -> [Address; 3] {
        [self.contracts.weth, self.contracts.x, self.contracts.y]
    }

    /// Writes the wallet's key file and its password, which only their owner may read, and `evm.toml` into a folder: what a host
    /// needs for trading here, through these nodes.
    pub fn write(&self, folder: &Path, nodes: &[&str]) {
        for (name, text) in [("wallet.json", KEYSTORE), ("wallet.password", PASSWORD)] {
            let path = folder.join(name);
            // A file that is there keeps its permissions.
            let _ = std::fs::remove_file(&path);
            let file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
            file.expect("the folder can be written")
                .write_all(text.as_bytes())
                .expect("the file can be written");
        }
        std::fs::write(folder.join("evm.toml"), self.config(nodes)).expect("the folder can be written");
    }

    /// Returns the configuration of a host that trades here, through these nodes.
    fn config(&self, nodes: &[&str]) -> String {
        let Contracts { weth, v2_factory, v3_factory, router, .. } = self.contracts;
        let nodes: Vec<String> = nodes.iter().map(|url| format!("{url:?}")).collect();
        let mut config = format!(
            r#"chain = "a chain on this machine (anvil)"
chain_id = {CHAIN_ID}

[nodes]
urls = [{}]
timeout_ms = 5000

[wallet]
keystore = {{ file = "wallet.json", password = {{ file = "wallet.password" }} }}

[deployment]
router = {{ swap_router_02 = "{router}" }}
wrapped_native = "{weth}"
v2 = {{ factory = "{v2_factory}", fee = "3/1000" }}
v3 = {{ factory = "{v3_factory}" }}

[pools]
interval_ms = 250
addresses = [
"#,
            nodes.join(", ")
        );
        for (pool, name) in &self.pools {
            let _ = writeln!(config, "    \"{pool}\", # {name}");
        }
        config.push_str("]\n");
        for (token, symbol) in self.tokens().into_iter().zip(TOKENS) {
            let _ =
                writeln!(config, "\n[[tokens]]\nsymbol = \"{symbol}\"\naddress = \"{token}\"\ndecimals = 18");
            // The chain's own token needs none.
            if token != weth {
                config.push_str("allowance = \"unlimited\"\n");
            }
        }
        config
    }
}

/// Makes pools in which an APPLE costs two PEAR, and an ETH two thousand APPLE.
async fn pools(chain: &Anvil, contracts: &Contracts) -> Vec<(Address, &'static str)> {
    let Contracts { weth, x, y, .. } = *contracts;
    let wide = [(-60, 60, 100_000 * ONE), (-10, 10, 40_000 * ONE), (-2, 3, 20_000 * ONE)];
    let deep = [(-60, 60, 1_000_000 * ONE)];
    vec![
        (contracts.pair(chain, (x, 100_000 * ONE), (y, 200_000 * ONE)).await, "V2, APPLE and PEAR"),
        (contracts.pair(chain, (weth, 500 * ONE), (x, 1_000_000 * ONE)).await, "V2, ETH and APPLE"),
        (contracts.pool(chain, (x, y), (3_000, 60), (6_931, &wide)).await, "V3 at 0.3 %, APPLE and PEAR"),
        (contracts.pool(chain, (x, y), (500, 10), (6_931, &wide)).await, "V3 at 0.05 %, APPLE and PEAR"),
        (contracts.pool(chain, (weth, x), (3_000, 60), (76_012, &deep)).await, "V3 at 0.3 %, ETH and APPLE"),
    ]
}

/// Gives the wallet what it trades with. The host allows the router to take it.
async fn fund(chain: &Anvil, contracts: &Contracts) {
    chain.set_wei(WALLET, WALLET_WEI).await;
    for token in [contracts.x, contracts.y] {
        let amount = U256::from(WALLET_TOKENS);
        chain.write(DEPLOYER, token, &Token::transferCall { to: WALLET, amount }).await;
    }
}

/// Makes blocks until the chain is gone.
async fn mine(url: String, interval: Duration) {
    let http = reqwest::Client::new();
    let body = json!({ "jsonrpc": "2.0", "id": 1, "method": "evm_mine", "params": [] });
    let mut beat = tokio::time::interval(interval);
    beat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        beat.tick().await;
        if http.post(&url).json(&body).send().await.is_err() {
            return;
        }
    }
}
