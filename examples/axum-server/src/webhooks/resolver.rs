//! Names of receivers. What a connection goes to is what was checked: a name is resolved once for it, and only the allowed addresses
//! of that answer are used, so that a name cannot resolve to something else between the check and the use.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use async_trait::async_trait;
use hyper_util::client::legacy::connect::dns::Name;
use tower_service::Service;

use crate::webhooks::networks::WebhookNetworks;

/// What names are resolved by.
#[async_trait]
pub(crate) trait Names: fmt::Debug + Send + Sync + 'static {
    /// Returns the addresses of a name.
    async fn addresses(&self, host: &str) -> io::Result<Vec<IpAddr>>;
}

/// The names that the system knows.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SystemNames;

#[async_trait]
impl Names for SystemNames {
    async fn addresses(&self, host: &str) -> io::Result<Vec<IpAddr>> {
        Ok(tokio::net::lookup_host((host, 0)).await?.map(|address| address.ip()).collect())
    }
}

/// Resolves names to the addresses that webhooks may go to.
#[derive(Clone, Debug)]
pub(crate) struct Resolver {
    pub(crate) names: Arc<dyn Names>,
    pub(crate) networks: WebhookNetworks,
}

/// Why a name leads nowhere.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unresolved {
    #[error("the name has no address")]
    NoAddress(#[source] Option<io::Error>),
    #[error("the name has only addresses that webhooks may not go to")]
    Refused,
}

impl Resolver {
    async fn resolve(self, host: String) -> Result<Vec<SocketAddr>, Unresolved> {
        let found = self.names.addresses(&host).await.map_err(|error| Unresolved::NoAddress(Some(error)))?;
        if found.is_empty() {
            return Err(Unresolved::NoAddress(None));
        }
        let allowed = found.into_iter().filter(|address| self.networks.allow(*address));
        // The connector puts the port of the URL in.
        let allowed: Vec<SocketAddr> = allowed.map(|address| SocketAddr::new(address, 0)).collect();
        if allowed.is_empty() { Err(Unresolved::Refused) } else { Ok(allowed) }
    }
}

impl Service<Name> for Resolver {
    type Response = std::vec::IntoIter<SocketAddr>;
    type Error = Unresolved;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Unresolved>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Unresolved>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let resolver = self.clone();
        Box::pin(async move { Ok(resolver.resolve(name.as_str().to_owned()).await?.into_iter()) })
    }
}
