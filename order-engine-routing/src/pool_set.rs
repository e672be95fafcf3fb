//! Immutable snapshots of many pools.

mod chunked;
mod graph;
mod names;

use std::sync::Arc;

use self::chunked::Chunked;
pub(crate) use self::graph::{Edge, Graph, Neighbour};
use self::names::Names;
use crate::footprint::Footprint;
use crate::hyperbola::Hyperbola;
use crate::pool::Pool;
use crate::price_ceiling::PriceCeiling;
use crate::reading::Reading;
use crate::trade::Direction;

/// A snapshot of many pools, each as it was at its own moment.
///
/// A set never changes. A changed copy shares with it all that is the same, so an update costs about the same for
/// ten pools as for 100,000. A set knows which tokens its pools connect, so it finds the pools of a pair with two
/// look-ups, whatever their number.
#[derive(Clone, Debug, Default)]
pub struct PoolSet {
    entries: Chunked<Arc<Entry>>,
    /// The outlines of the pools. They are not in the entries, because a search looks at all of them and at few entries.
    outlines: Chunked<Outline>,
    /// What legs take of a transaction. Updates of pools hardly ever change it, so it is not in the outlines.
    footprints: Chunked<KnownFootprint>,
    topology: Arc<Topology>,
    newest_slot: u64,
    /// The last slot at which a pool of the set opens. Pools that the set no longer has count, too.
    last_opening: u64,
    /// What every leg takes at least, whatever its pool.
    least_footprint: Option<Footprint>,
}

/// What only changes where pools are added or removed.
#[derive(Clone, Debug, Default)]
struct Topology {
    ids: Names,
    graph: Graph,
}

/// What a search has to know of each pool to leave most of them aside.
#[derive(Clone, Copy, Debug)]
struct Outline {
    /// For each direction, a price that no trade exceeds.
    ceilings: [PriceCeiling; 2],
    /// For each direction, the output as a hyperbola, if it is one.
    hyperbolas: [Option<Hyperbola>; 2],
}

/// What a leg through a pool takes of a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct KnownFootprint {
    footprint: Footprint,
    /// Whether the source has told it. It is the usual one of the curve otherwise.
    is_told: bool,
}

/// A pool of a set.
#[derive(Debug)]
pub(crate) struct Entry {
    pool: Pool,
    /// `None` if the pool never grows stale.
    reading: Option<Reading>,
    outline: Outline,
    /// Whether the pool was removed. Its reading stays, so that no older update brings it back.
    is_removed: bool,
}

impl Entry {
    pub(crate) fn new(pool: Pool, reading: Option<Reading>) -> Self {
        let outline = Outline {
            ceilings: Direction::BOTH.map(|direction| pool.price_ceiling(direction)),
            hyperbolas: Direction::BOTH.map(|direction| pool.hyperbola(direction)),
        };
        Self { pool, reading, outline, is_removed: false }
    }
}

impl PoolSet {
    /// Returns a set of these pools, which never grow stale. Of several pools with one id the last counts.
    pub fn new(pools: Vec<Pool>) -> Self {
        Self::of(pools, None)
    }

    /// Returns a set of these pools as they were read. Of several pools with one id the last counts.
    pub fn read_at(pools: Vec<Pool>, reading: Reading) -> Self {
        Self::of(pools, Some(reading))
    }

    fn of(pools: Vec<Pool>, reading: Option<Reading>) -> Self {
        let mut set = Self::default();
        for pool in pools {
            set.insert(Arc::new(Entry::new(pool, reading)));
        }
        set
    }

    /// Returns the set with these pools added or replaced, as they were read. All others keep their age, and so do
    /// those of which the set knows a newer reading.
    #[must_use]
    pub fn updated(&self, pools: Vec<Pool>, reading: Reading) -> Self {
        let mut set = self.clone();
        for pool in pools {
            set.insert(Arc::new(Entry::new(pool, Some(reading))));
        }
        set
    }

    /// Returns the set without the pools with these ids. No update that was read before the removed state brings one
    /// back.
    #[must_use]
    pub fn without(&self, ids: &[&str]) -> Self {
        let mut set = self.clone();
        for id in ids {
            set.remove(id);
        }
        set
    }

