//! The calldata of a route. Pure.

use alloy_primitives::{Address, Bytes, U256};
use alloy_sol_types::SolCall;
use order_engine_core::StepError;

use crate::abi::{ExactInput, SwapRouter02, V2Router};
use crate::permit::Permit;
use crate::pools::kind::{PoolKind, ROUTER_ITSELF, Version};
use crate::pools::paths::{Path, paths};
use crate::pools::{Deployment, SwapRouter};
use crate::swap_builder::{SwapCall, SwapRequest};
use crate::venue_error::rejected;

/// A hop of a path: the pool and its tokens in the direction of the trade.
#[derive(Clone, Copy, Debug)]
struct Hop {
    version: Version,
    input: Address,
    output: Address,
}

/// Returns the call of a route through these pools, one for each leg.
///
/// # Errors
/// If a pool does not trade the tokens of its leg, or the router cannot trade the route in one call.
pub(super) fn swap(
    deployment: &Deployment,
    request: &SwapRequest<'_>,
    pools: &[PoolKind],
) -> Result<SwapCall, StepError> {
    let legs = &request.route.legs;
    let hops = legs.iter().zip(pools).map(|(leg, pool)| {
        let (input, output) = pool.trades(leg)?;
        Some(Hop { version: pool.version, input, output })
    });
    let hops: Option<Vec<Hop>> = hops.collect();
    let hops = hops.ok_or_else(|| rejected("A pool of the route does not trade its tokens"))?;
    let [input, output] = [request.input, request.output].map(|token| token.to_string());
    let paths = paths(legs, &input, &output);
    let paths = paths.ok_or_else(|| rejected("A leg of the route leads nowhere"))?;
    let is_native = |token: Address| token == deployment.wrapped_native;
    let value = if is_native(request.input) { request.amount_in } else { U256::ZERO };
    let input = match deployment.router {
        SwapRouter::V2(_) => v2_call(request, &hops, &paths, is_native)?,
        SwapRouter::SwapRouter02(_) => router02_call(request, &hops, &paths, is_native),
    };
    Ok(SwapCall { to: deployment.router.address(), value, input })
}

/// Returns the call of the router of V2.
fn v2_call(
    request: &SwapRequest<'_>,
    hops: &[Hop],
    paths: &[Path],
    is_native: impl Fn(Address) -> bool,
) -> Result<Bytes, StepError> {
    let [way] = paths else {
        return Err(rejected("The router trades one path only, and the route has several"));
    };
    let path = tokens(&way.legs.iter().map(|leg| hops[*leg]).collect::<Vec<_>>());
    let SwapRequest { wallet: to, amount_in, min_amount_out: amount_out_min, .. } = *request;
    let deadline = U256::from(request.deadline);
    Ok(if is_native(request.input) {
        V2Router::swapExactETHForTokensCall { amount_out_min, path, to, deadline }.abi_encode()
    } else if is_native(request.output) {
        V2Router::swapExactTokensForETHCall { amount_in, amount_out_min, path, to, deadline }.abi_encode()
    } else {
        V2Router::swapExactTokensForTokensCall { amount_in, amount_out_min, path, to, deadline }.abi_encode()
    }
    .into())
}

/// Returns the calls of `SwapRouter02` in one, which ends at the deadline.
fn router02_call(
    request: &SwapRequest<'_>,
    hops: &[Hop],
    paths: &[Path],
    is_native: impl Fn(Address) -> bool,
) -> Bytes {
    let SwapRequest { wallet, min_amount_out, output, .. } = *request;
    // Several paths pay into the router, which then pays all of it at once: so one minimum holds for the sum.
    let is_direct = paths.len() == 1 && !is_native(output);
    let (recipient, least) = if is_direct { (wallet, min_amount_out) } else { (ROUTER_ITSELF, U256::ZERO) };
    let mut data: Vec<Bytes> =
        request.permit.map(|permit| permitted(request.input, &permit)).into_iter().collect();
    for path in paths {
        let hops: Vec<Hop> = path.legs.iter().map(|leg| hops[*leg]).collect();
        let runs: Vec<&[Hop]> = hops.chunk_by(|one, other| one.is_like(*other)).collect();
        for (place, run) in runs.iter().enumerate() {
            // Nothing means all that the router has of the token, which is what the run before has paid.
            let amount_in = if place == 0 { U256::from(path.amount_in) } else { U256::ZERO };
            let is_last = place + 1 == runs.len();
            let (to, least) = if is_last { (recipient, least) } else { (ROUTER_ITSELF, U256::ZERO) };
            data.push(trade(run, amount_in, to, least));
        }
    }
    if is_native(output) {
        let call = SwapRouter02::unwrapWETH9Call { amount_minimum: min_amount_out, recipient: wallet };
        data.push(call.abi_encode().into());
    } else if !is_direct {
        let call =
            SwapRouter02::sweepTokenCall { token: output, amount_minimum: min_amount_out, recipient: wallet };
        data.push(call.abi_encode().into());
    }
    if is_native(request.input) {
        // What pools did not take would stay with the router, where anybody can take it.
        data.push(SwapRouter02::refundETHCall {}.abi_encode().into());
    }
    let deadline = U256::from(request.deadline);
    SwapRouter02::multicallCall { deadline, data }.abi_encode().into()
}

/// Returns the call that passes a permit on, unless enough is allowed by then.
fn permitted(token: Address, permit: &Permit) -> Bytes {
    let (v, r, s) = permit.parts();
    let Permit { value, deadline, .. } = *permit;
    SwapRouter02::selfPermitIfNecessaryCall { token, value, deadline, v, r, s }.abi_encode().into()
}

/// Returns the call that trades pools of one version in a row.
fn trade(run: &[Hop], amount_in: U256, to: Address, least: U256) -> Bytes {
    match run[0].version {
        Version::V2 { .. } => {
            let (path, amount_out_min) = (tokens(run), least);
            SwapRouter02::swapExactTokensForTokensCall { amount_in, amount_out_min, path, to }.abi_encode()
        }
        Version::V3 { .. } => {
            let params =
                ExactInput { path: packed(run), recipient: to, amount_in, amount_out_minimum: least };
            SwapRouter02::exactInputCall { params }.abi_encode()
        }
    }
    .into()
}

impl Hop {
    /// Whether both are of one version.
    fn is_like(self, other: Self) -> bool {
        std::mem::discriminant(&self.version) == std::mem::discriminant(&other.version)
    }
}

fn tokens(hops: &[Hop]) -> Vec<Address> {
    hops.first().map(|hop| hop.input).into_iter().chain(hops.iter().map(|hop| hop.output)).collect()
}

/// Returns a path of V3: tokens of 20 bytes with fees of three between them.
fn packed(hops: &[Hop]) -> Bytes {
    let mut path = hops.first().map_or_else(Vec::new, |hop| hop.input.to_vec());
    for hop in hops {
        let fee = match hop.version {
            Version::V2 { .. } => 0,
            Version::V3 { fee_ppm, .. } => fee_ppm,
        };
        path.extend_from_slice(&fee.to_be_bytes()[1..]);
        path.extend_from_slice(hop.output.as_slice());
    }
    path.into()
}
