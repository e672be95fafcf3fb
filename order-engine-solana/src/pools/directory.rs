//! The pools that a host trades with.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use order_engine_core::telemetry::chain;
use order_engine_core::{Failure, FailureCode, StepError};
use order_engine_routing::{Pool, PoolFeed, PoolSet, PoolSource, Reading, TransactionLimits};
use solana_message::AddressLookupTableAccount;
use solana_pubkey::Pubkey;

use crate::pools::health::{DirectoryHealth, LastReading, PoolStatus};
use crate::pools::layout::Layout;
use crate::pools::parts::{Parts, PoolError, PoolSwap};
use crate::pools::reading::{self, Wanted};
use crate::pools::room;
use crate::rpc::{Cluster, RpcError};
use crate::swap_builder::{Swap, SwapBuilder, SwapRequest};

/// How often a pool is read of which nodes tell different things, and how long is waited between.
const AGREEMENT_TRIES: u32 = 3;
const AGREEMENT_WAIT: Duration = Duration::from_millis(50);

/// Reads pools from the chain, offers them to a router as a [`PoolSource`], and builds their swaps as an [`SwapBuilder`].
///
/// ```no_run
/// use std::sync::Arc;
///
/// use order_engine_core::Runtime;
/// use order_engine_routing::{Router, RouterConfig};
/// use order_engine_solana::{Cluster, ClusterOptions, PoolDirectory};
///
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let cluster = Arc::new(Cluster::new(ClusterOptions::new(["https://node.example"]), Runtime::tokio())?);
/// let pool = "EstddXy7qJ6SKLaiosoKfBCDGvLVM8wzVP9KAo4yASpV".parse()?;
/// let pools = Arc::new(PoolDirectory::new(cluster, [pool]));
/// for unread in pools.read().await?.unread {
///     println!("{}: {}", unread.pool, unread.error);
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct PoolDirectory {
    cluster: Arc<Cluster>,
    addresses: Vec<Pubkey>,
    feed: PoolFeed,
    layouts: Mutex<BTreeMap<String, Known>>,
    /// Taken after the layouts, where both are.
    tables: Mutex<Vec<AddressLookupTableAccount>>,
    /// How many nodes have to tell the same of a pool.
    quorum: usize,
    last_readings: Mutex<BTreeMap<Pubkey, LastReading>>,
    connections: AtomicUsize,
}

/// What is known of a pool besides its snapshot.
#[derive(Debug)]
struct Known {
    layout: Layout,
    /// Its accounts. Most of their addresses are hashes, which would be computed again for each reading.
    accounts: Vec<Pubkey>,
}

/// What became of reading the pools.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct ReadReport {
    /// How many pools have a new snapshot.
    pub read: usize,
    /// Which pools have none, and why. They are not traded until they are read again.
    pub unread: Vec<UnreadPool>,
}

/// A pool that could not be read.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct UnreadPool {
    /// The pool.
    pub pool: Pubkey,
    /// Why.
    pub error: PoolError,
}

impl PoolDirectory {
    /// Returns a directory of these pools, of which nothing is known until they are [read](Self::read). One node is believed
    /// about them.
    pub fn new(cluster: Arc<Cluster>, pools: impl IntoIterator<Item = Pubkey>) -> Self {
        let (mut addresses, mut known) = (Vec::new(), BTreeSet::new());
        addresses.extend(pools.into_iter().filter(|pool| known.insert(*pool)));
        Self {
            cluster,
            addresses,
            feed: PoolFeed::new(PoolSet::new(Vec::new())),
            layouts: Mutex::default(),
            tables: Mutex::default(),
            quorum: 1,
            last_readings: Mutex::default(),
            connections: AtomicUsize::new(0),
        }
    }

    /// Has a [quorum](crate::ClusterOptions::quorum) of the cluster's nodes tell the same of a pool before it is quoted, so
    /// that fewer nodes than that cannot make a quote wrong. Every reading asks all nodes. A pool that changes in every slot is
    /// told alike only by nodes that have come equally far, so its snapshot may be some slots older.
    #[must_use]
    pub fn with_agreement(self) -> Self {
        Self { quorum: self.cluster.quorum(), ..self }
    }

    fn tables(&self) -> MutexGuard<'_, Vec<AddressLookupTableAccount>> {
        self.tables.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn layouts(&self) -> MutexGuard<'_, BTreeMap<String, Known>> {
        self.layouts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn last_readings(&self) -> MutexGuard<'_, BTreeMap<Pubkey, LastReading>> {
        self.last_readings.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    pub(super) fn addresses(&self) -> &[Pubkey] {
        &self.addresses
    }

    pub(super) const fn connections(&self) -> &AtomicUsize {
        &self.connections
    }

