//! The instructions of an order's transaction.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use order_engine_core::{Failure, FailureCode, Leg, PrepareRequest, Route, StepError};
use serde_json::json;
use solana_instruction::Instruction;
use solana_pubkey::Pubkey;

use crate::instructions::{memo, system, token};
use crate::programs::{TOKEN, TOKEN_2022, WRAPPED_SOL};
use crate::rpc::Cluster;
use crate::rpc::wire::{AccountJson, WithContext};
use crate::swap_builder::{SwapBuilder, SwapRequest};
use crate::venue_error::unavailable;

/// The token programs of mints, which never change.
#[derive(Debug, Default)]
pub(crate) struct Mints {
    programs: Mutex<BTreeMap<Pubkey, Pubkey>>,
}

/// A token of an order, and the wallet's account for it.
#[derive(Clone, Copy, Debug)]
struct Side {
    mint: Pubkey,
    program: Pubkey,
    account: Pubkey,
}

impl Mints {
    /// Returns the token program that a mint belongs to.
    async fn program(&self, cluster: &Cluster, mint: Pubkey) -> Result<Pubkey, StepError> {
        if mint == WRAPPED_SOL {
            return Ok(TOKEN);
        }
        if let Some(program) = self.programs.lock().unwrap_or_else(PoisonError::into_inner).get(&mint) {
            return Ok(*program);
        }
        let params = json!([mint.to_string(), { "encoding": "base64", "commitment": "confirmed" }]);
        let account: WithContext<Option<AccountJson>> =
            cluster.query("getAccountInfo", params).await.map_err(unavailable)?;
        let owner = account.value.and_then(|account| account.owner.parse().ok());
        let program = owner.filter(|program| [TOKEN, TOKEN_2022].contains(program));
        let program = program.ok_or_else(|| unknown_token(&mint.to_string()))?;
        self.programs.lock().unwrap_or_else(PoisonError::into_inner).insert(mint, program);
        Ok(program)
    }

    async fn side(&self, cluster: &Cluster, mint: &str, wallet: Pubkey) -> Result<Side, StepError> {
        let mint: Pubkey = mint.parse().map_err(|_| unknown_token(mint))?;
        let program = self.program(cluster, mint).await?;
        Ok(Side { mint, program, account: token::associated_account(wallet, mint, program) })
    }
}

/// Returns what the transaction of an order does, without its compute budget: token accounts, wrapping, the swaps,
/// unwrapping, and the tag.
pub(super) async fn instructions(
    (cluster, mints, builder): (&Cluster, &Mints, &dyn SwapBuilder),
    request: &PrepareRequest<'_>,
    wallet: Pubkey,
) -> Result<Vec<Instruction>, StepError> {
    let PrepareRequest { order, route, .. } = request;
    check_route(request)?;
    let input = mints.side(cluster, &order.request.input.mint, wallet).await?;
    let output = mints.side(cluster, &order.request.output.mint, wallet).await?;
    let mut instructions = opening(wallet, input, output, base_units(route.amount_in.base_units())?);
    let floors = floors(route, base_units(request.min_amount_out.base_units())?)?;
    for (leg, min_amount_out) in route.legs.iter().zip(floors) {
        let (source, destination) = (input.account, output.account);
        let amount_in = base_units(leg.amount_in.base_units())?;
        let swap = SwapRequest { leg, wallet, source, destination, amount_in, min_amount_out };
        instructions.extend(builder.swap(swap).await?);
    }
    instructions.extend(closing(wallet, input, output));
    instructions.push(memo::memo(&memo::tag(order.id)));
    Ok(instructions)
}

/// Checks that the route is one for the order, whose legs all trade its input for its output.
fn check_route(request: &PrepareRequest<'_>) -> Result<(), StepError> {
    let PrepareRequest { order, route, .. } = request;
    let (input, output) = (&order.request.input.mint, &order.request.output.mint);
    let is_direct = |leg: &Leg| leg.input_mint == *input && leg.output_mint == *output;
    let sold = route
        .legs
        .iter()
        .try_fold(order_engine_core::Amount::ZERO, |sum, leg| sum.checked_add(leg.amount_in));
    let refuse = |message: &str| Err(StepError::permanent(Failure::new(FailureCode::REJECTED, message)));
    if route.legs.is_empty() || sold != Some(order.request.amount) || route.amount_in != order.request.amount
    {
        return refuse("The legs of the route do not sell what the order sells");
    }
    if !route.legs.iter().all(is_direct) {
        return refuse(
            "The venue trades through several pools beside each other, and not one after the other",
        );
    }
    Ok(())
}

