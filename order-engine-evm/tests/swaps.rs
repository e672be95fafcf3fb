//! Quotes against what Uniswap's own contracts pay, to the unit.

mod common;

use common::contracts::ONE;
use common::dice::Dice;
use common::world::{Desk, World, fill_of, sides, through};
use order_engine_core::{Amount, FailureCode, Route, Venue as _};
use order_engine_evm::{Address, Deployment, EvmVenueOptions};
use order_engine_routing::{Curve, Direction, Moment, Pool, QuoteError};

/// How many swaps are made with each kind of pool, unless the variable `SWAPS` says otherwise.
const SWAPS: u64 = 100;

fn swaps() -> u64 {
    std::env::var("SWAPS").map_or(SWAPS, |text| text.parse().expect("SWAPS is a number"))
}

/// Makes random swaps with these pools and returns how many landed as quoted.
async fn trade(world: &World, desks: &[(Address, Desk)], count: u64) -> u64 {
    let mut dice = Dice::new(1);
    let (mut landed, mut refused) = (0, 0);
    for (_, desk) in desks {
        desk.pools.read().await.unwrap();
    }
    while landed < count {
        let (address, desk) = dice.pick(desks).expect("there are pools");
        let address = *address;
        let pool = desk.pools.pool(address).expect("it was read");
        let direction = Direction::BOTH[usize::try_from(dice.below(2)).unwrap()];
        // Up to a thousand tokens, a tenth of the smaller pools.
        let amount = dice.amount(70);
        if swap(world, desk, (&pool, address, direction), (amount, landed % 20 == 0)).await {
            landed += 1;
        } else {
            refused += 1;
            assert!(refused < 20 * count, "nearly no amount can be traded");
        }
    }
    landed
}

/// Returns what a trade changes of a pool. Of the ticks others are known after the price has moved.
fn place(pool: &Pool) -> Vec<String> {
    match &pool.curve {
        Curve::UniswapV2(pair) => {
            let state = pair.state();
            vec![state.reserve_a.to_string(), state.reserve_b.to_string()]
        }
        Curve::UniswapV3(pool) => {
            let state = pool.state();
            let numbers = [state.sqrt_price_x96.to_string(), state.liquidity.to_string()];
            [&numbers[..], &[state.tick_current.to_string()]].concat()
        }
        other => panic!("another curve: {other:?}"),
    }
}

/// Quotes and makes one swap; nothing if the pool cannot trade the amount. With `also_too_much` it first tries to get a unit more
/// than quoted, which fails.
async fn swap(
    world: &World,
    desk: &Desk,
    (pool, address, direction): (&Pool, Address, Direction),
    (amount, also_too_much): (u128, bool),
) -> bool {
    let quoted = match pool.amount_out(direction, Amount::new(amount), Moment::from_unix_seconds(0)) {
        Ok(quoted) => quoted.base_units(),
        Err(QuoteError::TooSmall | QuoteError::NotEnoughLiquidity) => return false,
        Err(error) => panic!("{error}"),
    };
    let [input, output] = sides(pool, direction).map(|mint| mint.parse::<Address>().unwrap());
    let (_, tx) = desk.prepare(&through(address, (input, amount), (output, quoted)), quoted).await.unwrap();
    if also_too_much {
        let more = through(address, (input, amount), (output, quoted + 1));
        let error = desk.prepare(&more, quoted + 1).await.unwrap_err();
        assert_eq!(error.failure.code, FailureCode::SLIPPAGE);
    }
    desk.venue.submit(&tx).await;
    world.chain.mine(1).await;
    let seen = desk.observe(&tx).await;
    assert_eq!(fill_of(&seen), (amount, quoted), "{pool:?}");
    let next = pool.after(direction, Amount::new(amount), Moment::from_unix_seconds(0)).unwrap();
    desk.pools.read().await.unwrap();
    let read = desk.pools.pool(address).expect("it was read");
    assert_eq!(place(&read), place(&next), "the pool is as foretold");
    true
}

/// Returns a desk for each of these pools, so that a swap reads no other pool than its own.
fn desks(world: &World, deployment: &Deployment, pools: &[Address]) -> Vec<(Address, Desk)> {
    let desk = |pool: &Address| {
        let pools = world.directory_of(deployment.clone(), [*pool]);
        (*pool, Desk::new(world.chain.cluster(), &world.wallet, pools, EvmVenueOptions::default()))
    };
    pools.iter().map(desk).collect()
}

#[tokio::test]
async fn v2_pays_what_is_quoted() {
    let world = World::new().await;
    let desks = desks(&world, &world.contracts.uniswap(), &world.v2);
    let landed = trade(&world, &desks, swaps()).await;
    println!("{landed} swaps of V2 landed as quoted, to the unit");
}

#[tokio::test]
async fn v3_pays_what_is_quoted() {
    let world = World::new().await;
    let desks = desks(&world, &world.contracts.uniswap(), &world.v3);
    let landed = trade(&world, &desks, swaps()).await;
    println!("{landed} swaps of V3 landed as quoted, to the unit");
}

#[tokio::test]
async fn the_router_of_v2_pays_what_is_quoted() {
    let world = World::new().await;
    let desks = desks(&world, &world.contracts.fork(), &world.v2);
    let landed = trade(&world, &desks, swaps().div_ceil(4)).await;
    println!("{landed} swaps of a fork of V2 landed as quoted, to the unit");
}

/// Whether a leg feeds several others. It is traded in parts then, and the parts pay a little more and less than it does at once.
fn feeds_several(route: &Route) -> bool {
    let sold = &route.legs[0].input_mint;
    let sells = |mint: &String| route.legs.iter().filter(|leg| leg.input_mint == *mint).count();
    route.legs.iter().any(|leg| leg.input_mint != *sold && sells(&leg.input_mint) > 1)
}

#[tokio::test]
async fn routes_of_several_pools_land_in_one_transaction() {
    let world = World::new().await;
    let desk = world.desk();
    let contracts = &world.contracts;
    let (weth, x, y, z) = (contracts.weth, contracts.x, contracts.y, contracts.z);
    let (mut most_legs, mut is_any_in_parts) = (0, false);
    for (input, amount, output) in [
        (x, 2_000 * ONE, y),
        (x, 500 * ONE, z),
        (z, 1_000 * ONE, x),
        (weth, 3 * ONE, z),
        (y, 900 * ONE, weth),
    ] {
        let route = desk.quote(input, amount, output).await.expect("there is a route");
        let quoted = route.amount_out.base_units();
        let in_parts = feeds_several(&route);
        let off = if in_parts { quoted / 2_000 } else { 2 };
        let (_, tx) = desk.prepare(&route, quoted - off).await.unwrap();
        desk.venue.submit(&tx).await;
        world.chain.mine(1).await;
        let (sold, bought) = fill_of(&desk.observe(&tx).await);
        assert_eq!(sold, amount);
        assert!(bought.abs_diff(quoted) <= off, "{bought} of {quoted}");
        most_legs = most_legs.max(route.legs.len());
        is_any_in_parts |= in_parts;
    }
    assert!(most_legs > 3 && is_any_in_parts);
    for token in [weth, x, y, z] {
        assert_eq!(world.tokens_of(token, contracts.router).await, 0, "nothing stays with the router");
    }
    assert_eq!(world.chain.wei(contracts.router).await, 0);
}
