//! What was inserted into the dynamic table, newest first, as far as a reader remembers it.
//!
//! An index counts from the newest insertion. A valid encoder never refers to an entry that its
//! table has evicted. So the reader needs not know how large that table is, nor when it evicts: it
//! forgets by its own limit, and an index that leads to something forgotten is unknown.

use std::{collections::VecDeque, sync::Arc};

/// What RFC 7541 adds to the size of an entry (section 4.1).
const OVERHEAD: usize = 32;
/// Bytes that are remembered at first: twice the table that an encoder has by default.
const FIRST_LIMIT: usize = 8 << 10;

/// Number of an insertion within an epoch, from 0. An entry older than the epoch has a negative
/// one, and keeps it: it stands for the name and the value that the reader does not know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Ordinal {
    /// Raised by each loss.
    pub epoch: u32,
    pub number: i64,
}

/// A name or a value that was inserted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Stored {
    Known(Arc<[u8]>),
    /// As that of an entry which the reader does not know.
    Unknown(Ordinal),
}

#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) name: Stored,
    pub(super) value: Stored,
}

/// An entry of an index.
pub(super) enum Found<'a> {
    Entry(&'a Entry),
    /// Older than the reader, lost, or forgotten.
    Unknown(Ordinal),
    /// No valid encoder refers to it.
    Invalid,
}

#[derive(Debug)]
pub(super) struct Window {
    /// The newest first.
    entries: VecDeque<Entry>,
    /// Insertions of this epoch.
    inserted: i64,
    epoch: u32,
    /// Every insertion of the connection was seen.
    whole: bool,
    bytes: usize,
    limit: usize,
    most: usize,
    /// Indices that led to what the limit had made the window forget.
    forgotten: u64,
}

impl Stored {
    fn size(&self) -> usize {
        match self {
            Self::Known(bytes) => bytes.len(),
            Self::Unknown(_) => 0,
        }
    }
}

impl Entry {
    fn size(&self) -> usize {
        self.name.size() + self.value.size() + OVERHEAD
    }
}

impl Window {
    /// `whole`: the first block that comes is the first of the connection. `most`: bytes that are
    /// remembered at most.
    pub(super) fn new(whole: bool, most: usize) -> Self {
        Self {
            entries: VecDeque::new(),
            inserted: 0,
            epoch: 0,
            whole,
            bytes: 0,
            limit: FIRST_LIMIT.min(most),
            most,
            forgotten: 0,
        }
    }

    /// The entry that stands `back` insertions behind the newest.
    pub(super) fn find(&mut self, back: usize) -> Found<'_> {
        let Ok(age) = i64::try_from(back) else { return Found::Invalid };
        let number = self.inserted - 1 - age;
        if number < 0 && self.whole {
            return Found::Invalid;
        }
        if number >= 0 && back >= self.entries.len() {
            // The encoder's table is larger than was thought.
            self.forgotten += 1;
            self.limit = (self.limit * 2).min(self.most);
        }
        let epoch = self.epoch;
        self.entries.get(back).map_or(Found::Unknown(Ordinal { epoch, number }), Found::Entry)
    }

    pub(super) fn insert(&mut self, entry: Entry) {
        self.inserted += 1;
        self.bytes += entry.size();
        self.entries.push_front(entry);
        while self.bytes > self.limit
            && let Some(oldest) = self.entries.pop_back()
        {
            self.bytes -= oldest.size();
        }
    }

    /// The encoder says how large its table may be.
    pub(super) fn announce(&mut self, size: usize) {
        self.limit = self.limit.max(size.min(self.most));
    }

    /// A block was not read: nothing of what was inserted until now can be referred to with
    /// certainty.
    pub(super) fn lose(&mut self) {
        self.entries.clear();
        self.bytes = 0;
        self.inserted = 0;
        self.epoch += 1;
        self.whole = false;
    }

    pub(super) const fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) const fn take_forgotten(&mut self) -> u64 {
        std::mem::replace(&mut self.forgotten, 0)
    }
}
