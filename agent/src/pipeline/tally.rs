//! What the pipeline counts: events, bytes, what was withheld and by whom, and the ledger's totals.

use std::{collections::BTreeMap, sync::Arc};

use rustc_hash::FxHashMap;

use super::{connections::Eviction, services::OTHER};
use crate::{
    event::{Event, NotCaptured},
    stream::Ledger,
};

/// Most processes and reasons for which withheld calls are counted apart; the others share one count (pid 0).
const WITHHELD_KEYS: usize = 1024;

/// Whose calls, and why their bytes were not captured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NotCapturedKey {
    pub reason: NotCaptured,
    /// 0: all processes beyond the bound.
    pub pid: u32,
}

/// Sums over all closed connections and both directions, in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LedgerTotals {
    pub observed: u64,
    pub parsed: u64,
    pub skipped: u64,
    pub truncated: u64,
    pub dropped: u64,
    pub unseen: u64,
    /// Directions of connections whose account did not balance: must stay 0.
    pub violations: u64,
}

impl LedgerTotals {
    /// Adds one connection.
    pub fn add(&mut self, ledger: &Ledger) {
        // A replayed log may claim anything.
        let add = |sum: &mut u64, more| *sum = sum.saturating_add(more);
        for account in &ledger.directions {
            add(&mut self.observed, account.observed);
            add(&mut self.parsed, account.parsed);
            add(&mut self.skipped, account.skipped);
            add(&mut self.truncated, account.truncated);
            add(&mut self.dropped, account.dropped);
            add(&mut self.unseen, account.unseen);
            add(&mut self.violations, u64::from(account.violation));
        }
    }
}

/// Counts of what went through the pipeline.
#[derive(Debug, Clone, Default)]
pub struct Tally {
    pub transfers: u64,
    /// Bytes that the transfers moved, and those of them that were captured.
    pub moved_bytes: u64,
    pub captured_bytes: u64,
    pub opened: u64,
    pub closed: u64,
    /// Connections of which a sockmap takes bytes past TCP.
    pub redirected: u64,
    pub other_events: u64,
    /// Transfers of connections that were evicted or never opened.
    pub stray_transfers: u64,
    /// Connections that made room for others, and why.
    evicted: [u64; Eviction::ALL.len()],
    pub ledger: LedgerTotals,
    /// Of processes that run.
    not_captured: FxHashMap<NotCapturedKey, u64>,
    /// Of processes that have ended or become something else, by service.
    settled: BTreeMap<(NotCaptured, Arc<str>), u64>,
}

impl Tally {
    /// Counts one event.
    pub(super) fn count(&mut self, event: &Event<'_>) {
        match event {
            Event::Transfer(transfer) => {
                self.transfers += 1;
                self.moved_bytes += u64::from(transfer.length);
                self.captured_bytes += (transfer.head.len() + transfer.tail.len()) as u64;
                if let Some(reason) = transfer.not_captured {
                    self.count_withheld(reason, transfer.thread.pid);
                }
            }
            Event::Opened(_) => self.opened += 1,
            Event::Closed(_) => self.closed += 1,
            Event::Redirected { .. } => self.redirected += 1,
            _ => self.other_events += 1,
        }
    }

    pub(super) const fn count_evicted(&mut self, reason: Eviction) {
        self.evicted[reason as usize] += 1;
    }

    /// How many connections made room for others, by reason.
    pub fn evicted(&self) -> impl Iterator<Item = (Eviction, u64)> + '_ {
        Eviction::ALL.into_iter().map(|reason| (reason, self.evicted[reason as usize]))
    }

    /// NotCaptured calls by reason and service, of all processes since start.
    pub(super) fn withheld_by_service(
        &self,
        mut service: impl FnMut(u32) -> Arc<str>,
    ) -> BTreeMap<(NotCaptured, Arc<str>), u64> {
        let mut all = self.settled.clone();
        for (key, count) in &self.not_captured {
            let service = if key.pid == 0 { OTHER.into() } else { service(key.pid) };
            *all.entry((key.reason, service)).or_default() += count;
        }
        all
    }

    /// Whether something is counted for this process.
    pub(super) fn withholds(&self, pid: u32) -> bool {
        !self.not_captured.is_empty()
            && NotCaptured::ALL
                .into_iter()
                .any(|reason| self.not_captured.contains_key(&NotCapturedKey { reason, pid }))
    }

    /// The process ends, or is no longer what it was: its counts become those of its service, and make room.
    pub(super) fn settle(&mut self, pid: u32, service: &Arc<str>) {
        for reason in NotCaptured::ALL {
            if let Some(count) = self.not_captured.remove(&NotCapturedKey { reason, pid }) {
                *self.settled.entry((reason, Arc::clone(service))).or_default() += count;
            }
        }
    }

    /// NotCaptured calls by reason and running process, sorted.
    #[must_use]
    pub fn not_captured(&self) -> Vec<(NotCapturedKey, u64)> {
        let mut all: Vec<_> = self.not_captured.iter().map(|(key, count)| (*key, *count)).collect();
        all.sort_unstable();
        all
    }

    fn count_withheld(&mut self, reason: NotCaptured, pid: u32) {
        let key = NotCapturedKey { reason, pid };
        let full = self.not_captured.len() >= WITHHELD_KEYS && !self.not_captured.contains_key(&key);
        let key = if full { NotCapturedKey { reason, pid: 0 } } else { key };
        *self.not_captured.entry(key).or_default() += 1;
    }
}
