use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;

use crate::domain::failure::{Failure, FailureClass, FailureCode};
use crate::domain::ids::{OrderId, TxId};
use crate::domain::transaction::{Certainty, ChainView, Fill, Observation, SignedTx, TxRef, Validity};
use crate::ports::router::StepError;
use crate::ports::venue::{PrepareRequest, SubmitReport, Venue, VenueCapabilities, VenueError};

/// The number of heights after its signing at which a transaction may land.
const VALIDITY: u64 = 150;

/// A venue on a chain that grows only when a test makes it. A submitted transaction lands at once and for
/// good.
///
/// The venue counts the executions of each order, and never executes one transaction twice.
#[derive(Debug, Default)]
pub struct ScriptedVenue {
    chain: Mutex<Chain>,
}

/// What happens to a submitted transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sending {
    /// It lands, and the venue accepts it.
    Lands,
    /// It lands, and the reply is lost.
    LandsUnheard,
    /// The venue accepts it, and it is lost.
    Dropped,
    /// It lands, and fails on the chain because of slippage.
    Reverts,
    /// The venue refuses it.
    Refused,
    /// The call never returns, and the transaction does not land.
    Hangs,
}

#[derive(Debug, Default)]
struct Chain {
    height: u64,
    signed: u64,
    orders: BTreeMap<TxId, (OrderId, Fill)>,
    /// The transactions that landed, with the height at which they did.
    landed: BTreeMap<TxId, (u64, Observation)>,
    sent: Vec<(TxId, Vec<u8>)>,
    sendings: VecDeque<Sending>,
    refusals: VecDeque<StepError>,
    is_down: bool,
    is_forgetful: bool,
    search_lag: u64,
}

impl ScriptedVenue {
    /// Returns a venue where every transaction lands.
    pub fn new() -> Self {
        Self::default()
    }

    fn chain(&self) -> MutexGuard<'_, Chain> {
        self.chain.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Scripts what happens to the next submitted transactions, in order. After them, every transaction
    /// lands.
    pub fn next_sendings(&self, sendings: impl IntoIterator<Item = Sending>) {
        self.chain().sendings.extend(sendings);
    }

    /// Makes one of the next preparations fail.
    pub fn fail_next_prepare(&self, error: StepError) {
        self.chain().refusals.push_back(error);
    }

    /// Adds heights to the chain, which are final at once.
    pub fn grow(&self, heights: u64) {
        self.chain().height += heights;
    }

    /// Makes every `view` fail from now on, or lets it work again.
    pub fn set_down(&self, is_down: bool) {
        self.chain().is_down = is_down;
    }

    /// Puts a gap into the venue's history, or removes it. With a gap, the venue cannot prove that a
    /// transaction is absent.
    pub fn set_forgetful(&self, is_forgetful: bool) {
        self.chain().is_forgetful = is_forgetful;
    }

    /// Sets how many heights the node that answers `observe` is behind the one that answers `view`. Its
    /// history is complete, and it reports its own height.
    pub fn set_search_lag(&self, heights: u64) {
        self.chain().search_lag = heights;
    }

    /// Returns how often an order was executed.
    pub fn executions(&self, order_id: OrderId) -> usize {
        let chain = self.chain();
        let executed = |(id, (_, observation)): &(&TxId, &(u64, Observation))| {
            matches!(observation, Observation::Landed { .. })
                && chain.orders.get(*id).is_some_and(|(order, _)| *order == order_id)
        };
        chain.landed.iter().filter(executed).count()
    }

    /// Returns the ids and the bytes of all transactions that were submitted for an order, in order.
    pub fn sent(&self, order_id: OrderId) -> Vec<(TxId, Vec<u8>)> {
        let chain = self.chain();
        let of_order =
            |(id, _): &&(TxId, Vec<u8>)| chain.orders.get(id).is_some_and(|(order, _)| *order == order_id);
        chain.sent.iter().filter(of_order).cloned().collect()
    }

    /// Returns the number of submitted transactions, with those that this venue did not sign.
    pub fn total_sent(&self) -> usize {
        self.chain().sent.len()
    }

