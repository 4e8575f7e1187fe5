//! The task join as the tracer uses it: what each message means for the tasks of its process, and
//! what a task's claim means for the verdict on a call. A parent that the call's two sides have
//! named stays.

use super::{Causality, Claimed, Settled, Tasks, Verdict, lost};
use crate::{
    event::{Task, Timestamp},
    protocol::Origin,
    trace::{
        exchange::{Exchange, Key},
        exchanges::Exchanges,
        process::{Process, Processes},
        span::{Evidence, SpanKind},
    },
};

impl Causality {
    /// An inbound request was read.
    pub(in crate::trace) fn task_request(
        exchanges: &mut Exchanges,
        processes: &mut Processes,
        key: Key,
        origin: &Origin,
    ) {
        let Some(tasks) = processes.get_mut(origin.thread.pid).and_then(|process| process.tasks.as_mut())
        else {
            return;
        };
        tasks.opened(key, origin.at);
        let waits =
            |other: &Exchange| other.kind == SpanKind::Server && other.key != key && !other.links.answered;
        let pipelined = exchanges
            .connection_of(key)
            .is_some_and(|connection| exchanges.of(connection).rev().take(2).any(waits));
        if let Some(request) = exchanges.get_mut(key).and_then(|it| it.links.request_mut()) {
            request.pipelined = pipelined;
        }
    }

    /// A call was sent. Returns whether the verdict on it waits for its task.
    pub(in crate::trace) fn task_call(
        &mut self,
        exchanges: &mut Exchanges,
        processes: &mut Processes,
        key: Key,
        origin: &Origin,
        settled: &mut Vec<Settled>,
    ) -> bool {
        let Some(Task::Context(id)) = origin.task.filter(|_| self.rules.task) else { return false };
        let pid = origin.thread.pid;
        let Some((epoch, open)) =
            processes.get(pid).map(|process| (process.epoch, process.confidence.open_requests()))
        else {
            return false;
        };
        let Some(tasks) = processes.tasks(pid, |process| first(exchanges, process, pid, origin.at)) else {
            return false;
        };
        tasks.lost(epoch, origin.at, open, settled);
        let tracked = tasks.call(exchanges, key, id, settled);
        let alone = open <= 1;
        let waits = tracked && tasks.worth_waiting(alone);
        self.task_conflicts += std::mem::take(&mut tasks.conflicts);
        if let Some(links) = exchanges.get_mut(key).and_then(|call| call.links.call_mut()) {
            (links.task_may_claim, links.sent_alone, links.awaits_task) = (tracked, alone, waits);
        }
        waits
    }

    /// A task answered an inbound request.
    pub(in crate::trace) fn task_answered(
        &mut self,
        exchanges: &mut Exchanges,
        processes: &mut Processes,
        key: Key,
        origin: &Origin,
        settled: &mut Vec<Settled>,
    ) {
        let Some(request) = exchanges.get(key) else { return };
        let Some(process) = processes.get_mut(request.pid) else { return };
        let (epoch, open) = (process.epoch, process.confidence.open_requests());
        let Some(tasks) = process.tasks.as_deref_mut() else { return };
        tasks.lost(epoch, request.at, open, settled);
        if let Some(Task::Context(id)) = origin.task
            && origin.thread.pid == request.pid
            && request.links.epoch == epoch
        {
            tasks.answered(exchanges, key, id, origin.at, settled);
        }
        self.task_conflicts += std::mem::take(&mut tasks.conflicts);
    }

    /// A call has ended, with or without a response.
    pub(in crate::trace) fn task_call_over(
        &mut self,
        exchanges: &Exchanges,
        processes: &mut Processes,
        key: Key,
        settled: &mut Vec<Settled>,
    ) {
        let Some(call) = exchanges.get(key).filter(|call| call.links.task_may_claim()) else { return };
        let Some(tasks) = processes.get_mut(call.pid).and_then(|it| it.tasks.as_deref_mut()) else { return };
        tasks.call_over(key, call, settled);
        self.task_conflicts += std::mem::take(&mut tasks.conflicts);
    }

