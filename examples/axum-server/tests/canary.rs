//! Secrets wherever the server takes or makes any, and a search for them in all that it shows: its outputs at `trace`, its answers, its
//! metrics, its help, the errors of its start, and the `Debug` of its configuration.

mod common;
#[allow(dead_code, reason = "it makes other kinds of tokens as well")]
#[path = "auth/issuer.rs"]
mod issuer;
#[path = "canary/planted.rs"]
mod planted;
#[path = "canary/process.rs"]
mod process;
#[allow(dead_code, reason = "nobody looks at what arrives")]
#[path = "webhooks/receiver.rs"]
mod receiver;

use std::path::Path;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use clap::Parser as _;
use common::program::SimVenue;
use common::{Client, text};
use issuer::{AUDIENCE, ISSUER, Issuer, SECRET, claims};
use order_engine_postgres::testing::PostgresServer;
use order_engine_redis::testing::RedisServer;
use order_engine_server::{AuditLog, AuthSettings, Config, KeyCommand};
use planted::Planted;
use process::{Process, ended};
use receiver::{Mode, Receiver};
use reqwest::Method;
use serde_json::{Value, json};

const ALL: &str = "read trade operate";
const ORDER: &str = r#"{"tokenIn":"SOL","tokenOut":"USDC","amount":"0.1"}"#;

/// A client that keeps every answer.
struct Customer<'a> {
    planted: &'a Planted,
    http: reqwest::Client,
    url: String,
    credential: String,
}

impl Customer<'_> {
    /// Asks, and keeps the answer.
    async fn ask(&self, method: Method, path: &str, body: &str) -> Value {
        self.asked(method, path, body, true).await
    }

    async fn asked(&self, method: Method, path: &str, body: &str, is_kept: bool) -> Value {
        let request = self.http.request(method.clone(), format!("{}{path}", self.url));
        let request = request.bearer_auth(&self.credential).header("Content-Type", "application/json");
        let response = request.body(body.to_owned()).send().await.unwrap();
        let (head, place) = (format!("{:?}", response.headers()), format!("the answer to {method} {path}"));
        let answer = response.text().await.unwrap();
        if is_kept {
            self.planted.see(place, format!("{head} {answer}"));
        }
        serde_json::from_str(&answer).unwrap_or(Value::Null)
    }

    /// Uses each kind of route, with what is right and with what is not.
    async fn uses_everything(&self) {
        let id = text(&self.ask(Method::POST, "/api/orders/execute", ORDER).await, "orderId");
        for path in [
            "/",
            "/health",
            "/ready",
            "/metrics",
            "/api/orders",
            "/api/tokens",
            "/api/chain",
            "/api/time",
            "/api/webhooks",
            "/nowhere",
            "/api/orders?limit=0",
            "/api/orders/by-client-id/x",
            "/api/webhooks/wh_x",
            &format!("/api/orders/status/{id}"),
            &format!("/api/orders/{id}/events"),
        ] {
            self.ask(Method::GET, path, "").await;
        }
        let canary = self.planted.make("in-a-body");
        for (path, body) in [
            ("/api/quote", ORDER.to_owned()),
            ("/api/orders/batch", format!("{{\"orders\":[{ORDER}]}}")),
            ("/api/orders/cancel", json!({"orderIds": [id]}).to_string()),
            ("/api/orders/execute", format!("{{\"tokenIn\":\"{canary}\",\"x\":\"{canary}\"}}")),
            ("/api/orders/execute", format!("{{\"{}", &canary)),
            ("/api/orders/execute", "x".repeat(20_000)),
            ("/api/webhooks", json!({"url": format!("https://alice:{canary}@hooks.example/")}).to_string()),
            ("/api/webhooks", json!({"url": format!("https://10.0.0.1/{canary}")}).to_string()),
        ] {
            self.ask(Method::POST, path, &body).await;
        }
        let ticket = self.asked(Method::POST, "/api/tickets", "", false).await;
        let ticket = self.planted.plant("a ticket", text(&ticket, "ticket").split('.').nth(1).unwrap());
        let refused = format!("{}/ws/orders/{id}?ticket=x.{ticket}", self.url.replacen("http", "ws", 1));
        assert!(Client::try_connect(&refused, ("x-nothing", "x")).await.is_err());
    }

    /// Registers a receiver, and has it called in each way.
    async fn uses_webhooks(&self, receiver: &Receiver) {
        let body = json!({"url": receiver.url}).to_string();
        let made = self.asked(Method::POST, "/api/webhooks", &body, false).await;
        let secret = text(&made, "secret");
        receiver.trust(&secret);
        self.planted.plant("the secret of a webhook", &secret["whsec_".len()..]);
        let path = format!("/api/webhooks/{}", text(&made, "id"));
        let rotated = self.asked(Method::POST, &format!("{path}/rotate-secret"), "", false).await;
        self.planted.plant("the second secret of a webhook", &text(&rotated, "secret")["whsec_".len()..]);
        self.ask(Method::POST, &format!("{path}/test"), "").await;
        self.ask(Method::PATCH, &path, r#"{"description":"canaries"}"#).await;
        self.ask(Method::POST, "/api/orders/execute", ORDER).await;
        receiver.has_ends(1).await;
        receiver.set(Mode::Fails);
        self.ask(Method::POST, &format!("{path}/test"), "").await;
        for path in [&path, &format!("{path}/deliveries"), "/api/webhooks"] {
            self.ask(Method::GET, path, "").await;
        }
    }
}

