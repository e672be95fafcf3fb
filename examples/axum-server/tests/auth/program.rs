//! The program: its commands for keys, what it refuses, and what it never shows.

use order_engine_server::AuthSettings;
use serde_json::Value;
use tokio::io::AsyncReadExt as _;

use super::common::program::{Program, command, fails};
use super::issuer::{AUDIENCE, ISSUER, Issuer, SECRET, changed, claims};
use super::{Keys, id_of};

/// Runs the program to its end, and returns what it wrote to its two outputs.
async fn output(folder: &std::path::Path, args: &[&str]) -> [String; 2] {
    let mut command = command(folder, args);
    let mut child = command.stdout(std::process::Stdio::piped()).spawn().unwrap();
    let (mut out, mut notes) = (String::new(), String::new());
    child.stdout.take().unwrap().read_to_string(&mut out).await.unwrap();
    child.stderr.take().unwrap().read_to_string(&mut notes).await.unwrap();
    assert!(child.wait().await.unwrap().success(), "{notes}");
    [out, notes]
}

#[tokio::test(flavor = "multi_thread")]
async fn the_program_makes_keys_and_revokes_them_while_the_server_runs() {
    let folder = tempfile::tempdir().unwrap();
    let keys = |args: &[&'static str]| [&["keys"], args, &["--api-keys", "keys.json"]].concat();
    let create = keys(&["create", "--user", "alice", "--scopes", "read,trade", "--expires", "90d"]);
    let [key, notes] = output(folder.path(), &create).await;
    let key = key.trim();
    assert!(key.starts_with("oek_") && notes.contains(id_of(key)) && !notes.contains(key), "{notes}");

    let program = Program::start(folder.path(), &["--store", "memory:", "--api-keys", "keys.json"]).await;
    let http = reqwest::Client::new();
    let status = async || {
        let request = http.get(format!("{}/api/orders", program.url)).bearer_auth(key);
        request.send().await.unwrap().status().as_u16()
    };
    assert_eq!(status().await, 200);
    let [listed, _] = output(folder.path(), &keys(&["list"])).await;
    assert!(listed.contains(id_of(key)) && !listed.contains(&key[key.len() - 43..]), "{listed}");
    let id = id_of(key).to_owned().leak();
    output(folder.path(), &keys(&["revoke", id])).await;
    while status().await != 401 {
        tokio::task::yield_now().await;
    }
    let error = fails(folder.path(), &keys(&["revoke", "nothing"])).await;
    assert!(error.contains("there is no API key nothing"), "{error}");
    let error = fails(folder.path(), &["keys", "list"]).await;
    assert!(error.contains("--api-keys"), "{error}");
    assert_eq!(program.terminate().await.0, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_public_address_is_served_only_to_who_has_a_credential() {
    let keys = Keys::new();
    let folder = keys.folder.path();
    let args = ["--port", "0", "--store", "memory:", "--host", "0.0.0.0"];
    let refused = fails(folder, &args).await;
    assert!(
        refused.contains("--allow-public-unauthenticated") && refused.contains("--api-keys"),
        "{refused}"
    );
    let program = Program::start(folder, &[&args[2..], &["--api-keys", "keys.json"]].concat()).await;
    let url = program.url.replace("0.0.0.0", "127.0.0.1");
    let answer = reqwest::get(format!("{url}/api/orders")).await.unwrap();
    assert_eq!(answer.status(), 401);
    assert_eq!(program.terminate().await.0, Some(0));
    for (args, expected) in [
        (&["--api-keys", "missing.json"][..], "missing.json"),
        (&["--jwks", "missing.json"], "--jwt-issuer"),
        (&["--jwt-issuer", "x"], "--jwt-secret or --jwks"),
        (&["--jwt-secret", "short"], "32 bytes"),
        (&["--jwks", "http://id.example/planted-canary"], "https://"),
    ] {
        let error = fails(folder, &[&["--port", "0", "--store", "memory:"], args].concat()).await;
        assert!(error.contains(expected) && !error.contains("planted-canary"), "{args:?}: {error}");
    }
}

/// Every secret that the server is given or makes is used, well and badly, and is nowhere to be seen.
#[tokio::test(flavor = "multi_thread")]
async fn no_secret_is_in_a_log_an_answer_a_metric_or_a_debug_text() {
    const SIGNING_SECRET: &str = "planted-canary-secret-of-tickets-0001";
    let (keys, issuer) = (Keys::new(), Issuer::new());
    let folder = keys.folder.path();
    std::fs::write(folder.join("jwks.json"), issuer.jwks().to_string()).unwrap();
    let variables = [
        ("API_KEYS", "keys.json"),
        ("JWT_SECRET", SECRET),
        ("JWKS", "jwks.json"),
        ("JWT_ISSUER", ISSUER),
        ("JWT_AUDIENCE", AUDIENCE),
        ("SIGNING_SECRET", SIGNING_SECRET),
        ("RUST_LOG", "trace"),
    ];
    let program = Program::start_with(folder, &["--store", "memory:"], &variables).await;
    let http = reqwest::Client::new();
    let mut planted = vec![SECRET.to_owned(), SIGNING_SECRET.to_owned()];
    let expired = changed(claims("alice", "read"), "exp", 1.into());
    let credentials = [
        keys.alice.clone(),
        keys.revoked.clone(),
        keys.expired.clone(),
        issuer.sign("HS256", &claims("alice", "read trade operate")),
        issuer.sign("RS256", &claims("alice", "read trade operate")),
        issuer.sign("EdDSA", &expired),
        format!("oek_0123456789abcdef_{}", "planted-canary".repeat(4)),
    ];
    let mut seen = Vec::new();
    for credential in &credentials {
        planted.push(credential.rsplit('.').next().unwrap().rsplit_once("oek_").map_or_else(
            || credential.rsplit('.').next().unwrap().to_owned(),
            |(_, key)| key[17..].to_owned(),
        ));
        for path in ["/api/orders", "/metrics", "/api/orders/status/x", "/nowhere"] {
            let response =
                http.get(format!("{}{path}", program.url)).bearer_auth(credential).send().await.unwrap();
            seen.push(format!("{:?}", response.headers()));
            seen.push(response.text().await.unwrap());
        }
        let bought =
            http.post(format!("{}/api/tickets", program.url)).bearer_auth(credential).send().await.unwrap();
        if bought.status() == 201 {
            let ticket = bought.json::<Value>().await.unwrap()["ticket"].as_str().unwrap().to_owned();
            planted.push(ticket.split('.').nth(1).unwrap().to_owned());
            let url = format!("{}?ticket={ticket}", program.ws("0190163d-8694-739b-aea5-966c26f8ad91"));
            let (frames, code) = super::common::Client::connect(&url).await.drain().await;
            assert_eq!(code, 4404);
            seen.push(format!("{frames:?}"));
        }
    }
    let (code, log) = program.terminate().await;
    assert_eq!(code, Some(0));
    assert!(log.contains("answered"), "the log has a line for each request");
    seen.push(log);
    let mut settings = AuthSettings::default();
    settings.jwt_secret = Some(SECRET.parse().unwrap());
    settings.signing_secret = Some(SIGNING_SECRET.parse().unwrap());
    settings.jwks = Some("https://id.example/planted-canary-url".parse().unwrap());
    settings.jwt_issuer = Some(ISSUER.to_owned());
    settings.jwt_audience = Some(AUDIENCE.to_owned());
    settings.api_keys = Some(keys.path());
    let access = order_engine_server::Access::open(&settings).unwrap();
    seen.push(format!("{settings:?} {access:?} {:#?}", super::options(access.clone())));
    planted.push("planted-canary".to_owned());
    assert!(planted.len() >= 11, "{}", planted.len());
    for text in &seen {
        for secret in &planted {
            assert!(secret.len() >= 14 && !text.contains(secret), "{secret} in {text}");
        }
    }
}
