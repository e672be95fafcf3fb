//! The outermost layer of each worker, around those of the host. A panic below it ends one handler, and not
//! the worker with all its other handlers; and what the layers below are not ready for is given back.

use std::sync::Arc;
use std::task::{Context, Poll};

use apalis_core::error::BoxDynError;
use apalis_core::layers::{Layer, Service};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;

use super::intake::Intake;
use crate::resilience::supervisor::Supervisor;
use crate::telemetry;

/// What the panics of handlers and layers are counted for.
const PART: &str = "worker";

/// The outermost layer of a worker.
#[derive(Clone, Debug)]
pub struct WorkerLayer {
    intake: Arc<Intake>,
    supervisor: Arc<Supervisor>,
}

impl WorkerLayer {
    pub(super) const fn new(intake: Arc<Intake>, supervisor: Arc<Supervisor>) -> Self {
        Self { intake, supervisor }
    }
}

impl<S> Layer<S> for WorkerLayer {
    type Service = WorkerService<S>;

    fn layer(&self, inner: S) -> WorkerService<S> {
        WorkerService { inner, layer: self.clone() }
    }
}

/// The layers and the handler of a worker, whose panics are errors.
#[derive(Debug)]
pub struct WorkerService<S> {
    inner: S,
    layer: WorkerLayer,
}

impl<S, T> Service<T> for WorkerService<S>
where
    S: Service<T>,
    S::Response: Send + 'static,
    S::Error: Into<BoxDynError> + Send + 'static,
    S::Future: Send + 'static,
{
    type Response = S::Response;
    type Error = BoxDynError;
    type Future = BoxFuture<'static, Result<S::Response, BoxDynError>>;

    /// A service that fails here is never ready again, says tower: apalis ends its worker, and so the failure
    /// is logged.
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxDynError>> {
        let Self { inner, layer: WorkerLayer { intake, supervisor } } = self;
        let polled = match supervisor.guard_sync(PART, || inner.poll_ready(cx)) {
            Ok(polled) => polled.map_err(Into::into),
            Err(panicked) => Poll::Ready(Err(panicked.into())),
        };
        match &polled {
            Poll::Ready(Ok(())) => {}
            Poll::Ready(Err(error)) => {
                tracing::error!(error = %telemetry::chain(&**error), "a worker ends because one of its layers failed");
            }
            Poll::Pending => intake.refuse(cx),
        }
        polled
    }

    fn call(&mut self, task: T) -> Self::Future {
        let supervisor = Arc::clone(&self.layer.supervisor);
        let called = supervisor.guard_sync(PART, || Box::pin(self.inner.call(task)));
        async move {
            let mut call = called?;
            let result = supervisor.guard(PART, call.as_mut()).await;
            // A layer may drop what it wraps only now, a handler that took too long for instance.
            supervisor.guard_sync(PART, || drop(call))?;
            result?.map_err(Into::into)
        }
        .boxed()
    }
}
