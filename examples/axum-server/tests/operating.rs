//! What operators do and see, who may, and that each act is recorded.

#[path = "operating/acts.rs"]
mod acts;
mod common;
#[path = "operating/kill_switch.rs"]
mod kill_switch;
#[path = "operating/record.rs"]
mod record;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use common::{TestServer, text};
use order_engine_core::testing::{ScriptedRouter, ScriptedVenue};
use order_engine_core::{Engine, EngineConfig, MemoryStore};
use order_engine_server::{Access, AuditLog, AuthSettings, KeyCommand, LimitSettings, MaybeRate, Options};
use reqwest::Response;
use serde_json::{Value, json};

/// A server that alice uses and olga operates, over a scripted venue.
struct Desk {
    folder: tempfile::TempDir,
    server: TestServer,
    router: Arc<ScriptedRouter>,
    venue: Arc<ScriptedVenue>,
    alice: String,
    olga: String,
}

impl Desk {
    async fn open() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let keys = folder.path().join("keys.json");
        let key = |user: &str, scopes: &str| {
            let (mut out, user) = (Vec::new(), user.to_owned());
            let create = KeyCommand::Create { user, scopes: scopes.parse().unwrap(), expires: None };
            create.run(Some(keys.clone()), &AuditLog::default(), &mut out, &mut Vec::new()).unwrap();
            String::from_utf8(out).unwrap().trim().to_owned()
        };
        let (alice, olga) = (key("alice", "read,trade"), key("olga", "operate"));
        let mut settings = AuthSettings::default();
        settings.api_keys = Some(keys);
        let mut limits = LimitSettings::default();
        limits.user_rate = Some(MaybeRate(None));
        limits.address_rate = Some(MaybeRate(None));
        let options = Options {
            access: Access::open(&settings).unwrap(),
            audit: AuditLog::open(Some(folder.path().join("audit.jsonl"))).unwrap(),
            limits,
            ..Options::default()
        };
        let (router, venue) = (Arc::new(ScriptedRouter::new()), Arc::new(ScriptedVenue::new()));
        let mut config = EngineConfig::default();
        config.observe_interval = Duration::from_millis(5);
        config.unknown_after = Duration::from_millis(5);
        let engine = Engine::builder()
            .store(Arc::new(MemoryStore::new()))
            .router(router.clone())
            .venue(venue.clone())
            .config(config)
            .build()
            .await
            .unwrap();
        let server = TestServer::of(engine, options).await;
        Self { folder, server, router, venue, alice, olga }
    }

    async fn get(&self, path: &str) -> Response {
        self.server.http.get(self.server.url(path)).bearer_auth(&self.olga).send().await.unwrap()
    }

    /// Returns a document that olga may see.
    async fn seen(&self, path: &str) -> Value {
        let response = self.get(path).await;
        assert_eq!(response.status(), 200, "{path}");
        response.json().await.unwrap()
    }

    /// Does something as olga, and returns the status and the answer.
    async fn act(&self, path: &str, body: Option<Value>) -> (u16, Value) {
        let mut request = self.server.http.post(self.server.url(path)).bearer_auth(&self.olga);
        request = request.header("X-Request-Id", "request-1");
        if let Some(body) = body {
            request = request.json(&body);
        }
        let response = request.send().await.unwrap();
        (response.status().as_u16(), response.json().await.unwrap())
    }

    /// Returns the status and the code with which an act is refused.
    async fn refused(&self, path: &str, body: Option<Value>) -> (u16, String) {
        let (status, answer) = self.act(path, body).await;
        (status, text(&answer, "code"))
    }

    /// Tries to place an order of alice.
    async fn place(&self) -> Response {
        let body = json!({"tokenIn": "SOL", "tokenOut": "USDC", "amount": "1.5"});
        let request = self.server.http.post(self.server.url("/api/orders/execute")).bearer_auth(&self.alice);
        request.json(&body).send().await.unwrap()
    }

    /// Places an order of alice, and returns its id.
    async fn placed(&self) -> String {
        let response = self.place().await;
        assert_eq!(response.status(), 202);
        text(&response.json().await.unwrap(), "orderId")
    }

    /// Waits until an order is as it should be, and returns it as operators see it.
    async fn until(&self, id: &str, is_met: impl Fn(&Value) -> bool) -> Value {
        loop {
            let view = self.seen(&format!("/api/operator/orders/{id}")).await;
            if is_met(&view) {
                return view;
            }
            tokio::task::yield_now().await;
        }
    }

    fn audit_path(&self) -> PathBuf {
        self.folder.path().join("audit.jsonl")
    }

    /// Returns the recorded acts, but for the views of orders.
    fn recorded(&self) -> Vec<Value> {
        let text = std::fs::read_to_string(self.audit_path()).unwrap();
        let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        lines.filter(|line| line["act"] != "view-order").collect()
    }
}
