//! A vector whose copies share all that they have in common.

use std::sync::Arc;

/// The number of items in a chunk. A change copies one chunk and the list of chunks; for 100,000 items both have a
/// few hundred entries.
const CHUNK: usize = 256;

/// A vector that is copied and changed in a time that grows with the square root of its length.
#[derive(Clone, Debug)]
pub(super) struct Chunked<T> {
    chunks: Vec<Arc<Vec<T>>>,
    len: usize,
}

impl<T> Default for Chunked<T> {
    fn default() -> Self {
        Self { chunks: Vec::new(), len: 0 }
    }
}

impl<T: Clone> Chunked<T> {
    pub(super) const fn len(&self) -> usize {
        self.len
    }

    /// Returns an item. The index must be below the length.
    pub(super) fn get(&self, index: usize) -> &T {
        &self.chunks[index / CHUNK][index % CHUNK]
    }

    /// Returns an item to change, in a chunk of this vector's own.
    pub(super) fn get_mut(&mut self, index: usize) -> &mut T {
        &mut Arc::make_mut(&mut self.chunks[index / CHUNK])[index % CHUNK]
    }

    pub(super) fn push(&mut self, item: T) {
        match self.chunks.last_mut() {
            Some(last) if last.len() < CHUNK => Arc::make_mut(last).push(item),
            _ => {
                let mut chunk = Vec::with_capacity(CHUNK);
                chunk.push(item);
                self.chunks.push(Arc::new(chunk));
            }
        }
        self.len += 1;
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &T> {
        self.chunks.iter().flat_map(|chunk| chunk.iter())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_shares_what_it_does_not_change() {
        let mut one = Chunked::default();
        (0..3 * CHUNK).for_each(|number| one.push(number));
        let mut other = one.clone();
        *other.get_mut(CHUNK + 1) = 0;
        other.push(7);
        assert_eq!((*one.get(CHUNK + 1), one.len()), (CHUNK + 1, 3 * CHUNK));
        assert_eq!((*other.get(CHUNK + 1), *other.get(3 * CHUNK), other.len()), (0, 7, 3 * CHUNK + 1));
        let shared: Vec<bool> =
            one.chunks.iter().zip(&other.chunks).map(|(one, other)| Arc::ptr_eq(one, other)).collect();
        assert_eq!(shared, [true, false, true]);
        assert!(one.iter().copied().eq(0..3 * CHUNK));
    }
}
