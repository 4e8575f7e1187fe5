//! The bounded queue between the pipeline thread, which never waits, and one exporter, and the batcher that feeds it.
//!
//! The bound is counted in entries ([`SpanEvent`]), not in batches, so memory has a ceiling whatever the batch size. A span
//! with its texts takes about 1 KB; all queues of one agent share the batches, so with [`DEFAULT_CAPACITY`] the queues
//! hold at most about 32 MB together. What does not fit is dropped, newest first, and counted exactly.

use std::{
    collections::VecDeque,
    ops::Range,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::sync::Notify;

use crate::{event::Timestamp, trace::span::SpanEvent};

/// Entries that one queue holds unless configured otherwise: 0.2 s of 150,000 spans/s.
pub const DEFAULT_CAPACITY: usize = 32_768;

/// What the pipeline hands over: shared by all exporters.
#[derive(Debug, Clone)]
pub struct Batch {
    /// Event time when it was complete; a batch without entries says that this much time has passed.
    pub at: Timestamp,
    pub entries: Arc<Vec<SpanEvent>>,
}

/// Part of a batch, taken from the queue.
#[derive(Debug, Clone)]
pub struct Piece {
    batch: Batch,
    range: Range<usize>,
}

impl Piece {
    /// The entries of this piece, oldest first.
    #[must_use]
    pub fn entries(&self) -> &[SpanEvent] {
        &self.batch.entries[self.range.clone()]
    }

    /// Event time when its batch was complete.
    #[must_use]
    pub const fn at(&self) -> Timestamp {
        self.batch.at
    }
}

/// The answer of [`Queue::next_within`].
#[derive(Debug)]
pub enum Next {
    Piece(Piece),
    /// Nothing came within the time given.
    Idle,
    /// The queue is closed and empty: nothing will ever come.
    Closed,
}

/// A bounded queue with one producer side that never waits and one consumer, a thread or a task.
#[derive(Debug)]
pub struct Queue {
    capacity: usize,
    state: Mutex<State>,
    /// Wakes a consumer that is a thread.
    arrived: Condvar,
    /// Wakes a consumer that is a task.
    notify: Notify,
    /// Wakes a producer that waits for room.
    room: Condvar,
    accepted_spans: AtomicU64,
    dropped_spans: AtomicU64,
    dropped_notices: AtomicU64,
}

#[derive(Debug, Default)]
struct State {
    pieces: VecDeque<Piece>,
    entries: usize,
    closed: bool,
    /// The time of the youngest batch.
    now: Timestamp,
}

impl Queue {
    /// An empty queue for at most `capacity` entries (at least 1).
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        Self {
            capacity: capacity.max(1),
            state: Mutex::default(),
            arrived: Condvar::new(),
            notify: Notify::new(),
            room: Condvar::new(),
            accepted_spans: AtomicU64::new(0),
            dropped_spans: AtomicU64::new(0),
            dropped_notices: AtomicU64::new(0),
        }
    }

    /// Puts a batch in. What does not fit (the end of the batch) and everything after [`Self::close`] is dropped and
    /// counted. Never waits for the consumer.
    pub fn push(&self, batch: Batch) {
        self.put(self.lock(), batch);
    }

    /// As [`Self::push`], but waits until the consumer has made room: for a source that can wait (a replay). Once the
    /// queue is closed nothing is waited for.
    pub fn push_waiting(&self, batch: Batch) {
        let state = self.lock();
        let full = |state: &mut State| {
            !state.closed && state.entries > 0 && state.entries + batch.entries.len() > self.capacity
        };
        let state = self.room.wait_while(state, full).unwrap_or_else(PoisonError::into_inner);
        self.put(state, batch);
    }

    fn put(&self, mut state: MutexGuard<'_, State>, batch: Batch) {
        state.now = state.now.max(batch.at);
        let room = if state.closed { 0 } else { self.capacity - state.entries };
        let taken = batch.entries.len().min(room);
        let (accepted, _) = count(&batch.entries[..taken]);
        let (dropped, notices) = count(&batch.entries[taken..]);
        self.accepted_spans.fetch_add(accepted, Ordering::Relaxed);
        self.dropped_spans.fetch_add(dropped, Ordering::Relaxed);
        self.dropped_notices.fetch_add(notices, Ordering::Relaxed);
        if taken == 0 {
            return;
        }
        state.entries += taken;
        state.pieces.push_back(Piece { batch, range: 0..taken });
        drop(state);
        self.arrived.notify_one();
        self.notify.notify_one();
    }

    /// Takes at most `most` entries (of one batch); waits for them. `None` once the queue is closed and empty.
    pub async fn next(&self, most: usize) -> Option<Piece> {
        loop {
            match self.try_next(most) {
                Next::Piece(piece) => return Some(piece),
                Next::Closed => return None,
                // A push between the look and the wait leaves a permit, so it is not missed.
                Next::Idle => self.notify.notified().await,
            }
        }
    }

    /// As [`Self::next`] for a consumer that is a thread, which waits at most `patience`.
    pub fn next_within(&self, most: usize, patience: Duration) -> Next {
        let state = self.lock();
        let (state, _) = self
            .arrived
            .wait_timeout_while(state, patience, |state| state.entries == 0 && !state.closed)
            .unwrap_or_else(PoisonError::into_inner);
        self.taken(state, most)
    }

    /// Takes at most `most` entries without waiting.
    pub fn try_next(&self, most: usize) -> Next {
        self.taken(self.lock(), most)
    }

    fn taken(&self, mut state: MutexGuard<'_, State>, most: usize) -> Next {
        let next = state.take(most);
        drop(state);
        self.room.notify_one();
        next
    }

    /// Event time: that of the youngest batch given to this queue.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.lock().now
    }

    /// Refuses everything from now on; what is inside can still be taken.
    pub fn close(&self) {
        self.lock().closed = true;
        self.arrived.notify_all();
        self.room.notify_all();
        self.notify.notify_one();
    }

    /// Entries inside.
    #[must_use]
    pub fn len(&self) -> usize {
        self.lock().entries
    }

    /// Whether nothing is inside.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The bound, in entries.
    #[must_use]
    pub const fn capacity(&self) -> usize {
        self.capacity
    }

    /// Finished spans that were let in.
    #[must_use]
    pub fn accepted_spans(&self) -> u64 {
        self.accepted_spans.load(Ordering::Relaxed)
    }

    /// Finished spans that found no room. Pushed = accepted + dropped, always.
    #[must_use]
    pub fn dropped_spans(&self) -> u64 {
        self.dropped_spans.load(Ordering::Relaxed)
    }

    /// Notices of open requests ([`SpanEvent::Open`]) that found no room; no span is lost with them.
    #[must_use]
    pub fn dropped_notices(&self) -> u64 {
        self.dropped_notices.load(Ordering::Relaxed)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // No code that can panic runs under the lock with the state half changed.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn take(&mut self, most: usize) -> Next {
        let Some(mut front) = self.pieces.pop_front() else {
            return if self.closed { Next::Closed } else { Next::Idle };
        };
        let end = front.range.end.min(front.range.start.saturating_add(most.max(1)));
        let piece = Piece { batch: front.batch.clone(), range: front.range.start..end };
        self.entries -= piece.range.len();
        front.range.start = end;
        if !front.range.is_empty() {
            self.pieces.push_front(front);
        }
        Next::Piece(piece)
    }
}