    /// Reads all pools, each with all its accounts at one slot. Pools of which nodes tell different things are read up to
    /// three times.
    ///
    /// # Errors
    /// If no node answers, or fewer than have to agree. A pool that cannot be read is no error; the report has it.
    pub async fn read(&self) -> Result<ReadReport, RpcError> {
        let mut report = self.read_pools(&self.addresses).await?;
        for _ in 1..AGREEMENT_TRIES {
            let disagrees = |unread: &UnreadPool| matches!(unread.error, PoolError::Disagreement(_));
            let (again, unread): (Vec<_>, Vec<_>) = report.unread.into_iter().partition(disagrees);
            if again.is_empty() {
                return Ok(ReadReport { unread, ..report });
            }
            self.cluster.runtime().clock.sleep(AGREEMENT_WAIT).await;
            let pools: Vec<Pubkey> = again.into_iter().map(|unread| unread.pool).collect();
            let next = self.read_pools(&pools).await?;
            report = ReadReport { read: report.read + next.read, unread: [unread, next.unread].concat() };
        }
        Ok(report)
    }

    /// Reads some pools. Those of which nothing is known are looked at alone first, to learn which accounts they have.
    pub(super) async fn read_pools(&self, pools: &[Pubkey]) -> Result<ReadReport, RpcError> {
        let mut report = ReadReport::default();
        let (known, new): (Vec<Wanted>, Vec<Wanted>) = pools
            .iter()
            .map(|pool| (*pool, self.wanted(*pool)))
            .partition(|(_, accounts)| accounts.len() > 1);
        let mut next = known;
        for (pool, parts) in reading::read(&self.cluster, &new, self.quorum).await? {
            match parts.ok_or(PoolError::Disagreement(pool)).and_then(|parts| named_by(pool, &parts)) {
                Ok(accounts) => next.push((pool, accounts)),
                Err(error) => self.note(pool, Err(error), &mut report),
            }
        }
        // A pool whose price has moved on to other arrays is read again with these, but only once: it may go on moving.
        let mut moved = Vec::new();
        for (pool, parts) in reading::read(&self.cluster, &next, self.quorum).await? {
            let Some(parts) = parts else {
                self.note(pool, Err(PoolError::Disagreement(pool)), &mut report);
                continue;
            };
            let named = named_by(pool, &parts);
            let asked = next.iter().find(|(other, _)| *other == pool).map(|(_, accounts)| accounts);
            match named {
                Ok(named) if !asked.is_some_and(|asked| named.iter().all(|one| asked.contains(one))) => {
                    moved.push((pool, named));
                }
                Ok(_) => self.note(pool, self.take(pool, &parts), &mut report),
                Err(error) => self.note(pool, Err(error), &mut report),
            }
        }
        for (pool, parts) in reading::read(&self.cluster, &moved, self.quorum).await? {
            let parts = parts.ok_or(PoolError::Disagreement(pool));
            self.note(pool, parts.and_then(|parts| self.take(pool, &parts)), &mut report);
        }
        Ok(report)
    }

    /// Returns the accounts of a pool, as far as they are known.
    fn wanted(&self, pool: Pubkey) -> Vec<Pubkey> {
        let layouts = self.layouts();
        layouts.get(&pool.to_string()).map_or_else(|| vec![pool], |known| known.accounts.clone())
    }

    /// Returns the accounts of all pools of which something is known.
    pub(super) fn all_accounts(&self) -> Vec<Wanted> {
        self.addresses.iter().map(|pool| (*pool, self.wanted(*pool))).collect()
    }

    /// Returns whether a pool is known as it was in a slot, or has no snapshot for a reason that another reading does not
    /// change at once.
    pub(super) fn is_read_at(&self, pool: Pubkey, slot: u64) -> bool {
        match self.last_readings().get(&pool).and_then(|last| last.error.clone()) {
            Some(PoolError::Disagreement(_)) => return false,
            Some(_) => return true,
            None => {}
        }
        let snapshot = self.feed.snapshot();
        snapshot.reading(&pool.to_string()).is_some_and(|reading| reading.slot >= slot)
    }

    /// Takes note of what became of a reading.
    fn note(&self, pool: Pubkey, result: Result<(), PoolError>, report: &mut ReadReport) {
        let at = self.cluster.runtime().now();
        let mut last_readings = self.last_readings();
        let last = last_readings.entry(pool).or_default();
        match result {
            Ok(()) => {
                *last = LastReading { at: Some(at), error: None };
                report.read += 1;
            }
            Err(error) => {
                // What nodes disagree about is not known to be wrong.
                if !matches!(error, PoolError::Disagreement(_)) {
                    self.forget(pool);
                }
                if last.error.as_ref() != Some(&error) {
                    tracing::info!(pool = %pool, error = %chain(&error), "a pool is not read");
                }
                last.error = Some(error.clone());
                report.unread.push(UnreadPool { pool, error });
            }
        }
    }

