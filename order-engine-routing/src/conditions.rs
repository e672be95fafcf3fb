//! The conditions under which a pool trades, besides its curve.

use order_engine_core::Amount;
use serde::{Deserialize, Serialize};

use crate::error::{InvalidPool, QuoteError};
use crate::feature::Feature;
use crate::fee::ONE_BPS;
use crate::trade::{Direction, Moment};
use crate::wide::mul_div_ceil;

/// The conditions under which a pool trades, besides its curve. By default it trades at any time, its tokens take no
/// fees, and its curve says all of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Conditions {
    /// Whether the exchange has disabled swaps.
    pub is_paused: bool,
    /// The moment from which the pool can be traded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub opens_at: Option<Moment>,
    /// The slot or height from which the pool can be traded. A search compares it with the newest slot of its pools; a quote
    /// of a single pool knows no slot, and does not check it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub opens_at_slot: Option<u64>,
    /// The fee that token a itself takes of each transfer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub transfer_fee_a: Option<TransferFee>,
    /// The fee that token b itself takes of each transfer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub transfer_fee_b: Option<TransferFee>,
    /// What the pool has that its curve does not model. A pool that has any is refused with the name of the first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub unmodelled: Vec<Feature>,
}

/// A fee that a token itself takes of each transfer (Token-2022): a share of the amount, rounded up, up to a maximum.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "UncheckedTransferFee", into = "UncheckedTransferFee")]
pub struct TransferFee {
    bps: u16,
    most: Amount,
}

/// A transfer fee as it is serialised.
#[derive(Serialize, Deserialize)]
struct UncheckedTransferFee {
    bps: u16,
    most: Amount,
}

impl TransferFee {
    /// Returns a fee of `bps` basis points of each transfer, but not above `most` base units.
    ///
    /// # Errors
    /// If the share is above one.
    pub const fn new(bps: u16, most: Amount) -> Result<Self, InvalidPool> {
        if bps as u32 > ONE_BPS {
            return Err(InvalidPool { field: "bps", reason: "must not be above 10000" });
        }
        Ok(Self { bps, most })
    }

    /// Returns what arrives of an amount.
    pub fn deduct_from(self, amount: Amount) -> Amount {
        let share = mul_div_ceil(amount.base_units(), u128::from(self.bps), u128::from(ONE_BPS));
        // The share is not larger than the amount, so it fits.
        let fee = share.unwrap_or(u128::MAX).min(self.most.base_units());
        Amount::new(amount.base_units().saturating_sub(fee))
    }

    /// Returns the least amount of which `net` arrives, or `None` if it does not fit.
    pub fn gross_up(self, net: Amount) -> Option<Amount> {
        let by_share = match ONE_BPS - u32::from(self.bps) {
            0 => None,
            kept => mul_div_ceil(net.base_units(), u128::from(ONE_BPS), u128::from(kept)),
        };
        let by_most = net.base_units().checked_add(self.most.base_units());
        by_share.into_iter().chain(by_most).min().map(Amount::new)
    }
}

impl TryFrom<UncheckedTransferFee> for TransferFee {
    type Error = InvalidPool;

    fn try_from(fee: UncheckedTransferFee) -> Result<Self, InvalidPool> {
        Self::new(fee.bps, fee.most)
    }
}

impl From<TransferFee> for UncheckedTransferFee {
    fn from(fee: TransferFee) -> Self {
        Self { bps: fee.bps, most: fee.most }
    }
}

impl Conditions {
    /// Sets [`is_paused`](Self::is_paused).
    #[must_use]
    pub fn paused(self) -> Self {
        Self { is_paused: true, ..self }
    }

    /// Sets [`opens_at`](Self::opens_at).
    #[must_use]
    pub fn with_opens_at(self, opens_at: Moment) -> Self {
        Self { opens_at: Some(opens_at), ..self }
    }

    /// Sets [`opens_at_slot`](Self::opens_at_slot).
    #[must_use]
    pub fn with_opens_at_slot(self, opens_at_slot: u64) -> Self {
        Self { opens_at_slot: Some(opens_at_slot), ..self }
    }

    /// Sets the fees that the tokens themselves take of each transfer.
    #[must_use]
    pub fn with_transfer_fees(self, of_a: Option<TransferFee>, of_b: Option<TransferFee>) -> Self {
        Self { transfer_fee_a: of_a, transfer_fee_b: of_b, ..self }
    }

    /// Adds a feature that the curve does not model.
    #[must_use]
    pub fn with_unmodelled(mut self, feature: Feature) -> Self {
        self.unmodelled.push(feature);
        self
    }

    /// Checks that the pool can be traded at a moment, and quoted.
    pub(crate) fn check(&self, at: Moment) -> Result<(), QuoteError> {
        if let Some(feature) = self.unmodelled.first() {
            return Err(QuoteError::Unmodelled(*feature));
        }
        if self.is_paused {
            return Err(QuoteError::Paused);
        }
        match self.opens_at {
            Some(opens_at) if at < opens_at => Err(QuoteError::NotOpenYet),
            _ => Ok(()),
        }
    }

    /// Returns the fees that the tokens take: of the input, and of the output.
    pub(crate) fn transfer_fees(&self, direction: Direction) -> (Option<TransferFee>, Option<TransferFee>) {
        direction.orient(self.transfer_fee_a, self.transfer_fee_b)
    }

    pub(crate) const fn has_transfer_fees(&self) -> bool {
        self.transfer_fee_a.is_some() || self.transfer_fee_b.is_some()
    }
}
