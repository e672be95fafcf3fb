//! One table of cases for every store: each case is a test of each.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use order_engine_core::{FeedCursor, OrderId, UserId};
use uuid::Uuid;

use crate::webhooks::attempt::{Attempt, Trigger};
use crate::webhooks::endpoint::{Disabled, Endpoint, EndpointId, Progress, Reason, Settings};
use crate::webhooks::lease::Lease;
use crate::webhooks::secret::{Secrets, SigningSecret};
use crate::webhooks::store::{LOG_ENTRIES, WebhookStore};
use crate::webhooks::target::{TargetRules, TargetUrl};

const LONG: Duration = Duration::from_mins(10);

fn at(seconds: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(1_767_225_600 + seconds, 0).unwrap()
}

/// Returns an endpoint of a user, created so many seconds after the first.
fn endpoint(user: &str, seconds: i64) -> Endpoint {
    Endpoint {
        id: EndpointId::generate(),
        user: UserId::new(user),
        created_at: at(seconds),
        revision: 1,
        settings: Settings {
            url: TargetUrl::parse("https://hooks.example/a?b=c", &TargetRules::default()).unwrap(),
            kinds: vec!["order.failed".to_owned()],
            description: "Zo\u{eb}'s \"hook\"".to_owned(),
            secrets: Secrets::new(SigningSecret::generate().unwrap()),
            is_on: true,
        },
        progress: Progress::after(FeedCursor::end_of(7)),
    }
}

fn attempt(n: u32) -> Attempt {
    Attempt {
        event_id: format!("evt_{n}"),
        r#type: "order.confirmed".to_owned(),
        order_id: Some(OrderId::from_bytes([7; 16])),
        seq: Some(u64::from(n)),
        trigger: Trigger::Event,
        tries: n,
        at: at(i64::from(n)),
        status: Some(500),
        error: Some("status".to_owned()),
        duration_ms: 12,
    }
}

async fn added(store: &dyn WebhookStore, user: &str) -> Endpoint {
    let endpoint = endpoint(user, 0);
    assert!(store.create(&endpoint, 10).await.unwrap());
    endpoint
}

/// Has a new holder take what is free, and returns its lease of an endpoint.
async fn taken(store: &dyn WebhookStore, id: EndpointId, duration: Duration) -> Option<Lease> {
    let leases = store.lease(Uuid::new_v4(), duration, 10).await.unwrap();
    leases.into_iter().find(|lease| lease.id == id)
}

async fn endpoints_come_back_as_they_were(store: &dyn WebhookStore) {
    let [older, newer, bobs] = [endpoint("alice", 1), endpoint("alice", 2), endpoint("bob", 0)];
    for endpoint in [&newer, &older, &bobs] {
        assert!(store.create(endpoint, 10).await.unwrap());
    }
    assert_eq!(store.endpoints(&UserId::new("alice")).await.unwrap(), [older.clone(), newer.clone()]);
    assert_eq!(store.endpoint(bobs.id).await.unwrap(), Some(bobs));
    assert_eq!(store.endpoints(&UserId::new("carol")).await.unwrap(), []);
    assert_eq!(store.endpoint(EndpointId::generate()).await.unwrap(), None);
    assert!(store.delete(older.id).await.unwrap() && !store.delete(older.id).await.unwrap());
    assert_eq!(store.endpoints(&UserId::new("alice")).await.unwrap(), [newer]);
}

async fn the_endpoints_of_all_users_are_read_in_pages(store: &dyn WebhookStore) {
    assert_eq!(store.all(None, 10).await.unwrap(), []);
    let mut expected = Vec::new();
    for user in ["alice", "bob", "carol"] {
        expected.push(added(store, user).await);
    }
    expected.sort_by_key(|endpoint| endpoint.id);
    assert_eq!(store.all(None, 2).await.unwrap(), expected[..2]);
    assert_eq!(store.all(Some(expected[1].id), 2).await.unwrap(), expected[2..]);
    assert!(store.delete(expected[1].id).await.unwrap());
    // The place of one that is gone is still a place.
    assert_eq!(store.all(Some(expected[1].id), 2).await.unwrap(), expected[2..]);
    assert_eq!(store.all(None, 10).await.unwrap(), [expected[0].clone(), expected[2].clone()]);
}

