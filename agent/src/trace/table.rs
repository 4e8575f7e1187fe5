//! A map whose values are kept in slots, and that remembers which two slots were asked for last. Most
//! look-ups are for one of the two keys before, such as the two connections of a message and of its
//! cause, and need no hash.

use std::{cell::Cell, hash::Hash};

use rustc_hash::FxHashMap;

#[derive(Debug, Clone)]
pub(super) struct Table<K, V> {
    slot_of: FxHashMap<K, usize>,
    slots: Vec<Option<(K, V)>>,
    /// The slots that are empty.
    free: Vec<usize>,
    /// The slots that were asked for last, the latest first.
    last: Cell<[usize; 2]>,
}

impl<K: Copy + Eq + Hash, V> Default for Table<K, V> {
    fn default() -> Self {
        Self::new()
    }
}

impl<K: Copy + Eq + Hash, V> Table<K, V> {
    pub(super) fn new() -> Self {
        Self { slot_of: FxHashMap::default(), slots: Vec::new(), free: Vec::new(), last: Cell::new([0; 2]) }
    }

    pub(super) fn len(&self) -> usize {
        self.slot_of.len()
    }

    #[inline]
    pub(super) fn get(&self, key: K) -> Option<&V> {
        if let Some(Some((last, value))) = self.slots.get(self.last.get()[0])
            && *last == key
        {
            return Some(value);
        }
        self.slots[self.search(key)?].as_ref().map(|(_, value)| value)
    }

    #[inline]
    pub(super) fn get_mut(&mut self, key: K) -> Option<&mut V> {
        let last = self.last.get()[0];
        let slot = if self.is_at(last, key) { last } else { self.search(key)? };
        self.slots[slot].as_mut().map(|(_, value)| value)
    }

    #[inline]
    fn is_at(&self, slot: usize, key: K) -> bool {
        matches!(self.slots.get(slot), Some(Some((kept, _))) if *kept == key)
    }

    /// The slot of a key that was not the last one.
    #[inline(never)]
    fn search(&self, key: K) -> Option<usize> {
        let [last, before] = self.last.get();
        let slot = if self.is_at(before, key) { before } else { *self.slot_of.get(&key)? };
        self.last.set([slot, last]);
        Some(slot)
    }

    /// Returns the previous value of the key.
    pub(super) fn insert(&mut self, key: K, value: V) -> Option<V> {
        if let Some(known) = self.get_mut(key) {
            return Some(std::mem::replace(known, value));
        }
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            self.slots.len() - 1
        });
        self.slot_of.insert(key, slot);
        self.slots[slot] = Some((key, value));
        None
    }

    pub(super) fn remove(&mut self, key: K) -> Option<V> {
        let slot = self.slot_of.remove(&key)?;
        self.free.push(slot);
        self.slots[slot].take().map(|(_, value)| value)
    }

    /// All values, in no particular order.
    pub(super) fn values(&self) -> impl Iterator<Item = &V> {
        self.slots.iter().flatten().map(|(_, value)| value)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn behaves_like_a_map(steps in prop::collection::vec((0..4_u8, 0..6_u32), 0..60)) {
            let (mut table, mut map) = (Table::new(), FxHashMap::default());
            for (number, (kind, key)) in steps.into_iter().enumerate() {
                match kind {
                    0 => prop_assert_eq!(table.insert(key, number), map.insert(key, number)),
                    1 => prop_assert_eq!(table.remove(key), map.remove(&key)),
                    2 => prop_assert_eq!(table.get(key), map.get(&key)),
                    _ => prop_assert_eq!(table.get_mut(key), map.get_mut(&key)),
                }
                prop_assert_eq!(table.len(), map.len());
                let (mut values, mut expected): (Vec<_>, Vec<_>) =
                    (table.values().copied().collect(), map.values().copied().collect());
                values.sort_unstable();
                expected.sort_unstable();
                prop_assert_eq!(values, expected);
            }
        }
    }

    #[test]
    fn slots_are_reused() {
        let mut table = Table::new();
        for key in 0..100 {
            table.insert(key, key);
            table.remove(key);
        }
        assert_eq!(table.slots.len(), 1);
    }
}
