//! A map whose values are kept in slots. It remembers which slot was asked for last, since most
//! look-ups are for the same key as the one before. For the others it has a hint by hash: the slot of
//! the last key with that hash. Only what neither of them knows is looked up in the map.

use std::{
    cell::Cell,
    hash::{BuildHasher as _, Hash},
};

use rustc_hash::{FxBuildHasher, FxHashMap};

/// The hints of a table that has many keys.
const MANY: usize = 2_048;

/// `HINTS` is a power of two.
#[derive(Debug, Clone)]
pub(super) struct Table<K, V, const HINTS: usize = MANY> {
    slot_of: FxHashMap<K, usize>,
    slots: Vec<Option<(K, V)>>,
    /// The slots that are empty.
    free: Vec<usize>,
    /// The slot that was asked for last.
    last: Cell<usize>,
    /// Slots by the hash of the key that was asked for last. Empty as long as the table is.
    hints: Vec<Cell<u32>>,
}

impl<K: Copy + Eq + Hash, V, const HINTS: usize> Default for Table<K, V, HINTS> {
    fn default() -> Self {
        Self::new()
    }
}

impl<K: Copy + Eq + Hash, V, const HINTS: usize> Table<K, V, HINTS> {
    pub(super) fn new() -> Self {
        Self {
            slot_of: FxHashMap::default(),
            slots: Vec::new(),
            free: Vec::new(),
            last: Cell::new(0),
            hints: Vec::new(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.slot_of.len()
    }

    #[inline]
    pub(super) fn get(&self, key: K) -> Option<&V> {
        if let Some(Some((last, value))) = self.slots.get(self.last.get())
            && *last == key
        {
            return Some(value);
        }
        self.slots[self.search(key)?].as_ref().map(|(_, value)| value)
    }

    #[inline]
    pub(super) fn get_mut(&mut self, key: K) -> Option<&mut V> {
        let last = self.last.get();
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
        #[expect(clippy::cast_possible_truncation, reason = "the low bits are enough")]
        let hint = self.hints.get(FxBuildHasher.hash_one(key) as usize % HINTS)?;
        let mut slot = hint.get() as usize;
        if !self.is_at(slot, key) {
            slot = *self.slot_of.get(&key)?;
            hint.set(u32::try_from(slot).unwrap_or(u32::MAX));
        }
        self.last.set(slot);
        Some(slot)
    }

    /// Returns the previous value of the key.
    pub(super) fn insert(&mut self, key: K, value: V) -> Option<V> {
        if let Some(known) = self.get_mut(key) {
            return Some(std::mem::replace(known, value));
        }
        if self.hints.is_empty() {
            self.hints.resize(HINTS, Cell::new(0));
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
            // Few hints, so that keys share them.
            let (mut table, mut map) = (Table::<_, _, 2>::new(), FxHashMap::default());
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
        let mut table = Table::<_, _>::new();
        for key in 0..100 {
            table.insert(key, key);
            table.remove(key);
        }
        assert_eq!(table.slots.len(), 1);
    }
}
