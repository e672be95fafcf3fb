//! Routes of several legs land as they were quoted.

mod common;

use common::{World, instant, trade};
use order_engine_core::{Candidate, Observation, Order, Route, SubmitReport, best};

/// Signs and sends a route that accepts only the quoted output, and checks that it lands with it.
async fn execute(world: &World, order: &Order, route: &Route) {
    let tx = world.prepare(order, route, route.amount_out).await.unwrap();
    assert_eq!(world.submit(&tx).await, SubmitReport::Accepted);
    let Observation::Landed { fill, .. } = world.observe(&tx.id).await else { panic!("it landed") };
    assert_eq!((fill.amount_in, fill.amount_out), (route.amount_in, route.amount_out));
}

async fn routes(world: &World, order: &Order) -> Vec<Candidate> {
    world.sim.router().quote(&order.request.quote_request()).await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn every_candidate_lands_as_it_was_quoted() {
    let world = World::new(instant()).await;
    // From a hundred dollars to three million.
    let amounts = [700_000_000, 50_000_000_000, 2_000_000_000_000, 20_000_000_000_000];
    let (mut most_paths, mut most_legs) = (0, 0);
    for (number, amount) in (1..).zip(amounts) {
        for (position, candidate) in (0..).zip(routes(&world, &trade(number, ("SOL", "USDC"), amount)).await)
        {
            let order = trade(100 * number + position, ("SOL", "USDC"), amount);
            let route = candidate.route().expect("every pool takes the order");
            execute(&world, &order, route).await;
            let paths = route.legs.iter().filter(|leg| leg.input_mint == order.request.input.mint).count();
            most_paths = most_paths.max(paths);
            most_legs = most_legs.max(route.legs.len());
        }
    }
    assert!(most_paths >= 3 && most_legs > most_paths, "splits and hops: {most_paths} and {most_legs}");
}

#[tokio::test(start_paused = true)]
async fn large_orders_are_split_and_small_ones_are_not() {
    let world = World::new(instant()).await;
    let small = trade(1, ("SOL", "USDC"), 1_000_000_000);
    assert_eq!(best(&routes(&world, &small).await).unwrap().legs.len(), 1);
    let large = trade(2, ("SOL", "USDC"), 20_000_000_000_000);
    let candidates = routes(&world, &large).await;
    let route = best(&candidates).unwrap();
    assert!(route.legs.len() >= 2 && route.dex == "Raydium + Meteora", "{route:?}");
    let singles = candidates.iter().filter_map(Candidate::route).filter(|route| route.legs.len() == 1);
    assert!(singles.map(|single| single.amount_out).all(|single| single < route.amount_out));
}