async fn a_user_has_no_more_than_allowed(store: &dyn WebhookStore) {
    for n in 0..3 {
        assert_eq!(store.create(&endpoint("alice", n), 2).await.unwrap(), n < 2);
    }
    assert!(store.create(&endpoint("bob", 0), 2).await.unwrap());
    let theirs = store.endpoints(&UserId::new("alice")).await.unwrap();
    assert_eq!(theirs.len(), 2);
    assert!(store.delete(theirs[0].id).await.unwrap());
    assert!(store.create(&endpoint("alice", 4), 2).await.unwrap());
}

async fn a_change_wins_once_and_takes_the_lease_away(store: &dyn WebhookStore) {
    let first = added(store, "alice").await;
    let lease = taken(store, first.id, LONG).await.unwrap();
    let settings = Settings { description: "changed".to_owned(), ..first.settings.clone() };
    let changed = Endpoint { settings, progress: Progress::after(FeedCursor::end_of(99)), ..first.clone() };
    assert!(store.update(&changed, false).await.unwrap());
    assert!(!store.update(&changed, false).await.unwrap(), "it has another revision now");
    let kept = store.endpoint(first.id).await.unwrap().unwrap();
    let expected = Endpoint { revision: 2, progress: first.progress.clone(), ..changed.clone() };
    assert_eq!(kept, expected, "the progress stays");
    assert!(!store.advance(&lease, &first.progress, &[attempt(1)]).await.unwrap());
    assert_eq!(store.attempts(first.id, None, 10).await.unwrap(), []);
    // The same holder gets it again, for the new revision; what it was doing for the old one is not written.
    let leases = store.lease(lease.holder, LONG, 10).await.unwrap();
    assert_eq!(leases, [Lease { revision: 2, ..lease }]);
    assert!(!store.advance(&lease, &first.progress, &[]).await.unwrap());
    let restarted = Endpoint { revision: 2, ..changed };
    assert!(store.update(&restarted, true).await.unwrap());
    assert_eq!(store.endpoint(first.id).await.unwrap().unwrap().progress, restarted.progress);
    let gone = endpoint("alice", 0);
    assert!(!store.update(&gone, false).await.unwrap());
}

async fn an_endpoint_has_one_holder(store: &dyn WebhookStore) {
    let [one, other] = [added(store, "alice").await, added(store, "bob").await];
    let holder = Uuid::new_v4();
    let first = store.lease(holder, LONG, 1).await.unwrap();
    assert_eq!(first.len(), 1, "no more than it may have");
    assert_eq!(store.lease(holder, LONG, 1).await.unwrap(), first, "and renewed");
    let rest = store.lease(Uuid::new_v4(), LONG, 10).await.unwrap();
    let ids: BTreeSet<EndpointId> = first.iter().chain(&rest).map(|lease| lease.id).collect();
    assert_eq!((rest.len(), ids), (1, BTreeSet::from([one.id, other.id])));
    store.release(&first[0], Duration::ZERO).await.unwrap();
    assert!(taken(store, first[0].id, LONG).await.is_some());
    store.release(&first[0], Duration::ZERO).await.unwrap();
    assert!(taken(store, first[0].id, LONG).await.is_none(), "only its holder gives it up");
    store.release(&rest[0], LONG).await.unwrap();
    assert!(taken(store, rest[0].id, LONG).await.is_none(), "not before the pause is over");
}

