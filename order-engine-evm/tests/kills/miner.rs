//! Who makes the blocks: of limited capacity, at a price that jumps, from the pools of nodes that differ; and undoes some of them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use alloy_consensus::{SignableTransaction as _, TxEip1559};
use alloy_eips::eip2718::Encodable2718 as _;
use alloy_primitives::TxKind;
use order_engine_evm::{Address, B256, Bytes, LocalSigner, WalletSigner as _};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::common::anvil::CHAIN_ID;
use crate::common::dice::Dice;
use crate::nodes::{Known, Struck, hex, quantity};
use crate::pool::{RawTx, TxPool};

/// How many transactions of a wallet are looked at for a block.
const OF_A_WALLET: u64 = 3;
const GWEI: u64 = 1_000_000_000;
/// What a block costs, and what it costs for some blocks after a jump.
const BASE_FEES: [u64; 2] = [GWEI, 10 * GWEI];
/// After how many blocks one that was undone may be undone again. anvil loses contracts where reorganisations overlap.
const BETWEEN_REORGS: u64 = 12;

/// What goes wrong, in blocks of a thousand.
const JUMPS: u64 = 30;
const REORGS: u64 = 150;
const FOREIGN: u64 = 120;
const NODE_FORGETS: u64 = 150;
const CHAIN_DROPS: u64 = 150;
const RESTARTS: u64 = 50;

/// Who the blocks are made of and by.
pub(crate) struct Mine {
    pub(crate) url: String,
    pub(crate) wallets: Vec<Arc<LocalSigner>>,
    pub(crate) pools: Vec<Arc<Mutex<TxPool>>>,
    pub(crate) known: Arc<Known>,
    /// A contract that has to survive reorganisations.
    pub(crate) contract: Address,
    pub(crate) block_time: Duration,
    pub(crate) seed: u64,
}

/// What the miner did beside making blocks.
#[derive(Debug, Default)]
pub(crate) struct Mined {
    /// The transactions that somebody else signed for the wallets.
    pub(crate) foreign: BTreeSet<B256>,
    pub(crate) struck: Struck,
}

/// Makes blocks until it is told to stop.
pub(crate) struct Miner {
    stop: watch::Sender<bool>,
    task: JoinHandle<Mined>,
}

impl Miner {
    pub(crate) fn start(mine: Mine) -> Self {
        let (stop, stopped) = watch::channel(false);
        let dice = Dice::new(mine.seed ^ 0xb10c);
        let http = reqwest::Client::new();
        let work = Work {
            mine,
            http,
            dice,
            mined: Mined::default(),
            jump_left: 0,
            since_reorg: 0,
            undone: Vec::new(),
        };
        Self { stop, task: tokio::spawn(work.run(stopped)) }
    }

    /// Ends the blocks, and returns what was done beside them.
    pub(crate) async fn stop(self) -> Mined {
        self.stop.send_replace(true);
        self.task.await.expect("the blocks were made")
    }
}

struct Work {
    mine: Mine,
    http: reqwest::Client,
    dice: Dice,
    mined: Mined,
    /// For how many blocks the price is high.
    jump_left: u64,
    since_reorg: u64,
    /// What somebody else has signed, and a reorganisation may have undone.
    undone: Vec<RawTx>,
}

impl Work {
    async fn run(mut self, stopped: watch::Receiver<bool>) -> Mined {
        let mut ticks = tokio::time::interval(self.mine.block_time);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        while !*stopped.borrow() {
            ticks.tick().await;
            self.block().await;
        }
        self.mined
    }

    async fn block(&mut self) {
        self.set_price().await;
        if self.dice.strikes(FOREIGN) {
            self.use_a_nonce().await;
        }
        let fed = self.feed().await;
        if self.dice.strikes(CHAIN_DROPS)
            && let Some(hash) = self.dice.pick(&fed).copied()
        {
            self.call("anvil_dropTransaction", json!([hash])).await.expect("anvil answers");
            self.count("dropped by the chain");
        }
        self.call("evm_mine", json!([])).await.expect("anvil makes a block");
        self.since_reorg += 1;
        if self.since_reorg > BETWEEN_REORGS && self.dice.strikes(REORGS) {
            self.reorganise().await;
        }
        self.learn().await;
    }

    async fn set_price(&mut self) {
        if self.jump_left == 0 && self.dice.strikes(JUMPS) {
            self.jump_left = 5 + self.dice.below(8);
            self.count("jumps of the price");
        }
        let fee = BASE_FEES[usize::from(self.jump_left > 0)];
        self.jump_left = self.jump_left.saturating_sub(1);
        self.call("anvil_setNextBlockBaseFeePerGas", json!([hex(fee)])).await.expect("anvil answers");
    }

    /// Gives the chain what the nodes hold: of each wallet the next ones, and where nodes hold different ones, any of these.
    async fn feed(&mut self) -> Vec<B256> {
        let nonces: Vec<(Address, u64)> = {
            let known = self.mine.known.nonces.lock().unwrap();
            known.iter().map(|(wallet, next)| (*wallet, *next)).collect()
        };
        let mut fed = Vec::new();
        for (wallet, next) in nonces {
            for nonce in next..next + OF_A_WALLET {
                let held: Vec<RawTx> = self
                    .mine
                    .pools
                    .iter()
                    .filter_map(|pool| pool.lock().unwrap().get(wallet, nonce).cloned())
                    .collect();
                let Some(tx) = self.dice.pick(&held).cloned() else { break };
                fed.push(tx);
            }
        }
        let calls: Vec<_> = fed.iter().map(|tx| ("eth_sendRawTransaction", json!([tx.bytes]))).collect();
        // It refuses what it has, and what pays less than the block costs; that waits in the pools.
        self.calls(&calls).await;
        self.forget(&fed);
        fed.into_iter().map(|tx| tx.hash).collect()
    }

