//! Opening what a configuration describes.
#![cfg(feature = "config")]

mod common;

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use common::orders::World;
use common::proxy::Proxy;
use order_engine_core::Runtime;
use order_engine_solana::instructions::token::associated_account;
use order_engine_solana::programs::TOKEN;
use order_engine_solana::{OpenError, Pubkey, SolanaConfig, WalletSigner as _};
use serde_json::Value;
use solana_keypair::Keypair;

#[tokio::test]
async fn lookup_tables_that_no_node_tells_are_told_later() {
    let world = World::new().await;
    let table = Pubkey::new_from_array([4; 32]);
    let named = associated_account(world.wallet.address(), world.x, TOKEN);
    world.chain.make_table(table, &[named]).await;
    let is_busy = Arc::new(AtomicBool::new(true));
    let busy = Arc::clone(&is_busy);
    // Only tables are read one by one.
    let node = Proxy::start(&world.chain.url, move |method: &str, _: &mut Value| {
        let refuses = method == "getAccountInfo" && busy.load(Ordering::Relaxed);
        if refuses { Err(503) } else { Ok(()) }
    })
    .await;
    let folder = tempfile::tempdir().unwrap();
    let key: Vec<String> = Keypair::new().to_bytes().iter().map(u8::to_string).collect();
    let wallet = folder.path().join("wallet.json");
    std::fs::write(&wallet, format!("[{}]", key.join(","))).unwrap();
    std::fs::set_permissions(&wallet, Permissions::from_mode(0o600)).unwrap();
    let token = |mint: Pubkey| format!("[[tokens]]\nsymbol = \"{mint}\"\nmint = \"{mint}\"\ndecimals = 6\n");
    let text = format!(
        "chain = \"test\"\n[nodes]\nurls = [{:?}]\n[wallet]\nkeypair_file = \"wallet.json\"\n{}{}\
         [pools]\naddresses = [\"{}\"]\n[venue]\nlookup_tables = [\"{table}\"]\n",
        node.url,
        token(world.x),
        token(world.y),
        Pubkey::new_from_array([5; 32]),
    );
    let config = SolanaConfig::parse(&text, folder.path()).unwrap();
    let error = config.open(Runtime::tokio()).await.unwrap_err();
    assert!(matches!(error, OpenError::Tables(_)) && error.is_transient(), "{error:?}");
    is_busy.store(false, Ordering::Relaxed);
    let trading = config.open(Runtime::tokio()).await.unwrap();
    assert_eq!(trading.venue.lookup_tables().await.unwrap().len(), 1);
}
