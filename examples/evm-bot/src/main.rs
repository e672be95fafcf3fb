//! A bot that sells one token for another in slices, durably: if it is killed and started again, it goes on where it was, and
//! no slice is sold twice.
//!
//! `evm-bot CONFIG SELL BUY AMOUNT SLICES`, where `CONFIG` is a `evm.toml`, for instance of a local market.

use std::{error::Error, path::Path, time::Duration};

use order_engine_core::{
    Amount, Engine, FeeBumpPolicy, OrderRequest, Runtime, Status, Submission, Token, VenueName,
};
use order_engine_evm::EvmConfig;
use order_engine_sqlite::{SqliteOptions, SqliteStore};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [config, sell, buy, amount, slices] = &args[..] else {
        return Err("usage: evm-bot CONFIG SELL BUY AMOUNT SLICES".into());
    };
    let store = Path::new(config).with_file_name("bot.db");
    let config = EvmConfig::read(config)?;
    let token = |symbol: &str| {
        let found = config.tokens.iter().find(|token| token.symbol == symbol).cloned();
        found.ok_or_else(|| format!("{symbol} is not among the tokens"))
    };
    let (sell, buy) = (token(sell)?, token(buy)?);
    let (amount, slices) = (Amount::parse_human(amount, sell.decimals)?, slices.parse()?);

    let trading = config.open(Runtime::tokio()).await?;
    println!("trading on {}", config.chain);
    let store = SqliteStore::open(SqliteOptions::new(store)).await?;
    // A transaction that no block takes is replaced by one that pays more.
    let bumps = FeeBumpPolicy::default();
    let engine = Engine::builder().store(store).router(trading.router).venue(trading.venue);
    let engine = engine.fee_bumps(VenueName::default(), bumps).build().await?;
    tokio::spawn(engine.run(4));

    for slice in 1..=slices {
        sell_slice(&engine, &config, slice, OrderRequest::new("bot", sell.clone(), buy.clone(), amount))
            .await?;
    }
    Ok(engine.shutdown(Duration::from_secs(10)).await?)
}

/// Sells a slice, unless it was sold before: its client order id is the same in each run.
async fn sell_slice(
    engine: &Engine,
    config: &EvmConfig,
    slice: u32,
    request: OrderRequest,
) -> Result<(), Box<dyn Error>> {
    let Token { symbol, decimals, .. } = request.output.clone();
    let request = request.with_client_order_id(format!("slice-{slice}")).with_slippage_bps(100);
    let id = match engine.submit(request).await? {
        Submission::Created(order) | Submission::Existing(order) => order.id,
        Submission::Conflict(_) => return Err(format!("slice {slice} is another order in the store").into()),
    };
    let order = engine.wait(id).await?.ok_or("the order is gone")?;
    match (order.status(), order.state.fill()) {
        (Status::Confirmed, Some(fill)) => {
            let tx_id = order.state.tx_id().map(ToString::to_string).unwrap_or_default();
            let link = config.explorer_url(&tx_id).unwrap_or(tx_id);
            println!("slice {slice}: bought {} {symbol}, {link}", fill.amount_out.to_human(decimals));
            Ok(())
        }
        (status, _) => Err(format!("slice {slice} is {status}: {:?}", order.state.failure()).into()),
    }
}
