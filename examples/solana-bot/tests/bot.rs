//! The bot on a local market, killed in the middle and started again.
//!
//! The code of the exchanges' programs is not part of this repository. `SOLANA_PROGRAMS` names a folder with it; without it the
//! test is not run, which the output says.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use order_engine_solana::instructions::token::associated_account;
use order_engine_solana::programs::TOKEN;
use order_engine_solana_market::market::{Market, TOKENS, WALLET_TOKENS};
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

const SLICES: usize = 6;
/// What a slice sells, in base units.
const SLICE: u64 = 2_500_000;
/// How long a run may take.
const LIMIT: Duration = Duration::from_mins(3);

fn main() {
    let threads = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    threads.expect("the runtime starts").block_on(async {
        if Market::programs().is_empty() {
            println!(
                "the bot on a market: NOT RUN, because SOLANA_PROGRAMS names no folder with the programs"
            );
            return;
        }
        let test = a_bot_that_is_killed_sells_no_slice_twice();
        tokio::time::timeout(LIMIT, test).await.expect("the bot comes to its end");
    });
}

async fn a_bot_that_is_killed_sells_no_slice_twice() {
    let folder = tempfile::tempdir().unwrap();
    let market = Market::open(&Market::programs(), 50).await;
    market.write(folder.path(), &[&market.chain.url]);

    let (mut killed, mut lines) = start(folder.path());
    let mut before = Vec::new();
    while before.len() < 2 {
        before.extend(bought(&lines.next_line().await.unwrap().expect("the bot sells")));
    }
    // The next slice is accepted at once, and takes longer.
    killed.kill().await.unwrap();

    let (mut bot, mut lines) = start(folder.path());
    let mut after = Vec::new();
    while let Some(line) = lines.next_line().await.unwrap() {
        after.extend(bought(&line));
    }
    assert!(bot.wait().await.unwrap().success());
    assert_eq!(after.len(), SLICES, "it tells of all slices");
    assert_eq!(after[..2], before, "what was sold is not sold again");

    let executions = market.chain.executions(market.wallet()).await;
    assert_eq!(executions.len(), SLICES);
    assert!(executions.values().all(|times| *times == 1), "{executions:?}");
    let sold = WALLET_TOKENS - u64::try_from(SLICES).unwrap() * SLICE;
    let all_bought: u64 = after.iter().sum();
    for (mint, expected) in market.mints.into_iter().zip([sold, WALLET_TOKENS + all_bought]) {
        let account = associated_account(market.wallet(), mint, TOKEN);
        assert_eq!(market.chain.tokens(account).await, Some(expected), "the wallet has what the bot says");
    }
    println!(
        "the bot on a market: {SLICES} slices, killed after 2: each sold once, balances equal to the unit"
    );
}

/// Starts the bot, which is killed when this is dropped.
fn start(folder: &Path) -> (Child, Lines<BufReader<ChildStdout>>) {
    let [(sell, _), (buy, _)] = TOKENS;
    let mut bot = Command::new(env!("CARGO_BIN_EXE_order-engine-solana-bot"))
        .arg(folder.join("solana.toml"))
        .args([sell, buy, "2.5", &SLICES.to_string()])
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("the bot starts");
    let output = bot.stdout.take().expect("it is piped");
    (bot, BufReader::new(output).lines())
}

/// Returns how many base units a slice bought, if a line tells of one: "slice 1: bought 0.62 PEAR, …".
fn bought(line: &str) -> Option<u64> {
    let (_, told) = line.split_once(": bought ")?;
    let (amount, _) = told.split_once(' ')?;
    let decimals = TOKENS[1].1;
    let amount = order_engine_core::Amount::parse_human(amount, decimals).expect("an amount");
    Some(u64::try_from(amount.base_units()).expect("it fits"))
}