fn api_key(folder: &Path, user: &str) -> String {
    let (user, scopes) = (user.to_owned(), "read,trade,operate".parse().unwrap());
    let command = KeyCommand::Create { user, scopes, expires: None };
    let mut out = Vec::new();
    command.run(Some(folder.join("keys.json")), &AuditLog::default(), &mut out, &mut Vec::new()).unwrap();
    String::from_utf8(out).unwrap().trim().to_owned()
}

#[test]
fn a_secret_is_found_in_each_of_its_forms() {
    let planted = Planted::default();
    let secret = planted.make("somewhere");
    let bytes = secret.as_bytes();
    planted.see("a text", format!("x{secret}x"));
    planted.see("a number a line", format!("{bytes:#?}"));
    planted.see("a list", format!("{bytes:?}"));
    planted.see("JSON", json!({"bytes": bytes}).to_string());
    planted.see("base64", json!({"bytes": STANDARD.encode(bytes)}).to_string());
    planted.see("digits", bytes.iter().fold(String::new(), |hex, byte| hex + &format!("{byte:02X}")));
    planted.see("nothing", "canary");
    assert_eq!(planted.found().len(), 6, "{:?}", planted.found());
}

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_is_shown_by_a_server_that_is_used_well_and_badly() {
    let planted = Planted::default();
    let folder = tempfile::tempdir().unwrap();
    let [of_postgres, of_redis, of_venue, of_tickets] =
        ["postgres-password", "redis-password", "venue-password", "signing-secret-of-32-bytes"]
            .map(|at| planted.make(at));
    planted.plant("the secret of tokens", SECRET);
    let (postgres, redis) = (PostgresServer::start(), RedisServer::start(&["--requirepass", &of_redis]));
    let venue = SimVenue::start(folder.path(), &["--slot-ms", "5", "--step-ms", "5"]).await;
    let receiver = Receiver::start(Mode::Takes).await;
    let store = postgres.url().replacen("postgres@", &format!("postgres:{of_postgres}@"), 1);
    let fanout = redis.url().replacen("redis://", &format!("redis://:{of_redis}@"), 1);
    let venue_url = venue.url.replacen("http://", &format!("http://venue:{of_venue}@"), 1);
    let key = api_key(folder.path(), "alice");
    planted.plant("an API key", &key[key.len() - 43..]);
    let token = Issuer::new().sign("HS256", &claims("alice", ALL));
    planted.plant("the signature of a token", token.rsplit('.').next().unwrap());
    let variables = [
        ("STORE_URL", store.as_str()),
        ("FANOUT_URL", &fanout),
        ("VENUE_URL", &venue_url),
        ("API_KEYS", "keys.json"),
        ("JWT_SECRET", SECRET),
        ("JWT_ISSUER", ISSUER),
        ("JWT_AUDIENCE", AUDIENCE),
        ("SIGNING_SECRET", &of_tickets),
        ("USER_RATE", "off"),
        ("ADDRESS_RATE", "off"),
        ("WEBHOOK_HTTP", "true"),
        ("WEBHOOK_NETWORKS", "127.0.0.1"),
        ("RUST_LOG", "trace"),
    ];
    let server = Process::start(folder.path(), &["--port", "0"], &variables, "listening on ").await;
    let http = reqwest::Client::builder().timeout(Duration::from_secs(30)).build().unwrap();
    let url = server.url();
    let customer = |credential: &str| Customer {
        planted: &planted,
        http: http.clone(),
        url: url.clone(),
        credential: credential.to_owned(),
    };
    for credential in [&key, &token] {
        customer(credential).uses_everything().await;
    }
    customer(&key).uses_webhooks(&receiver).await;
    for credential in
        [format!("oek_0123456789abcdef_{}", planted.make("a-wrong-key")), planted.make("no-key-at-all")]
    {
        customer(&credential).ask(Method::GET, "/api/orders", "").await;
    }
    // What a store and a fan-out say when they go away.
    redis.kill();
    customer(&key).ask(Method::POST, "/api/orders/execute", ORDER).await;
    postgres.kill();
    for path in ["/api/orders", "/api/webhooks", "/ready", "/metrics"] {
        customer(&key).ask(Method::GET, path, "").await;
    }
    customer(&key).ask(Method::POST, "/api/orders/execute", ORDER).await;
    server.has_written("the store does not answer").await;
    let output = server.terminate().await;
    for sign in ["TRACE", "answered", "webhook"] {
        assert!(output.contains(sign), "the output has {sign}");
    }
    planted.see("the output", output);
    let (_, help) = ended(folder.path(), &["--help"], &variables).await;
    assert!(help.contains("--webhook-networks"), "{help}");
    planted.see("the help", help);
    let (succeeded, refused) = ended(folder.path(), &["--no-such-flag"], &variables).await;
    assert!(!succeeded);
    planted.see("what is said of an unknown flag", refused);
    let args = ["order-engine-server", "--store", &store, "--fanout", &fanout, "--venue-url", &venue_url];
    let config = Config::try_parse_from(args).unwrap();
    let mut auth = AuthSettings::default();
    auth.jwt_secret = Some(SECRET.parse().unwrap());
    auth.signing_secret = Some(of_tickets.parse().unwrap());
    planted.see("the Debug of the configuration", format!("{config:?} {config:#?} {auth:?}"));
    let (secrets, texts) = planted.counts();
    assert!(secrets >= 14 && texts >= 60, "{secrets} secrets, {texts} texts");
    planted.check();
}

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_is_shown_by_a_server_that_cannot_start() {
    let planted = Planted::default();
    let folder = tempfile::tempdir().unwrap();
    let secret = planted.make("in-a-setting");
    // Nothing listens on the port 1, and the last few are no such URLs at all.
    for (variable, value) in [
        ("STORE_URL", format!("postgres://alice:{secret}@127.0.0.1:1/db")),
        ("STORE_URL", format!("redis://alice:{secret}@127.0.0.1:1/0")),
        // A password that would have to be escaped, so that the rest of it looks like parameters.
        ("STORE_URL", format!("postgres://alice:1?{secret}@127.0.0.1:1/db")),
        ("STORE_URL", format!("postgres://alice:1?x&{secret}=@127.0.0.1:1/db")),
        ("STORE_URL", format!("postgres://alice:1?pooling={secret}@127.0.0.1:1/db")),
        ("STORE_URL", format!("postgres://alice:1?schema={secret}@127.0.0.1:1/db")),
        ("STORE_URL", format!("mysql://alice:{secret}@127.0.0.1:1/db")),
        ("STORE_URL", format!("postgres://alice:{secret}@127.0.0.1:port/db")),
        ("FANOUT_URL", format!("redis://:{secret}@127.0.0.1:1/0")),
        ("FANOUT_URL", format!("kafka://:{secret}@127.0.0.1:1/0")),
        ("VENUE_URL", format!("ftp://alice:{secret}@127.0.0.1:1/")),
        ("JWT_SECRET", secret[..20].to_owned()),
        ("JWT_SECRET", secret.repeat(2)),
        ("SIGNING_SECRET", secret[..20].to_owned()),
        ("JWKS", format!("http://id.example/{secret}")),
        ("WEBHOOK_NETWORKS", "not-a-network".to_owned()),
    ] {
        let store = if variable == "STORE_URL" { &[][..] } else { &["--store", "memory:"] };
        let variables = [(variable, value.as_str()), ("RUST_LOG", "trace"), ("JWT_ISSUER", ISSUER)];
        let (succeeded, output) = ended(folder.path(), &[&["--port", "0"], store].concat(), &variables).await;
        assert!(!succeeded && !output.is_empty(), "{variable}={value} starts");
        planted.see(format!("the output with {variable}={value}"), output);
    }
    planted.check();
}

