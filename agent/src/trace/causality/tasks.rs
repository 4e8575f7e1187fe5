//! The task join: a call and a response that the same task of a runtime wrote belong together, if
//! the call was sent after the request arrived and before it was answered.
//!
//! A task is known only by the address of its context, and CPython reuses the address that it freed
//! last. So an address alone proves nothing. The join is sound for programs whose tasks each serve
//! one request and make its calls themselves. Such a program never shows one of the following
//! *conflicts*, which a reused address or a context shared by several requests does:
//!
//! * A task sends something while a call of its own is not answered, and that call is answered
//!   later. (A call that the task gave up is closed a moment afterwards.)
//! * A task answers a request that was read after a call of its own which nobody has claimed.
//! * All requests that were open when a task sent a call were answered by other tasks.
//! * A task answers a request although it has answered another one since that was read. So the task
//!   began later than the request.
//!
//! A process is trusted after a number of calls in a row without a conflict, the same number of
//! them while several requests were open. Each conflict of a trusted process doubles that number.
//! Calls that are claimed before the process is trusted wait a moment for it, because they are as
//! good as later ones. If a trusted response side names another request than the join, the join
//! ends for good in that process. A task whose calls are never claimed, such as a poller, is left
//! out.

use std::collections::VecDeque;

use rustc_hash::FxHashMap;

use crate::{
    event::Timestamp,
    trace::{
        exchange::{Exchange, Key},
        exchanges::Exchanges,
    },
};

/// Calls without a conflict after which a process is trusted.
const SEEN: u64 = 30;
/// The same for a process that has shown a conflict. Doubles with each conflict while it is
/// trusted.
const SEEN_AGAIN: u64 = 100;
/// Unclaimed calls in a row after which a task is taken not to serve requests.
const UNCLAIMED_LIMIT: u8 = 3;
/// Contexts, calls and open requests that are tracked per process.
const CONTEXTS: usize = 8_192;
const CALLS: usize = 8_192;
const REQUESTS: usize = 8_192;
/// Calls of one task that wait for its response.
const CALLS_OF_TASK: usize = 256;
/// Calls that were not over when their task went on.
const UNFINISHED: usize = 256;
/// Claims that wait until the process is trusted.
const UNPROVEN: usize = 1_024;

/// A call that was claimed before its process was trusted.
#[derive(Debug, Clone, Copy)]
struct Claim {
    call: Key,
    request: Key,
    at: Timestamp,
}

/// A call, and how many calls of its process came before it.
#[derive(Debug, Clone, Copy)]
struct Call {
    key: Key,
    number: u64,
}

/// A call that was not over when its task sent something else or answered a request.
#[derive(Debug, Clone, Copy)]
struct Unfinished {
    call: Key,
    number: u64,
    /// The request that the task answered, and when.
    response: Option<(Key, Timestamp)>,
}

/// What was sent from one address.
#[derive(Debug, Default)]
struct Context {
    /// Calls since its last response.
    calls: Vec<Call>,
    /// The last request that it answered, and when.
    answered: Option<(Key, Timestamp)>,
    /// Calls in a row that nobody claimed.
    unclaimed: u8,
}

/// The tasks of one process.
#[derive(Debug)]
pub(in crate::trace) struct Tasks {
    contexts: FxHashMap<u64, Context>,
    /// Requests in the order in which they were read. The first one is open.
    open: VecDeque<(Key, Timestamp)>,
    /// Calls in the order in which they were sent, with their contexts. The first one is not
    /// claimed.
    calls: VecDeque<(Call, u64)>,
    sent: u64,
    /// Calls with lower numbers conflict with nothing, because a request that was open then ended
    /// without a response.
    excused: u64,
    /// Requests from before `since` that are open and not known here.
    unknown: u64,
    since: Timestamp,
    epoch: u32,
    /// Calls in a row without a conflict, and how many of them were sent while several requests
    /// were open.
    clean: u64,
    concurrent: u64,
    needed: u64,
    off: bool,
    /// Calls that were not over when their task went on.
    unfinished: Vec<Unfinished>,
    /// Claims since the last conflict that are not trusted yet: first those of calls that were sent
    /// while several requests were open, then the others.
    unproven: [VecDeque<Claim>; 2],
    pub(in crate::trace) conflicts: u64,
}

