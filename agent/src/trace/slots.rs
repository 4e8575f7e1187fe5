//! Memory for exchanges. Each has a slot, and the slot's number is part of its [`Key`], so a key
//! leads to its exchange without a search. A slot is reused when its exchange is forgotten. The
//! exchange's own key shows whose the slot is. Numbers begin anew after 2^32 exchanges. An old key
//! would then have to meet the same slot and the same number to name a wrong exchange.

use std::num::NonZeroU32;

use super::exchange::{Exchange, Key};

/// The number of a slot, counted from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Slot(NonZeroU32);

impl Slot {
    /// A slot that is never used.
    #[cfg(test)]
    pub(super) const NONE: Self = Self(NonZeroU32::MAX);

    const fn index(self) -> usize {
        self.0.get() as usize - 1
    }

    fn with_index(index: usize) -> Option<Self> {
        u32::try_from(index + 1).ok().and_then(NonZeroU32::new).map(Self)
    }
}

#[derive(Debug, Default)]
pub(super) struct Slots {
    slots: Vec<Option<Exchange>>,
    /// The slots that are empty. The last one was used most recently.
    free: Vec<Slot>,
    /// The number of the next exchange.
    next: u32,
}

impl Slots {
    /// Keeps an exchange, made for its key. Returns `None` if there are no more slots.
    #[inline]
    pub(super) fn insert(&mut self, make: impl FnOnce(Key) -> Exchange) -> Option<Key> {
        let slot = match self.free.pop() {
            Some(slot) => slot,
            None => {
                let slot = Slot::with_index(self.slots.len())?;
                self.slots.push(None);
                slot
            }
        };
        let key = Key { slot, number: self.next };
        self.next = self.next.wrapping_add(1);
        self.slots[slot.index()] = Some(make(key));
        Some(key)
    }

    /// Forgets the exchange in this slot.
    pub(super) fn empty(&mut self, slot: Slot) {
        if let Some(kept) = self.slots.get_mut(slot.index()).filter(|kept| kept.is_some()) {
            *kept = None;
            self.free.push(slot);
        }
    }

    /// The exchange in this slot, whichever it is.
    #[inline]
    pub(super) fn at(&self, slot: Slot) -> Option<&Exchange> {
        self.slots.get(slot.index())?.as_ref()
    }

    #[inline]
    pub(super) fn get(&self, key: Key) -> Option<&Exchange> {
        let exchange = self.slots.get(key.slot.index())?.as_ref()?;
        (exchange.key == key).then_some(exchange)
    }

    #[inline]
    pub(super) fn get_mut(&mut self, key: Key) -> Option<&mut Exchange> {
        let exchange = self.slots.get_mut(key.slot.index())?.as_mut()?;
        (exchange.key == key).then_some(exchange)
    }

    /// All exchanges, in no particular order.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Exchange> {
        self.slots.iter().flatten()
    }
}