/// Finished spans and notices of open requests in `entries`.
fn count(entries: &[SpanEvent]) -> (u64, u64) {
    let spans = entries.iter().filter(|entry| matches!(entry, SpanEvent::Span(_))).count();
    (spans as u64, (entries.len() - spans) as u64)
}

/// Collects what the trace layer gives until a batch is worth handing over: by size, or by age in event time.
#[derive(Debug)]
pub struct Batcher {
    entries: Vec<SpanEvent>,
    oldest: Timestamp,
    max_entries: usize,
    max_age: u64,
}

impl Batcher {
    /// Entries of a full batch.
    pub const MAX_ENTRIES: usize = 512;
    /// Nanoseconds of event time after which a batch goes out although it is not full.
    pub const MAX_AGE: u64 = 100_000_000;

    /// A batcher with [`Self::MAX_ENTRIES`] and [`Self::MAX_AGE`].
    #[must_use]
    pub fn new() -> Self {
        Self::with_limits(Self::MAX_ENTRIES, Self::MAX_AGE)
    }

    /// A batcher with other limits: entries (at least 1) and nanoseconds.
    #[must_use]
    pub fn with_limits(max_entries: usize, max_age: u64) -> Self {
        Self { entries: Vec::new(), oldest: Timestamp(0), max_entries: max_entries.max(1), max_age }
    }

    /// Adds an entry at event time `now`; the batch, when that filled it.
    pub fn push(&mut self, traced: SpanEvent, now: Timestamp) -> Option<Batch> {
        if self.entries.is_empty() {
            self.oldest = now;
        }
        self.entries.push(traced);
        (self.entries.len() >= self.max_entries).then(|| self.take(now))
    }

    /// The batch, when its oldest entry is old enough at event time `now`.
    pub fn tick(&mut self, now: Timestamp) -> Option<Batch> {
        let due = !self.entries.is_empty() && now.since(self.oldest) >= self.max_age;
        due.then(|| self.take(now))
    }

    /// Whatever is there, perhaps nothing: for ticks and the shutdown.
    pub fn take(&mut self, now: Timestamp) -> Batch {
        let next = Vec::with_capacity(self.max_entries.min(self.entries.len()));
        Batch { at: now, entries: Arc::new(std::mem::replace(&mut self.entries, next)) }
    }
}

impl Default for Batcher {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
#[path = "queue_tests.rs"]
mod tests;