    /// Returns how fresh the pools are.
    pub fn health(&self) -> DirectoryHealth {
        let (now, snapshot, last_readings) =
            (self.cluster.runtime().now(), self.feed.snapshot(), self.last_readings());
        let status = |pool: &Pubkey| {
            let last = last_readings.get(pool);
            let age = last.and_then(|last| last.at).map(|at| (now - at).to_std().unwrap_or_default());
            PoolStatus {
                pool: *pool,
                slot: snapshot.reading(&pool.to_string()).map(|reading| reading.slot),
                age,
                error: last.and_then(|last| last.error.clone()),
            }
        };
        let pools = self.addresses.iter().map(status).collect();
        DirectoryHealth { pools, connections: self.connections.load(Ordering::Relaxed) }
    }

    fn take(&self, address: Pubkey, parts: &Parts) -> Result<(), PoolError> {
        let mut layout = Layout::decode(address, parts.get(address)?)?;
        layout.learn(parts)?;
        let pool = layout.pool(parts)?;
        let reading = Reading::new(parts.slot, parts.time()?);
        let mut layouts = self.layouts();
        if self.feed.update(std::slice::from_ref(&pool), reading).applied > 0 {
            self.tell_footprint(&pool.id, &layout);
            let accounts = [vec![address], layout.parts()].concat();
            layouts.insert(pool.id, Known { layout, accounts });
        }
        Ok(())
    }

    fn forget(&self, address: Pubkey) {
        let id = address.to_string();
        self.feed.remove(&[&id]);
        self.layouts().remove(&id);
    }

    /// Says which lookup tables transactions have, as [`SolanaVenue::lookup_tables`](crate::SolanaVenue::lookup_tables) reads
    /// them. They make the legs lighter that the directory tells the router of.
    pub fn set_lookup_tables(&self, tables: Vec<AddressLookupTableAccount>) {
        let layouts = self.layouts();
        *self.tables() = tables;
        for (id, known) in layouts.iter() {
            self.tell_footprint(id, &known.layout);
        }
    }

    /// Returns how much room a transaction has, and what each takes that trades with these pools whatever its legs: for
    /// [`SearchLimits::transaction`](order_engine_routing::SearchLimits::transaction), once the pools were read and the tables are
    /// set. What each leg takes is told to the router with the pools.
    pub fn transaction_limits(&self) -> TransactionLimits {
        let mints = self.layouts().values().flat_map(|known| known.layout.mints()).collect();
        room::limits(&mints, &self.tables())
    }

    /// Returns the accounts that swaps with a pool name in either direction, those of the wallet not among them: what a
    /// lookup table should hold. Nothing of a pool that was not read.
    pub fn accounts_of(&self, pool: Pubkey) -> Option<Vec<Pubkey>> {
        let layouts = self.layouts();
        Some(room::named_accounts(&layouts.get(&pool.to_string())?.layout).into_iter().collect())
    }

    fn tell_footprint(&self, id: &str, layout: &Layout) {
        let footprint = room::footprint(layout, &self.tables());
        if self.feed.snapshot().footprint(id) != Some(footprint)
            && let Err(error) = self.feed.set_footprint(id, footprint)
        {
            tracing::debug!(pool = id, error = %error, "a pool is gone before its footprint is told");
        }
    }

    /// Returns the newest snapshot of a pool.
    pub fn pool(&self, address: Pubkey) -> Option<Pool> {
        self.feed.snapshot().get(&address.to_string()).cloned()
    }
}

impl PoolSource for PoolDirectory {
    fn snapshot(&self) -> Arc<PoolSet> {
        self.feed.snapshot()
    }
}

/// Returns the accounts of a pool, which its own account names.
fn named_by(pool: Pubkey, parts: &Parts) -> Result<Vec<Pubkey>, PoolError> {
    let layout = Layout::decode(pool, parts.get(pool)?)?;
    Ok([vec![pool], layout.parts()].concat())
}

#[async_trait]
impl SwapBuilder for PoolDirectory {
    async fn swap(&self, request: SwapRequest<'_>) -> Result<Swap, StepError> {
        let gone = || StepError::requote(Failure::new(FailureCode::NO_ROUTE, "A pool of the route is gone"));
        let layouts = self.layouts();
        let Known { layout, .. } = layouts.get(&request.leg.pool).ok_or_else(gone)?;
        let [a, b] = layout.mints().map(|mint| mint.to_string());
        let (input, output) = (&request.leg.input_mint, &request.leg.output_mint);
        let sells_a = match (input, output) {
            (input, output) if *input == a && *output == b => true,
            (input, output) if *input == b && *output == a => false,
            _ => {
                let message = "A pool of the route does not trade its tokens";
                return Err(StepError::permanent(Failure::new(FailureCode::REJECTED, message)));
            }
        };
        let SwapRequest { wallet, source, destination, amount_in, min_amount_out, .. } = request;
        let swap = PoolSwap { wallet, source, destination, amount_in, min_amount_out, sells_a };
        Ok(Swap::new(vec![layout.swap(&swap)]))
    }
}