#[cfg(feature = "evm")]
const EVM: &str = r#"
chain = "nowhere"
chain_id = 1
[nodes]
urls = ["http://user:{node}@127.0.0.1:1/{node}"]
urls_variable = "NODES"
timeout_ms = 500
[wallet]
{wallet}
[[tokens]]
symbol = "WETH"
address = "0xfFf9976782d46CC05630D1f6eBAb18b2324d6B14"
decimals = 18
[[tokens]]
symbol = "USDC"
address = "0x1c7D4B196Cb0C7B01d743Fbc6116a902379C7238"
decimals = 6
[deployment]
router = { swap_router_02 = "0x3bFA4769FB09eefC5a80d6E87c3B9C650f7Ae48E" }
wrapped_native = "0xfFf9976782d46CC05630D1f6eBAb18b2324d6B14"
v2 = { factory = "0xF62c03E08ada871A0bEb309762E260a7a6a880E6", fee = "3/1000" }
[pools]
addresses = ["0x3289680dD4d6C10bb19b899729cda5eEF58AEfF1"]
"#;

#[cfg(feature = "solana")]
const SOLANA: &str = r#"
chain = "nowhere"
[nodes]
urls = ["http://user:{node}@127.0.0.1:1/{node}"]
urls_variable = "NODES"
timeout_ms = 500
[wallet]
{wallet}
[[tokens]]
symbol = "SOL"
mint = "So11111111111111111111111111111111111111112"
decimals = 9
[[tokens]]
symbol = "USDC"
mint = "4zMMC9srt5Ri5X14GAgXhaHii3GnPAEERYPJgZJDncDU"
decimals = 6
[pools]
addresses = ["EstddXy7qJ6SKLaiosoKfBCDGvLVM8wzVP9KAo4yASpV"]
"#;

