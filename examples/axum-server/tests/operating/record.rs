//! Who may act, and what is recorded of it.

use order_engine_server::{AuditLog, KeyCommand};
use serde_json::{Value, json};

use super::Desk;
use super::common::program::Program;
use super::common::{TestServer, text};

fn summary(line: &Value) -> [String; 4] {
    ["act", "target", "outcome", "code"].map(|name| line[name].as_str().unwrap_or_default().to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn every_act_and_every_refusal_is_recorded() {
    let desk = Desk::open().await;
    let id = desk.placed().await;
    desk.act(&format!("/api/operator/orders/{id}/retry"), None).await;
    desk.act("/api/operator/purge", Some(json!({"olderThanS": 1}))).await;
    desk.act("/api/operator/purge", Some(json!({"olderThanS": 90_000}))).await;
    desk.seen("/api/operator/attention").await;
    // Alice may trade, and nobody else may anything.
    let halt = || desk.server.http.post(desk.server.url("/api/operator/halt"));
    assert_eq!(halt().bearer_auth(&desk.alice).send().await.unwrap().status(), 403);
    assert_eq!(halt().bearer_auth("nonsense").send().await.unwrap().status(), 401);
    let lines = desk.recorded();
    let found: Vec<_> = lines.iter().map(summary).collect();
    let expected = [
        ["retry", &id, "begun", ""],
        ["retry", &id, "refused", "not-failed"],
        ["purge", "/api/operator/purge", "refused", "invalid-request"],
        ["purge", "", "begun", ""],
        ["purge", "", "done", ""],
        ["list-attention", "", "done", ""],
        ["halt", "/api/operator/halt", "refused", "missing-scope"],
    ];
    assert_eq!(found, expected.map(|line| line.map(str::to_owned)));
    let key_id = desk.olga.split('_').nth(1).unwrap();
    for line in &lines[..5] {
        assert_eq!((&line["user"], &line["key"]), (&json!("olga"), &json!(key_id)), "{line}");
        assert_eq!((&line["address"], &line["requestId"]), (&json!("127.0.0.1"), &json!("request-1")));
        assert!(text(line, "time").ends_with('Z'));
    }
    assert_eq!((&lines[0]["id"], &lines[3]["id"]), (&lines[1]["id"], &lines[4]["id"]));
    assert_eq!(
        (&lines[4]["parameters"], &lines[6]["user"]),
        (&json!({"olderThanS": 90_000}), &json!("alice"))
    );
    let text = std::fs::read_to_string(desk.audit_path()).unwrap();
    for key in [&desk.alice, &desk.olga] {
        assert!(!text.contains(&key[key.len() - 43..]), "a secret is recorded");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_record_nothing_is_done_but_to_stop() {
    let desk = Desk::open().await;
    let id = desk.placed().await;
    // A folder in its place is a file that cannot be written, also for root.
    std::fs::remove_file(desk.audit_path()).unwrap();
    std::fs::create_dir(desk.audit_path()).unwrap();
    let unavailable = (503, "audit-unavailable".to_owned());
    let cancel = format!("/api/operator/orders/{id}/cancel");
    assert_eq!(desk.refused(&cancel, None).await, unavailable);
    assert_eq!(desk.server.count_due().await, 1, "nothing was cancelled");
    let pause = json!({"activity": "sending", "reason": "x"});
    assert_eq!(desk.refused("/api/operator/pauses", Some(pause)).await, unavailable);
    assert_eq!(desk.get("/api/operator/attention").await.status(), 503, "nothing is shown");
    assert_eq!(desk.seen("/api/operator/stats").await["pauses"], 0);
    let (status, _) = desk.act("/api/operator/halt", Some(json!({"reason": "the disk is full"}))).await;
    assert_eq!(status, 200, "the kill switch works");
    assert_eq!(desk.seen("/api/operator/stats").await["isHalted"], true);
    assert_eq!(desk.refused("/api/operator/halt/end", None).await, unavailable);
    std::fs::remove_dir(desk.audit_path()).unwrap();
    assert_eq!(desk.act("/api/operator/halt/end", None).await.0, 200);
    assert_eq!(desk.act(&cancel, None).await.0, 200);
    assert_eq!(summary(&desk.recorded()[0]), ["end-halt", "", "begun", ""]);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_authentication_only_this_machine_operates() {
    let server = TestServer::idle().await;
    assert_eq!(server.get("/api/operator/stats").await.status(), 200);
    let asked = server.http.get(server.url("/api/operator/attention"));
    assert_eq!(asked.try_clone().unwrap().send().await.unwrap().status(), 200);
    let through_a_proxy = asked.header("X-Forwarded-For", "203.0.113.7").send().await.unwrap();
    assert_eq!(through_a_proxy.status(), 403);
    assert_eq!(through_a_proxy.json::<Value>().await.unwrap()["code"], "operators-unknown");

    let folder = tempfile::tempdir().unwrap();
    let args = ["--store", "memory:", "--host", "0.0.0.0", "--allow-public-unauthenticated"];
    let program = Program::start(folder.path(), &args).await;
    let url = program.url.replace("0.0.0.0", "127.0.0.1");
    assert_eq!(reqwest::get(format!("{url}/api/orders")).await.unwrap().status(), 200);
    for path in ["attention", "stats", "pauses"] {
        let refused = reqwest::get(format!("{url}/api/operator/{path}")).await.unwrap();
        assert_eq!(refused.status(), 403, "{path}");
    }
    assert_eq!(program.terminate().await.0, Some(0));
}

#[tokio::test]
async fn making_and_revoking_a_key_is_recorded() {
    let folder = tempfile::tempdir().unwrap();
    let (keys, path) = (folder.path().join("keys.json"), folder.path().join("audit.jsonl"));
    let audit = AuditLog::open(Some(path.clone())).unwrap();
    let run = |command: KeyCommand| {
        let mut out = Vec::new();
        let done = command.run(Some(keys.clone()), &audit, &mut out, &mut Vec::new());
        done.map(|()| String::from_utf8(out).unwrap())
    };
    let scopes = "read,operate".parse().unwrap();
    let key = run(KeyCommand::Create { user: "olga".to_owned(), scopes, expires: None }).unwrap();
    let id = key.split('_').nth(1).unwrap().to_owned();
    run(KeyCommand::Revoke { id: id.clone() }).unwrap();
    run(KeyCommand::Revoke { id: "nothing".to_owned() }).unwrap_err();
    run(KeyCommand::List).unwrap();
    let text = std::fs::read_to_string(&path).unwrap();
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let expected = [
        ["create-key", "", "begun", ""],
        ["create-key", &id, "done", ""],
        ["revoke-key", &id, "begun", ""],
        ["revoke-key", &id, "done", ""],
        ["revoke-key", "nothing", "begun", ""],
        ["revoke-key", "nothing", "unknown", ""],
    ];
    assert_eq!(lines.iter().map(summary).collect::<Vec<_>>(), expected.map(|line| line.map(str::to_owned)));
    assert_eq!(lines[0]["parameters"]["scopes"], "read,operate");
    assert!(lines[0]["systemUser"].is_u64() && !text.contains(key.trim().rsplit('_').next().unwrap()));
    std::fs::remove_file(&path).unwrap();
    std::fs::create_dir(&path).unwrap();
    run(KeyCommand::Create { user: "eve".to_owned(), scopes, expires: None }).unwrap_err();
    assert!(!std::fs::read_to_string(&keys).unwrap().contains("eve"), "nothing is made without a record");
}
