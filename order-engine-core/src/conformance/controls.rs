//! What is paused.

use super::Harness;
use super::cases::cases;
use crate::ports::controls::{Activity, PauseRequest, PauseScope};

fn request(activity: Activity, scope: PauseScope, reason: &str) -> PauseRequest {
    PauseRequest { activity, scope, reason: reason.to_owned() }
}

fn scopes() -> [PauseScope; 4] {
    [
        PauseScope::All,
        PauseScope::Venue("sim".into()),
        PauseScope::Pair { input: "SOL".into(), output: "USDC \u{fffd}\"'%_".into() },
        PauseScope::User("alice".into()),
    ]
}

cases!(
    /// Each activity is paused and resumed in each scope by itself, for every handle on the data.
    async fn pauses_are_kept_apart(harness: &impl Harness) {
        let (store, other) = (harness.store().await, harness.store().await);
        assert_eq!(store.pauses().await.unwrap(), []);
        for activity in Activity::ALL {
            for scope in scopes() {
                store.pause(&request(activity, scope, activity.as_str())).await.unwrap();
            }
        }
        let pauses = other.pauses().await.unwrap();
        let expected = Activity::ALL.iter().flat_map(|activity| scopes().map(|scope| (*activity, scope)));
        let found: Vec<_> = pauses.iter().map(|pause| (pause.activity, pause.scope.clone())).collect();
        assert_eq!(found, expected.collect::<Vec<_>>(), "in the order of activities and scopes");
        assert!(pauses.iter().all(|pause| pause.reason == pause.activity.as_str()));
        assert!(other.resume(Activity::Routing, &scopes()[1]).await.unwrap());
        assert!(!store.resume(Activity::Routing, &scopes()[1]).await.unwrap());
        assert_eq!(store.pauses().await.unwrap().len(), pauses.len() - 1);
    },

    /// A pause that is repeated gets the new reason and keeps its time, which is the store's.
    async fn a_repeated_pause_keeps_its_time(harness: &impl Harness) {
        let store = harness.store().await;
        let before = store.now().await.unwrap();
        store.pause(&request(Activity::Sending, PauseScope::All, "first")).await.unwrap();
        let first = store.pauses().await.unwrap().remove(0);
        assert!(before <= first.since && first.since <= store.now().await.unwrap());
        harness.elapse(super::fixtures::SHORT).await;
        store.pause(&request(Activity::Sending, PauseScope::All, "second")).await.unwrap();
        let second = store.pauses().await.unwrap().remove(0);
        assert_eq!((second.since, second.reason.as_str()), (first.since, "second"));
    },

    /// A long reason is cut, and no character makes a pause fail.
    async fn any_reason_is_kept_as_far_as_it_goes(harness: &impl Harness) {
        let store = harness.store().await;
        let reason = "\u{1f680}".repeat(PauseRequest::REASON_MAX_CHARS + 1);
        store.pause(&request(Activity::Accepting, PauseScope::All, &reason)).await.unwrap();
        let kept = store.pauses().await.unwrap().remove(0).reason;
        assert_eq!(kept.chars().count(), PauseRequest::REASON_MAX_CHARS);
    }
);
