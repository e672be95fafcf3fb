//! The orders and the faults of a run, drawn from the seed before it begins.

use std::time::Duration;

use chrono::TimeDelta;

use super::exploration::Exploration;
use super::hazard::Hazard;
use crate::testing::chaos::{CallFaults, ChaosConfig};
use crate::testing::dice::Dice;
use crate::testing::skew::Skew;

/// A planned change of the world.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Action {
    /// Starts a process, unless it runs.
    Start(usize),
    /// Kills a process.
    Kill(usize),
    /// Suspends a process, and stops its clock as well if the flag is set.
    Suspend(usize, bool),
    /// Resumes a process.
    Resume(usize),
    /// Shuts a process down.
    ShutDown(usize),
    /// Changes the probabilities of a process' faults.
    ChangeFaults(usize),
    /// Takes the store down for all processes, or brings it back.
    SetStoreDown(bool),
}

/// An order that clients will submit.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct PlannedOrder {
    pub(super) at: Duration,
    /// Whether it has a client order id.
    pub(super) is_named: bool,
    /// Whether two clients submit it.
    pub(super) is_doubled: bool,
    /// The time from its submission to its deadline.
    pub(super) ttl: Option<Duration>,
    /// The time from its acceptance to each of its cancels.
    pub(super) cancels: [Option<Duration>; 2],
    pub(super) killer: Option<Killer>,
}

/// What an order does to the process that prepares it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Killer {
    /// The process dies.
    Kills,
    /// The worker panics.
    Panics,
}

/// The user of ordinary orders.
pub(super) const USER: &str = "alice";
/// The user whose orders kill processes.
pub(super) const KILLS: &str = "kills";
/// The user whose orders make workers panic.
pub(super) const PANICS: &str = "panics";

impl Killer {
    /// Returns the user of such orders.
    pub(super) const fn user(self) -> &'static str {
        match self {
            Self::Kills => KILLS,
            Self::Panics => PANICS,
        }
    }
}

/// All planned changes and orders.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) actions: Vec<(Duration, Action)>,
    pub(super) orders: Vec<PlannedOrder>,
}

/// One of this many seeds has an order that kills.
const SEEDS_TO_A_KILLER: u64 = 6;
/// The largest difference between a clock and the world's, in milliseconds: three hours.
const MAX_OFFSET_MS: u64 = 3 * 3_600_000;
/// The largest drift of a clock, in millionths.
const MAX_DRIFT_PPM: u64 = 2_000;

fn ms(dice: &Dice, low: u64, high: u64) -> Duration {
    Duration::from_millis(dice.between(low, high))
}

impl Plan {
    pub(super) fn draw(exploration: &Exploration, dice: &Dice) -> Self {
        let mut actions = Vec::new();
        for process in 0..exploration.processes {
            draw_life(exploration, &dice.fork(process as u64), process, &mut actions);
        }
        if exploration.has(Hazard::Outages) && dice.happens(500_000) {
            let from = ms(dice, 0, trouble_ms(exploration));
            actions.push((from, Action::SetStoreDown(true)));
            actions.push((from + ms(dice, 100, 45_000), Action::SetStoreDown(false)));
        }
        let mut orders: Vec<_> = (0..exploration.orders).map(|_| draw_order(exploration, dice)).collect();
        if exploration.has(Hazard::Killers) && exploration.seed % SEEDS_TO_A_KILLER == SEEDS_TO_A_KILLER - 1 {
            let killer = if dice.happens(500_000) { Killer::Kills } else { Killer::Panics };
            let at = ms(dice, 0, trouble_ms(exploration));
            orders.push(PlannedOrder { at, is_named: true, killer: Some(killer), ..PlannedOrder::default() });
        }
        actions.sort();
        Self { actions, orders }
    }
}

fn trouble_ms(exploration: &Exploration) -> u64 {
    u64::try_from(exploration.trouble.as_millis()).unwrap_or(u64::MAX)
}

/// Draws the life of one process. Whatever happens to it, it is started again.
fn draw_life(exploration: &Exploration, dice: &Dice, process: usize, actions: &mut Vec<(Duration, Action)>) {
    let mut now = ms(dice, 0, 2_000);
    actions.push((now, Action::Start(process)));
    let faults: Vec<Hazard> = [Hazard::Kills, Hazard::Suspensions, Hazard::Shutdowns]
        .into_iter()
        .filter(|hazard| exploration.has(*hazard))
        .collect();
    loop {
        actions.push((now, Action::ChangeFaults(process)));
        now += ms(dice, 2_000, 60_000);
        if now >= exploration.trouble {
            return;
        }
        if faults.is_empty() || dice.happens(300_000) {
            continue;
        }
        match faults[dice.choose(faults.len())] {
            Hazard::Suspensions => {
                actions.push((now, Action::Suspend(process, dice.happens(500_000))));
                now += ms(dice, 100, 90_000);
                actions.push((now, Action::Resume(process)));
            }
            Hazard::Shutdowns => {
                actions.push((now, Action::ShutDown(process)));
                now += ms(dice, 100, 20_000);
                actions.push((now, Action::Kill(process)));
                now += ms(dice, 100, 20_000);
                actions.push((now, Action::Start(process)));
            }
            _ => {
                actions.push((now, Action::Kill(process)));
                now += ms(dice, 1, 60_000);
                actions.push((now, Action::Start(process)));
            }
        }
    }
}

