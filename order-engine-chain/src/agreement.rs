//! What follows from what several nodes say. Pure.
//!
//! A node may lag, be on a fork, or lie. So nothing counts as certain unless as many nodes as the quorum say so, each by itself.

/// Returns the greatest value that as many as the quorum reach.
pub fn quorum_th<T: Ord>(values: impl IntoIterator<Item = T>, quorum: usize) -> Option<T> {
    let mut values: Vec<T> = values.into_iter().collect();
    values.sort_unstable_by(|one, other| other.cmp(one));
    values.into_iter().nth(quorum.saturating_sub(1))
}

/// Returns the value that as many as the quorum name, if there is one.
pub fn quorum_of<T: PartialEq>(values: Vec<T>, quorum: usize) -> Option<T> {
    let count = |one: &T| values.iter().filter(|other| *other == one).count();
    let place = values.iter().position(|one| count(one) >= quorum.max(1))?;
    values.into_iter().nth(place)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_needs_a_quorum() {
        assert_eq!(quorum_of(vec![1, 2, 1], 2), Some(1));
        assert_eq!(quorum_of(vec![1, 2, 3], 2), None);
        assert_eq!(quorum_of(Vec::<u8>::new(), 1), None);
        assert_eq!(quorum_th([5, 9, 7], 2), Some(7));
        assert_eq!(quorum_th([5], 2), None);
    }
}