/// Starts a server with a chain whose nodes do not answer, and keeps what it says until it is asked to end.
#[cfg(any(feature = "evm", feature = "solana"))]
async fn waits_for_a_chain(planted: &Planted, kind: &str, template: &str, wallet: &str, key: &str) {
    let folder = tempfile::tempdir().unwrap();
    let node = planted.make("in-the-url-of-a-node");
    let nodes = format!("http://127.0.0.1:1/{}", planted.make("in-a-variable-of-nodes"));
    let authorization = format!("Bearer {}", planted.make("of-the-remote-signer"));
    let file = template.replace("{node}", &node).replace("{wallet}", wallet);
    std::fs::write(folder.path().join("chain.toml"), &file).unwrap();
    let variables =
        [("WALLET", key), ("NODES", &nodes), ("SIGNER_AUTHORIZATION", &authorization), ("RUST_LOG", "trace")];
    let venue = format!("{kind}:chain.toml");
    let args = ["--port", "0", "--store", "memory:", "--venue", &venue];
    let server = Process::start(folder.path(), &args, &variables, "the nodes do not answer yet").await;
    planted.see(format!("the output with {kind} and {wallet}"), server.terminate().await);
    // A key that is none, and a file that is none.
    let wrong =
        [("WALLET", &key[1..]), ("NODES", &nodes), ("SIGNER_AUTHORIZATION", "\n"), ("RUST_LOG", "trace")];
    let (succeeded, output) = ended(folder.path(), &args, &wrong).await;
    assert!(!succeeded, "{output}");
    planted.see(format!("the output with {kind} and a wrong wallet"), output);
    std::fs::write(folder.path().join("chain.toml"), file.replace("urls = ", "urls = 1\nx = ")).unwrap();
    let (succeeded, output) = ended(folder.path(), &args, &variables).await;
    assert!(!succeeded, "{output}");
    planted.see(format!("the output with {kind} and a wrong file"), output);
}

#[cfg(feature = "evm")]
#[tokio::test(flavor = "multi_thread")]
async fn no_secret_of_a_chain_of_the_evm_is_shown() {
    let planted = Planted::default();
    let key = planted.plant("the key of a wallet", "c0ffee11".repeat(8));
    waits_for_a_chain(&planted, "evm", EVM, r#"environment = "WALLET""#, &key).await;
    let remote = format!(
        r#"remote = {{ url = "http://user:{}@127.0.0.1:1/", address = "0xfFf9976782d46CC05630D1f6eBAb18b2324d6B14", authorization_variable = "SIGNER_AUTHORIZATION" }}"#,
        planted.make("in-the-url-of-a-signer")
    );
    waits_for_a_chain(&planted, "evm", EVM, &remote, &key).await;
    planted.check();
}

#[cfg(feature = "solana")]
#[tokio::test(flavor = "multi_thread")]
async fn no_secret_of_solana_is_shown() {
    let planted = Planted::default();
    // The first pair of keys of RFC 8032, section 7.1, in base58: it belongs to nobody, and to everybody.
    let seed = "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60";
    let public = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a";
    let bytes: Vec<String> = [seed, public]
        .concat()
        .as_bytes()
        .chunks(2)
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap().to_string())
        .collect();
    let key = planted.plant("the key of a wallet", format!("[{}]", bytes.join(",")));
    planted.plant("the numbers of the key of a wallet", bytes[..16].join(","));
    waits_for_a_chain(&planted, "solana", SOLANA, r#"environment = "WALLET""#, &key).await;
    planted.check();
}