/// The decision on a tracked call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::trace) struct Settled {
    pub(in crate::trace) call: Key,
    pub(in crate::trace) claim: Claimed,
}

/// Whether a task has claimed a call, for the request that it answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::trace) enum Claimed {
    For(Key),
    /// The call is claimed. Whether the claim is trusted is not known yet.
    Unproven,
    No,
}

impl Settled {
    const fn unclaimed(call: Key) -> Self {
        Self { call, claim: Claimed::No }
    }
}

impl Tasks {
    /// The tasks of a process that has `unknown` open requests.
    pub(in crate::trace) fn new(epoch: u32, since: Timestamp, unknown: u64) -> Self {
        Self {
            contexts: FxHashMap::default(),
            open: VecDeque::new(),
            calls: VecDeque::new(),
            sent: 0,
            excused: 0,
            unknown,
            since,
            epoch,
            clean: 0,
            concurrent: 0,
            needed: SEEN,
            off: false,
            unfinished: Vec::new(),
            unproven: Default::default(),
            conflicts: 0,
        }
    }

    /// Events of the process were lost, so the open calls can neither be claimed nor show a
    /// conflict.
    pub(super) fn lost(&mut self, epoch: u32, now: Timestamp, unknown: u64, settled: &mut Vec<Settled>) {
        if self.epoch == epoch {
            return;
        }
        settled.extend(self.calls.drain(..).map(|(call, _)| Settled::unclaimed(call.key)));
        self.disprove(settled);
        self.contexts.clear();
        self.unfinished.clear();
        self.open.clear();
        (self.epoch, self.since, self.unknown) = (epoch, now, unknown);
        (self.clean, self.concurrent) = (0, 0);
    }

    /// A request was read.
    pub(in crate::trace) fn opened(&mut self, key: Key, at: Timestamp) {
        if self.open.len() >= REQUESTS {
            // The calls of this request would look unclaimed.
            self.open.pop_front();
            self.excused = self.sent;
        }
        self.open.push_back((key, at));
    }

    /// A request that was read at this time was answered, or never will be.
    pub(super) fn closed(&mut self, read_at: Timestamp, answered: bool) {
        if read_at <= self.since {
            self.unknown = self.unknown.saturating_sub(1);
        }
        if !answered {
            self.excused = self.sent;
        }
    }

    /// Whether a response side has named another request than the join did.
    pub(super) const fn is_off(&self) -> bool {
        self.off
    }

    /// A response side names another request than the join did.
    pub(super) fn switch_off(&mut self) {
        self.off = true;
        self.conflicts += 1;
    }

    /// Whether the verdict on a call that is sent now waits for its task: the process is trusted,
    /// or may be soon.
    pub(super) const fn worth_waiting(&self, alone: bool) -> bool {
        self.trusted(alone) || !self.off && self.needed <= SEEN_AGAIN
    }

    /// Whether the claim of a call that is sent now would be trusted. `alone`: at most one request
    /// is open.
    pub(super) const fn trusted(&self, alone: bool) -> bool {
        !self.off && self.clean >= self.needed && (alone || self.concurrent >= self.needed)
    }

