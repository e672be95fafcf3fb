//! How the venue gets the instructions of a swap.

use std::fmt::Debug;

use async_trait::async_trait;
use order_engine_core::{Leg, StepError};
use solana_instruction::Instruction;
use solana_pubkey::Pubkey;

/// Builds the instructions of swaps.
///
/// # Contract
/// - The instructions take exactly [`amount_in`](SwapRequest::amount_in) from the source, and fail on the chain if they would pay
///   less than [`min_amount_out`](SwapRequest::min_amount_out) into the destination.
/// - Nothing is sent.
/// - Safe to drop at every await.
#[async_trait]
pub trait SwapBuilder: Debug + Send + Sync + 'static {
    /// Returns the instructions of one swap.
    ///
    /// # Errors
    /// If the pool is not known or cannot be traded. The class says whether another quote can help.
    async fn swap(&self, request: SwapRequest<'_>) -> Result<Swap, StepError>;
}

/// The instructions of a swap, and what else its transaction needs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Swap {
    /// What is done, in this order.
    pub instructions: Vec<Instruction>,
    /// Lookup tables without which the transaction may be too large, beside those of the venue.
    pub lookup_tables: Vec<Pubkey>,
    /// Whether the venue's simulation has to show that the destination gets the least output and the source gives no more than
    /// the input, because somebody else built the instructions.
    pub is_payment_checked: bool,
}

impl Swap {
    /// Returns a swap of these instructions without tables, which enforce the least output.
    pub const fn new(instructions: Vec<Instruction>) -> Self {
        Self { instructions, lookup_tables: Vec::new(), is_payment_checked: false }
    }

    /// Sets [`lookup_tables`](Self::lookup_tables).
    #[must_use]
    pub fn with_lookup_tables(self, lookup_tables: Vec<Pubkey>) -> Self {
        Self { lookup_tables, ..self }
    }

    /// Sets [`is_payment_checked`](Self::is_payment_checked).
    #[must_use]
    pub fn with_payment_checked(self) -> Self {
        Self { is_payment_checked: true, ..self }
    }
}

/// What a swap is built from.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct SwapRequest<'a> {
    /// The pool, and what is quoted.
    pub leg: &'a Leg,
    /// The wallet, which signs.
    pub wallet: Pubkey,
    /// The wallet's token account of what is sold.
    pub source: Pubkey,
    /// The wallet's token account of what is bought.
    pub destination: Pubkey,
    /// What is sold, in base units.
    pub amount_in: u64,
    /// The least that must be paid, in base units.
    pub min_amount_out: u64,
}

impl<'a> SwapRequest<'a> {
    /// Returns a request to trade a leg for a wallet, from its one token account into its other one: what is sold, and the
    /// least that must be paid, in base units.
    pub const fn new(
        leg: &'a Leg,
        wallet: Pubkey,
        (source, destination): (Pubkey, Pubkey),
        (amount_in, min_amount_out): (u64, u64),
    ) -> Self {
        Self { leg, wallet, source, destination, amount_in, min_amount_out }
    }
}