    /// Returns the set as of a slot of the chain, in which pools may be unchanged: from it the age in slots is
    /// counted, and pools open at it. An older slot than the newest known one changes nothing.
    #[must_use]
    pub fn at_slot(&self, slot: u64) -> Self {
        Self { newest_slot: self.newest_slot.max(slot), ..self.clone() }
    }

    /// Returns the set in which a leg through this pool takes this of a transaction, instead of
    /// [`Footprint::of_curve`]. Updates of the pool leave it as it is. A pool that the set does not know is not added.
    #[must_use]
    pub fn with_footprint(&self, id: &str, footprint: Footprint) -> Self {
        let mut set = self.clone();
        if let Some(number) = self.topology.ids.find(id) {
            set.tell_footprint(number, footprint);
        }
        set
    }

    fn tell_footprint(&mut self, number: usize, footprint: Footprint) {
        *self.footprints.get_mut(number) = KnownFootprint { footprint, is_told: true };
        self.note_footprint(footprint);
    }

    /// Gives a pool the usual footprint of its curve, unless the source has told another one.
    fn set_usual_footprint(&mut self, number: usize, footprint: Footprint) {
        let known = *self.footprints.get(number);
        if !known.is_told && known.footprint != footprint {
            self.footprints.get_mut(number).footprint = footprint;
        }
        self.note_footprint(footprint);
    }

    fn note_footprint(&mut self, footprint: Footprint) {
        self.least_footprint = Some(self.least_footprint.map_or(footprint, |least| least.least(footprint)));
    }

    /// Adds or replaces a pool, unless the set knows a newer reading. Returns whether it did.
    pub(crate) fn insert(&mut self, entry: Arc<Entry>) -> bool {
        let known = self.topology.ids.find(&entry.pool.id);
        if known.is_some_and(|number| self.entries.get(number).is_newer_than(&entry)) {
            return false;
        }
        self.newest_slot = self.newest_slot.max(entry.reading.map_or(0, |reading| reading.slot));
        self.last_opening = self.last_opening.max(entry.opens_at_slot());
        let footprint = Footprint::of_curve(&entry.pool.curve);
        match known {
            Some(number) => {
                let old = std::mem::replace(self.entries.get_mut(number), Arc::clone(&entry));
                *self.outlines.get_mut(number) = entry.outline;
                self.set_usual_footprint(number, footprint);
                if old.is_removed || !old.is_wired_as(&entry) {
                    let graph = &mut Arc::make_mut(&mut self.topology).graph;
                    if !old.is_removed {
                        graph.remove(number, &old.pool);
                    }
                    graph.add(number, &entry.pool);
                }
            }
            None => {
                let topology = Arc::make_mut(&mut self.topology);
                let (number, _) = topology.ids.add(&entry.pool.id);
                topology.graph.add(number, &entry.pool);
                self.outlines.push(entry.outline);
                self.footprints.push(KnownFootprint { footprint, is_told: false });
                self.note_footprint(footprint);
                self.entries.push(entry);
            }
        }
        true
    }

    /// Removes a pool.
    pub(crate) fn remove(&mut self, id: &str) {
        let Some(number) = self.topology.ids.find(id) else { return };
        let Entry { pool, reading, outline, is_removed } = &**self.entries.get(number);
        if *is_removed {
            return;
        }
        Arc::make_mut(&mut self.topology).graph.remove(number, pool);
        let removed = Entry { pool: pool.clone(), reading: *reading, outline: *outline, is_removed: true };
        *self.entries.get_mut(number) = Arc::new(removed);
    }

    /// Returns this set with those pools of an older set that were read later.
    pub(crate) fn not_before(&self, older: &Self) -> Self {
        let mut set = self.clone();
        for entry in older.entries.iter() {
            let known = set.topology.ids.find(&entry.pool.id);
            if known.is_some_and(|number| entry.is_newer_than(set.entries.get(number))) {
                set.insert(Arc::clone(entry));
                if entry.is_removed {
                    set.remove(&entry.pool.id);
                }
            }
        }
        set.keep_footprints(older);
        set.newest_slot = set.newest_slot.max(older.newest_slot);
        set
    }