    /// A task sent a call. Returns `false` if the call is not tracked.
    pub(super) fn call(
        &mut self,
        exchanges: &Exchanges,
        key: Key,
        id: u64,
        settled: &mut Vec<Settled>,
    ) -> bool {
        self.drop_closed(exchanges);
        if self.off || self.unknown > 0 {
            return false;
        }
        self.make_room(id, settled);
        let context = self.contexts.entry(id).or_default();
        if self.open.is_empty() {
            // No request can have caused it.
            context.unclaimed = context.unclaimed.saturating_add(1);
            return false;
        }
        let answering = |(request, _)| exchanges.get(request).is_some_and(Exchange::open);
        if context.unclaimed >= UNCLAIMED_LIMIT || context.answered.is_some_and(answering) {
            return false;
        }
        if context.calls.len() >= CALLS_OF_TASK {
            settled.extend(context.calls.drain(..).map(|call| Settled::unclaimed(call.key)));
        }
        // When these calls end it shows whether the task gave them up, which is no conflict.
        let awaited = context.calls.iter().filter(|call| exchanges.get(call.key).is_some_and(awaited));
        for call in awaited {
            remember_unfinished(
                &mut self.unfinished,
                Unfinished { call: call.key, number: call.number, response: None },
            );
        }
        let call = Call { key, number: self.sent };
        context.calls.push(call);
        self.sent += 1;
        self.calls.push_back((call, id));
        true
    }

    /// A task wrote the first byte of the final response to a request that was just closed.
    pub(super) fn answered(
        &mut self,
        exchanges: &Exchanges,
        key: Key,
        id: u64,
        at: Timestamp,
        settled: &mut Vec<Settled>,
    ) {
        let Some(request) = exchanges.get(key) else { return };
        if self.off {
            return;
        }
        self.make_room(id, settled);
        let context = self.contexts.entry(id).or_default();
        let late = context.answered.is_some_and(|(other, at)| other != key && at > request.at);
        context.answered = Some((key, at));
        context.unclaimed = 0;
        let pipelined = request.links.request().is_some_and(|links| links.pipelined);
        let mut has_conflict = late && !pipelined;
        let mut claimed = Vec::new();
        for call in context.calls.drain(..) {
            let Some(sent) = exchanges.get(call.key) else { continue };
            let is_own = sent.at > request.at;
            if is_own && awaited(sent) && !pipelined && !late {
                let response = Some((key, at));
                remember_unfinished(
                    &mut self.unfinished,
                    Unfinished { call: call.key, number: call.number, response },
                );
                continue;
            }
            let is_own = is_own && !awaited(sent);
            has_conflict |= !is_own && call.number >= self.excused && !sent.links.has_failed();
            if is_own && !pipelined && !late {
                claimed.push((call.key, sent.links.sent_alone(), sent.links.answered));
            } else {
                settled.push(Settled::unclaimed(call.key));
            }
        }
        if has_conflict {
            self.conflict(settled);
        }
        for (call, alone, proves) in claimed {
            self.claim(Claim { call, request: key, at }, alone, settled);
            if proves && !has_conflict {
                self.clean += 1;
                self.concurrent += u64::from(!alone);
            }
        }
        self.prove(settled);
    }

    /// A call has ended that its task did not wait for. If it has no response, the task had given
    /// it up.
    pub(super) fn call_over(&mut self, call: Key, exchange: &Exchange, settled: &mut Vec<Settled>) {
        if self.unfinished.is_empty() {
            return;
        }
        let mut response = None;
        let mut has_conflict = false;
        self.unfinished.retain(|unfinished| {
            if unfinished.call != call {
                return true;
            }
            response = response.or(unfinished.response);
            has_conflict |= exchange.links.answered && unfinished.number >= self.excused;
            false
        });
        if has_conflict {
            settled.push(Settled::unclaimed(call));
            self.conflict(settled);
        } else if let Some((request, at)) = response {
            self.claim(Claim { call, request, at }, exchange.links.sent_alone(), settled);
            self.prove(settled);
        }
    }

    fn claim(&mut self, claim: Claim, alone: bool, settled: &mut Vec<Settled>) {
        let unproven = &mut self.unproven[usize::from(alone)];
        if unproven.len() >= UNPROVEN {
            settled.extend(unproven.pop_front().map(|claim| Settled::unclaimed(claim.call)));
        }
        unproven.push_back(claim);
        settled.push(Settled { call: claim.call, claim: Claimed::Unproven });
    }

