//! The adaptive fee of Orca's Whirlpools: it grows with the distance of the price from where it was, in groups of ticks,
//! and decays with time. A pool's oracle account holds it.

use ruint::aliases::U256;
use serde::{Deserialize, Serialize};

use crate::curve::ticks::{Groups, MAX_TICK, MIN_TICK, PricedTick, StepFees, Stretch, TickTable};
use crate::error::InvalidPool;
use crate::fee::ONE_BPS;
use crate::trade::{Direction, Moment};

/// The bound of the control factor: one, in hundred thousandths.
const ONE_CONTROL: u32 = 100_000;
/// The seconds after which a reference is given up, even if large trades follow one another.
const MAX_REFERENCE_AGE_S: u64 = 3_600;
/// The ticks of one of the program's tick arrays, in spacings: the bound of a large trade.
const ARRAY_SPACINGS: u32 = 88;

/// The adaptive fee of a pool, named as in the program's `AdaptiveFeeConstants`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AdaptiveFee {
    /// The seconds after the last change of the reference, or the last large trade, in which a trade continues the
    /// volatility.
    pub filter_period_s: u16,
    /// The seconds after which volatility starts at zero again.
    pub decay_period_s: u16,
    /// The share of the volatility that remains between the two periods, in basis points.
    pub reduction_factor_bps: u16,
    /// How fast the fee grows with the square of volatility, in hundred thousandths.
    pub control_factor: u32,
    /// The highest volatility.
    pub max_volatility_accumulator: u32,
    /// The ticks of a group.
    pub tick_group_size: u16,
    /// The ticks by which a trade moves the price at least if it is a large one.
    pub major_swap_threshold_ticks: u16,
    /// How much the price has moved recently.
    pub volatility: AdaptiveFeeVolatility,
}

/// How much the price of a pool with an adaptive fee has moved recently, named as in the program's
/// `AdaptiveFeeVariables`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AdaptiveFeeVolatility {
    /// The moment at which the reference last changed.
    pub last_reference_update: Moment,
    /// The moment of the last large trade.
    pub last_major_swap: Moment,
    /// The volatility from which a trade starts.
    pub reference: u32,
    /// The group from which the distance of a trade counts.
    pub index_reference: i32,
    /// The volatility at the end of the last trade.
    pub accumulator: u32,
}

impl AdaptiveFee {
    /// Checks what the program checks when it sets the constants.
    pub(super) fn check(&self, tick_spacing: u16) -> Result<(), InvalidPool> {
        let invalid = |field, reason| Err(InvalidPool { field, reason });
        if self.filter_period_s == 0 || self.decay_period_s <= self.filter_period_s {
            return invalid("decay_period_s", "must be longer than the filter period, which is not zero");
        }
        if u32::from(self.reduction_factor_bps) >= ONE_BPS {
            return invalid("reduction_factor_bps", "must be below 10000");
        }
        if self.control_factor >= ONE_CONTROL {
            return invalid("control_factor", "must be below 100000");
        }
        let size = self.tick_group_size;
        if size == 0 || !tick_spacing.is_multiple_of(size) {
            return invalid("tick_group_size", "must divide the tick spacing");
        }
        let most = u32::from(tick_spacing) * ARRAY_SPACINGS;
        if !(1..=most).contains(&u32::from(self.major_swap_threshold_ticks)) {
            return invalid(
                "major_swap_threshold_ticks",
                "must be between one and the ticks of a tick array",
            );
        }
        let AdaptiveFeeVolatility { reference, accumulator, index_reference, .. } = self.volatility;
        if accumulator.max(reference) > self.max_volatility_accumulator {
            return invalid("volatility", "must not be above the highest");
        }
        if !(Groups::of(MIN_TICK, size)..=Groups::of(MAX_TICK, size)).contains(&index_reference) {
            return invalid("index_reference", "must be a group of ticks");
        }
        Groups::check(size, self.max_volatility_accumulator)
    }

    /// Returns the fee of a trade on its way from a tick.
    pub(super) fn steps(&self, base_ppm: u32, direction: Direction, tick: i32, at: Moment) -> AdaptiveSteps {
        let size = self.tick_group_size;
        let group = Groups::of(tick, size);
        let volatility = self.referenced(group, at);
        let groups = Groups {
            table: TickTable::Orca,
            size,
            control_factor: self.control_factor,
            max_accumulator: self.max_volatility_accumulator,
            reference: volatility.reference,
            index_reference: volatility.index_reference,
        };
        let core = CoreRange::around(&groups);
        AdaptiveSteps { groups, core, base_ppm, direction, group, volatility, is_skipping: false }
    }

    /// Returns the fee as a trade leaves it that has moved the square root of the price.
    pub(super) fn after(self, steps: &AdaptiveSteps, moved: (u128, u128), at: Moment) -> Self {
        let mut volatility = steps.volatility;
        if self.is_major_swap(moved) {
            volatility.last_major_swap = volatility.last_major_swap.max(at);
        }
        Self { volatility, ..self }
    }

