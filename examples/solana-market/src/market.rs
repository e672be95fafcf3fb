//! A chain with two tokens, a pool of each program that is at hand, all of one price, and a wallet that can trade with them.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use order_engine_solana::{KeypairSigner, Pubkey, WalletSigner as _};
use solana_keypair::{Keypair, Signer as _};

use crate::ONE_SOL;
use crate::pools::{CASES, Case, Dice, Price};
use crate::pulse::Pulse;
use crate::surfpool::Surfpool;

/// The tokens' symbols and decimals.
pub const TOKENS: [(&str, u8); 2] = [("APPLE", 6), ("PEAR", 6)];
/// How much of each token the wallet has, in base units.
pub const WALLET_TOKENS: u64 = 1 << 50;

/// A local market. It ends with this value.
pub struct Market {
    /// The chain.
    pub chain: Surfpool,
    /// The mints of the tokens.
    pub mints: [Pubkey; 2],
    /// The pools, and what they are.
    pub pools: Vec<(Pubkey, &'static str)>,
    wallet: Keypair,
    pulse: Pulse,
}

impl Market {
    /// Returns the programs whose code is at hand.
    pub fn programs() -> Vec<&'static Case> {
        CASES.iter().filter(|case| case.is_plain() && case.code().is_some()).collect()
    }

    /// Opens a market with these programs, and a slot each so many milliseconds.
    pub async fn open(programs: &[&'static Case], slot_ms: u32) -> Self {
        let code: BTreeMap<_, _> =
            programs.iter().filter_map(|case| Some((case.program, case.code()?))).collect();
        let code: Vec<_> = code.into_iter().collect();
        let chain = Surfpool::with_programs(slot_ms, &code);
        let (wallet, dice) = (Keypair::new(), Dice::new(7));
        let mut mints = [KeypairSigner::random().address(), KeypairSigner::random().address()];
        mints.sort_unstable();
        chain.fund(wallet.pubkey(), 1_000 * ONE_SOL).await;
        for (mint, (_, decimals)) in mints.into_iter().zip(TOKENS) {
            chain.make_mint(mint, decimals).await;
            chain.give(wallet.pubkey(), mint, WALLET_TOKENS, None).await;
        }
        let mut pools = Vec::new();
        for case in programs {
            let made = (case.make)(&dice, mints, Price::QUARTER);
            made.write(&chain, mints).await;
            pools.push((made.address, case.name));
        }
        let pulse = Pulse::start(&chain).await;
        Self { chain, mints, pools, wallet, pulse }
    }

    /// Returns the address of the wallet.
    pub fn wallet(&self) -> Pubkey {
        self.wallet.pubkey()
    }

    /// Writes `wallet.json`, which only its owner may read, and `solana.toml` into a folder: what a host needs for trading
    /// here, through these nodes.
    pub fn write(&self, folder: &Path, nodes: &[&str]) {
        let key: Vec<String> = self.wallet.to_bytes().iter().map(u8::to_string).collect();
        let path = folder.join("wallet.json");
        // A file that is there keeps its permissions.
        let _ = std::fs::remove_file(&path);
        let file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
        write!(file.expect("the folder can be written"), "[{}]", key.join(","))
            .expect("the file can be written");
        std::fs::write(folder.join("solana.toml"), self.config(nodes)).expect("the folder can be written");
    }

    /// Returns the configuration of a host that trades here, through these nodes.
    fn config(&self, nodes: &[&str]) -> String {
        let mut config = String::from("chain = \"Solana on this machine (Surfpool)\"\n");
        let nodes: Vec<String> = nodes.iter().map(|url| format!("{url:?}")).collect();
        let _ = writeln!(config, "\n[nodes]\nurls = [{}]\ntimeout_ms = 5000", nodes.join(", "));
        config.push_str("\n[wallet]\nkeypair_file = \"wallet.json\"\n");
        for (mint, (symbol, decimals)) in self.mints.iter().zip(TOKENS) {
            let _ = writeln!(
                config,
                "\n[[tokens]]\nsymbol = \"{symbol}\"\nmint = \"{mint}\"\ndecimals = {decimals}"
            );
        }
        config.push_str("\n[pools]\naddresses = [\n");
        for (pool, name) in &self.pools {
            let _ = writeln!(config, "    \"{pool}\", # {name}");
        }
        config.push_str(
            "]\n\n[venue]\n# Somebody else's transactions, as every cluster has them in each block.\n",
        );
        let _ = writeln!(
            config,
            "busy_account = \"{}\"\n# Where this chain begins.\ncomplete_from_slot = 31",
            self.pulse.account
        );
        config
    }
}
