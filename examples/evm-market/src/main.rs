//! Opens a local market: a real node of the EVM on this machine with pools of Uniswap's own contracts.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use order_engine_evm_market::market::Market;
use tokio::io::AsyncReadExt as _;

/// Opens a market of Uniswap V2 and V3 on this machine, for trying a host of order-engine.
///
/// It writes `evm.toml`, `wallet.json` and `wallet.password` into the folder, and ends with Ctrl-C or its standard input.
#[derive(Parser)]
struct Args {
    /// Where the files are written.
    folder: PathBuf,
    /// How long a block takes, in milliseconds: 12000 on Ethereum.
    #[arg(long, default_value_t = 1000)]
    block_ms: u64,
}

#[tokio::main]
async fn main() -> ExitCode {
    let Args { folder, block_ms } = Args::parse();
    if let Err(error) = std::fs::create_dir_all(&folder) {
        eprintln!("cannot make the folder {}: {error}", folder.display());
        return ExitCode::FAILURE;
    }
    let market = Market::open(block_ms).await;
    market.write(&folder, &[&market.chain.url]);
    for (pool, name) in &market.pools {
        println!("{name}: {pool}");
    }
    println!("node: {}", market.chain.url);
    println!("ready: {}", folder.join("evm.toml").display());
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        () = end_of_input() => {}
    }
    ExitCode::SUCCESS
}

/// Waits until who started this program is gone, or has had enough.
async fn end_of_input() {
    let (mut input, mut bytes) = (tokio::io::stdin(), [0; 64]);
    while !matches!(input.read(&mut bytes).await, Ok(0) | Err(_)) {}
}