/// Makes the token accounts unless they are there, and wraps what is sold of SOL.
fn opening(wallet: Pubkey, input: Side, output: Side, amount_in: u64) -> Vec<Instruction> {
    let mut instructions = Vec::new();
    if input.mint == WRAPPED_SOL {
        instructions.extend([
            token::create_associated(wallet, wallet, input.mint, input.program),
            system::transfer(wallet, input.account, amount_in),
            token::sync_native(input.account),
        ]);
    }
    instructions.push(token::create_associated(wallet, wallet, output.mint, output.program));
    instructions
}

/// Unwraps all wrapped SOL by closing its account, so that neither dust nor rent stays behind.
fn closing(wallet: Pubkey, input: Side, output: Side) -> Option<Instruction> {
    let wrapped = [input, output].into_iter().find(|side| side.mint == WRAPPED_SOL)?;
    Some(token::close(wrapped.account, wallet, wallet))
}

/// Divides the least output over the legs by what they are quoted, so that the sum is exactly the whole and no leg
/// must pay more than its quote.
fn floors(route: &Route, min_amount_out: u64) -> Result<Vec<u64>, StepError> {
    let quoted: u128 = route.legs.iter().map(|leg| leg.amount_out.base_units()).sum();
    let below = || {
        let message = "The quotes of the legs do not reach the least output of the order";
        StepError::requote(Failure::new(FailureCode::SLIPPAGE, message))
    };
    if quoted < u128::from(min_amount_out) {
        return Err(below());
    }
    let (mut rest, mut rest_quoted) = (u128::from(min_amount_out), quoted);
    let mut floors = Vec::with_capacity(route.legs.len());
    for leg in &route.legs {
        let out = leg.amount_out.base_units();
        // Of what is left, this leg's share, rounded up: at most its quote, because no more is left than is quoted.
        let floor = rest.checked_mul(out).ok_or_else(below)?.div_ceil(rest_quoted.max(1));
        floors.push(base_units(floor)?);
        (rest, rest_quoted) = (rest - floor, rest_quoted - out);
    }
    Ok(floors)
}

fn base_units(amount: u128) -> Result<u64, StepError> {
    u64::try_from(amount).map_err(|_| {
        let message = "An amount is larger than the chain can hold";
        StepError::permanent(Failure::new(FailureCode::REJECTED, message))
    })
}

fn unknown_token(mint: &str) -> StepError {
    let message = format!("{mint} is no mint of a token program");
    StepError::permanent(Failure::new(FailureCode::UNKNOWN_TOKEN, message))
}

#[cfg(test)]
mod tests {
    use order_engine_core::Amount;
    use proptest::prelude::*;

    use super::*;

    fn route(outputs: &[u64]) -> Route {
        let leg = |out: &u64| Leg::new("x", "p", ("a", Amount::new(1)), ("b", Amount::new(u128::from(*out))));
        let legs: Vec<Leg> = outputs.iter().map(leg).collect();
        Route::new("x", legs, Amount::new(1), Amount::new(1))
    }

    proptest! {
        #[test]
        fn the_floors_are_the_whole_and_none_is_above_its_quote(
            outputs in proptest::collection::vec(0..u64::MAX / 8, 1..6), share in 0_u64..=10_000,
        ) {
            let quoted: u128 = outputs.iter().map(|out| u128::from(*out)).sum();
            let min_amount_out = u64::try_from(quoted * u128::from(share) / 10_000).unwrap();
            let floors = floors(&route(&outputs), min_amount_out).unwrap();
            prop_assert_eq!(floors.iter().sum::<u64>(), min_amount_out);
            prop_assert!(floors.iter().zip(&outputs).all(|(floor, out)| floor <= out));
        }
    }

    #[test]
    fn a_floor_above_the_quotes_is_slippage() {
        let error = floors(&route(&[5, 5]), 11).unwrap_err();
        assert_eq!(error.failure.code, FailureCode::SLIPPAGE);
        assert_eq!(floors(&route(&[5, 5]), 10).unwrap(), [5, 5]);
    }

    #[test]
    fn sol_is_wrapped_before_and_unwrapped_after_on_whichever_side_it_stands() {
        let wallet = Pubkey::new_from_array([1; 32]);
        let side =
            |mint| Side { mint, program: TOKEN, account: token::associated_account(wallet, mint, TOKEN) };
        let (sol, usdc) = (side(WRAPPED_SOL), side(Pubkey::new_from_array([2; 32])));
        let selling = opening(wallet, sol, usdc, 7);
        assert_eq!(selling[1], system::transfer(wallet, sol.account, 7));
        assert_eq!(selling.len(), 4);
        assert_eq!(opening(wallet, usdc, sol, 7).len(), 1);
        for (input, output) in [(sol, usdc), (usdc, sol)] {
            assert_eq!(closing(wallet, input, output), Some(token::close(sol.account, wallet, wallet)));
        }
        assert_eq!(closing(wallet, usdc, usdc), None);
    }
}