    /// A request was answered, or never will be. Calls that no open request can claim any more are
    /// settled.
    pub(in crate::trace) fn task_closed(
        &mut self,
        exchanges: &Exchanges,
        processes: &mut Processes,
        key: Key,
        settled: &mut Vec<Settled>,
    ) {
        let pid = exchanges.get(key).map(|request| request.pid);
        if let Some(tasks) = pid.and_then(|pid| processes.get_mut(pid)).and_then(|it| it.tasks.as_deref_mut())
        {
            tasks.seal(exchanges, settled);
            self.task_conflicts += std::mem::take(&mut tasks.conflicts);
        }
    }

    /// Claims of a process up to this time have waited long enough.
    pub(in crate::trace) fn expire_claims(
        processes: &mut Processes,
        pid: u32,
        until: Timestamp,
        settled: &mut Vec<Settled>,
    ) {
        if let Some(tasks) = processes.get_mut(pid).and_then(|process| process.tasks.as_deref_mut()) {
            tasks.expire(until, settled);
        }
    }

    /// Whether a verdict must wait because the task that sent the call may still claim it. A parent
    /// from the two sides ends the wait. If it differs from the task's claim, it also ends the join
    /// for this process.
    pub(in crate::trace) fn hold_back(
        &self,
        exchanges: &mut Exchanges,
        processes: &mut Processes,
        call: Key,
        verdict: Verdict,
    ) -> bool {
        let Some(exchange) = exchanges.get_mut(call) else { return false };
        let Some(links) = exchange.links.call_mut() else { return false };
        match verdict {
            Verdict::Unlinked(reason) if links.awaits_task => {
                links.reason_without_task = Some(reason);
                true
            }
            Verdict::Unlinked(_) | Verdict::Parent(_, Evidence::Task) => false,
            Verdict::Parent(request, evidence) => {
                links.awaits_task = false;
                let ends = matches!(evidence, Evidence::ResponseSide | Evidence::BothSides);
                if ends && links.claimed_for.is_some_and(|claimed| claimed != request) {
                    end_task_join(processes, exchange.pid);
                }
                links.response_side = ends.then_some(request);
                false
            }
        }
    }

    /// The verdict on a call whose claim was settled, if its verdict was held back.
    pub(in crate::trace) fn settle(
        &self,
        exchanges: &mut Exchanges,
        processes: &mut Processes,
        settled: Settled,
    ) -> Option<Verdict> {
        let gone = |key| exchanges.get(key).is_none_or(|it: &Exchange| lost(processes, it));
        let process = exchanges.get(settled.call).and_then(|call| processes.get(call.pid));
        let off = process.and_then(|process| process.tasks.as_deref()).is_some_and(Tasks::is_off);
        let request = match settled.claim {
            Claimed::For(request) => Some(request).filter(|it| !gone(*it) && !gone(settled.call) && !off),
            Claimed::No | Claimed::Unproven => None,
        };
        let call = exchanges.get_mut(settled.call)?;
        let links = call.links.call_mut()?;
        links.task_may_claim = false;
        if settled.claim == Claimed::Unproven {
            return None;
        }
        links.claimed_for = request;
        if let (Some(named), Some(request)) = (links.response_side, request)
            && named != request
        {
            end_task_join(processes, call.pid);
        }
        if !std::mem::take(&mut links.awaits_task) {
            return None;
        }
        match request {
            Some(request) => Some(Verdict::Parent(request, Evidence::Task)),
            None => links.reason_without_task.take().map(Verdict::Unlinked),
        }
    }
}

/// The tasks of a process that has just sent its first call from a task. They serve the open
/// requests, if all of these are known.
fn first(exchanges: &mut Exchanges, process: &Process, pid: u32, now: Timestamp) -> Tasks {
    let open = process.confidence.open_requests();
    let mut known = exchanges.unanswered(pid);
    known.retain(|(key, _)| exchanges.get(*key).is_some_and(|request| request.links.epoch == process.epoch));
    if (known.len() as u64) < open {
        return Tasks::new(process.epoch, now, open);
    }
    let mut tasks = Tasks::new(process.epoch, Timestamp(0), 0);
    for (key, at) in known {
        tasks.opened(key, at);
        if let Some(request) = exchanges.get_mut(key).and_then(|it| it.links.request_mut()) {
            request.pipelined = request.overlaps_previous;
        }
    }
    tasks
}

fn end_task_join(processes: &mut Processes, pid: u32) {
    if let Some(tasks) = processes.get_mut(pid).and_then(|process| process.tasks.as_mut()) {
        tasks.switch_off();
    }
}
