//! A fan-out between the processes that loses, doubles, delays and reorders hints.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::select;

use super::hazard::Hazard;
use super::mailbox::Mailbox;
use super::shared::Shared;
use crate::domain::event::EventRecord;
use crate::domain::order::OrderUpdate;
use crate::domain::state::step::Lane;
use crate::ports::runtime::Clock;
use crate::ports::sink::{SinkError, SinkGuarantee, StatusSink};
use crate::ports::source::{Hint, StatusSource};

/// The longest sleep of a source without hints.
const MAX_SLEEP: Duration = Duration::from_mins(10);

/// The sink and the source of one process.
#[derive(Clone)]
pub(super) struct LossyFanout {
    pub(super) process: usize,
    pub(super) shared: Arc<Shared>,
}

impl std::fmt::Debug for LossyFanout {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LossyFanout").field("process", &self.process).finish_non_exhaustive()
    }
}

impl LossyFanout {
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
impl StatusSink for LossyFanout {
    fn name(&self) -> &'static str {
        "fanout"
    }

    fn guarantee(&self) -> SinkGuarantee {
        SinkGuarantee::BestEffort
    }

    async fn deliver(&self, updates: &[OrderUpdate]) -> Result<(), SinkError> {
        let dice = &self.shared.dice;
        for OrderUpdate { event, .. } in updates {
            for (process, mailbox) in self.shared.mailboxes.iter().enumerate() {
                // One hint of ten is lost, and one of ten arrives twice.
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
impl StatusSource for LossyFanout {
    /// # Panics
    /// At random.
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
                    None => MAX_SLEEP,
                }
            };
            select(pin!(arrived), self.shared.world.sleep(wait)).await;
        }
    }

    fn is_connected(&self) -> bool {
        true
    }
}