fn draw_order(exploration: &Exploration, dice: &Dice) -> PlannedOrder {
    let at = ms(dice, 0, trouble_ms(exploration));
    let is_named = dice.happens(600_000);
    let mut cancels = [None, None];
    if exploration.has(Hazard::Cancels) && dice.happens(250_000) {
        cancels[0] = Some(ms(dice, 0, 3_000));
        cancels[1] = dice.happens(400_000).then(|| ms(dice, 0, 3_000));
    }
    let has_deadline = exploration.has(Hazard::Deadlines) && dice.happens(200_000);
    PlannedOrder {
        at,
        is_named,
        is_doubled: is_named && dice.happens(400_000),
        ttl: has_deadline.then(|| ms(dice, 500, 90_000)),
        cancels,
        killer: None,
    }
}

/// Draws how far a clock is off.
pub(super) fn draw_skew(exploration: &Exploration, dice: &Dice) -> Skew {
    if !exploration.has(Hazard::Clocks) {
        return Skew::default();
    }
    let signed =
        |most: u64| i64::try_from(dice.between(0, 2 * most)).unwrap_or(0) - i64::try_from(most).unwrap_or(0);
    let offset = TimeDelta::milliseconds(signed(MAX_OFFSET_MS));
    let drift_ppm = i32::try_from(signed(MAX_DRIFT_PPM)).unwrap_or(0);
    Skew { offset, drift_ppm }
}

/// Draws the probabilities of faults for a while.
pub(super) fn draw_faults(exploration: &Exploration, dice: &Dice) -> ChaosConfig {
    // A third of the time has no faults, and a sixth of it has many.
    let strength = match dice.between(0, 5) {
        0 | 1 => 0,
        2 | 3 => 1,
        4 => 3,
        _ => 10,
    };
    let rate = |hazard, base_ppm: u32| if exploration.has(hazard) { base_ppm * strength } else { 0 };
    let delays = |max_ms| CallFaults {
        delay_ppm: if exploration.has(Hazard::Delays) { 300_000 } else { 0 },
        max_delay: Duration::from_millis(max_ms),
        ..CallFaults::default()
    };
    ChaosConfig {
        store: CallFaults {
            refused_ppm: rate(Hazard::StoreErrors, 10_000),
            reply_lost_ppm: rate(Hazard::StoreReplies, 10_000),
            panic_ppm: rate(Hazard::StorePanics, 1_000),
            late_panic_ppm: rate(Hazard::StorePanics, 1_000),
            stall_ppm: rate(Hazard::StoreStalls, 1_000),
            max_stall: Duration::from_secs(15),
            ..delays(20)
        },
        venue: CallFaults {
            refused_ppm: rate(Hazard::VenueErrors, 20_000),
            reply_lost_ppm: rate(Hazard::VenueErrors, 20_000),
            panic_ppm: rate(Hazard::ObservePanics, 3_000),
            late_panic_ppm: rate(Hazard::ObservePanics, 3_000),
            stall_ppm: rate(Hazard::VenueStalls, 4_000),
            max_stall: Duration::from_secs(40),
            ..delays(300)
        },
        prepare: CallFaults {
            refused_ppm: rate(Hazard::VenueErrors, 20_000),
            reply_lost_ppm: rate(Hazard::VenueErrors, 20_000),
            panic_ppm: rate(Hazard::PreparePanics, 1_000),
            late_panic_ppm: rate(Hazard::PreparePanics, 1_000),
            stall_ppm: rate(Hazard::VenueStalls, 4_000),
            max_stall: Duration::from_secs(40),
            ..delays(300)
        },
        router: CallFaults {
            refused_ppm: rate(Hazard::RouterErrors, 20_000),
            reply_lost_ppm: rate(Hazard::RouterErrors, 20_000),
            panic_ppm: rate(Hazard::RouterPanics, 1_000),
            late_panic_ppm: rate(Hazard::RouterPanics, 1_000),
            stall_ppm: rate(Hazard::RouterErrors, 2_000),
            max_stall: Duration::from_secs(40),
            ..delays(300)
        },
        sink: CallFaults {
            refused_ppm: rate(Hazard::SinkErrors, 30_000),
            reply_lost_ppm: rate(Hazard::SinkErrors, 30_000),
            panic_ppm: rate(Hazard::SinkPanics, 10_000),
            late_panic_ppm: rate(Hazard::SinkPanics, 10_000),
            stall_ppm: rate(Hazard::SinkStalls, 10_000),
            max_stall: Duration::from_mins(3),
            ..delays(300)
        },
    }
}
