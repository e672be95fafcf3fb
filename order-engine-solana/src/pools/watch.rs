//! Reading pools as soon as they change.
//!
//! Nodes tell on websockets that an account has changed. That is a hint, and no more: it causes a reading of the whole pool at
//! one slot, through the cluster, as any other reading. What hints miss, the readings at intervals find.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::future::{join, join_all};
use order_engine_core::telemetry::chain;
use order_engine_core::{Backoff, Runtime};
use solana_pubkey::Pubkey;
use tokio::sync::{Notify, watch};

use crate::pools::directory::PoolDirectory;
use crate::rpc::{Notice, Notices, RpcError};

/// How often a pool is read again because the reading is older than the hint.
const TRIES_MAX: u32 = 5;

/// How pools are kept fresh.
#[derive(Clone)]
#[non_exhaustive]
pub struct WatchOptions {
    /// The websockets of the nodes that tell of changes. They may have keys in them, so they appear in no log and no
    /// `Debug`. Without any, pools are read at intervals only.
    pub urls: Vec<String>,
    /// How long changes are gathered before they are read together.
    pub gather: Duration,
    /// How often all pools are read, whether a change was told or not.
    pub full_read_interval: Duration,
    /// The waits before a node is connected to again.
    pub backoff: Backoff,
    /// After how long without a word a node is asked for a sign of life, and as long again later given up.
    pub silence_max: Duration,
}

impl fmt::Debug for WatchOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WatchOptions")
            .field("nodes", &self.urls.len())
            .field("gather", &self.gather)
            .field("full_read_interval", &self.full_read_interval)
            .field("backoff", &self.backoff)
            .field("silence_max", &self.silence_max)
            .finish()
    }
}

impl WatchOptions {
    /// Returns options for these websockets: changes of 20 ms are read together, all pools every ten seconds, a node is
    /// connected to again after half a second to thirty, and given up after half a minute of silence.
    pub fn new(urls: impl IntoIterator<Item = impl Into<String>>) -> Self {
        let backoff =
            Backoff::default().with_initial(Duration::from_millis(500)).with_max(Duration::from_secs(30));
        Self {
            urls: urls.into_iter().map(Into::into).collect(),
            gather: Duration::from_millis(20),
            full_read_interval: Duration::from_secs(10),
            backoff,
            silence_max: Duration::from_secs(15),
        }
    }

    /// Sets [`gather`](Self::gather).
    #[must_use]
    pub fn with_gather(self, gather: Duration) -> Self {
        Self { gather, ..self }
    }

    /// Sets [`full_read_interval`](Self::full_read_interval).
    #[must_use]
    pub fn with_full_read_interval(self, full_read_interval: Duration) -> Self {
        Self { full_read_interval, ..self }
    }

    /// Sets [`backoff`](Self::backoff).
    #[must_use]
    pub fn with_backoff(self, backoff: Backoff) -> Self {
        Self { backoff, ..self }
    }

    /// Sets [`silence_max`](Self::silence_max).
    #[must_use]
    pub fn with_silence_max(self, silence_max: Duration) -> Self {
        Self { silence_max, ..self }
    }
}

/// The pools by the accounts that belong to them.
type Interest = BTreeMap<Pubkey, BTreeSet<Pubkey>>;

/// A pool that has to be read.
#[derive(Clone, Copy, Debug, Default)]
struct Hint {
    /// The slot in which it has changed, as a node says.
    slot: u64,
    tries: u32,
}

/// The pools that have to be read.
#[derive(Debug, Default)]
struct Hints {
    pools: Mutex<BTreeMap<Pubkey, Hint>>,
    any: Notify,
}

impl Hints {
    fn pools(&self) -> MutexGuard<'_, BTreeMap<Pubkey, Hint>> {
        self.pools.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add<'a>(&self, pools: impl IntoIterator<Item = &'a Pubkey>, hint: Hint) {
        let mut known = self.pools();
        for pool in pools {
            let known = known.entry(*pool).or_default();
            *known = Hint { slot: known.slot.max(hint.slot), tries: known.tries.max(hint.tries) };
        }
        if !known.is_empty() {
            self.any.notify_one();
        }
    }

    fn take(&self) -> BTreeMap<Pubkey, Hint> {
        std::mem::take(&mut self.pools())
    }
}

/// One connection more for as long as this lives.
struct Connected<'a>(&'a AtomicUsize);

