use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use order_engine_routing::Fee;

use super::*;
use crate::pools::SwapRouter;
use crate::rpc::Finality;
use alloy_primitives::U256;

/// Returns the file in the README.
fn documented() -> String {
    let readme = include_str!("../../README.md");
    let (_, rest) = readme.split_once("```toml\n").unwrap();
    rest.split_once("```").unwrap().0.to_owned()
}

fn parse(text: &str) -> Result<EvmConfig, ConfigError> {
    EvmConfig::parse(text, "folder")
}

fn refused(text: &str) -> String {
    parse(text).unwrap_err().to_string()
}

#[test]
fn the_documented_file_has_all_settings_and_the_defaults() {
    let config = parse(&documented()).unwrap();
    assert_eq!(config.chain, "Sepolia");
    assert_eq!((config.cluster.chain_id, config.cluster.finality), (11_155_111, Finality::Finalized));
    assert_eq!(config.cluster.nodes.urls, ["http://127.0.0.1:8545"]);
    assert_eq!((config.cluster.nodes.quorum, config.cluster.nodes.timeout), (1, Duration::from_secs(2)));
    assert_eq!(config.tokens.len(), 2);
    assert_eq!((&*config.tokens[0].symbol, config.tokens[0].decimals), ("WETH", 18));
    assert_eq!(config.tokens[0].mint, config.deployment.wrapped_native.to_string());
    let (_, fee) = config.deployment.v2.unwrap();
    assert_eq!((fee, &*config.deployment.name), (Fee::new(3, 1_000).unwrap(), "Uniswap"));
    assert!(
        matches!(config.deployment.router, SwapRouter::SwapRouter02(_)) && config.deployment.v3.is_some()
    );
    assert_eq!((config.pools.len(), config.pools_interval), (1, Duration::from_secs(1)));
    assert_eq!(config.reach_ticks, 5_000);
    let usdc = config.tokens[1].mint.parse().unwrap();
    assert_eq!(config.allowances, [AllowanceGoal::exactly(usdc, U256::from(250_500_000))]);
    let (venue, defaults) = (config.venue, EvmVenueOptions::default());
    assert_eq!((venue.fees, venue.permits), (defaults.fees, defaults.permits));
    assert_eq!((venue.swap_life_s, venue.find_max), (defaults.swap_life_s, defaults.find_max));
}

#[test]
fn a_link_has_the_hash_of_the_transaction() {
    let config = parse(&documented()).unwrap();
    let hash = alloy_primitives::B256::with_last_byte(7);
    let id = crate::draft::tx_id(hash);
    let link = config.explorer_url(id.as_str()).unwrap();
    assert_eq!(link, format!("https://sepolia.etherscan.io/tx/{hash}"));
}

#[test]
fn what_is_wrong_is_said_with_its_place() {
    let sound = documented();
    let changed = |from: &str, to: &str| {
        assert!(sound.contains(from), "{from}");
        refused(&sound.replacen(from, to, 1))
    };
    for (from, to, said) in [
        ("quorum = 1 ", "quorum = 2 ", "nodes.quorum: must be from 1 to 1"),
        ("[\"http://127.0.0.1:8545\"]", "[]", "nodes.urls: there must be at least one"),
        ("percentile = 50", "percentile = 101", "fees.percentile: must be from 0 to 100"),
        ("blocks = 20", "blocks = 0", "fees.blocks"),
        ("base_fee_percent = 200", "base_fee_percent = 99", "fees.base_fee_percent"),
        ("{tx}", "tx", "explorer, line"),
        ("chain_id = 11155111", "chain_id = 0", "chain_id, line"),
        ("fee = \"3/1000\"", "fee = \"0.3\"", "deployment.v2.fee: it must be a fraction"),
        ("\"finalized\"", "\"final\"", "finality, line"),
        ("timeout_ms", "timeout", "unknown field `timeout`"),
        ("\"250.5\"", "\"0\"", "tokens.allowance: must be \"unlimited\" or an amount"),
        ("\"250.5\"", "\"0.0000001\"", "tokens.allowance"),
        ("\"never\"", "\"always\"", "permits, line"),
        ("decimals = 18", "decimals = 256", "tokens.decimals, line"),
        ("decimals = 18", "", "missing field `decimals`"),
        (
            "0xfFf9976782d46CC05630D1f6eBAb18b2324d6B14",
            "0xfFf9976782d46CC05630D1f6eBAb18b2324d6B15",
            "checksum",
        ),
        ("0xfFf9976782d46CC05630D1f6eBAb18b2324d6B14", "WETH", "is no address"),
        ("swap_router_02 =", "v2 =", "deployment.v3: the router of V2"),
    ] {
        let error = changed(from, to);
        assert!(error.contains(said), "{error}");
    }
}

#[test]
fn finality_is_what_the_chain_offers() {
    let sound = documented();
    let finality = |text: &str| parse(&sound.replace("\"finalized\"", text)).unwrap().cluster.finality;
    assert_eq!(finality("\"safe\""), Finality::Safe);
    assert_eq!(finality("{ confirmations = 12 }"), Finality::Confirmations(12));
}

#[test]
fn no_error_and_no_debug_shows_a_secret() {
    const SECRET: &str = "planted-canary";
    let sound = documented();
    let with_key = sound.replace("127.0.0.1:8545", &format!("node.example/{SECRET}"));
    assert!(!format!("{:?}", parse(&with_key).unwrap()).contains(SECRET));
    for broken in [
        format!("urls = \"https://{SECRET}\""),
        format!("urls = [\"{SECRET}\"]"),
        format!("urls = {SECRET}"),
        format!("urls = [{{ url = \"{SECRET}\" }}]"),
    ] {
        let error = parse(&sound.replace("urls = [\"http://127.0.0.1:8545\"]", &broken)).unwrap_err();
        for text in [error.to_string(), format!("{error:?}")] {
            assert!(!text.contains(SECRET), "{text}");
        }
    }
}

#[test]
fn a_wallet_is_one_of_three() {
    let sound = documented();
    let keystore = "keystore = { file = \"wallet.json\", password = { file = \"wallet.password\" } }";
    assert!(sound.contains(keystore));
    assert!(matches!(parse(&sound).unwrap().signer(), Err(KeyError::Unreadable(_))));
    let address = "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266";
    let remote = format!("remote = {{ url = \"http://127.0.0.1:1\", address = \"{address}\" }}");
    let config = parse(&sound.replace(keystore, &remote)).unwrap();
    assert_eq!(config.signer().unwrap().address().to_string(), address);
    let missing = parse(&sound.replace(keystore, "environment = \"ORDER_ENGINE_NO_SUCH_KEY\"")).unwrap();
    assert!(matches!(missing.signer(), Err(KeyError::NoVariable(_))));
    assert!(parse(&sound.replace(keystore, &format!("{keystore}\n{remote}"))).is_err());
}

#[test]
fn a_key_file_opens_with_the_password_of_another_file() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
    };
    write("wallet.json", crate::keys::keystore_vector());
    write("wallet.password", "testpassword\n");
    let signer = EvmConfig::parse(&documented(), folder.path()).unwrap().signer().unwrap();
    assert_eq!(signer.address().to_string(), "0x008AeEda4D805471dF9b2A5B0f38A0C3bCBA786b");
    write("wallet.password", "another");
    let refused = EvmConfig::parse(&documented(), folder.path()).unwrap().signer();
    assert!(matches!(refused, Err(KeyError::WrongPassword)), "{refused:?}");
}