    /// Returns the number of transactions that were signed.
    pub fn signed(&self) -> u64 {
        self.chain().signed
    }

    fn take(&self, tx: &SignedTx) -> Option<SubmitReport> {
        let mut chain = self.chain();
        chain.sent.push((tx.id.clone(), tx.bytes.clone()));
        if chain.landed.contains_key(&tx.id) {
            return Some(SubmitReport::AlreadyKnown);
        }
        if !is_valid(tx, chain.height) {
            return Some(SubmitReport::DefinitelyNotAccepted { message: "block height exceeded".into() });
        }
        let sending = chain.sendings.pop_front().unwrap_or(Sending::Lands);
        if matches!(sending, Sending::Lands | Sending::LandsUnheard)
            && let Some((_, fill)) = chain.orders.get(&tx.id).cloned()
        {
            let landed = Observation::Landed { certainty: Certainty::Finalized, fill };
            chain.land(tx, landed);
        }
        if sending == Sending::Reverts {
            let failure = Failure::new(FailureCode::SLIPPAGE, "The output fell below the minimum");
            let class = FailureClass::Requote;
            let reverted = Observation::Reverted { certainty: Certainty::Finalized, failure, class };
            chain.land(tx, reverted);
        }
        match sending {
            Sending::Lands | Sending::Dropped | Sending::Reverts => Some(SubmitReport::Accepted),
            Sending::LandsUnheard => Some(SubmitReport::Ambiguous { message: "the reply was lost".into() }),
            Sending::Refused => Some(SubmitReport::DefinitelyNotAccepted { message: "refused".into() }),
            Sending::Hangs => None,
        }
    }
}

impl Chain {
    fn land(&mut self, tx: &SignedTx, observation: Observation) {
        self.landed.insert(tx.id.clone(), (self.height, observation));
    }

    /// Returns what the node that answers `observe` knows of a transaction.
    fn search(&self, id: &TxId) -> Observation {
        let reached = self.height.saturating_sub(self.search_lag);
        match self.landed.get(id) {
            Some((height, observation)) if *height <= reached => observation.clone(),
            _ => Observation::NotFound {
                searched_through: (!self.is_forgetful).then_some(reached),
                seen_through: Some(reached),
            },
        }
    }
}

fn is_valid(tx: &SignedTx, height: u64) -> bool {
    tx.validity.until_height().is_none_or(|last| height <= last)
}

#[async_trait]
impl Venue for ScriptedVenue {
    fn capabilities(&self) -> VenueCapabilities {
        VenueCapabilities::by_height()
    }

    async fn prepare(&self, request: PrepareRequest<'_>) -> Result<SignedTx, StepError> {
        let mut chain = self.chain();
        if let Some(error) = chain.refusals.pop_front() {
            return Err(error);
        }
        chain.signed += 1;
        let id = TxId::new(format!("tx-{}", chain.signed));
        let fill = Fill {
            amount_in: request.route.amount_in,
            amount_out: request.route.amount_out,
            height: chain.height,
        };
        chain.orders.insert(id.clone(), (request.order.id, fill));
        let bytes = format!("{id} {}", request.order.id).into_bytes();
        let validity = Validity::UntilHeight(chain.height + VALIDITY);
        Ok(SignedTx::new(id, bytes, validity, request.min_amount_out))
    }

    async fn submit(&self, tx: &SignedTx) -> SubmitReport {
        match self.take(tx) {
            Some(report) => report,
            None => std::future::pending().await,
        }
    }

    async fn view(&self) -> Result<ChainView, VenueError> {
        let chain = self.chain();
        if chain.is_down {
            return Err(VenueError::new("the test took the venue down"));
        }
        Ok(ChainView { processed: chain.height, confirmed: chain.height, finalized: chain.height })
    }

    async fn observe(&self, txs: &[TxRef<'_>]) -> Result<Vec<Observation>, VenueError> {
        let chain = self.chain();
        Ok(txs.iter().map(|tx| chain.search(tx.id)).collect())
    }
}
