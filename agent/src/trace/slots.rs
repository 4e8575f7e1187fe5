//! Memory for exchanges. Each has a slot, and the slot's number is part of its [`Key`], so a key
//! leads to its exchange without a search. A slot is reused when its exchange is forgotten. The
//! exchange's own key shows whose the slot is. Numbers begin anew after 2^32 exchanges. An old key
//! would then have to meet the same slot and the same number to name a wrong exchange.

use std::num::NonZeroU32;

use super::exchange::{Exchange, Key};

/// The number of a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Slot(pub(super) u32);

impl Slot {
    const fn index(self) -> usize {
        self.0 as usize
    }
}

#[derive(Debug)]
pub(super) struct Slots {
    /// The key of an exchange that was forgotten is [`Key::NONE`]. What else is left of it means
    /// nothing.
    slots: Vec<Exchange>,
    /// The slots that are empty. The last one was used most recently.
    free: Vec<Slot>,
    /// The number of the next exchange.
    next: NonZeroU32,
}

impl Default for Slots {
    fn default() -> Self {
        Self { slots: Vec::new(), free: Vec::new(), next: NonZeroU32::MIN }
    }
}

impl Slots {
    /// Keeps an exchange, made for its key. Returns `None` if there are no more slots.
    #[inline]
    pub(super) fn insert(&mut self, make: impl FnOnce(Key) -> Exchange) -> Option<Key> {
        let number = self.next;
        self.next = number.checked_add(1).unwrap_or(NonZeroU32::MIN);
        if let Some(slot) = self.free.pop() {
            let key = Key::new(slot, number);
            self.slots[slot.index()] = make(key);
            return Some(key);
        }
        let key = Key::new(Slot(u32::try_from(self.slots.len()).ok()?), number);
        self.slots.push(make(key));
        Some(key)
    }

    /// Gives the next exchange this number.
    #[cfg(test)]
    pub(super) const fn count_from(&mut self, number: NonZeroU32) {
        self.next = number;
    }

    /// Forgets the exchange in this slot.
    pub(super) fn empty(&mut self, slot: Slot) {
        if let Some(kept) = self.slots.get_mut(slot.index()).filter(|kept| !kept.key.is_none()) {
            kept.key = Key::NONE;
            (kept.context, kept.live) = (None, None);
            self.free.push(slot);
        }
    }

    /// The exchange in this slot, whichever it is.
    #[inline]
    pub(super) fn at(&self, slot: Slot) -> Option<&Exchange> {
        self.slots.get(slot.index()).filter(|kept| !kept.key.is_none())
    }

    #[inline]
    pub(super) fn get(&self, key: Key) -> Option<&Exchange> {
        self.slots.get(key.slot().index()).filter(|kept| kept.key == key)
    }

    #[inline]
    pub(super) fn get_mut(&mut self, key: Key) -> Option<&mut Exchange> {
        self.slots.get_mut(key.slot().index()).filter(|kept| kept.key == key)
    }

    /// All exchanges, in no particular order.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Exchange> {
        self.slots.iter().filter(|kept| !kept.key.is_none())
    }
}
