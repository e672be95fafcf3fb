//! The client against a server on the simulated chain, over a network that fails on request.

#[path = "client/answers.rs"]
mod answers;
#[path = "client/follow.rs"]
mod follow;
#[path = "client/lossy.rs"]
mod lossy;
#[path = "client/place.rs"]
mod place;
#[path = "client/site.rs"]
mod site;
