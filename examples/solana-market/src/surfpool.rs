//! A real Solana runtime in a process of its own.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use order_engine_core::Runtime;
use order_engine_solana::instructions::token::associated_account;
use order_engine_solana::programs::{ADDRESS_LOOKUP_TABLE, SYSTEM, TOKEN, TOKEN_2022};
use order_engine_solana::{
    Account, Cluster, ClusterOptions, Draft, Hash, Lifetime, Pubkey, Signed, WalletSigner,
};
use serde_json::{Value, json};

use crate::ONE_SOL;

/// How many transactions are listed at once.
const PAGE: usize = 1_000;

/// What an empty token account holds.
pub const TOKEN_RENT: u64 = 2_039_280;

/// A node with a chain of its own, which ends with this value or with the test.
pub struct Surfpool {
    child: Child,
    /// Where its JSON-RPC is.
    pub url: String,
    /// The address of its websocket.
    pub ws_url: String,
    http: reqwest::Client,
}

impl Surfpool {
    /// Starts a chain with a slot each `slot_ms` milliseconds.
    pub fn start(slot_ms: u32) -> Self {
        Self::with_programs(slot_ms, &[])
    }

    /// Starts a chain with these programs, as their addresses and the files of their code.
    pub fn with_programs(slot_ms: u32, programs: &[(Pubkey, PathBuf)]) -> Self {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scripts/surfpool");
        let mut command = Command::new(script);
        command.args(["--slot-ms", &slot_ms.to_string()]);
        for (address, file) in programs {
            command.args(["--program", &format!("{address}={}", file.display())]);
        }
        // Its input ends when this process does, however it does.
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("the script runs");
        let mut line = String::new();
        let out = child.stdout.take().expect("its output is piped");
        BufReader::new(out).read_line(&mut line).expect("it writes text");
        let ready: Value =
            serde_json::from_str(&line).expect("Surfpool starts; it said above why it does not");
        let [url, ws_url] =
            ["rpc", "ws"].map(|kind| ready[kind].as_str().expect("it has an address").to_owned());
        Self { child, url, ws_url, http: reqwest::Client::new() }
    }

    /// Calls a method, and returns its result or its error object.
    pub async fn call(&self, method: &str, params: Value) -> Result<Value, Value> {
        let body = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
        let answer: Value = self.http.post(&self.url).json(&body).send().await.unwrap().json().await.unwrap();
        match answer.get("error") {
            Some(error) => Err(error.clone()),
            None => Ok(answer["result"].clone()),
        }
    }

    /// Returns a client of this one node.
    pub fn cluster(&self) -> Arc<Cluster> {
        Arc::new(Cluster::new(nodes(&[&self.url]), Runtime::tokio()).unwrap())
    }

    /// Returns the newest height.
    pub async fn height(&self) -> u64 {
        self.call("getBlockHeight", json!([{ "commitment": "processed" }])).await.unwrap().as_u64().unwrap()
    }

