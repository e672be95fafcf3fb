//! A real node of the EVM in a process of its own.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use alloy_sol_types::SolCall;
use order_engine_core::Runtime;
use order_engine_evm::{Address, B256, Bytes, Cluster, ClusterOptions, U256};
use serde_json::{Value, json};

/// The chain's id, unless a node is told otherwise.
pub const CHAIN_ID: u64 = 31_337;

/// A node with a chain of its own, which ends with this value or with the test.
pub struct Anvil {
    child: Child,
    /// Where it is called.
    pub url: String,
    /// Where the compiled contracts are.
    packages: PathBuf,
    http: reqwest::Client,
}

impl Anvil {
    /// Starts a chain of which four blocks are an epoch: the one before the last four is safe, the one before the last eight final. It
    /// makes a block of each transaction until it is told otherwise.
    pub fn start(options: &[&str]) -> Self {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scripts/anvil");
        let mut command = Command::new(script);
        command.args(["--slots-in-an-epoch", "4", "--no-cors"]).args(options);
        // Its input ends when this process does, however it does.
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("the script runs");
        let mut line = String::new();
        let out = child.stdout.take().expect("its output is piped");
        BufReader::new(out).read_line(&mut line).expect("it writes text");
        let ready: Value = serde_json::from_str(&line).expect("anvil starts; it said above why it does not");
        let text = |name: &str| ready[name].as_str().expect("it is there").to_owned();
        Self { child, url: text("rpc"), packages: text("packages").into(), http: reqwest::Client::new() }
    }

    /// Makes a call, and returns its result or its error.
    pub async fn call(&self, method: &str, params: Value) -> Result<Value, Value> {
        let body = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
        let answer: Value = self.http.post(&self.url).json(&body).send().await.unwrap().json().await.unwrap();
        match answer.get("error") {
            Some(error) => Err(error.clone()),
            None => Ok(answer["result"].clone()),
        }
    }

    /// Returns a client of the node for a venue.
    pub fn cluster(&self) -> Arc<Cluster> {
        Arc::new(Cluster::new(nodes(&[&self.url]), Runtime::tokio()).unwrap())
    }

    /// Makes blocks.
    pub async fn mine(&self, blocks: u64) {
        self.call("anvil_mine", json!([format!("{blocks:#x}")])).await.unwrap();
    }

    /// Returns the number of the newest block.
    pub async fn height(&self) -> u64 {
        let height = self.call("eth_blockNumber", json!([])).await.unwrap();
        u64::from_str_radix(&height.as_str().unwrap()[2..], 16).unwrap()
    }

    /// Returns the code of a contract of a package, which a file of its build has.
    fn code(&self, file: &str) -> Vec<u8> {
        let text = std::fs::read_to_string(self.packages.join(file)).expect("the package has the file");
        let built: Value = serde_json::from_str(&text).unwrap();
        alloy_primitives::hex::decode(built["bytecode"].as_str().expect("it is compiled")).unwrap()
    }

    /// Sends a transaction of an account that the node has the key of, and returns its receipt.
    pub async fn send(&self, from: Address, mut tx: Value) -> Value {
        tx["from"] = json!(from);
        tx["gas"] = json!("0xb71b00");
        let hash = self.call("eth_sendTransaction", json!([tx])).await.unwrap();
        // It answers before it has made the block.
        let mut receipt = Value::Null;
        while receipt.is_null() {
            receipt = self.call("eth_getTransactionReceipt", json!([hash])).await.unwrap();
        }
        assert_eq!(receipt["status"], "0x1", "{receipt}");
        receipt
    }

    /// Deploys a contract with the encoded arguments of its constructor.
    pub async fn deploy(&self, from: Address, file: &str, arguments: &[u8]) -> Address {
        let data = Bytes::from([self.code(file), arguments.to_vec()].concat());
        let receipt = self.send(from, json!({ "data": data })).await;
        receipt["contractAddress"].as_str().unwrap().parse().unwrap()
    }

    /// Calls a function of a contract in a transaction.
    pub async fn write(&self, from: Address, to: Address, function: &(impl SolCall + Sync)) {
        self.send(from, json!({ "to": to, "data": Bytes::from(function.abi_encode()) })).await;
    }

    /// Returns what a function of a contract returns.
    pub async fn read<C: SolCall + Sync>(&self, to: Address, function: &C) -> C::Return {
        let call = json!([{ "to": to, "data": Bytes::from(function.abi_encode()) }, "latest"]);
        let bytes: Bytes = serde_json::from_value(self.call("eth_call", call).await.unwrap()).unwrap();
        C::abi_decode_returns(&bytes).unwrap()
    }

    /// Returns how much of ETH an account has.
    pub async fn wei(&self, owner: Address) -> u128 {
        let wei: U256 =
            serde_json::from_value(self.call("eth_getBalance", json!([owner, "latest"])).await.unwrap())
                .unwrap();
        wei.to()
    }

    /// Sets how much of ETH an account has.
    pub async fn set_wei(&self, owner: Address, wei: u128) {
        self.call("anvil_setBalance", json!([owner, U256::from(wei)])).await.unwrap();
    }

    /// Sets the base fee of the next block.
    pub async fn set_base_fee(&self, wei: u64) {
        self.call("anvil_setNextBlockBaseFeePerGas", json!([format!("{wei:#x}")])).await.unwrap();
    }

    /// Returns a transaction as the node has it.
    pub async fn transaction(&self, hash: B256) -> Value {
        self.call("eth_getTransactionByHash", json!([hash])).await.unwrap()
    }
}

impl Drop for Anvil {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

/// Returns options for nodes that answer at once or not at all.
pub fn nodes(urls: &[&str]) -> ClusterOptions {
    ClusterOptions::new(urls.iter().copied(), CHAIN_ID).with_timeout(Duration::from_secs(5)).with_retries(0)
}
