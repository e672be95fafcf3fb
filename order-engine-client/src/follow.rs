//! Live streams that miss no event and repeat none, whatever happens to connections.

mod all;
mod control;
mod follower;
mod item;
mod link;
mod one;

pub use all::{After, AllEvents};
pub use item::Item;
pub use one::OrderEvents;
