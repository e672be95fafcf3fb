#![doc = include_str!("../README.md")]

pub mod accounts;
pub mod broker;
pub mod http;
pub mod settle;
pub mod worker;
