//! The numbers of names, in a map whose copies share all that they have in common.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

/// The number of parts. An added name copies one part and the list of parts.
const PARTS: usize = 512;

/// Numbers names in the order in which they are added.
#[derive(Clone, Debug)]
pub(super) struct Names {
    hasher: RandomState,
    parts: Vec<Arc<HashMap<Arc<str>, usize>>>,
    len: usize,
}

impl Default for Names {
    fn default() -> Self {
        Self { hasher: RandomState::new(), parts: vec![Arc::default(); PARTS], len: 0 }
    }
}

impl Names {
    /// Returns the number of a name.
    pub(super) fn find(&self, name: &str) -> Option<usize> {
        self.parts[self.part(name)].get(name).copied()
    }

    /// Returns the number of a name, which it adds if it is new, and whether it is.
    pub(super) fn add(&mut self, name: &str) -> (usize, bool) {
        if let Some(number) = self.find(name) {
            return (number, false);
        }
        let (part, number) = (self.part(name), self.len);
        Arc::make_mut(&mut self.parts[part]).insert(name.into(), number);
        self.len += 1;
        (number, true)
    }

    fn part(&self, name: &str) -> usize {
        // The remainder is below the number of parts, so it fits.
        usize::try_from(self.hasher.hash_one(name) % PARTS as u64).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_keep_their_numbers() {
        let mut names = Names::default();
        assert_eq!([names.add("a"), names.add("b"), names.add("a")], [(0, true), (1, true), (0, false)]);
        let mut more = names.clone();
        more.add("c");
        assert_eq!((names.find("c"), more.find("c"), more.find("b")), (None, Some(2), Some(1)));
    }
}
