//! The outermost layer of each worker, around those of the host: a panic below it ends one handler, and not
//! the worker with all its other handlers.

use std::sync::Arc;
use std::task::{Context, Poll};

use apalis_core::error::BoxDynError;
use apalis_core::layers::{Layer, Service};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;

use crate::resilience::supervisor::Supervisor;

/// What the panics of handlers and layers are counted for.
const PART: &str = "worker";

/// Turns the panics of handlers and layers into errors of their tasks.
#[derive(Clone, Debug)]
pub struct Containment {
    supervisor: Arc<Supervisor>,
}

impl Containment {
    pub(super) const fn new(supervisor: Arc<Supervisor>) -> Self {
        Self { supervisor }
    }
}

impl<S> Layer<S> for Containment {
    type Service = Contained<S>;

    fn layer(&self, inner: S) -> Contained<S> {
        Contained { inner, supervisor: Arc::clone(&self.supervisor) }
    }
}

/// A service with its layers, whose panics are errors.
#[derive(Debug)]
pub struct Contained<S> {
    inner: S,
    supervisor: Arc<Supervisor>,
}

impl<S, T> Service<T> for Contained<S>
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
        let polled = self.supervisor.guard_sync(PART, || self.inner.poll_ready(cx));
        let polled = match polled {
            Ok(polled) => polled.map_err(Into::into),
            Err(panicked) => Poll::Ready(Err(panicked.into())),
        };
        if let Poll::Ready(Err(error)) = &polled {
            tracing::error!(%error, "a worker ends because one of its layers failed");
        }
        polled
    }

    fn call(&mut self, task: T) -> Self::Future {
        let supervisor = Arc::clone(&self.supervisor);
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
