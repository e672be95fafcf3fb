//! The settings of webhooks.

use clap::builder::BoolishValueParser;

use crate::webhooks::networks::WebhookNetworks;

/// Where webhooks may go, and how many there may be.
#[derive(Clone, Debug, clap::Args)]
#[non_exhaustive]
pub struct WebhookSettings {
    /// How many webhooks one user may have; 0 for none at all.
    #[arg(long, env = "MAX_WEBHOOKS", default_value_t = 10, value_name = "COUNT", value_parser = clap::value_parser!(u16).range(..=1_000))]
    pub max_webhooks: u16,

    /// Networks that webhooks may go to besides the public internet, such as `10.1.0.0/16`. Users then reach what listens there.
    #[arg(long, env = "WEBHOOK_NETWORKS", value_name = "NETWORKS")]
    pub webhook_networks: Option<WebhookNetworks>,

    /// Let webhooks go to `http://` URLs. Whoever stands in between reads the events.
    #[arg(long, env = "WEBHOOK_HTTP", value_parser = BoolishValueParser::new())]
    pub webhook_http: bool,
}

impl Default for WebhookSettings {
    fn default() -> Self {
        Self { max_webhooks: 10, webhook_networks: None, webhook_http: false }
    }
}