    /// Waits for blocks.
    pub async fn wait_for_height(&self, height: u64) {
        while self.height().await <= height {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Returns the newest blockhash.
    pub async fn blockhash(&self) -> Hash {
        let latest = self.call("getLatestBlockhash", json!([])).await.unwrap();
        latest["value"]["blockhash"].as_str().unwrap().parse().unwrap()
    }

    /// Returns an account, if there is one.
    pub async fn account(&self, address: Pubkey) -> Option<Account> {
        let params = json!([address.to_string(), { "encoding": "base64" }]);
        let found = self.call("getAccountInfo", params).await.unwrap();
        let account = found["value"].as_object()?;
        Some(Account {
            owner: account["owner"].as_str().unwrap().parse().unwrap(),
            lamports: account["lamports"].as_u64().unwrap(),
            data: STANDARD.decode(account["data"][0].as_str().unwrap()).unwrap(),
        })
    }

    /// Writes an account.
    pub async fn set_account(&self, address: Pubkey, account: &Account) {
        let mut data = String::with_capacity(2 * account.data.len());
        for byte in &account.data {
            write!(data, "{byte:02x}").unwrap();
        }
        let settings = json!({
            "lamports": account.lamports, "owner": account.owner.to_string(), "data": data, "executable": false,
        });
        self.call("surfnet_setAccount", json!([address.to_string(), settings])).await.unwrap();
    }

    /// Gives a wallet so many lamports, instead of those it has.
    pub async fn fund(&self, wallet: Pubkey, lamports: u64) {
        self.set_account(wallet, &Account { owner: SYSTEM, lamports, data: Vec::new() }).await;
    }

    /// Returns how many lamports an address has.
    pub async fn lamports(&self, address: Pubkey) -> u64 {
        self.account(address).await.map_or(0, |account| account.lamports)
    }

    /// Makes a mint of the token program.
    pub async fn make_mint(&self, mint: Pubkey, decimals: u8) {
        let mut data = vec![0; 82];
        data[36..44].copy_from_slice(&u64::MAX.to_le_bytes());
        (data[44], data[45]) = (decimals, 1);
        self.set_account(mint, &Account { owner: TOKEN, lamports: 1_461_600, data }).await;
    }

    /// Makes a mint of Token-2022 that takes so many basis points of each transfer, and not more than so much.
    pub async fn make_mint_with_fee(&self, mint: Pubkey, decimals: u8, (bps, most): (u16, u64)) {
        let mut data = vec![0; 166];
        data[36..44].copy_from_slice(&u64::MAX.to_le_bytes());
        (data[44], data[45], data[165]) = (decimals, 1, 1);
        data.extend([1, 0, 108, 0]);
        data.extend([0; 72]);
        for epoch in [0_u64, 0] {
            data.extend(epoch.to_le_bytes());
            data.extend(most.to_le_bytes());
            data.extend(bps.to_le_bytes());
        }
        self.set_account(mint, &Account { owner: TOKEN_2022, lamports: ONE_SOL, data }).await;
    }

    /// Returns the token program of a mint.
    async fn program_of(&self, mint: Pubkey) -> Pubkey {
        self.account(mint).await.map_or(TOKEN, |account| account.owner)
    }

    /// Makes an active lookup table.
    pub async fn make_table(&self, table: Pubkey, addresses: &[Pubkey]) {
        let mut data = vec![0; 56];
        data[0] = 1;
        data[4..12].fill(0xff);
        data.extend(addresses.iter().flat_map(Pubkey::to_bytes));
        self.set_account(table, &Account { owner: ADDRESS_LOOKUP_TABLE, lamports: ONE_SOL, data }).await;
    }

    /// Gives an owner an associated account with so many tokens, of which a delegate may send as many.
    pub async fn give(&self, owner: Pubkey, mint: Pubkey, amount: u64, delegate: Option<Pubkey>) -> Pubkey {
        let address = associated_account(owner, mint, self.program_of(mint).await);
        self.set_token_account_for(address, (owner, delegate), mint, amount).await;
        address
    }

    /// Makes a token account at any address.
    pub async fn set_token_account(&self, address: Pubkey, owner: Pubkey, mint: Pubkey, amount: u64) {
        self.set_token_account_for(address, (owner, None), mint, amount).await;
    }

    async fn set_token_account_for(
        &self,
        address: Pubkey,
        (owner, delegate): (Pubkey, Option<Pubkey>),
        mint: Pubkey,
        amount: u64,
    ) {
        let mut data = token_account(owner, mint, amount, delegate);
        let program = self.program_of(mint).await;
        if program == TOKEN_2022 {
            // An account, and what it holds back of transfer fees.
            data.extend([2, 2, 0, 8, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        }
        let lamports = if program == TOKEN { TOKEN_RENT } else { 2 * TOKEN_RENT };
        self.set_account(address, &Account { owner: program, lamports, data }).await;
    }

    /// Returns how many tokens an account has; none if there is no account.
    pub async fn tokens(&self, account: Pubkey) -> Option<u64> {
        let account = self.account(account).await?;
        Some(u64::from_le_bytes(account.data[64..72].try_into().unwrap()))
    }

    /// Signs a transaction with the newest blockhash.
    pub async fn sign(&self, draft: &Draft, signers: &[&dyn WalletSigner]) -> Signed {
        let lifetime = Lifetime::Blockhash(self.blockhash().await);
        draft.compile(lifetime).unwrap().sign(signers).await.unwrap()
    }

    /// Sends a transaction without checks.
    pub async fn send(&self, signed: &Signed) -> Result<Value, Value> {
        let settings = json!({ "encoding": "base64", "skipPreflight": true });
        self.call("sendTransaction", json!([STANDARD.encode(&signed.bytes), settings])).await
    }

    /// Waits until a transaction is in a block, and returns its error.
    pub async fn landed(&self, signed: &Signed) -> Value {
        for _ in 0..12_000 {
            if let Some(status) = self.status(signed).await {
                return status["err"].clone();
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("{} does not land", signed.id);
    }

    /// Returns how many transactions of a wallet took effect, by the memos that they carry.
    pub async fn executions(&self, wallet: Pubkey) -> BTreeMap<String, usize> {
        let (mut executions, mut before) = (BTreeMap::new(), Value::Null);
        loop {
            let settings = json!({ "limit": PAGE, "before": before });
            let page =
                self.call("getSignaturesForAddress", json!([wallet.to_string(), settings])).await.unwrap();
            let page = page.as_array().unwrap();
            for one in page.iter().filter(|one| one["err"].is_null()) {
                // "[49] the memo"
                if let Some((_, memo)) = one["memo"].as_str().and_then(|memo| memo.split_once("] ")) {
                    *executions.entry(memo.to_owned()).or_default() += 1;
                }
            }
            let Some(oldest) = page.last().filter(|_| page.len() == PAGE) else { return executions };
            before = oldest["signature"].clone();
        }
    }

    /// Returns the status of a transaction that is in a block.
    pub async fn status(&self, signed: &Signed) -> Option<Value> {
        let params = json!([[signed.id.to_string()], { "searchTransactionHistory": true }]);
        let statuses = self.call("getSignatureStatuses", params).await.unwrap();
        Some(statuses["value"][0].clone()).filter(|status| !status.is_null())
    }
}

/// Returns options for nodes on a machine that may be busy with other things.
pub fn nodes(urls: &[&str]) -> ClusterOptions {
    ClusterOptions::new(urls.iter().copied()).with_timeout(Duration::from_secs(20))
}

impl Drop for Surfpool {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn token_account(owner: Pubkey, mint: Pubkey, amount: u64, delegate: Option<Pubkey>) -> Vec<u8> {
    let mut data = vec![0; 165];
    data[..32].copy_from_slice(mint.as_ref());
    data[32..64].copy_from_slice(owner.as_ref());
    data[64..72].copy_from_slice(&amount.to_le_bytes());
    if let Some(delegate) = delegate {
        data[72] = 1;
        data[76..108].copy_from_slice(delegate.as_ref());
        data[121..129].copy_from_slice(&amount.to_le_bytes());
    }
    data[108] = 1;
    data
}
