#![doc = include_str!("../README.md")]

mod answers;
mod client;
mod error;
mod event;
mod follow;
mod forms;
mod http;
mod path;
mod place;
mod repeat;
mod secret;
mod settings;
mod sse;

pub use answers::{
    Cancellation, Candidate, Chain, Leg, ListedOrder, Order, OrderFailure, OrderPage, Pair, Placed, Quote,
    Route, Status, Time, Token,
};
pub use client::Client;
pub use error::{Error, FieldError, Problem};
pub use event::{Event, EventError, EventKind, EventPage};
pub use follow::{After, AllEvents, Item, OrderEvents};
pub use forms::{OrderForm, OrderQuery, QuoteForm};
pub use path::segment;
pub use secret::Secret;
pub use settings::Settings;
