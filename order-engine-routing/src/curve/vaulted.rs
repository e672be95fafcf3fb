//! The constant product of Meteora's DAMM v1, whose reserves are shares of two vaults.
//!
//! A vault lends what is deposited and releases its profit over time. A pool owns shares of each vault; its reserve is
//! what these are worth. A trade deposits its input for new shares and redeems shares for its output, and each of these
//! steps rounds down. The steps and roundings are those that Meteora publishes in `damm-v1-sdk`.

use order_engine_core::Amount;
use ruint::aliases::U256;
use serde::{Deserialize, Serialize};

use crate::error::{InvalidPool, QuoteError};
use crate::fee::Fee;
use crate::ratio::Ratio;
use crate::trade::{Direction, Moment};
use crate::wide::mul_div_floor;

/// The scale of the rate at which a vault releases its profit.
const ONE_DEGRADATION: u64 = 1_000_000_000_000;

/// A DAMM v1 pool of constant product.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "VaultedState", into = "VaultedState")]
pub struct VaultedProduct {
    state: VaultedState,
}

/// The on-chain state of a DAMM v1 pool of constant product.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VaultedState {
    /// The pool's part of the vault of token a.
    pub vault_a: VaultShare,
    /// The pool's part of the vault of token b.
    pub vault_b: VaultShare,
    /// The fee on the input. It is rounded down, but to one unit at least.
    pub fee: Fee,
    /// The share of the fee that leaves the pool, for the exchange, rounded in the same way.
    #[serde(default)]
    pub protocol_share: Fee,
}

/// A pool's part of a vault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VaultShare {
    /// What the vault holds and has lent, in base units of its token.
    pub total: Amount,
    /// The shares of the vault that exist.
    pub supply: Amount,
    /// The shares that the pool owns.
    pub owned: Amount,
    /// What the vault has in hand and can pay.
    pub in_hand: Amount,
    /// The profit at the vault's last report, which it releases over time.
    #[serde(default)]
    pub locked_profit: Amount,
    /// The moment of the last report.
    #[serde(default)]
    pub last_report: Moment,
    /// The part of the profit that is released each second, in parts of 10¹².
    #[serde(default)]
    pub degradation: u64,
}

/// What a trade does at each step.
struct Steps {
    /// The shares that the input buys.
    shares_in: u128,
    /// What of the input gets into the vault.
    deposited: u128,
    /// The shares that are redeemed for the output.
    shares_out: u128,
    /// The output.
    out: u128,
}

impl VaultShare {
    /// Returns what the vault's shares are worth at a moment.
    fn unlocked(&self, at: Moment) -> u128 {
        let elapsed_s = at.unix_seconds().saturating_sub(self.last_report.unix_seconds());
        let released = elapsed_s.saturating_mul(self.degradation).min(ONE_DEGRADATION);
        let (kept, whole) = (u128::from(ONE_DEGRADATION - released), u128::from(ONE_DEGRADATION));
        let locked = mul_div_floor(self.locked_profit.base_units(), kept, whole).unwrap_or(u128::MAX);
        // The constructor checks that the profit is a part of the total.
        self.total.base_units().saturating_sub(locked)
    }

    /// Returns the worth of the pool's shares.
    fn reserve(&self, at: Moment) -> Result<u128, QuoteError> {
        let reserve = mul_div_floor(self.owned.base_units(), self.unlocked(at), self.supply.base_units());
        reserve.filter(|reserve| *reserve > 0).ok_or(QuoteError::NotEnoughLiquidity)
    }

    fn check(&self, field: &'static str) -> Result<(), InvalidPool> {
        let invalid = |reason| Err(InvalidPool { field, reason });
        if self.owned.is_zero() || self.owned > self.supply {
            return invalid("must own some of the shares, and no more than there are");
        }
        if self.locked_profit >= self.total {
            return invalid("must have locked less than all that it holds");
        }
        // The program's numbers have 64 bits, so that products of two fit 128.
        let numbers = [self.total, self.supply, self.in_hand];
        if numbers.iter().any(|number| number.base_units() > u128::from(u64::MAX)) {
            return invalid("must have numbers below 2⁶⁴");
        }
        if self.degradation > ONE_DEGRADATION {
            return invalid("must not release more than its profit");
        }
        Ok(())
    }
}

impl VaultedProduct {
    /// Returns the pool with this state.
    ///
    /// # Errors
    /// If a vault is empty, or its numbers are impossible.
    pub fn new(state: VaultedState) -> Result<Self, InvalidPool> {
        state.vault_a.check("vault_a")?;
        state.vault_b.check("vault_b")?;
        Ok(Self { state })
    }

