//! Asking the chain itself what was done for an order.

use std::collections::{BTreeMap, BTreeSet};

use super::Engine;
use crate::domain::event::{EventRecord, OrderEvent};
use crate::domain::ids::{OrderId, TxId, VenueName};
use crate::domain::siblings::Purpose;
use crate::domain::transaction::{Observation, SignedTx, TxRef, Validity};
use crate::execution::context::Context;
use crate::execution::venues::KnownVenue;
use crate::ports::order_store::error::StoreError;
use crate::ports::venue::VenueError;

/// A transaction in the final history of a venue, with the tag that the venue writes for an order.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct FoundTransaction {
    /// The venue.
    pub venue: VenueName,
    /// The id of the transaction.
    pub tx_id: TxId,
    /// What it was signed for. None if the order's history does not have it: then this engine has not signed it.
    pub purpose: Option<Purpose>,
    /// What the venue says of it now. None if the venue does not answer about it.
    pub observation: Option<Observation>,
}

/// Why the chain could not be asked about an order.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FindError {
    /// The store failed.
    #[error("the store failed")]
    Store(#[from] StoreError),
    /// The order was routed to a venue that this process does not have.
    #[error("this process has no venue '{0}'")]
    NoVenue(VenueName),
    /// The venue cannot.
    #[error("the venue '{0}' does not find transactions by their order")]
    Unsupported(VenueName),
    /// The venue did not answer.
    #[error("the venue '{venue}' could not be searched")]
    Venue {
        /// Its name.
        venue: VenueName,
        /// Why not.
        source: VenueError,
    },
}

impl Engine {
    /// Returns the transactions with the tag that the venue [writes](crate::Venue::find) for the order, in the final
    /// history of each venue that the order was ever routed to: for an operator who has to know what became of an
    /// order before they [resolve](Self::resolve) it. Returns nothing for an unknown order. Changes nothing.
    ///
    /// A transaction that is found is there. One that is not found may still land, or be beyond what the node that
    /// answered has: an empty list proves nothing.
    ///
    /// # Errors
    /// If the store or a venue does not answer, or a venue is not one that
    /// [finds transactions by their tag](crate::VenueCapabilities::finds_by_tag).
    pub async fn find_on_chain(&self, id: OrderId) -> Result<Option<Vec<FoundTransaction>>, FindError> {
        let context = self.context();
        if self.order(id).await?.is_none() {
            return Ok(None);
        }
        let history = self.events(id, 0, u32::MAX).await?;
        let signed = signed(&history);
        let mut found = Vec::new();
        for name in venues(&history) {
            let venue = context.venues.get(name).ok_or_else(|| FindError::NoVenue(name.clone()))?;
            for tx_id in find(context, venue, id).await? {
                let known = signed.get(&tx_id);
                let observation = observe(context, venue, &tx_id, known.map(|(_, tx)| &tx.validity)).await;
                let purpose = known.map(|(purpose, _)| *purpose);
                found.push(FoundTransaction { venue: name.clone(), tx_id, purpose, observation });
            }
        }
        Ok(Some(found))
    }
}

/// Returns the venues of the routes that were chosen for an order.
fn venues(history: &[EventRecord]) -> BTreeSet<&VenueName> {
    let venues = history.iter().filter_map(|record| match &record.event {
        OrderEvent::RouteChosen { route, .. } => Some(&route.venue),
        _ => None,
    });
    venues.collect()
}

/// Returns what was signed for an order.
fn signed(history: &[EventRecord]) -> BTreeMap<&TxId, (Purpose, &SignedTx)> {
    let signed = history.iter().filter_map(|record| match &record.event {
        OrderEvent::TransactionSigned { tx } => Some((Purpose::Original, &**tx)),
        OrderEvent::SiblingSigned { purpose, tx } => Some((*purpose, &**tx)),
        OrderEvent::NonceFilled { tx } => Some((Purpose::Filler, &**tx)),
        _ => None,
    });
    signed.map(|(purpose, tx)| (&tx.id, (purpose, tx))).collect()
}

async fn find(context: &Context, venue: &KnownVenue, id: OrderId) -> Result<Vec<TxId>, FindError> {
    if !venue.capabilities.finds_by_tag {
        return Err(FindError::Unsupported(venue.name.clone()));
    }
    let finding = context.tasks.supervisor.guard("venue.find", venue.venue.find(id));
    let found = match context.in_time(finding).await {
        Some(Ok(found)) => found,
        Some(Err(panicked)) => Err(VenueError::new(panicked.to_string())),
        None => Err(VenueError::new("it took too long")),
    };
    found.map_err(|source| FindError::Venue { venue: venue.name.clone(), source })
}

/// Asks about one transaction alone, so that one which cannot be observed does not hide the others.
async fn observe(
    context: &Context,
    venue: &KnownVenue,
    id: &TxId,
    validity: Option<&Validity>,
) -> Option<Observation> {
    let tx = [validity.map_or_else(|| TxRef::by_id(id), |validity| TxRef::new(id, validity))];
    let observing = venue.venue.observe(&tx);
    let observed = context.in_time(context.tasks.supervisor.guard("venue.observe", observing)).await;
    observed?.ok()?.ok()?.pop()
}
