//! The call of an order's transaction.

use alloy_primitives::{Address, U256};
use order_engine_core::{Amount, Failure, FailureCode, PrepareRequest, StepError};

use crate::permit::Permit;
use crate::swap_builder::{SwapBuilder, SwapCall, SwapRequest};
use crate::tag;
use crate::venue_error::rejected;

/// What an order sells and buys, and the call that does it.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub(super) input: Address,
    pub(super) output: Address,
    pub(super) amount_in: U256,
    pub(super) min_amount_out: U256,
    pub(super) call: SwapCall,
}

/// Returns the call of an order on its route, until a time in seconds since 1970, with its tag.
pub(super) async fn plan(
    builder: &dyn SwapBuilder,
    request: &PrepareRequest<'_>,
    (wallet, deadline): (Address, u64),
    permit: Option<Permit>,
) -> Result<Plan, StepError> {
    let PrepareRequest { order, route, min_amount_out, .. } = request;
    check_route(request)?;
    let input = token(&order.request.input.mint)?;
    let output = token(&order.request.output.mint)?;
    let [amount_in, min_amount_out] =
        [route.amount_in, *min_amount_out].map(|amount| U256::from(amount.base_units()));
    let (sold, bought) = ((input, amount_in), (output, min_amount_out));
    let swap = SwapRequest::new(route, wallet, sold, bought, deadline).with_permit(permit);
    let mut call = builder.swap(swap).await?;
    call.input = tag::tagged(&call.input, order.id);
    Ok(Plan { input, output, amount_in, min_amount_out, call })
}

/// Checks that the route sells what the order sells, and that all of it is quoted to pay what the order wants at least.
fn check_route(request: &PrepareRequest<'_>) -> Result<(), StepError> {
    let PrepareRequest { order, route, min_amount_out, .. } = request;
    let legs = route.legs.iter().filter(|leg| leg.input_mint == order.request.input.mint);
    let sold = legs.map(|leg| leg.amount_in).try_fold(Amount::ZERO, Amount::checked_add);
    if sold != Some(order.request.amount) || route.amount_in != order.request.amount {
        return Err(rejected("The legs of the route do not sell what the order sells"));
    }
    if route.amount_out < *min_amount_out {
        let message = "The quote of the route does not reach the least output of the order";
        return Err(StepError::requote(Failure::new(FailureCode::SLIPPAGE, message)));
    }
    Ok(())
}

/// Reads the address of a token.
pub(super) fn token(mint: &str) -> Result<Address, StepError> {
    mint.parse().map_err(|_| {
        let message = format!("{mint} is no address of a token");
        StepError::permanent(Failure::new(FailureCode::UNKNOWN_TOKEN, message))
    })
}