    /// Returns the state of the pool.
    pub const fn state(&self) -> VaultedState {
        self.state
    }

    /// Returns what comes out for exactly `amount_in`, as the program computes it.
    ///
    /// # Errors
    /// If nothing would come out, a number would not fit, or the vault has not so much in hand.
    pub fn amount_out(
        &self,
        direction: Direction,
        amount_in: Amount,
        at: Moment,
    ) -> Result<Amount, QuoteError> {
        self.steps(direction, amount_in.base_units(), at).map(|steps| Amount::new(steps.out))
    }

    /// Returns the least input for which at least `amount_out` comes out, by bisection.
    ///
    /// # Errors
    /// If the pool does not hold enough.
    pub fn amount_in(
        &self,
        direction: Direction,
        amount_out: Amount,
        at: Moment,
    ) -> Result<Amount, QuoteError> {
        if amount_out.is_zero() {
            return Err(QuoteError::TooSmall);
        }
        let (vault_in, vault_out) = self.vaults(direction);
        if amount_out.base_units() >= vault_out.reserve(at)?.min(vault_out.in_hand.base_units()) {
            return Err(QuoteError::NotEnoughLiquidity);
        }
        let suffices = |amount_in: u128| {
            self.steps(direction, amount_in, at).is_ok_and(|steps| steps.out >= amount_out.base_units())
        };
        let (mut low, mut high) = (0, self.guess(direction, amount_out, at)?);
        // Where the vault's numbers end, no input suffices.
        let most = u128::from(u64::MAX) - vault_in.total.base_units();
        while !suffices(high) {
            if high >= most {
                return Err(QuoteError::NotEnoughLiquidity);
            }
            (low, high) = (high, high.saturating_mul(2).min(most));
        }
        while high - low > 1 {
            let middle = low + (high - low) / 2;
            (low, high) = if suffices(middle) { (low, middle) } else { (middle, high) };
        }
        Ok(Amount::new(high))
    }

    /// Returns about the input for an output, by the formula without vaults.
    fn guess(&self, direction: Direction, amount_out: Amount, at: Moment) -> Result<u128, QuoteError> {
        let (vault_in, vault_out) = self.vaults(direction);
        let (reserve_in, reserve_out) = (vault_in.reserve(at)?, vault_out.reserve(at)?);
        let left = reserve_out - amount_out.base_units();
        let net = mul_div_floor(reserve_in, amount_out.base_units(), left).ok_or(QuoteError::Overflow)?;
        let gross = self.state.fee.gross_up(Amount::new(net)).ok_or(QuoteError::Overflow)?;
        Ok(gross.base_units().clamp(1, u128::from(u64::MAX) - vault_in.total.base_units()))
    }

    /// Returns the pool after exactly `amount_in` went in.
    ///
    /// # Errors
    /// As [`Self::amount_out`].
    pub fn after(&self, direction: Direction, amount_in: Amount, at: Moment) -> Result<Self, QuoteError> {
        let steps = self.steps(direction, amount_in.base_units(), at)?;
        let (mut vault_in, mut vault_out) = self.vaults(direction);
        let grown = |number: Amount, by: u128| {
            let grown = number.checked_add(Amount::new(by));
            grown.filter(|grown| grown.base_units() <= u128::from(u64::MAX)).ok_or(QuoteError::Overflow)
        };
        let shrunk = |number: Amount, by: u128| {
            number.checked_sub(Amount::new(by)).ok_or(QuoteError::NotEnoughLiquidity)
        };
        vault_in.total = grown(vault_in.total, steps.deposited)?;
        vault_in.in_hand = grown(vault_in.in_hand, steps.deposited)?;
        vault_in.supply = grown(vault_in.supply, steps.shares_in)?;
        vault_in.owned = grown(vault_in.owned, steps.shares_in)?;
        vault_out.total = shrunk(vault_out.total, steps.out)?;
        vault_out.in_hand = shrunk(vault_out.in_hand, steps.out)?;
        vault_out.supply = shrunk(vault_out.supply, steps.shares_out)?;
        vault_out.owned = shrunk(vault_out.owned, steps.shares_out)?;
        let (vault_a, vault_b) = direction.orient(vault_in, vault_out);
        Self::new(VaultedState { vault_a, vault_b, ..self.state }).map_err(|_| QuoteError::NotEnoughLiquidity)
    }