    /// Settles the claims that waited, once the process is trusted.
    fn prove(&mut self, settled: &mut Vec<Settled>) {
        for alone in [false, true] {
            if self.trusted(alone) {
                let claims = self.unproven[usize::from(alone)].drain(..);
                settled.extend(
                    claims.map(|claim| Settled { call: claim.call, claim: Claimed::For(claim.request) }),
                );
            }
        }
    }

    /// Drops all claims that were made before a conflict.
    fn disprove(&mut self, settled: &mut Vec<Settled>) {
        let claims = self.unproven.iter_mut().flat_map(|unproven| unproven.drain(..));
        settled.extend(claims.map(|claim| Settled::unclaimed(claim.call)));
    }

    /// Claims up to this time have waited long enough.
    pub(in crate::trace) fn expire(&mut self, until: Timestamp, settled: &mut Vec<Settled>) {
        for unproven in &mut self.unproven {
            while let Some(claim) = unproven.pop_front_if(|claim| claim.at <= until || self.off) {
                settled.push(Settled::unclaimed(claim.call));
            }
        }
    }

    /// Settles the calls that no open request is old enough to claim. Called after a request is
    /// closed.
    pub(super) fn seal(&mut self, exchanges: &Exchanges, settled: &mut Vec<Settled>) {
        self.drop_closed(exchanges);
        let oldest = self.open.front().map(|(_, at)| *at);
        while let Some(&(call, id)) = self.calls.front() {
            let unfinished = self
                .unfinished
                .iter()
                .any(|unfinished| unfinished.call == call.key && unfinished.response.is_some());
            let waits = exchanges.get(call.key).filter(|sent| sent.links.task_may_claim() && !unfinished);
            if let Some(sent) = waits {
                if oldest.is_some_and(|oldest| oldest < sent.at) && self.calls.len() <= CALLS {
                    return;
                }
                let has_conflict = oldest.is_none_or(|oldest| oldest > sent.at) && !sent.links.has_failed();
                self.unclaimed(call, id, has_conflict, settled);
                settled.push(Settled::unclaimed(call.key));
            }
            self.calls.pop_front();
        }
    }

    fn unclaimed(&mut self, call: Call, id: u64, has_conflict: bool, settled: &mut Vec<Settled>) {
        if let Some(context) = self.contexts.get_mut(&id) {
            context.calls.retain(|other| other.number != call.number);
            context.unclaimed = context.unclaimed.saturating_add(1);
        }
        if has_conflict && call.number >= self.excused {
            self.conflict(settled);
        }
    }

    fn conflict(&mut self, settled: &mut Vec<Settled>) {
        self.disprove(settled);
        self.conflicts += 1;
        let trusted = self.clean >= self.needed;
        let needed = if trusted { self.needed.saturating_mul(2) } else { self.needed };
        self.needed = needed.max(SEEN_AGAIN);
        (self.clean, self.concurrent) = (0, 0);
    }

    fn drop_closed(&mut self, exchanges: &Exchanges) {
        let closed = |key| exchanges.get(key).is_none_or(|request: &Exchange| request.links.answered);
        while self.open.front().is_some_and(|(key, _)| closed(*key)) {
            self.open.pop_front();
        }
    }

    /// Makes room for another context. If there are too many, all tracking of the process restarts.
    fn make_room(&mut self, id: u64, settled: &mut Vec<Settled>) {
        if self.contexts.len() >= CONTEXTS && !self.contexts.contains_key(&id) {
            settled.extend(self.calls.drain(..).map(|(call, _)| Settled::unclaimed(call.key)));
            self.disprove(settled);
            self.contexts.clear();
            (self.clean, self.concurrent) = (0, 0);
        }
    }
}

/// Remembers a call. If there are too many, the oldest is dropped and then proves nothing.
fn remember_unfinished(unfinished: &mut Vec<Unfinished>, call: Unfinished) {
    if unfinished.len() >= UNFINISHED {
        unfinished.remove(0);
    }
    unfinished.push(call);
}

/// Whether a call still waits for its response.
fn awaited(call: &Exchange) -> bool {
    !call.links.answered && call.open()
}
