//! Opens a local market: Solana's runtime on this machine with pools of the real programs of Raydium and Meteora.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use order_engine_solana_market::market::Market;
use order_engine_solana_market::pools::CASES;
use tokio::io::AsyncReadExt as _;

/// Opens a market of Raydium and Meteora on this machine, for trying a host of order-engine.
///
/// It writes `solana.toml` and `wallet.json` into the folder, and ends with Ctrl-C or its standard input.
#[derive(Parser)]
struct Args {
    /// Where the two files are written.
    folder: PathBuf,
    /// How long a slot takes, in milliseconds: 400 on Solana itself.
    #[arg(long, default_value_t = 50)]
    slot_ms: u32,
}

#[tokio::main]
async fn main() -> ExitCode {
    let Args { folder, slot_ms } = Args::parse();
    let programs = Market::programs();
    if programs.is_empty() {
        eprintln!("SOLANA_PROGRAMS has to name a folder with the code of at least one of these programs:");
        for case in CASES.iter().filter(|case| case.is_plain()) {
            eprintln!(
                "    solana program dump --url mainnet-beta {} {}   # {}",
                case.program, case.file, case.name
            );
        }
        return ExitCode::FAILURE;
    }
    if let Err(error) = std::fs::create_dir_all(&folder) {
        eprintln!("cannot make the folder {}: {error}", folder.display());
        return ExitCode::FAILURE;
    }
    let market = Market::open(&programs, slot_ms).await;
    market.write(&folder, &[&market.chain.url]);
    for (pool, name) in &market.pools {
        println!("{name}: {pool}");
    }
    println!("ready: {}", folder.join("solana.toml").display());
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
