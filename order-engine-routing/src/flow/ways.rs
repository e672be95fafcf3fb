//! The ways on which more or less of a token could go, while they are searched.

/// The input and output of a pool.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Load {
    pub(super) amount_in: u128,
    pub(super) amount_out: u128,
}

/// A change of one pool's load.
#[derive(Clone, Copy, Debug)]
pub(super) struct Change {
    pub(super) arc: usize,
    pub(super) load: Load,
    /// The token from which the way comes to this pool.
    pub(super) from: usize,
    /// The token to which the way leads.
    pub(super) to: usize,
    /// The amount that arrives there.
    pub(super) arriving: u128,
}

/// A way to a token: its last change, and the way before that. A way that was replaced by a better one stays, because
/// others go on from it, with the amounts that it has.
#[derive(Clone, Copy, Debug)]
struct Way {
    amount: u128,
    last: Option<(Change, usize)>,
}

/// The best known ways from one token to all others.
pub(super) struct Ways {
    known: Vec<Way>,
    /// For each token, the best way to it.
    best: Vec<Option<usize>>,
}

impl Ways {
    /// Returns the way from a token to itself, with an amount.
    pub(super) fn from(token: usize, amount: u128, tokens: usize) -> Self {
        let mut known = Vec::with_capacity(tokens);
        known.push(Way { amount, last: None });
        let mut best = vec![None; tokens];
        best[token] = Some(0);
        Self { known, best }
    }

    /// Returns the best way to a token, and what arrives by it.
    pub(super) fn best_to(&self, token: usize) -> Option<(usize, u128)> {
        self.best[token].map(|way| (way, self.known[way].amount))
    }

    /// Returns the most that arrives at a token.
    pub(super) fn amount(&self, token: usize) -> Option<u128> {
        self.best[token].map(|way| self.known[way].amount)
    }

    /// Keeps a change if more arrives by it than by the known way to its token, and it does not lead in a circle.
    pub(super) fn offer(&mut self, change: Change) -> bool {
        let is_better = self.amount(change.to).is_none_or(|most| change.arriving > most);
        if !is_better || change.arriving == 0 || self.passes(change.from, change.to, change.arc) {
            return false;
        }
        self.keep(change);
        true
    }

    /// Keeps a change as the best to its token.
    pub(super) fn keep(&mut self, change: Change) {
        let Some(before) = self.best[change.from] else { return };
        self.best[change.to] = Some(self.known.len());
        self.known.push(Way { amount: change.arriving, last: Some((change, before)) });
    }

    /// Returns whether the best way to a token is another one and then a pool.
    pub(super) fn extends(&self, token: usize, arc: usize, other: usize) -> bool {
        let last = self.best[token].and_then(|way| self.known[way].last);
        last.is_some_and(|(change, before)| change.arc == arc && before == other)
    }

    /// Returns the changes on the best way to a token, the last first.
    pub(super) fn changes_to(&self, token: usize) -> impl Iterator<Item = &Change> {
        self.best[token].into_iter().flat_map(|way| self.changes(way))
    }

    /// Returns the changes on a way, the last first.
    fn changes(&self, way: usize) -> impl Iterator<Item = &Change> {
        std::iter::successors(self.known[way].last.as_ref(), |(_, before)| self.known[*before].last.as_ref())
            .map(|(change, _)| change)
    }

    /// Returns whether the best way to a token passes another one, or uses a pool.
    fn passes(&self, token: usize, other: usize, arc: usize) -> bool {
        token == other || self.changes_to(token).any(|change| change.from == other || change.arc == arc)
    }
}
