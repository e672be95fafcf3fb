//! Operators see the webhooks of all users, and send again what they did not get.

use std::collections::BTreeMap;

use reqwest::Method;
use serde_json::{Value, json};

use super::common::text;
use super::receiver::{Mode, Receiver};
use super::{Site, key_with};

/// Returns the names and statuses of the webhooks that a list has, and the cursor of the next page.
async fn listed(site: &Site, query: &str) -> (BTreeMap<String, String>, Value) {
    let list = site.get("olga", &format!("/api/operator/webhooks{query}")).await;
    assert!(!list.to_string().contains("whsec_"), "a secret is shown once");
    let webhooks = list["webhooks"].as_array().unwrap().iter();
    (
        webhooks.map(|webhook| (text(webhook, "id"), text(webhook, "status"))).collect(),
        list["nextCursor"].clone(),
    )
}

fn id_of(path: &str) -> String {
    path.rsplit('/').next().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn operators_see_the_webhooks_of_all_users_and_send_again() {
    let folder = tempfile::tempdir().unwrap();
    let olga = key_with(folder.path(), "olga", "operate");
    let mut site =
        Site::start_in(folder, &["--store", "sqlite:orders.db", "--audit-log", "audit.jsonl"]).await;
    site.keys.insert("olga", olga);
    let [takes, fails] = [Receiver::start(Mode::Takes).await, Receiver::start(Mode::Fails).await];
    let alices = site.register("alice", &takes, &[]).await;
    let bobs = site.register("bob", &fails, &[]).await;
    let order = site.place("bob", 1).await.remove(0);
    site.has_status("bob", &bobs, "failing").await;
    let (alices, bobs) = (id_of(&alices), id_of(&bobs));

    let [enabled, failing] = ["enabled", "failing"].map(str::to_owned);
    let both = BTreeMap::from([(alices.clone(), enabled), (bobs.clone(), failing.clone())]);
    assert_eq!(listed(&site, "").await, (both.clone(), Value::Null));
    assert_eq!(
        listed(&site, "?status=failing,disabled").await,
        (BTreeMap::from([(bobs.clone(), failing)]), Value::Null)
    );
    assert_eq!(listed(&site, "?status=off").await, (BTreeMap::new(), Value::Null));
    let (first, cursor) = listed(&site, "?limit=1").await;
    let (second, end) = listed(&site, &format!("?limit=1&cursor={}", cursor.as_str().unwrap())).await;
    assert_eq!((first.len(), second.len(), end), (1, 1, Value::Null));
    assert_eq!(first.into_iter().chain(second).collect::<BTreeMap<_, _>>(), both);

    let log = site.get("olga", &format!("/api/operator/webhooks/{bobs}/deliveries?limit=1")).await;
    assert_eq!(log["deliveries"][0]["error"], "status", "{log}");
    fails.set(Mode::Takes);
    let again = format!("/api/operator/webhooks/{bobs}/redeliver");
    let sent = site.post("olga", &again, json!({"orderId": order, "seq": 1})).await;
    assert_eq!((&sent["trigger"], &sent["error"]), (&json!("redelivery"), &Value::Null));
    // An event goes to nobody but the user of its order.
    let elsewhere = format!("/api/operator/webhooks/{alices}/redeliver");
    for (path, body, status, code) in [
        (&elsewhere, json!({"orderId": order, "seq": 1}), 404, "order-not-found"),
        (&again, json!({"orderId": order, "seq": 1_000}), 404, "order-not-found"),
        (&again, json!({"orderId": order}), 422, "invalid-request"),
        (&"/api/operator/webhooks/wh_1/redeliver".to_owned(), json!({}), 404, "webhook-not-found"),
    ] {
        let (answered, problem) = site.ask("olga", Method::POST, path, Some(body)).await;
        assert_eq!((answered, &problem["code"]), (status, &json!(code)), "{path}");
    }
    for query in ["?status=well", "?limit=0", "?cursor=x", "?sort=oldest"] {
        let path = format!("/api/operator/webhooks{query}");
        assert_eq!(site.ask("olga", Method::GET, &path, None).await.0, 422, "{query}");
    }
    for path in ["/api/operator/webhooks", &format!("/api/operator/webhooks/{bobs}/deliveries")] {
        assert_eq!(site.ask("bob", Method::GET, path, None).await.0, 403, "{path}");
    }
    let recorded = std::fs::read_to_string(site.folder.path().join("audit.jsonl")).unwrap();
    let acts: Vec<Value> = recorded.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let redelivery = acts.iter().find(|act| act["act"] == "redeliver" && act["outcome"] == "done").unwrap();
    assert_eq!((&redelivery["user"], &redelivery["target"]), (&json!("olga"), &json!(bobs)));
    assert_eq!(redelivery["parameters"], json!({"orderId": order, "seq": 1}));
}
