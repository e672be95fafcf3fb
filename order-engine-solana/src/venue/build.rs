//! The instructions of an order's transaction.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use order_engine_core::{Failure, FailureCode, PrepareRequest, StepError};
use serde_json::json;
use solana_instruction::Instruction;
use solana_pubkey::Pubkey;

use crate::instructions::{memo, system, token};
use crate::programs::{TOKEN, TOKEN_2022, WRAPPED_SOL};
use crate::rpc::Cluster;
use crate::rpc::wire::{AccountJson, WithContext};
use crate::swap_builder::{SwapBuilder, SwapRequest};
use crate::venue::trades::{Trade, base_units, trades};
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

/// What the transaction of an order does.
#[derive(Debug)]
pub(super) struct Built {
    /// All of it, without the compute budget.
    pub(super) instructions: Vec<Instruction>,
    /// Lookup tables that its swaps need.
    pub(super) lookup_tables: Vec<Pubkey>,
    /// What a simulation has to show, if somebody else built a swap.
    pub(super) payment: Option<Payment>,
}

/// What the wallet has to get and may give.
#[derive(Clone, Copy, Debug)]
pub(super) struct Payment {
    /// How many of the instructions come before the wallet's wrapped SOL is unwrapped, after which nothing can be seen.
    pub(super) instructions: usize,
    pub(super) destination: Pubkey,
    pub(super) least: u64,
    /// The account of what is sold, unless it is wrapped SOL, of which the transaction wraps as much as is sold.
    pub(super) source: Option<Pubkey>,
    pub(super) most: u64,
}

/// Returns what the transaction of an order does, without its compute budget: token accounts, wrapping, the swaps,
/// unwrapping, and the tag.
///
/// The first instruction that makes a token account names what the order buys, from which its [fill](crate::fill) is read.
pub(super) async fn instructions(
    (cluster, mints, builder): (&Cluster, &Mints, &dyn SwapBuilder),
    request: &PrepareRequest<'_>,
    wallet: Pubkey,
    hop_tolerance_bps: u16,
) -> Result<Built, StepError> {
    let PrepareRequest { order, route, .. } = request;
    let trades = trades(request, tolerance(hop_tolerance_bps, order.state.attempt()))?;
    let input = mints.side(cluster, &order.request.input.mint, wallet).await?;
    let output = mints.side(cluster, &order.request.output.mint, wallet).await?;
    let mut sides = BTreeMap::from([
        (order.request.input.mint.as_str(), input),
        (order.request.output.mint.as_str(), output),
    ]);
    let mut on_the_way = Vec::new();
    for leg in &route.legs {
        if !sides.contains_key(leg.output_mint.as_str()) {
            let side = mints.side(cluster, &leg.output_mint, wallet).await?;
            sides.insert(&leg.output_mint, side);
            on_the_way.push(side);
        }
    }
    let amount_in = base_units(route.amount_in.base_units())?;
    let mut instructions = opening(wallet, (input, output), &on_the_way, amount_in);
    let (mut lookup_tables, mut is_payment_checked) = (Vec::new(), false);
    for Trade { leg, amount_in, min_amount_out } in trades {
        let [source, destination] =
            [&leg.input_mint, &leg.output_mint].map(|mint| sides[mint.as_str()].account);
        let request = SwapRequest { leg, wallet, source, destination, amount_in, min_amount_out };
        let swap = builder.swap(request).await?;
        instructions.extend(swap.instructions);
        lookup_tables.extend(swap.lookup_tables);
        is_payment_checked |= swap.is_payment_checked;
    }
    let payment = Payment {
        instructions: instructions.len(),
        destination: output.account,
        least: base_units(request.min_amount_out.base_units())?,
        source: (input.mint != WRAPPED_SOL).then_some(input.account),
        most: amount_in,
    };
    instructions.extend(closing(wallet, sides.values()));
    instructions.push(memo::memo(&memo::tag(order.id)));
    Ok(Built { instructions, lookup_tables, payment: is_payment_checked.then_some(payment) })
}

/// Returns how much less than quoted a leg on the way may pay: nothing at first, because all of it would be the order's loss,
/// and more with each further attempt, because a busy pool may have moved each time.
fn tolerance(hop_tolerance_bps: u16, attempt: u32) -> u16 {
    let further = u16::try_from(attempt.saturating_sub(1)).unwrap_or(u16::MAX);
    hop_tolerance_bps.saturating_mul(further)
}

/// Makes the token accounts unless they are there, that of what is bought first, and wraps what is sold of SOL.
fn opening(
    wallet: Pubkey,
    (input, output): (Side, Side),
    on_the_way: &[Side],
    amount_in: u64,
) -> Vec<Instruction> {
    let create = |side: &Side| token::create_associated(wallet, wallet, side.mint, side.program);
    let mut instructions = vec![create(&output)];
    if input.mint == WRAPPED_SOL {
        instructions.extend([
            create(&input),
            system::transfer(wallet, input.account, amount_in),
            token::sync_native(input.account),
        ]);
    }
    instructions.extend(on_the_way.iter().map(create));
    instructions
}

/// Unwraps all wrapped SOL by closing its account, so that neither dust nor rent stays behind.
fn closing<'a>(wallet: Pubkey, mut sides: impl Iterator<Item = &'a Side>) -> Option<Instruction> {
    let wrapped = sides.find(|side| side.mint == WRAPPED_SOL)?;
    Some(token::close(wrapped.account, wallet, wallet))
}

fn unknown_token(mint: &str) -> StepError {
    let message = format!("{mint} is no mint of a token program");
    StepError::permanent(Failure::new(FailureCode::UNKNOWN_TOKEN, message))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sol_is_wrapped_before_and_unwrapped_after_wherever_it_stands() {
        let wallet = Pubkey::new_from_array([1; 32]);
        let side =
            |mint| Side { mint, program: TOKEN, account: token::associated_account(wallet, mint, TOKEN) };
        let [usdc, bonk] = [[2; 32], [3; 32]].map(|mint| side(Pubkey::new_from_array(mint)));
        let sol = side(WRAPPED_SOL);
        let create = |side: Side| token::create_associated(wallet, wallet, side.mint, TOKEN);
        let selling = opening(wallet, (sol, usdc), &[], 7);
        assert_eq!(selling[..2], [create(usdc), create(sol)]);
        assert_eq!(selling[2], system::transfer(wallet, sol.account, 7));
        assert_eq!(selling.len(), 4);
        assert_eq!(opening(wallet, (usdc, sol), &[], 7), [create(sol)]);
        assert_eq!(opening(wallet, (usdc, bonk), &[sol], 7), [create(bonk), create(sol)]);
        for sides in [[sol, usdc], [usdc, sol]] {
            assert_eq!(closing(wallet, sides.iter()), Some(token::close(sol.account, wallet, wallet)));
        }
        assert_eq!(closing(wallet, [usdc, bonk].iter()), None);
    }

    #[test]
    fn the_first_attempt_gives_nothing_away_on_the_way() {
        assert_eq!([0, 1, 2, 4].map(|attempt| tolerance(10, attempt)), [0, 0, 10, 30]);
        assert_eq!(tolerance(u16::MAX, u32::MAX), u16::MAX);
    }
}
