//! Who asks: API keys, tokens of an identity provider, and tickets for the sockets of browsers.

pub(crate) mod access;
pub(crate) mod api_keys;
pub(crate) mod caller;
pub(crate) mod commands;
pub(crate) mod jwks;
mod jwt;
pub(crate) mod key_file;
mod ring_provider;
pub(crate) mod scope;
pub(crate) mod seal;
pub(crate) mod secret_text;
pub(crate) mod settings;
pub(crate) mod tenure;
pub(crate) mod ticket;
