//! The pools that a host trades with.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use order_engine_core::{Failure, FailureCode, StepError};
use order_engine_routing::{Pool, PoolFeed, PoolSet, PoolSource, Reading, TransactionLimits};
use solana_instruction::Instruction;
use solana_message::AddressLookupTableAccount;
use solana_pubkey::Pubkey;

use crate::account::LayoutError;
use crate::pools::layout::Layout;
use crate::pools::parts::{Parts, PoolError, PoolSwap};
use crate::pools::room;
use crate::programs::CLOCK;
use crate::rpc::{Cluster, RpcError};
use crate::swap_builder::{SwapBuilder, SwapRequest};

/// The most accounts that are read at one slot.
const ACCOUNTS_MAX: usize = 100;

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
    layouts: Mutex<BTreeMap<String, Layout>>,
    /// Taken after the layouts, where both are.
    tables: Mutex<Vec<AddressLookupTableAccount>>,
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
    /// Returns a directory of these pools, of which nothing is known until they are [read](Self::read).
    pub fn new(cluster: Arc<Cluster>, pools: impl IntoIterator<Item = Pubkey>) -> Self {
        let addresses = pools.into_iter().collect();
        let feed = PoolFeed::new(PoolSet::new(Vec::new()));
        Self { cluster, addresses, feed, layouts: Mutex::default(), tables: Mutex::default() }
    }

    fn tables(&self) -> MutexGuard<'_, Vec<AddressLookupTableAccount>> {
        self.tables.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn layouts(&self) -> MutexGuard<'_, BTreeMap<String, Layout>> {
        self.layouts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads all pools, each with all its accounts at one slot.
    ///
    /// # Errors
    /// If no node answers. A pool that cannot be read is no error; the report has it.
    pub async fn read(&self) -> Result<ReadReport, RpcError> {
        let mut report = ReadReport::default();
        for addresses in self.addresses.chunks(ACCOUNTS_MAX) {
            let found = self.cluster.accounts(addresses).await?;
            for (address, account) in addresses.iter().zip(found.accounts) {
                let layout = account.ok_or(LayoutError::Missing(*address).into());
                let layout = layout.and_then(|account| Layout::decode(*address, &account));
                let result = match layout {
                    Ok(layout) => self.read_pool(*address, &layout).await?,
                    Err(error) => Err(error),
                };
                match result {
                    Ok(()) => report.read += 1,
                    Err(error) => {
                        self.forget(*address);
                        report.unread.push(UnreadPool { pool: *address, error });
                    }
                }
            }
        }
        Ok(report)
    }

    /// Reads a pool and its further accounts together. `before` is what the pool said when it was looked at alone, which names
    /// these accounts.
    async fn read_pool(&self, address: Pubkey, before: &Layout) -> Result<Result<(), PoolError>, RpcError> {
        let addresses = [&[address, CLOCK][..], &before.parts()].concat();
        let found = self.cluster.accounts(&addresses).await?;
        let accounts = addresses.iter().copied().zip(found.accounts);
        let accounts = accounts.filter_map(|(address, account)| Some((address, account?))).collect();
        Ok(self.take(address, &Parts { slot: found.slot, accounts }))
    }

    fn take(&self, address: Pubkey, parts: &Parts) -> Result<(), PoolError> {
        let mut layout = Layout::decode(address, parts.get(address)?)?;
        layout.learn(parts)?;
        // A pool that has moved on to other arrays meanwhile lacks them here, which is an error of this reading.
        let pool = layout.pool(parts)?;
        let reading = Reading::new(parts.slot, parts.time()?);
        let mut layouts = self.layouts();
        if self.feed.update(std::slice::from_ref(&pool), reading).applied > 0 {
            self.tell_footprint(&pool.id, &layout);
            layouts.insert(pool.id, layout);
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
        for (id, layout) in layouts.iter() {
            self.tell_footprint(id, layout);
        }
    }

    /// Returns how much room a transaction has, and what each takes that trades with these pools whatever its legs: for
    /// [`SearchLimits::transaction`](order_engine_routing::SearchLimits::transaction), once the pools were read and the tables are
    /// set. What each leg takes is told to the router with the pools.
    pub fn transaction_limits(&self) -> TransactionLimits {
        let mints = self.layouts().values().flat_map(Layout::mints).collect();
        room::limits(&mints, &self.tables())
    }

    /// Returns the accounts that swaps with a pool name in either direction, those of the wallet not among them: what a
    /// lookup table should hold. Nothing of a pool that was not read.
    pub fn accounts_of(&self, pool: Pubkey) -> Option<Vec<Pubkey>> {
        let layouts = self.layouts();
        Some(room::named_accounts(layouts.get(&pool.to_string())?).into_iter().collect())
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

#[async_trait]
impl SwapBuilder for PoolDirectory {
    async fn swap(&self, request: SwapRequest<'_>) -> Result<Vec<Instruction>, StepError> {
        let gone = || StepError::requote(Failure::new(FailureCode::NO_ROUTE, "A pool of the route is gone"));
        let layouts = self.layouts();
        let layout = layouts.get(&request.leg.pool).ok_or_else(gone)?;
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
        Ok(vec![layout.swap(&swap)])
    }
}