impl<'a> Connected<'a> {
    fn new(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for Connected<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A watch over the pools of a directory.
struct Watcher<'a> {
    directory: &'a PoolDirectory,
    options: &'a WatchOptions,
    runtime: &'a Runtime,
    hints: Hints,
    interest: watch::Sender<Interest>,
}

impl PoolDirectory {
    /// Keeps the pools fresh until it is dropped: reads them all, and each again as soon as a node says that one of its
    /// accounts has changed. A node whose connection breaks is connected to again, and then all pools are read anew, because nobody
    /// knows what it would have told. What hints miss is found at intervals.
    ///
    /// A hint is never believed: what it names is read through the cluster. Readings that are older than what is known change
    /// nothing.
    pub async fn watch(&self, options: WatchOptions) -> Infallible {
        let interest = watch::Sender::new(Interest::new());
        let runtime = self.cluster().runtime();
        let watcher =
            Watcher { directory: self, options: &options, runtime, hints: Hints::default(), interest };
        let connections = join_all(options.urls.iter().map(|url| watcher.listen(url)));
        let (never, _) = join(watcher.read(), connections).await;
        never
    }
}

impl Watcher<'_> {
    /// Reads what hints name, and all pools at intervals.
    async fn read(&self) -> Infallible {
        let clock = &self.runtime.clock;
        let mut failures = 0;
        self.hints.add(self.directory.addresses(), Hint::default());
        let mut full_read = clock.sleep(self.options.full_read_interval);
        loop {
            tokio::select! {
                () = self.hints.any.notified() => {}
                () = &mut full_read => {
                    self.hints.add(self.directory.addresses(), Hint::default());
                    full_read = clock.sleep(self.options.full_read_interval);
                }
            }
            clock.sleep(self.options.gather).await;
            let hints = self.hints.take();
            let pools: Vec<Pubkey> = hints.keys().copied().collect();
            if pools.is_empty() {
                continue;
            }
            match self.directory.read_pools(&pools).await {
                Ok(report) => {
                    failures = 0;
                    tracing::trace!(pools = pools.len(), read = report.read, "pools are read");
                    self.ask_again(hints);
                }
                Err(error) => {
                    failures += 1;
                    tracing::warn!(error = %chain(&error), "no pool is read, because no node answers");
                    clock.sleep(self.options.backoff.delay(failures, self.runtime.entropy.next_u128())).await;
                    self.hints.add(&pools, Hint::default());
                }
            }
            self.tell_interest();
        }
    }

    /// Has the pools read again of which the reading is older than the hint, as of a node that lags, or of which the nodes
    /// told different things.
    fn ask_again(&self, hints: BTreeMap<Pubkey, Hint>) {
        for (pool, hint) in hints {
            let is_done = self.directory.is_read_at(pool, hint.slot);
            if !is_done && hint.tries < TRIES_MAX {
                self.hints.add([&pool], Hint { slot: hint.slot, tries: hint.tries + 1 });
            }
        }
    }

    /// Tells the connections of which accounts they have to be told. A pool whose price has moved on has other arrays.
    fn tell_interest(&self) {
        let mut interest = Interest::new();
        for (pool, accounts) in self.directory.all_accounts() {
            for account in accounts {
                interest.entry(account).or_default().insert(pool);
            }
        }
        self.interest.send_if_modified(|known| {
            let is_new = *known != interest;
            *known = interest;
            is_new
        });
    }

    /// Listens to a node for as long as the watch lives.
    async fn listen(&self, url: &str) -> Infallible {
        let mut failures = 0_u32;
        loop {
            let result = self.listen_once(url, &mut failures).await;
            failures = failures.saturating_add(1);
            let wait = self.options.backoff.delay(failures, self.runtime.entropy.next_u128());
            if let Err(error) = result {
                let wait_ms = wait.as_millis();
                tracing::info!(error = %chain(&error), wait_ms, "a node tells of no changes any more");
            }
            self.runtime.clock.sleep(wait).await;
        }
    }

    async fn listen_once(&self, url: &str, failures: &mut u32) -> Result<(), RpcError> {
        let silence = || self.runtime.clock.sleep(self.options.silence_max);
        let mut notices = tokio::select! {
            connected = Notices::connect(url) => connected?,
            () = silence() => return Err(RpcError::Transport("it does not connect in time".into())),
        };
        let _connected = Connected::new(self.directory.connections());
        let mut interest = self.interest.subscribe();
        interest.mark_changed();
        let mut is_asked = false;
        loop {
            tokio::select! {
                changed = interest.changed() => {
                    if changed.is_err() {
                        return Ok(());
                    }
                    let accounts = interest.borrow_and_update().keys().copied().collect();
                    notices.tell_of(&accounts).await?;
                }
                notice = notices.next() => {
                    is_asked = false;
                    match notice? {
                        // What has changed before is not told, so the pool is read once it is told of.
                        Notice::Subscribed(account) => {
                            *failures = 0;
                            self.hint(account, 0);
                        }
                        Notice::Changed(account, slot) => self.hint(account, slot),
                        Notice::Alive => {}
                    }
                }
                () = silence() => {
                    if is_asked {
                        return Err(RpcError::Transport("it gives no sign of life".into()));
                    }
                    is_asked = true;
                    notices.ping().await?;
                }
            }
        }
    }

    fn hint(&self, account: Pubkey, slot: u64) {
        let interest = self.interest.borrow();
        let pools = interest.get(&account).into_iter().flatten();
        self.hints.add(pools, Hint { slot, tries: 0 });
    }
}
