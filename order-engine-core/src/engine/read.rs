//! Reading orders and their events, and asking for quotes.

use std::sync::Arc;

use super::Engine;
use crate::delivery::subscription::Subscription;
use crate::domain::amount::Amount;
use crate::domain::event::EventRecord;
use crate::domain::ids::{ClientOrderId, OrderId, UserId};
use crate::domain::order::Order;
use crate::domain::route::{Candidate, QuoteRequest, Route};
use crate::execution::choice::{choose, no_route};
use crate::ports::order_store::error::StoreError;
use crate::ports::order_store::query::{OrderQuery, UndecodableOrder};
use crate::ports::router::StepError;

/// What routing would do now.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Quotation {
    /// Everything that was considered.
    pub candidates: Vec<Candidate>,
    /// The route that would be chosen; none if there is none.
    pub route: Option<Route>,
}

impl Quotation {
    /// Returns the least output that an order with this slippage would accept on the chosen route.
    pub fn min_amount_out(&self, slippage_bps: u16) -> Option<Amount> {
        Some(self.route.as_ref()?.amount_out.less_slippage(slippage_bps))
    }

    /// Returns why there is no route, as an order would be told; nothing if there is one. The error's class says
    /// whether waiting may help.
    pub fn refusal(&self) -> Option<StepError> {
        self.route.is_none().then(|| no_route(&self.candidates))
    }
}

impl Engine {
    /// Returns what routing would do now, without an order.
    ///
    /// # Errors
    /// If the router could ask no exchange.
    pub async fn quote(&self, request: &QuoteRequest) -> Result<Quotation, StepError> {
        let context = self.context();
        let mut candidates = context.router.quote(request).await?;
        let chosen = choose(&mut candidates, None, &request.output, |venue| context.venue_obstacle(venue));
        let route = chosen.ok().map(Arc::unwrap_or_clone);
        Ok(Quotation { candidates, route })
    }

    /// Returns an order as it is now.
    pub async fn order(&self, id: OrderId) -> Result<Option<Order>, StoreError> {
        let context = self.context();
        context.tasks.supervisor.store("store.load", context.store.load(id)).await
    }

    /// Returns the order that a user gave this client order id, as it is now.
    pub async fn order_named(
        &self,
        user: &UserId,
        name: &ClientOrderId,
    ) -> Result<Option<Order>, StoreError> {
        let context = self.context();
        context.tasks.supervisor.store("store.load_named", context.store.load_named(user, name)).await
    }

    /// Returns orders by some properties, newest first, a page at a time. An order that this program cannot
    /// decode has its place in the page, with the reason.
    pub async fn orders(
        &self,
        query: &OrderQuery,
    ) -> Result<Vec<Result<Order, UndecodableOrder>>, StoreError> {
        let context = self.context();
        context.tasks.supervisor.store("store.list", context.store.list(query)).await
    }

    /// Returns at most `limit` events of an order after the one numbered `after`, oldest first.
    pub async fn events(&self, id: OrderId, after: u64, limit: u32) -> Result<Vec<EventRecord>, StoreError> {
        let context = self.context();
        context.tasks.supervisor.store("store.events", context.store.events(id, after, limit)).await
    }

    /// Returns an order's events after the one numbered `after` (0: from the beginning), and then every
    /// further one as it commits. Returns nothing for an unknown order.
    pub async fn subscribe(&self, id: OrderId, after: u64) -> Result<Option<Subscription>, StoreError> {
        let context = self.context();
        let hub = &self.inner.publisher.hub;
        // Listening begins before the history is read, so that nothing falls between the two.
        let listener = hub.listen(id);
        if context.tasks.shutdown.is_closing() {
            // The engine closes its hub once; a listener that comes later would wait for ever.
            hub.close();
        }
        let store = (Arc::clone(&context.store), Arc::clone(&context.tasks.supervisor));
        let heads = (!self.is_told_of_all()).then_some(&self.inner.heads);
        Subscription::begin(store, heads, listener, id, after).await
    }

    /// Whether this process is told what others commit, so that what it remembers of an order is up to date
    /// but for what is under way.
    fn is_told_of_all(&self) -> bool {
        let sources = &self.inner.sources;
        !sources.is_empty() && sources.iter().all(|source| source.is_connected())
    }
}
