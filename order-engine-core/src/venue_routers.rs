//! One router for several venues.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::{self, Either, join_all};

use crate::domain::failure::{Failure, FailureCode};
use crate::domain::ids::VenueName;
use crate::domain::route::{Candidate, CandidateOutcome, QuoteRequest};
use crate::ports::into_port::IntoPort;
use crate::ports::router::{DexRouter, StepError};
use crate::ports::runtime::Clock;

/// How long a router may take, unless another time is set.
const PATIENCE: Duration = Duration::from_secs(2);

/// Asks the routers of several venues at once, and names the venue in each route.
///
/// A router that fails, or takes too long, becomes a rejected candidate: it hides no other. Only if no other
/// offers a route, the failure is the answer, so that the order waits for the one that may have had one.
///
/// ```
/// use std::sync::Arc;
///
/// use order_engine_core::testing::{ScriptedRouter, request};
/// use order_engine_core::{DexRouter, TokioClock, VenueRouters};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), order_engine_core::StepError> {
/// let router = VenueRouters::new(Arc::new(TokioClock::new()))
///     .with("solana", ScriptedRouter::new())
///     .with("base", ScriptedRouter::new());
/// let candidates = router.quote(&request().quote_request()).await?;
/// let venues: Vec<_> = candidates.iter().filter_map(|candidate| Some(candidate.route()?.venue.as_str())).collect();
/// assert_eq!(venues, ["solana", "solana", "base", "base"]);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
#[must_use]
pub struct VenueRouters {
    clock: Arc<dyn Clock>,
    patience: Duration,
    routers: Vec<(VenueName, Arc<dyn DexRouter>)>,
}

impl VenueRouters {
    /// Returns a router without venues. It takes the time that a router may take from the clock.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, patience: PATIENCE, routers: Vec::new() }
    }

    /// Adds the router of a venue.
    pub fn with(mut self, venue: impl Into<VenueName>, router: impl IntoPort<dyn DexRouter>) -> Self {
        self.routers.push((venue.into(), router.into_port()));
        self
    }

    /// Sets how long a router may take: two seconds, unless set.
    pub fn with_patience(self, patience: Duration) -> Self {
        Self { patience, ..self }
    }

    /// Returns the candidates of one venue, each with the venue's name in its route.
    async fn ask(
        &self,
        venue: &VenueName,
        router: &dyn DexRouter,
        request: &QuoteRequest,
    ) -> Result<Vec<Candidate>, StepError> {
        let (quote, too_late) = (router.quote(request), self.clock.sleep(self.patience));
        let mut candidates = match future::select(quote, too_late).await {
            Either::Left((quoted, _)) => quoted?,
            Either::Right(_) => {
                let message = format!("No quote came for the venue '{venue}' in time");
                return Err(StepError::unavailable(Failure::new(FailureCode::QUOTE_UNAVAILABLE, message)));
            }
        };
        for candidate in &mut candidates {
            if let CandidateOutcome::Quoted(route) = &mut candidate.outcome {
                Arc::make_mut(route).venue = venue.clone();
            }
        }
        Ok(candidates)
    }
}

#[async_trait]
impl DexRouter for VenueRouters {
    fn dexes(&self) -> Vec<String> {
        let mut dexes: Vec<String> = Vec::new();
        for dex in self.routers.iter().flat_map(|(_, router)| router.dexes()) {
            if !dexes.contains(&dex) {
                dexes.push(dex);
            }
        }
        dexes
    }

    async fn quote(&self, request: &QuoteRequest) -> Result<Vec<Candidate>, StepError> {
        let asked = self.routers.iter().map(|(venue, router)| self.ask(venue, &**router, request));
        let mut candidates = Vec::new();
        let mut first_error = None;
        for ((venue, _), answer) in self.routers.iter().zip(join_all(asked).await) {
            match answer {
                Ok(quoted) => candidates.extend(quoted),
                Err(error) => {
                    let failure = error.failure.clone();
                    candidates.push(Candidate::rejected(venue.as_str(), venue.as_str(), failure));
                    first_error = first_error.or(Some(error));
                }
            }
        }
        match first_error {
            Some(error) if candidates.iter().all(|candidate| candidate.route().is_none()) => Err(error),
            _ => Ok(candidates),
        }
    }
}
