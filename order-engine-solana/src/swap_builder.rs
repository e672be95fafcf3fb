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
    async fn swap(&self, request: SwapRequest<'_>) -> Result<Vec<Instruction>, StepError>;
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
