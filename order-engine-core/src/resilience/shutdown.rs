//! How an engine comes to its end: it drains, then closes.

use tokio::sync::watch;

/// How far an engine has come towards its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Lifecycle {
    /// It works.
    Running,
    /// It begins nothing new; what is in flight ends or is given back.
    Draining,
    /// Everything ends.
    Closing,
}

/// The way of an engine from running to its end.
#[derive(Debug)]
pub(crate) struct Shutdown {
    lifecycle: watch::Sender<Lifecycle>,
    executions: Gauge,
    tasks: Gauge,
}

/// Counts what is running, and lets others wait until nothing is.
#[derive(Debug)]
struct Gauge(watch::Sender<usize>);

/// Counts as running until it is dropped.
#[derive(Debug)]
pub(crate) struct Running(watch::Sender<usize>);

/// Comes when the engine drains, or when it closes.
#[derive(Debug)]
pub(crate) struct StopSignal {
    lifecycle: watch::Receiver<Lifecycle>,
    at: Lifecycle,
}

impl Shutdown {
    pub(crate) fn new() -> Self {
        let gauge = || Gauge(watch::Sender::new(0));
        Self { lifecycle: watch::Sender::new(Lifecycle::Running), executions: gauge(), tasks: gauge() }
    }

    /// Begins the end: nothing new is begun from here on.
    pub(crate) fn drain(&self) {
        self.lifecycle.send_if_modified(|lifecycle| {
            let changes = *lifecycle < Lifecycle::Draining;
            *lifecycle = (*lifecycle).max(Lifecycle::Draining);
            changes
        });
    }

    /// Ends everything.
    pub(crate) fn close(&self) {
        self.lifecycle.send_replace(Lifecycle::Closing);
    }

    /// Whether nothing new is to be begun.
    pub(crate) fn is_draining(&self) -> bool {
        *self.lifecycle.borrow() >= Lifecycle::Draining
    }

    /// Whether everything ends.
    pub(crate) fn is_closing(&self) -> bool {
        *self.lifecycle.borrow() == Lifecycle::Closing
    }

    /// Comes when nothing new is to be begun.
    pub(crate) fn draining(&self) -> StopSignal {
        StopSignal { lifecycle: self.lifecycle.subscribe(), at: Lifecycle::Draining }
    }

    /// Comes when everything ends.
    pub(crate) fn closing(&self) -> StopSignal {
        StopSignal { lifecycle: self.lifecycle.subscribe(), at: Lifecycle::Closing }
    }

    /// Counts an execution of an order.
    pub(crate) fn enter_execution(&self) -> Running {
        self.executions.enter()
    }

    /// Counts a background task.
    pub(crate) fn enter_task(&self) -> Running {
        self.tasks.enter()
    }

    /// Waits until no order is being executed.
    pub(crate) async fn executions_ended(&self) {
        self.executions.zero().await;
    }

    /// Waits until no background task runs.
    pub(crate) async fn tasks_ended(&self) {
        self.tasks.zero().await;
    }
}

impl Gauge {
    fn enter(&self) -> Running {
        self.0.send_modify(|running| *running += 1);
        Running(self.0.clone())
    }

    async fn zero(&self) {
        // The sender lives as long as this gauge, so the wait cannot fail.
        let _ = self.0.subscribe().wait_for(|running| *running == 0).await;
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.send_modify(|running| *running -= 1);
    }
}

impl StopSignal {
    /// Waits until it comes. Safe to drop.
    pub(crate) async fn wait(&mut self) {
        let at = self.at;
        // Without a sender the engine is gone, which is an end too.
        let _ = self.lifecycle.wait_for(|lifecycle| *lifecycle >= at).await;
    }
}
