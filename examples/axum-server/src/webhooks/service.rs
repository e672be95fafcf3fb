//! The webhooks of a server: what its routes and its process need of them.

use std::sync::Arc;
use std::time::Duration;

use order_engine_core::{Engine, StoreError};
use tokio::sync::{Notify, Semaphore};

use crate::backend::StoreUrl;
use crate::webhooks::client::{NoCertificates, WebhookClient};
use crate::webhooks::dispatcher::Dispatcher;
use crate::webhooks::post::Post;
use crate::webhooks::settings::WebhookSettings;
use crate::webhooks::store::WebhookStore;
use crate::webhooks::stores::memory::MemoryWebhooks;
#[cfg(feature = "postgres")]
use crate::webhooks::stores::postgres::PostgresWebhooks;
#[cfg(feature = "redis")]
use crate::webhooks::stores::redis::RedisWebhooks;
use crate::webhooks::stores::sqlite::SqliteWebhooks;
use crate::webhooks::target::TargetRules;

/// How many requests are under way at a time. A receiver that does not answer holds one for ten seconds.
const REQUESTS_MAX: usize = 256;
/// How many of the requests that users wait for are under way at a time.
const ASKED_MAX: usize = 16;

/// The webhooks of a server. Clones share them.
#[derive(Clone, Debug)]
pub struct Webhooks {
    pub(crate) store: Arc<dyn WebhookStore>,
    pub(crate) most: usize,
    post: Post,
    /// For what users ask for and wait for, which has places of its own.
    pub(crate) asked: Post,
    changed: Arc<Notify>,
}

/// Why there are no webhooks.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidWebhooks {
    /// The store cannot be opened.
    #[error("cannot open the store of the webhooks")]
    Store(#[from] StoreError),
    /// The client cannot be made.
    #[error("cannot post webhooks")]
    Client(#[from] NoCertificates),
}

impl Webhooks {
    /// Opens the place beside the orders where endpoints are kept. The store of the orders must be open already. Returns nothing if the
    /// settings have none.
    ///
    /// # Errors
    /// If the place cannot be opened, or this machine has no certificates.
    pub async fn open(url: &StoreUrl, settings: &WebhookSettings) -> Result<Option<Self>, InvalidWebhooks> {
        if settings.max_webhooks == 0 {
            return Ok(None);
        }
        let store: Arc<dyn WebhookStore> = match url {
            StoreUrl::Memory => Arc::new(MemoryWebhooks::default()),
            StoreUrl::Sqlite(options) => {
                Arc::new(SqliteWebhooks::open(options.path().with_extension("webhooks.db")).await?)
            }
            #[cfg(feature = "postgres")]
            StoreUrl::Postgres(options) => Arc::new(PostgresWebhooks::open(options).await?),
            #[cfg(feature = "redis")]
            StoreUrl::Redis(options) => Arc::new(RedisWebhooks::open(options).await?),
        };
        Self::over(store, settings).map(Some)
    }

    fn over(store: Arc<dyn WebhookStore>, settings: &WebhookSettings) -> Result<Self, InvalidWebhooks> {
        let networks = settings.webhook_networks.clone().unwrap_or_default();
        let client = WebhookClient::new(TargetRules { networks, allows_http: settings.webhook_http })?;
        let post = |slots| Post { client: client.clone(), slots: Arc::new(Semaphore::new(slots)) };
        Ok(Self {
            store,
            most: usize::from(settings.max_webhooks),
            post: post(REQUESTS_MAX),
            asked: post(ASKED_MAX),
            changed: Arc::default(),
        })
    }

    pub(crate) const fn rules(&self) -> &TargetRules {
        self.asked.client.rules()
    }

    /// Says that an endpoint was added or changed, so that this process looks at once.
    pub(crate) fn notify(&self) {
        self.changed.notify_one();
    }

    /// Delivers until `stop` completes. A process that dies keeps its endpoints from the others for `lease_duration`.
    pub async fn deliver(
        self,
        engine: Engine,
        lease_duration: Duration,
        stop: impl Future<Output = ()> + Send,
    ) {
        let Self { store, post, changed, .. } = self;
        Dispatcher { engine, store, post, lease_duration, changed }.run(stop).await;
    }
}
