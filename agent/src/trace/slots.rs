//! Memory for exchanges. Each has a slot, and the slot's number is part of its [`Key`], so a key
//! leads to its exchange without a search. A slot is reused when its exchange is forgotten. The
//! exchange's own key shows whose the slot is.

use std::num::NonZeroU32;

use super::exchange::{Exchange, Key};
use crate::{event::ConnectionId, protocol::Ordinal};

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
}

impl Slots {
    /// Keeps an exchange, made for its key. Returns `None` if there are no more numbers.
    #[inline]
    pub(super) fn insert(
        &mut self,
        connection: ConnectionId,
        ordinal: Ordinal,
        make: impl FnOnce(Key) -> Exchange,
    ) -> Option<Key> {
        let slot = match self.free.pop() {
            Some(slot) => slot,
            None => {
                let slot = Slot::with_index(self.slots.len())?;
                self.slots.push(None);
                slot
            }
        };
        let key = Key { connection, ordinal, slot };
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
    pub(super) fn at(&self, slot: Slot) -> Option<&Exchange> {
        self.slots.get(slot.index())?.as_ref()
    }

    pub(super) fn get(&self, key: Key) -> Option<&Exchange> {
        let exchange = self.slots.get(key.slot.index())?.as_ref()?;
        exchange.key.names_same(key).then_some(exchange)
    }

    pub(super) fn get_mut(&mut self, key: Key) -> Option<&mut Exchange> {
        let exchange = self.slots.get_mut(key.slot.index())?.as_mut()?;
        exchange.key.names_same(key).then_some(exchange)
    }

    /// All exchanges, in no particular order.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Exchange> {
        self.slots.iter().flatten()
    }
}