    /// Returns a price that no trade exceeds: the output per unit of input before any trade, fees deducted.
    ///
    /// # Errors
    /// If a vault's shares are worth nothing.
    pub fn spot_price(&self, direction: Direction, at: Moment) -> Result<Ratio, QuoteError> {
        self.price(direction, at, self.state.fee.kept())
    }

    /// Returns the output per unit of input before any trade, without fees, at the time of the vaults' last reports.
    ///
    /// # Errors
    /// If a vault's shares are worth nothing.
    pub fn mid_price(&self, direction: Direction) -> Result<Ratio, QuoteError> {
        let at = self.state.vault_a.last_report.max(self.state.vault_b.last_report);
        self.price(direction, at, (1, 1))
    }

    /// Returns a price that no trade exceeds at any moment.
    pub(crate) fn best_price(&self, direction: Direction) -> Result<Ratio, QuoteError> {
        let (vault_in, vault_out) = self.vaults(direction);
        let forever = Moment::from_unix_seconds(u64::MAX);
        let (least_in, most_out) = (vault_in.reserve(vault_in.last_report)?, vault_out.reserve(forever)?);
        // The worth of a share is rounded down, and the fee of a few units may be rounded to less than its share.
        Ratio::new(U256::from(most_out + 1), U256::from(least_in)).ok_or(QuoteError::NotEnoughLiquidity)
    }

    fn price(
        &self,
        direction: Direction,
        at: Moment,
        (kept, whole): (u64, u64),
    ) -> Result<Ratio, QuoteError> {
        let (vault_in, vault_out) = self.vaults(direction);
        let over = U256::from(vault_out.reserve(at)?) * U256::from(kept);
        let under = U256::from(vault_in.reserve(at)?) * U256::from(whole);
        Ratio::new(over, under).ok_or(QuoteError::NotEnoughLiquidity)
    }

    const fn vaults(&self, direction: Direction) -> (VaultShare, VaultShare) {
        match direction {
            Direction::AToB => (self.state.vault_a, self.state.vault_b),
            Direction::BToA => (self.state.vault_b, self.state.vault_a),
        }
    }

    fn steps(&self, direction: Direction, amount_in: u128, at: Moment) -> Result<Steps, QuoteError> {
        let (vault_in, vault_out) = self.vaults(direction);
        let (reserve_in, reserve_out) = (vault_in.reserve(at)?, vault_out.reserve(at)?);
        let fee = least_one(self.state.fee, amount_in);
        let protocol_fee = least_one(self.state.protocol_share, fee);
        let deposited = amount_in.checked_sub(protocol_fee).ok_or(QuoteError::TooSmall)?;
        if deposited + vault_in.total.base_units() > u128::from(u64::MAX) {
            return Err(QuoteError::Overflow);
        }
        let unlocked_in = vault_in.unlocked(at);
        let (supply, owned) = (vault_in.supply.base_units(), vault_in.owned.base_units());
        let divided = |a, b, by| mul_div_floor(a, b, by).ok_or(QuoteError::Overflow);
        let shares_in = divided(deposited, supply, unlocked_in)?;
        if supply + shares_in > u128::from(u64::MAX) {
            return Err(QuoteError::Overflow);
        }
        // What arrives is what the pool's shares are worth more than before.
        let worth = divided(owned + shares_in, unlocked_in + deposited, supply + shares_in)?;
        let arrived = worth.saturating_sub(reserve_in);
        let net = arrived.checked_sub(fee - protocol_fee).ok_or(QuoteError::TooSmall)?;
        let given = divided(net, reserve_out, reserve_in + net)?;
        let (unlocked_out, supply_out) = (vault_out.unlocked(at), vault_out.supply.base_units());
        let shares_out = divided(given, supply_out, unlocked_out)?;
        let out = divided(shares_out, unlocked_out, supply_out)?;
        match out {
            0 => Err(QuoteError::TooSmall),
            out if out >= vault_out.in_hand.base_units() => Err(QuoteError::NotEnoughLiquidity),
            out => Ok(Steps { shares_in, deposited, shares_out, out }),
        }
    }
}

/// Returns a fee on an amount, rounded down, but one unit at least.
fn least_one(fee: Fee, amount: u128) -> u128 {
    let (rate, _) = fee.parts();
    if rate == 0 || amount == 0 { 0 } else { fee.share_of(Amount::new(amount)).base_units().max(1) }
}

impl TryFrom<VaultedState> for VaultedProduct {
    type Error = InvalidPool;

    fn try_from(state: VaultedState) -> Result<Self, InvalidPool> {
        Self::new(state)
    }
}

impl From<VaultedProduct> for VaultedState {
    fn from(pool: VaultedProduct) -> Self {
        pool.state
    }
}