    /// Returns the volatility from which a trade at a moment starts: the program's `update_reference`.
    fn referenced(&self, group: i32, at: Moment) -> AdaptiveFeeVolatility {
        let volatility = self.volatility;
        // The program refuses trades before the last one. If the clock lags behind it, no time has passed.
        let since = |moment: Moment| at.unix_seconds().saturating_sub(moment.unix_seconds());
        let restarted = |reference| AdaptiveFeeVolatility {
            reference,
            index_reference: group,
            last_reference_update: volatility.last_reference_update.max(at),
            ..volatility
        };
        if since(volatility.last_reference_update) > MAX_REFERENCE_AGE_S {
            return restarted(0);
        }
        let elapsed_s = since(volatility.last_reference_update.max(volatility.last_major_swap));
        if elapsed_s < u64::from(self.filter_period_s) {
            volatility
        } else if elapsed_s < u64::from(self.decay_period_s) {
            restarted(Groups::decayed(volatility.accumulator, self.reduction_factor_bps))
        } else {
            restarted(0)
        }
    }

    /// Returns whether a trade has moved the price by as many ticks as a large one does.
    fn is_major_swap(&self, (from, to): (u128, u128)) -> bool {
        let factor = TickTable::Orca.clamped_sqrt_price(i32::from(self.major_swap_threshold_ticks));
        let least: U256 = (U256::from(from.min(to)) * U256::from(factor)) >> 64;
        U256::from(from.max(to)) >= least
    }
}

/// The groups outside of which volatility is always the highest, so that no group has a fee of its own there: the
/// lowest and the highest group within, each with the square root of the price at its outer end.
#[derive(Clone, Copy, Debug)]
struct CoreRange {
    lowest: Option<(i32, u128)>,
    highest: Option<(i32, u128)>,
}

impl CoreRange {
    fn around(groups: &Groups) -> Self {
        let (lowest, highest) = (
            groups.index_reference - groups.groups_to_max(),
            groups.index_reference + groups.groups_to_max(),
        );
        let bound = |group, direction, is_inside: fn(i32) -> bool| {
            let end = groups.end_of(group, direction);
            is_inside(end).then(|| (group, groups.table.clamped_sqrt_price(end)))
        };
        Self {
            lowest: bound(lowest, Direction::AToB, |end| end > MIN_TICK),
            highest: bound(highest, Direction::BToA, |end| end < MAX_TICK),
        }
    }

    /// Returns where a group lies, for a trade in a direction.
    fn side_of(&self, group: i32, direction: Direction) -> Side {
        match (self.lowest, self.highest) {
            (Some((lowest, price)), _) if group < lowest => match direction {
                Direction::AToB => Side::Behind,
                Direction::BToA => Side::Ahead(price),
            },
            (_, Some((highest, price))) if group > highest => match direction {
                Direction::AToB => Side::Ahead(price),
                Direction::BToA => Side::Behind,
            },
            _ => Side::Within,
        }
    }
}

/// The place of a trade outside or within the core range.
enum Side {
    Within,
    /// The range lies ahead: the trade enters it at this square root of the price.
    Ahead(u128),
    /// The range lies behind: the trade never enters it.
    Behind,
}

/// The adaptive fee of a trade on its way.
#[derive(Clone, Debug)]
pub(super) struct AdaptiveSteps {
    groups: Groups,
    core: CoreRange,
    base_ppm: u32,
    direction: Direction,
    /// The group in which the next stretch lies.
    group: i32,
    volatility: AdaptiveFeeVolatility,
    /// Whether the last stretch leads through any number of groups.
    is_skipping: bool,
}

impl AdaptiveSteps {
    /// Returns where the next stretch ends, if it leads through any number of groups: where the fee cannot change or
    /// nothing can be traded.
    fn skipped(&self, target: u128, liquidity: u128) -> Option<u128> {
        if self.groups.control_factor == 0 || liquidity == 0 {
            return Some(target);
        }
        match self.core.side_of(self.group, self.direction) {
            Side::Within => None,
            Side::Ahead(entry) => Some(Groups::nearer(self.direction, entry, target)),
            Side::Behind => Some(target),
        }
    }

    /// Returns the group that a stretch through any number of groups has traversed last.
    fn last_traversed(&self, sqrt_price: u128, target: &PricedTick) -> i32 {
        let table = self.groups.table;
        let tick = if sqrt_price == target.sqrt_price_x64 {
            target.index
        } else {
            table.tick_between(MIN_TICK, MAX_TICK, sqrt_price)
        };
        let group = Groups::of(tick, self.groups.size);
        let is_first = tick == self.groups.end_of(group, Direction::AToB);
        let is_at_first = is_first && table.sqrt_price(tick) == Some(sqrt_price);
        match self.direction {
            Direction::BToA if is_at_first => group - 1,
            _ => group,
        }
    }
}

impl StepFees for AdaptiveSteps {
    fn enter(&mut self, target: &PricedTick, liquidity: u128) -> Stretch {
        self.volatility.accumulator = self.groups.accumulator(self.group);
        let rate_ppm = self.groups.rate_ppm(self.base_ppm, self.volatility.accumulator);
        let skipped = self.skipped(target.sqrt_price_x64, liquidity);
        self.is_skipping = skipped.is_some();
        let until = skipped.unwrap_or_else(|| {
            let end = self.groups.end_of(self.group, self.direction);
            let end = self.groups.table.clamped_sqrt_price(end);
            Groups::nearer(self.direction, end, target.sqrt_price_x64)
        });
        Stretch { rate_ppm, until }
    }

    fn leave(&mut self, sqrt_price: u128, target: &PricedTick) {
        if self.is_skipping {
            let last = self.last_traversed(sqrt_price, target);
            let is_ahead = match self.direction {
                Direction::AToB => last < self.group,
                Direction::BToA => last > self.group,
            };
            if is_ahead {
                self.group = last;
                self.volatility.accumulator = self.groups.accumulator(last);
            }
        }
        self.group = Groups::next(self.group, self.direction);
    }
}