    /// Takes over what an older set was told about pools of which this one was told nothing.
    fn keep_footprints(&mut self, older: &Self) {
        for (number, old) in older.footprints.iter().enumerate().filter(|(_, old)| old.is_told) {
            let known = self.topology.ids.find(&older.entries.get(number).pool.id);
            if let Some(known) = known.filter(|known| !self.footprints.get(*known).is_told) {
                self.tell_footprint(known, old.footprint);
            }
        }
    }

    /// Returns all pools, in the order in which they were added.
    pub fn pools(&self) -> impl Iterator<Item = &Pool> {
        self.entries.iter().filter(|entry| !entry.is_removed).map(|entry| &entry.pool)
    }

    /// Returns the pool with an id.
    pub fn get(&self, id: &str) -> Option<&Pool> {
        let entry = self.entries.get(self.topology.ids.find(id)?);
        (!entry.is_removed).then_some(&entry.pool)
    }

    /// Returns when a pool was read; `None` if it never grows stale, or there is none.
    pub fn reading(&self, id: &str) -> Option<Reading> {
        self.get(id)?;
        self.entries.get(self.topology.ids.find(id)?).reading
    }

    /// Returns the highest slot in which a pool of the set was read, or of [`Self::at_slot`].
    pub const fn newest_slot(&self) -> u64 {
        self.newest_slot
    }

    /// Returns the exchanges of the pools, each once, in the order of their first pools.
    pub fn dexes(&self) -> impl Iterator<Item = &str> {
        self.topology.graph.dexes()
    }

    pub(crate) fn pool(&self, edge: Edge) -> &Pool {
        &self.entries.get(edge.pool).pool
    }

    pub(crate) fn reading_of(&self, pool: usize) -> Option<Reading> {
        self.entries.get(pool).reading
    }

    /// Returns whether a pool opens at a slot that is later than the newest.
    pub(crate) fn opens_later(&self, pool: usize) -> bool {
        self.last_opening > self.newest_slot && self.entries.get(pool).opens_at_slot() > self.newest_slot
    }

    /// Returns a price that no trade with a pool exceeds.
    pub(crate) fn price_ceiling(&self, edge: Edge) -> PriceCeiling {
        let [a_to_b, b_to_a] = self.outlines.get(edge.pool).ceilings;
        edge.direction.orient(a_to_b, b_to_a).0
    }

    /// Returns the output of a pool as a hyperbola of the input, if it is one.
    pub(crate) fn hyperbola(&self, edge: Edge) -> Option<Hyperbola> {
        let [a_to_b, b_to_a] = self.outlines.get(edge.pool).hyperbolas;
        edge.direction.orient(a_to_b, b_to_a).0
    }

    /// Returns what a leg through a pool takes of a transaction; `None` if there is no such pool.
    pub fn footprint(&self, id: &str) -> Option<Footprint> {
        self.get(id)?;
        Some(self.footprint_of(self.topology.ids.find(id)?))
    }

    pub(crate) fn footprint_of(&self, pool: usize) -> Footprint {
        self.footprints.get(pool).footprint
    }

    /// Returns what every leg takes at least, whatever its pool. Pools that the set no longer has count, too.
    pub(crate) fn least_footprint(&self) -> Footprint {
        self.least_footprint.unwrap_or_default()
    }

    /// Returns how many pools the set has, those included that were removed.
    pub(crate) const fn len(&self) -> usize {
        self.entries.len()
    }

    pub(crate) fn graph(&self) -> &Graph {
        &self.topology.graph
    }
}

impl Entry {
    /// Returns the slot at which the pool opens, zero if it has been open ever since.
    fn opens_at_slot(&self) -> u64 {
        self.pool.conditions.as_ref().and_then(|conditions| conditions.opens_at_slot).unwrap_or(0)
    }

    /// Returns whether this was read later than another reading of the same pool.
    fn is_newer_than(&self, other: &Self) -> bool {
        match (self.reading, other.reading) {
            (Some(own), Some(other)) => other.is_older_than(own),
            _ => false,
        }
    }

    /// Returns whether two readings of a pool have the same place in the graph.
    fn is_wired_as(&self, other: &Self) -> bool {
        let (one, other) = (&self.pool, &other.pool);
        (&one.token_a, &one.token_b, &one.dex) == (&other.token_a, &other.token_b, &other.dex)
    }
}
