use std::time::Duration;

use super::*;

/// Returns the file in the README.
fn documented() -> String {
    let readme = include_str!("../../README.md");
    let (_, rest) = readme.split_once("```toml\n").unwrap();
    rest.split_once("```").unwrap().0.to_owned()
}

fn parse(text: &str) -> Result<SolanaConfig, ConfigError> {
    SolanaConfig::parse(text, "folder")
}

fn refused(text: &str) -> String {
    parse(text).unwrap_err().to_string()
}

#[test]
fn the_documented_file_has_all_settings_and_the_defaults() {
    let config = parse(&documented()).unwrap();
    assert_eq!(config.chain, "Solana devnet");
    assert_eq!(config.explorer_url("abc").unwrap(), "https://explorer.solana.com/tx/abc?cluster=devnet");
    assert_eq!(config.nodes.urls, ["http://127.0.0.1:8899"]);
    assert_eq!((config.nodes.quorum, config.nodes.timeout), (1, Duration::from_secs(2)));
    assert_eq!(config.tokens[0], Token::new("So11111111111111111111111111111111111111112", "SOL", 9));
    assert_eq!(config.pools.len(), 1);
    assert_eq!(config.watch.full_read_interval, Duration::from_millis(400));
    assert!(config.watch.urls.is_empty() && !config.pools_need_agreement);
    let (venue, defaults) = (config.venue, SolanaVenueOptions::default());
    assert_eq!(venue.fees, defaults.fees);
    assert_eq!(venue.finality_margin, defaults.finality_margin);
    assert_eq!((venue.busy_account, venue.complete_from_slot), (defaults.busy_account, 0));
}

#[test]
fn what_is_wrong_is_said_with_its_place() {
    let sound = documented();
    let changed = |from: &str, to: &str| {
        assert!(sound.contains(from), "{from}");
        refused(&sound.replace(from, to))
    };
    assert!(changed("quorum = 1 ", "quorum = 2 ").contains("nodes.quorum: must be from 1 to 1"));
    assert!(changed("urls = [\"http://127.0.0.1:8899\"]", "urls = []").contains("nodes.urls"));
    assert!(changed("percentile = 50", "percentile = 101").contains("fees.percentile"));
    assert!(changed("nonce_accounts = 0", "nonce_accounts = 101").contains("venue.nonce_accounts"));
    assert!(changed("{tx}", "tx").contains("explorer"));
    assert!(changed("\"EstddXy7qJ6SKLaiosoKfBCDGvLVM8wzVP9KAo4yASpV\"", "").contains("pools"));
    assert!(changed("interval_ms = 400", "interval_ms = 0").contains("pools.interval_ms, line 33"));
    assert!(changed("timeout_ms", "timeout").contains("unknown field `timeout`"));
    assert!(changed("mint = \"4zMM", "mint = \"0zMM").contains("tokens.mint"));
}

#[test]
fn no_error_and_no_debug_shows_a_secret() {
    const SECRET: &str = "planted-canary";
    let sound = documented();
    let with_key = sound.replace("127.0.0.1:8899", &format!("node.example/{SECRET}"));
    assert!(!format!("{:?}", parse(&with_key).unwrap()).contains(SECRET));
    for broken in [
        format!("urls = \"https://{SECRET}\""),
        format!("urls = [\"{SECRET}\"]"),
        format!("urls = {SECRET}"),
        format!("urls = [{{ url = \"{SECRET}\" }}]"),
    ] {
        let error = parse(&sound.replace("urls = [\"http://127.0.0.1:8899\"]", &broken)).unwrap_err();
        for text in [error.to_string(), format!("{error:?}")] {
            assert!(!text.contains(SECRET), "{text}");
        }
    }
    let remote = format!("remote = {{ url = \"http://{SECRET}\", address = 5 }}");
    let error = refused(&sound.replace("keypair_file = \"wallet.json\"", &remote));
    assert!(!error.contains(SECRET), "{error}");
}

#[test]
fn a_wallet_is_one_of_three() {
    let sound = documented();
    let address = "So11111111111111111111111111111111111111112";
    let remote = format!("remote = {{ url = \"http://127.0.0.1:1\", address = \"{address}\" }}");
    let config = parse(&sound.replace("keypair_file = \"wallet.json\"", &remote)).unwrap();
    assert_eq!(config.signer().unwrap().address().to_string(), address);
    let config = parse(&sound).unwrap();
    assert!(matches!(config.signer(), Err(KeyError::Unreadable(_))));
    let both = sound.replace("# environment", "environment");
    assert!(parse(&both).is_err());
}

#[test]
fn pools_may_stand_in_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let pool = "DsWDhNamPAXYVm9EH9N9dhdCdyCBpbdW49vHoKSq1Wfk";
    std::fs::write(folder.path().join("pools.txt"), format!("# ours\n\n{pool} # CPMM\n")).unwrap();
    let text = documented().replace("# file = ", "file = ");
    let config = SolanaConfig::parse(&text, folder.path()).unwrap();
    assert_eq!(config.pools.len(), 2);
    assert!(config.pools.contains(&pool.parse().unwrap()));
    assert!(parse(&text).unwrap_err().to_string().contains("pools.txt"));
}
