//! Calls whose two sides agree in a process that is not trusted yet. The calls by which the process
//! earns its confidence are as good as the ones that come after. So they wait a moment for it, if
//! their threads had received nothing else at either end.

use super::{
    Gone, Tracer,
    causality::{UnlinkedReason, Verdict},
    exchange::Key,
};
use crate::event::Timestamp;

/// Waiting calls per process. Beyond this number the oldest stays unlinked.
const WAITING: usize = 1_024;
/// Waiting calls that are looked at with each call that is trusted.
const AT_ONCE: usize = 8;

impl Tracer {
    /// A call waits for its process to be trusted. Returns `false` if it has waited already.
    pub(super) fn await_proof(&mut self, call: Key) -> bool {
        let Some(exchange) = self.exchanges.get_mut(call) else { return false };
        if !exchange.links.is_unambiguous() {
            return false;
        }
        let pid = exchange.pid;
        let Some(live) = exchange.live.as_deref_mut().filter(|live| !live.has_waited && !self.shutdown)
        else {
            return false;
        };
        let Some(process) = self.processes.get_mut(pid) else { return false };
        live.has_waited = true;
        live.verdict = None;
        process.unproven.push_back((call, self.now));
        if process.unproven.len() > WAITING
            && let Some((oldest, _)) = process.unproven.pop_front()
        {
            self.leave_unlinked(oldest);
        }
        self.forget_later(Gone::Unproven(pid, self.now));
        true
    }

    /// This call's process is trusted, so its waiting calls are looked at, a few at a time. One
    /// that is still not trusted goes to the end of the queue and stops the search, because most
    /// others would fail for the same reason.
    pub(super) fn prove_others(&mut self, call: Key) {
        let Some(pid) = self.exchanges.get(call).map(|call| call.pid) else { return };
        for _ in 0..AT_ONCE {
            let Some(process) = self.processes.get_mut(pid) else { return };
            let Some((call, since)) = process.unproven.pop_front() else { return };
            let Some(verdict) = self.causality.prove(&self.exchanges, &self.processes, call) else {
                if let Some(process) = self.processes.get_mut(pid) {
                    process.unproven.push_back((call, since));
                }
                return;
            };
            self.settle_unproven(call, verdict);
        }
    }

    /// Calls that began to wait by this time have waited long enough.
    pub(super) fn expire_unproven(&mut self, pid: u32, until: Timestamp) {
        while let Some(process) = self.processes.get_mut(pid)
            && let Some((call, _)) = process.unproven.pop_front_if(|(_, since)| *since <= until)
        {
            match self.causality.prove(&self.exchanges, &self.processes, call) {
                Some(verdict) => self.settle_unproven(call, verdict),
                None => self.leave_unlinked(call),
            }
        }
    }

    fn leave_unlinked(&mut self, call: Key) {
        self.settle_unproven(call, Verdict::Unlinked(UnlinkedReason::Unproven));
    }

    fn settle_unproven(&mut self, call: Key, verdict: Verdict) {
        if let Some(live) = self.exchanges.live_mut(call) {
            live.verdict.get_or_insert(verdict);
            self.try_decide(call);
        }
    }
}