async fn a_lease_ends_by_itself(store: &dyn WebhookStore) {
    let endpoint = added(store, "alice").await;
    let old = taken(store, endpoint.id, Duration::ZERO).await.unwrap();
    let new = taken(store, endpoint.id, LONG).await.expect("nobody has it any more");
    let progress = Progress::after(FeedCursor::end_of(8));
    assert!(!store.advance(&old, &progress, &[]).await.unwrap());
    assert!(store.advance(&new, &progress, &[]).await.unwrap());
    assert_eq!(store.lease(old.holder, LONG, 10).await.unwrap(), []);
}

async fn what_is_disabled_or_off_is_not_held(store: &dyn WebhookStore) {
    let first = added(store, "alice").await;
    let lease = taken(store, first.id, LONG).await.unwrap();
    let disabled = Some(Disabled { reason: Reason::Gone, at: at(9) });
    let given_up = Progress { disabled, failures: 3, ..first.progress.clone() };
    assert!(store.advance(&lease, &given_up, &[]).await.unwrap());
    assert_eq!(store.lease(lease.holder, LONG, 10).await.unwrap(), []);
    assert_eq!(taken(store, first.id, LONG).await, None);
    // A change of the settings alone does not start it again.
    assert!(store.update(&first, false).await.unwrap());
    assert_eq!(taken(store, first.id, LONG).await, None);
    assert!(store.update(&Endpoint { revision: 2, ..first.clone() }, true).await.unwrap());
    assert!(taken(store, first.id, LONG).await.is_some());
    let settings = Settings { is_on: false, ..first.settings.clone() };
    assert!(store.update(&Endpoint { revision: 3, settings, ..first.clone() }, true).await.unwrap());
    assert_eq!(taken(store, first.id, LONG).await, None);
}

async fn the_log_is_read_in_pages_and_bounded(store: &dyn WebhookStore) {
    let endpoint = added(store, "alice").await;
    let other = added(store, "bob").await;
    let lease = taken(store, endpoint.id, LONG).await.unwrap();
    let attempts: Vec<Attempt> = (1..=3).map(attempt).collect();
    let progress = Progress { failures: 2, last_error: Some("tls-failed".to_owned()), ..endpoint.progress };
    assert!(store.advance(&lease, &progress, &attempts).await.unwrap());
    let test = Attempt { order_id: None, seq: None, trigger: Trigger::Test, error: None, ..attempt(4) };
    store.log(endpoint.id, &test).await.unwrap();
    store.log(EndpointId::generate(), &test).await.unwrap();
    assert_eq!(store.endpoint(endpoint.id).await.unwrap().unwrap().progress, progress);
    let newest = store.attempts(endpoint.id, None, 2).await.unwrap();
    assert_eq!(newest, [(4, test), (3, attempt(3))]);
    assert_eq!(store.attempts(endpoint.id, Some(3), 10).await.unwrap(), [(2, attempt(2)), (1, attempt(1))]);
    assert_eq!(store.attempts(other.id, None, 10).await.unwrap(), []);
    let many: Vec<Attempt> = (0..u32::try_from(LOG_ENTRIES).unwrap()).map(attempt).collect();
    assert!(store.advance(&lease, &progress, &many).await.unwrap());
    let kept = store.attempts(endpoint.id, None, usize::MAX >> 1).await.unwrap();
    assert_eq!((kept.len() as u64, kept.last().unwrap().0), (LOG_ENTRIES, 5));
    assert!(store.delete(endpoint.id).await.unwrap());
    assert_eq!(store.attempts(endpoint.id, None, 10).await.unwrap(), []);
}

/// Two processes that look at the same moment take each endpoint once.
async fn holders_that_race_share(store: &dyn WebhookStore) {
    let mut expected = BTreeSet::new();
    for n in 0..20 {
        let endpoint = endpoint("alice", n);
        assert!(store.create(&endpoint, 20).await.unwrap());
        expected.insert(endpoint.id);
    }
    let races = (0..4).map(|_| store.lease(Uuid::new_v4(), LONG, 10));
    let mut taken = Vec::new();
    for leases in futures_util::future::join_all(races).await {
        taken.extend(leases.unwrap().into_iter().map(|lease| lease.id));
    }
    // Who skips what another is about to take comes back for it.
    taken.extend(store.lease(Uuid::new_v4(), LONG, 20).await.unwrap().into_iter().map(|lease| lease.id));
    assert_eq!(taken.len(), expected.len());
    assert_eq!(taken.into_iter().collect::<BTreeSet<_>>(), expected);
}

