//! A fan-out between the processes that loses, doubles, delays and reorders what it carries.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use futures_util::future::select;
use std::pin::pin;
use tokio::sync::Notify;

use super::Hazard;
use super::world::Shared;
use crate::domain::event::EventRecord;
use crate::domain::state::step::Lane;
use crate::ports::runtime::Clock;
use crate::ports::sink::{SinkError, SinkGuarantee, StatusSink};
use crate::ports::source::{Hint, StatusSource};

/// How long a process that waits for news sleeps at most.
const DOZE: Duration = Duration::from_mins(10);

/// What is on its way to one process, by the time of its arrival.
#[derive(Debug, Default)]
pub(super) struct Mailbox {
    hints: Mutex<BTreeMap<(DateTime<Utc>, u64), Hint>>,
    arrived: Notify,
}

impl Mailbox {
    fn hints(&self) -> MutexGuard<'_, BTreeMap<(DateTime<Utc>, u64), Hint>> {
        self.hints.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One process' end of the fan-out.
#[derive(Clone)]
pub(super) struct Gossip {
    pub(super) process: usize,
    pub(super) shared: Arc<Shared>,
}

impl std::fmt::Debug for Gossip {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Gossip").field("process", &self.process).finish_non_exhaustive()
    }
}

impl Gossip {
    fn send(&self, to: &Mailbox, event: &Arc<EventRecord>) {
        let dice = &self.shared.dice;
        let hint = match dice.between(0, 19) {
            0 => Hint::Resync,
            1 => Hint::Due(if dice.happens(500_000) { Lane::Execute } else { Lane::Observe }),
            2..=6 => Hint::Advanced { order_id: event.order_id, seq: event.seq },
            _ => Hint::Event(Arc::clone(event)),
        };
        let most_ms = if dice.happens(100_000) { 20_000 } else { 20 };
        let arrives_at = self.shared.world.now() + Duration::from_millis(dice.between(0, most_ms));
        to.hints().insert((arrives_at, dice.roll()), hint);
        to.arrived.notify_one();
    }
}

#[async_trait]
impl StatusSink for Gossip {
    fn name(&self) -> &'static str {
        "gossip"
    }

    fn guarantee(&self) -> SinkGuarantee {
        SinkGuarantee::BestEffort
    }

    async fn deliver(&self, events: &[Arc<EventRecord>]) -> Result<(), SinkError> {
        let dice = &self.shared.dice;
        for event in events {
            for (process, mailbox) in self.shared.mailboxes.iter().enumerate() {
                // A tenth is lost, a tenth comes twice.
                let copies = [0, 1, 1, 1, 1, 1, 1, 1, 1, 2][dice.choose(10)];
                if process != self.process {
                    (0..copies).for_each(|_| self.send(mailbox, event));
                }
            }
        }
        Ok(())
    }
}

#[async_trait]
impl StatusSource for Gossip {
    /// # Panics
    /// If the dice say so.
    async fn next(&self) -> Hint {
        let mailbox = &self.shared.mailboxes[self.process];
        loop {
            if self.shared.has(Hazard::SourcePanics) && self.shared.dice.happens(1_000) {
                std::panic::resume_unwind(Box::new("a source that panics"));
            }
            let arrived = mailbox.arrived.notified();
            let now = self.shared.world.now();
            let wait = {
                let mut hints = mailbox.hints();
                match hints.first_entry() {
                    Some(first) if first.key().0 <= now => return first.remove(),
                    Some(first) => (first.key().0 - now).to_std().unwrap_or_default(),
                    None => DOZE,
                }
            };
            select(pin!(arrived), self.shared.world.sleep(wait)).await;
        }
    }

    fn is_connected(&self) -> bool {
        true
    }
}
