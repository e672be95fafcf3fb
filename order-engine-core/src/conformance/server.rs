//! A server that stops answering, and comes back.
#![allow(clippy::disallowed_methods)] // A real server answers in real time.

use std::time::Duration;

use super::ServerHarness;
use super::cases::cases;
use super::fixtures::{Worker, assert_stored, create, create_one, history, id, new_order, routing_started};
use crate::domain::state::step::Lane;
use crate::ports::order_store::error::{StoreError, StoreErrorKind};
use crate::ports::order_store::lease::{ClaimRequest, ClaimScope};
use crate::ports::order_store::write::Then;

/// The longest that a call may take while the server does not answer.
const BOUND: Duration = Duration::from_mins(1);

/// Waits for a call, which must fail as unavailable in bounded time.
async fn is_unavailable<T>(call: impl Future<Output = Result<T, StoreError>> + Send) {
    let result = tokio::time::timeout(BOUND, call).await.expect("a call ends in bounded time");
    assert_eq!(result.err().map(|error| error.kind()), Some(StoreErrorKind::Unavailable));
}

cases!(
    /// While the server is down, calls fail as unavailable in bounded time. When it is back, the same handle
    /// works again, and nothing that was acknowledged is missing.
    async fn calls_fail_as_unavailable_while_the_server_is_down(harness: &impl ServerHarness) {
        let store = harness.store().await;
        let order = create_one(&store, 1).await;
        let worker = Worker::new(&store, 1);
        let claim = worker.claim_one().await;
        let written = worker.write(&claim, Then::Keep, &[routing_started(1)]).await;

        harness.stop_server().await;
        is_unavailable(store.check()).await;
        is_unavailable(store.load(order.id)).await;
        is_unavailable(store.create(&[new_order(2)])).await;
        let (lane, scope, duration) = (Lane::Execute, ClaimScope::Any, Duration::from_secs(1));
        let request = ClaimRequest { lane, scope, limit: 1, owner: 2, duration };
        is_unavailable(store.claim(&request)).await;
        harness.start_server().await;

        let again = async {
            while store.check().await.is_err() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(BOUND, again).await.expect("the store answers again");
        assert_stored(&store, &written).await;
        create(&store, &[new_order(3)]).await;
        assert_eq!(history(&store, id(3)).await.len(), 1);
    }
);
