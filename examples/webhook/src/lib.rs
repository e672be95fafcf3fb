#![doc = include_str!("../README.md")]

mod body;
mod signature;
mod sink;

pub use body::{WebhookBody, WebhookError, WebhookEvent, WebhookFill};
pub use signature::{
    ID_HEADER, InvalidSecret, Rejected, SIGNATURE_HEADER, Secret, TIMESTAMP_HEADER, sign, verify,
};
pub use sink::{InvalidWebhook, WebhookConfig, WebhookSink};
