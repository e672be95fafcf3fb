//! An exchange that needs the token program only: a desk that lets a wallet take tokens out of its accounts.

use async_trait::async_trait;
use order_engine_core::StepError;
use order_engine_solana::instructions::token;
use order_engine_solana::programs::TOKEN;
use order_engine_solana::{Pubkey, Swap, SwapBuilder, SwapRequest};

/// Pays what the leg is quoted.
#[derive(Debug)]
pub(crate) struct Desk {
    pub(crate) owner: Pubkey,
}

impl Desk {
    pub(crate) fn account(&self, mint: &str) -> Pubkey {
        token::associated_account(self.owner, mint.parse().unwrap(), TOKEN)
    }
}

#[async_trait]
impl SwapBuilder for Desk {
    async fn swap(&self, request: SwapRequest<'_>) -> Result<Swap, StepError> {
        let SwapRequest { leg, wallet, source, destination, amount_in, .. } = request;
        let paid = u64::try_from(leg.amount_out.base_units()).unwrap();
        assert!(paid >= request.min_amount_out);
        Ok(Swap::new(vec![
            token::transfer(source, self.account(&leg.input_mint), wallet, amount_in),
            token::transfer(self.account(&leg.output_mint), destination, wallet, paid),
        ]))
    }
}