    /// Lets a node forget a transaction, or all of them.
    fn forget(&mut self, fed: &[RawTx]) {
        if self.dice.strikes(RESTARTS)
            && let Some(pool) = self.dice.pick(&self.mine.pools)
        {
            pool.lock().unwrap().clear();
            self.count("restarts of a node");
        }
        if !self.dice.strikes(NODE_FORGETS) {
            return;
        }
        let (tx, pool) = (self.dice.pick(fed), self.dice.clone().pick(&self.mine.pools).cloned());
        if let (Some(tx), Some(pool)) = (tx, pool)
            && pool.lock().unwrap().forget(tx.sender, tx.nonce)
        {
            self.count("forgotten by a node");
        }
    }

    /// Signs a transaction with the next nonce of a wallet for which an order waits, and pays more than the order does.
    async fn use_a_nonce(&mut self) {
        let waiting: Vec<(Arc<LocalSigner>, u64)> = {
            let known = self.mine.known.nonces.lock().unwrap();
            let next = |wallet: &Arc<LocalSigner>| (Arc::clone(wallet), known[&wallet.address()]);
            let waits = |(wallet, next): &(Arc<LocalSigner>, u64)| {
                self.mine.pools.iter().any(|pool| pool.lock().unwrap().get(wallet.address(), *next).is_some())
            };
            self.mine.wallets.iter().map(next).filter(waits).collect()
        };
        let Some((wallet, nonce)) = self.dice.pick(&waiting).cloned() else { return };
        let tx = foreign(&wallet, nonce).await;
        if self.call("eth_sendRawTransaction", json!([tx.bytes])).await.is_ok() {
            self.mined.foreign.insert(tx.hash);
            self.undone.push(tx);
            self.count("nonces used by others");
        }
    }

    /// Replaces the last blocks by empty ones. What was in them may be in others later: from the pools, where a
    /// sibling may come first.
    async fn reorganise(&mut self) {
        // Deeper than what the nodes call safe, and not as deep as what is final.
        let depth = 5 + self.dice.below(3);
        self.call("anvil_reorg", json!([depth, []])).await.expect("anvil undoes blocks");
        let code =
            self.call("eth_getCode", json!([self.mine.contract, "latest"])).await.expect("anvil answers");
        assert_ne!(
            code, "0x",
            "anvil has lost its contracts in a reorganisation, which says nothing about the engine"
        );
        self.count("reorganisations");
        self.since_reorg = 0;
        if self.dice.strikes(500) {
            // No node puts anything back.
            for pool in &self.mine.pools {
                pool.lock().unwrap().clear();
            }
            self.count("reorganisations that lose what was in the blocks");
        }
        for tx in std::mem::take(&mut self.undone) {
            // Somebody else's comes back as well, or not at all.
            if self.dice.strikes(500) {
                let _ = self.call("eth_sendRawTransaction", json!([tx.bytes])).await;
            }
        }
    }

    /// Notes how far the chain has come.
    async fn learn(&self) {
        let head = self.call("eth_getBlockByNumber", json!(["latest", false])).await.expect("anvil answers");
        let number = quantity(&head["number"]).expect("it is a number");
        let hash = head["hash"].as_str().expect("it has a hash").to_owned();
        self.mine.known.blocks.lock().unwrap().insert(hash, number);
        let calls: Vec<_> = self
            .mine
            .wallets
            .iter()
            .map(|wallet| ("eth_getTransactionCount", json!([wallet.address(), "latest"])))
            .collect();
        let counts = self.calls(&calls).await;
        let nonces: BTreeMap<Address, u64> = (self.mine.wallets.iter().zip(counts))
            .map(|(wallet, count)| (wallet.address(), quantity(&count).expect("it is a number")))
            .collect();
        *self.mine.known.nonces.lock().unwrap() = nonces;
        self.mine.known.head.store(number, Relaxed);
    }

    fn count(&mut self, what: &'static str) {
        *self.mined.struck.entry(what).or_default() += 1;
    }

    async fn call(&self, method: &str, params: Value) -> Result<Value, Value> {
        let body = json!({ "jsonrpc": "2.0", "id": 0, "method": method, "params": params });
        let answer: Value =
            self.http.post(&self.mine.url).json(&body).send().await.unwrap().json().await.unwrap();
        match answer.get("error") {
            Some(error) => Err(error.clone()),
            None => Ok(answer["result"].clone()),
        }
    }

    /// Makes calls in one request, and returns their results, `null` of those that failed.
    async fn calls(&self, calls: &[(&str, Value)]) -> Vec<Value> {
        if calls.is_empty() {
            return Vec::new();
        }
        let body: Vec<Value> = (0..)
            .zip(calls)
            .map(|(id, (method, params))| json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params }))
            .collect();
        let mut answers: Vec<Value> =
            self.http.post(&self.mine.url).json(&body).send().await.unwrap().json().await.unwrap();
        answers.sort_by_key(|answer| answer["id"].as_u64());
        answers.into_iter().map(|answer| answer["result"].clone()).collect()
    }
}

/// Signs a transfer of nothing to oneself, for a high price.
async fn foreign(wallet: &LocalSigner, nonce: u64) -> RawTx {
    let tx = TxEip1559 {
        chain_id: CHAIN_ID,
        nonce,
        gas_limit: 30_000,
        max_fee_per_gas: u128::from(200 * GWEI),
        max_priority_fee_per_gas: u128::from(3 * GWEI),
        to: TxKind::Call(wallet.address()),
        ..TxEip1559::default()
    };
    let signature = wallet.sign(&tx.encoded_for_signing()).await.expect("the key is here");
    RawTx::read(Bytes::from(tx.into_signed(signature).encoded_2718()))
}
