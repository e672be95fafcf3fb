//! Somebody else's transactions, as every cluster has them in each block.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use order_engine_solana::instructions::memo::memo;
use order_engine_solana::{Draft, Hash, KeypairSigner, Lifetime, Pubkey, WalletSigner as _};
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use crate::ONE_SOL;
use crate::surfpool::Surfpool;

/// A wallet that writes a memo every few slots until it is dropped or stopped.
pub struct Pulse {
    /// The wallet.
    pub account: Pubkey,
    beats: Arc<AtomicBool>,
    task: JoinHandle<()>,
}

impl Pulse {
    /// Starts the transactions.
    pub async fn start(chain: &Surfpool) -> Self {
        let wallet = KeypairSigner::random();
        let account = wallet.address();
        chain.fund(account, 100 * ONE_SOL).await;
        let (url, beats) = (chain.url.clone(), Arc::new(AtomicBool::new(true)));
        let beating = Arc::clone(&beats);
        let task = tokio::spawn(async move {
            let http = reqwest::Client::new();
            for number in 0_u64.. {
                if beating.load(Ordering::Relaxed) && beat(&http, &url, &wallet, number).await.is_none() {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        });
        Self { account, beats, task }
    }

    /// Ends the transactions, as on a chain on which nothing happens.
    pub fn stop(&self) {
        self.beats.store(false, Ordering::Relaxed);
    }

    /// Begins again.
    pub fn resume(&self) {
        self.beats.store(true, Ordering::Relaxed);
    }
}

impl Drop for Pulse {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Sends one memo; nothing if the chain is gone.
async fn beat(http: &reqwest::Client, url: &str, wallet: &KeypairSigner, number: u64) -> Option<()> {
    let call = async |method: &str, params: Value| -> Option<Value> {
        let body = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
        http.post(url).json(&body).send().await.ok()?.json().await.ok()
    };
    let latest = call("getLatestBlockhash", json!([])).await?;
    let hash: Hash = latest["result"]["value"]["blockhash"].as_str()?.parse().ok()?;
    let draft = Draft::new(wallet.address(), vec![memo(&number.to_string())]);
    let signed = draft.compile(Lifetime::Blockhash(hash)).ok()?.sign(&[wallet]).await.ok()?;
    let settings = json!({ "encoding": "base64", "skipPreflight": true });
    call("sendTransaction", json!([STANDARD.encode(&signed.bytes), settings])).await?;
    Some(())
}