/// Makes each case a test of a store, which an expression opens and keeps with what it needs.
macro_rules! cases {
    ($store:ident, $open:expr) => {
        mod $store {
            cases! { @ $open;
                endpoints_come_back_as_they_were
                the_endpoints_of_all_users_are_read_in_pages
                a_user_has_no_more_than_allowed
                a_change_wins_once_and_takes_the_lease_away
                an_endpoint_has_one_holder
                a_lease_ends_by_itself
                what_is_disabled_or_off_is_not_held
                the_log_is_read_in_pages_and_bounded
                holders_that_race_share
            }
        }
    };
    (@ $open:expr; $($case:ident)*) => {
        $(
            #[tokio::test(flavor = "multi_thread")]
            async fn $case() {
                let (store, _kept) = $open.await;
                super::$case(&store).await;
            }
        )*
    };
}

cases!(memory, async { (crate::webhooks::stores::memory::MemoryWebhooks::default(), ()) });

cases!(sqlite, async {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("below/webhooks.db");
    (crate::webhooks::stores::sqlite::SqliteWebhooks::open(path).await.unwrap(), folder)
});

#[cfg(feature = "postgres")]
cases!(postgres, async {
    let options = order_engine_postgres::testing::fresh_schema();
    // The store of the orders makes the schema.
    let orders = order_engine_postgres::PostgresStore::open(options.clone()).await.unwrap();
    (crate::webhooks::stores::postgres::PostgresWebhooks::open(&options).await.unwrap(), orders)
});

#[cfg(feature = "redis")]
cases!(redis, async {
    let server = order_engine_redis::testing::RedisServer::start(&order_engine_redis::testing::DURABLE);
    let options = order_engine_redis::RedisOptions::new(&server.url()).unwrap();
    (crate::webhooks::stores::redis::RedisWebhooks::open(&options).await.unwrap(), server)
});

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn processes_may_open_a_new_file_at_once() {
    use crate::webhooks::stores::sqlite::SqliteWebhooks;

    // Each file is new only once, and whether its openers meet is luck.
    for _ in 0..25 {
        let folder = tempfile::tempdir().unwrap();
        let together = Arc::new(tokio::sync::Barrier::new(4));
        let opening: Vec<_> = (0..4)
            .map(|_| {
                let (path, together) = (folder.path().join("orders.webhooks.db"), Arc::clone(&together));
                tokio::spawn(async move {
                    together.wait().await;
                    added(&SqliteWebhooks::open(path).await.unwrap(), "alice").await;
                })
            })
            .collect();
        for opened in opening {
            opened.await.unwrap();
        }
    }
}

#[tokio::test]
async fn a_file_is_its_owners_and_keeps_what_was_answered() {
    use std::os::unix::fs::PermissionsExt as _;

    use crate::webhooks::stores::sqlite::SqliteWebhooks;

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("orders.webhooks.db");
    let first = SqliteWebhooks::open(path.clone()).await.unwrap();
    let endpoint = added(&first, "alice").await;
    let second = SqliteWebhooks::open(path.clone()).await.unwrap();
    assert_eq!(second.endpoint(endpoint.id).await.unwrap(), Some(endpoint));
    for file in std::fs::read_dir(folder.path()).unwrap() {
        let file = file.unwrap();
        assert_eq!(file.metadata().unwrap().permissions().mode() & 0o077, 0, "{:?}", file.path());
    }
    rusqlite::Connection::open(&path).unwrap().pragma_update(None, "user_version", 99).unwrap();
    let error = SqliteWebhooks::open(path).await.unwrap_err();
    assert!(error.to_string().contains("newer program"), "{error}");
}
