//! Decisions: which evidence names a span's parent, and when enough is known to decide.

use super::{
    Gone, Tracer,
    causality::{Causality, Cause, Claimed, Settled, UnlinkedReason, Verdict},
    connection_join::Partner,
    content::Found,
    exchange::{Key, Parentage},
    span::{Evidence, SpanKind},
};
use crate::{
    event::{LastReceive, Timestamp},
    protocol::Origin,
};

impl Tracer {
    /// Notes the request side of a call. The verdict is made at once, or when that request is
    /// answered.
    pub(super) fn note_request_side(&mut self, key: Key, cause: Cause) {
        let start = self.causality.call(&mut self.exchanges, &mut self.processes, key, cause);
        let mut verdict = start.verdict;
        if let Some(request) = start.judged_with {
            let limit = self.settings.calls_per_request;
            let unlinked = match self.exchanges.live_mut(request) {
                Some(live) if live.calls.len() < limit => {
                    live.calls.push(key);
                    None
                }
                Some(_) => Some(UnlinkedReason::Limit),
                None => Some(UnlinkedReason::RequestSideOnly),
            };
            verdict = verdict.or(unlinked.map(Verdict::Unlinked));
        }
        if let Some(live) = self.exchanges.live_mut(key) {
            live.verdict = verdict;
        }
    }

    /// The head of a call was read, so its signature is known. Its request side alone may be
    /// trusted now.
    pub(super) fn judge_by_request_side(&mut self, key: Key, signature_hash: u64) {
        let verdict = self.causality.head_read(&mut self.exchanges, &self.processes, key, signature_hash);
        if let (Some(live), Some(verdict)) = (self.exchanges.live_mut(key), verdict) {
            live.verdict.get_or_insert(verdict);
        }
    }

    /// A goroutine has handed off a call to the one that writes it. The verdict is made at once.
    pub(super) fn judge_handoff(&mut self, key: Key, goroutine: u64, receive: Option<LastReceive>) {
        let verdict =
            self.causality.judge_handoff(&mut self.exchanges, &mut self.processes, key, goroutine, receive);
        if let Some(live) = self.exchanges.live_mut(key) {
            live.verdict = Some(verdict);
        }
    }

    /// A request was read.
    pub(super) fn task_request(&mut self, key: Key, origin: &Origin) {
        Causality::task_request(&mut self.exchanges, &mut self.processes, key, origin);
    }

    /// A call was sent. If its task is trusted, its parent may be known only when the task answers
    /// its request.
    pub(super) fn task_call(&mut self, key: Key, origin: &Origin) {
        let mut settled = Vec::new();
        let (exchanges, processes) = (&mut self.exchanges, &mut self.processes);
        if self.causality.task_call(exchanges, processes, key, origin, &mut settled)
            && let Some(live) = self.exchanges.live_mut(key)
            && let Some(verdict @ Verdict::Unlinked(_)) = live.verdict
        {
            live.verdict = None;
            self.take_verdict(key, verdict);
        }
        self.settle(&settled);
    }

    /// A call has ended that was open when its request was answered.
    pub(super) fn judge_outlived(&mut self, key: Key) {
        let (exchanges, processes) = (&mut self.exchanges, &mut self.processes);
        if let Some(verdict) = self.causality.judge_outlived(exchanges, processes, key) {
            self.take_verdict(key, verdict);
        }
    }

    /// A call has ended.
    pub(super) fn task_call_over(&mut self, key: Key) {
        let mut settled = Vec::new();
        self.causality.task_call_over(&self.exchanges, &mut self.processes, key, &mut settled);
        self.settle(&settled);
    }

    /// A task has answered a request, or (`None`) nobody ever will.
    pub(super) fn task_answered(&mut self, key: Key, origin: Option<&Origin>) {
        let process = self.exchanges.get(key).and_then(|request| self.processes.get(request.pid));
        if process.is_none_or(|process| process.tasks.is_none()) {
            return;
        }
        let mut settled = Vec::new();
        if let Some(origin) = origin {
            let (exchanges, processes) = (&mut self.exchanges, &mut self.processes);
            self.causality.task_answered(exchanges, processes, key, origin, &mut settled);
            self.settle(&settled);
            settled.clear();
        }
        self.causality.task_closed(&self.exchanges, &mut self.processes, key, &mut settled);
        self.settle(&settled);
    }

    /// Claims of tasks have waited long enough.
    pub(super) fn expire_claims(&mut self, pid: u32, until: Timestamp) {
        let mut settled = Vec::new();
        Causality::expire_claims(&mut self.processes, pid, until, &mut settled);
        self.settle(&settled);
    }

    #[inline]
    fn settle(&mut self, settled: &[Settled]) {
        if !settled.is_empty() {
            self.settle_claims(settled);
        }
    }

    fn settle_claims(&mut self, settled: &[Settled]) {
        let unproven = settled.iter().find(|settled| settled.claim == Claimed::Unproven);
        if let Some(call) = unproven.and_then(|settled| self.exchanges.get(settled.call)) {
            let pid = call.pid;
            self.forget_later(Gone::Claims(pid, self.now));
        }
        for settled in settled {
            let (exchanges, processes) = (&mut self.exchanges, &mut self.processes);
            if let Some(verdict) = self.causality.settle(exchanges, processes, *settled) {
                self.take_verdict(settled.call, verdict);
            }
        }
    }

    /// A request is answered, or (`None`) never will be. Its calls are judged.
    pub(super) fn judge_calls(&mut self, key: Key, response: Option<&Origin>) {
        let Some(live) = self.exchanges.live_mut(key) else { return };
        if live.calls.is_empty() && live.same_content.is_empty() {
            return;
        }
        for call in std::mem::take(&mut live.calls) {
            let (exchanges, processes) = (&mut self.exchanges, &mut self.processes);
            if let Some(verdict) = self.causality.judge_with_request(exchanges, processes, call, response) {
                self.take_verdict(call, verdict);
            }
        }
        let same_content = self.exchanges.live_mut(key).map(|live| std::mem::take(&mut live.same_content));
        for call in same_content.unwrap_or_default() {
            self.try_decide(call);
        }
    }

    /// Uses the verdict on a call, unless it has one already.
    pub(super) fn take_verdict(&mut self, call: Key, verdict: Verdict) {
        if self.causality.hold_back(&mut self.exchanges, &mut self.processes, call, verdict) {
            return;
        }
        match self.exchanges.live_mut(call) {
            Some(live) if live.verdict.is_none() => {
                live.verdict = Some(verdict);
                self.try_decide(call);
                if let Verdict::Parent(_, Evidence::BothSides) = verdict {
                    self.prove_others(call);
                }
            }
            Some(_) => {}
            None => self.judge_late(call, verdict),
        }
    }

    /// A verdict on a call whose span was exported already, because it had waited too long or had
    /// another parent.
    fn judge_late(&mut self, call: Key, verdict: Verdict) {
        let unknown = self.exchanges.get(call).is_some_and(|call| call.fixed_early);
        if let (true, Verdict::Parent(request, evidence)) = (unknown, verdict) {
            self.decide_child(call, request, evidence);
        }
    }

    /// Decides on the requests whose other end is now known, or known to be absent.
    #[inline]
    pub(super) fn decide_settled(&mut self) {
        if self.joins.has_settled() {
            self.decide_all_settled();
        }
    }

    fn decide_all_settled(&mut self) {
        let settled = self.joins.take_settled();
        for key in &settled {
            self.try_decide(*key);
        }
        self.joins.settled_decided(settled);
    }

    /// Decides on a span's parent as soon as nothing more can be learned.
    pub(super) fn try_decide(&mut self, key: Key) {
        let Some(exchange) = self.exchanges.get(key) else { return };
        let Some(live) = exchange.live.as_deref() else { return };
        let decided = !matches!(live.parentage, Parentage::Undecided) && !exchange.fixed_early;
        if !live.head_seen || decided {
            return;
        }
        let has_context = live.incoming.is_some();
        match exchange.kind {
            SpanKind::Client => {
                let (passes_on, verdict) = (live.passes_on, live.verdict);
                if has_context || verdict.is_some() {
                    self.decide_call(key, passes_on, has_context, verdict);
                }
            }
            SpanKind::Server => match live.partner {
                Partner::Pending => {}
                partner => self.decide_request(key, has_context, partner),
            },
        }
    }

    fn decide_call(&mut self, key: Key, passes_on: Option<Key>, has_context: bool, verdict: Option<Verdict>) {
        match (passes_on, has_context, verdict) {
            (Some(request), _, _) => {
                self.decide_child(key, request, Evidence::Traceparent);
            }
            (None, true, _) => {
                self.decide(key, Parentage::Header);
            }
            (None, false, Some(Verdict::Parent(request, evidence))) => {
                self.decide_child(key, request, evidence);
            }
            (None, false, Some(Verdict::Unlinked(reason))) => match self.by_content(key, reason) {
                Found::Parent(request) => self.decide_child(key, request, Evidence::Content),
                Found::Later => {}
                Found::Nothing if reason == UnlinkedReason::Unproven && self.await_proof(key) => {}
                Found::Nothing => {
                    self.count_unlinked(reason);
                    self.decide(key, Parentage::Root { unknown: false });
                }
            },
            (None, false, None) => {}
        }
    }

    fn decide_request(&mut self, key: Key, has_context: bool, partner: Partner) {
        let partner = match partner {
            Partner::Pending => return,
            Partner::Absent => None,
            Partner::Exchange(call) => self.exchanges.get(call).map(|exchange| (call, exchange)),
        };
        let by_connection = match partner {
            None => None,
            Some((call, _)) if !has_context => Some(call),
            // The call's head shows whose trace context it is: its program's own, or one that it
            // forwards.
            Some((call, sent)) if sent.live.as_deref().is_some_and(|live| !live.head_seen) => {
                self.await_head(call, key);
                return;
            }
            Some((call, sent)) => sent.passed_on.then_some(call),
        };
        if let Some(call) = by_connection.filter(|call| !self.hides(*call, key)) {
            self.decide_child(key, call, Evidence::Connection);
        } else if has_context {
            self.decide(key, Parentage::Header);
        } else {
            self.counters.roots_remote += 1;
            self.decide(key, Parentage::Root { unknown: false });
        }
    }

    fn await_head(&mut self, call: Key, request: Key) {
        if let Some(live) = self.exchanges.live_mut(call) {
            live.partner_request = Some(request);
        }
    }

    fn decide_child(&mut self, child: Key, parent: Key, evidence: Evidence) {
        let id = self.exchanges.get(parent).map(|parent| parent.id);
        match id {
            Some(id) => self.decide(child, Parentage::Exchange { of: parent, id, evidence }),
            None => {
                self.counters.roots_forgotten += 1;
                self.decide(child, Parentage::Root { unknown: true });
            }
        }
    }

    fn count_unlinked(&mut self, reason: UnlinkedReason) {
        let counter = match reason {
            UnlinkedReason::NoCause => &mut self.counters.unlinked_no_cause,
            UnlinkedReason::RequestSideOnly => &mut self.counters.unlinked_request_side_only,
            UnlinkedReason::ResponseSideOnly => &mut self.counters.unlinked_response_side_only,
            UnlinkedReason::Unanswered => &mut self.counters.unlinked_unanswered,
            UnlinkedReason::Conflict => &mut self.counters.unlinked_conflict,
            UnlinkedReason::Unproven => &mut self.counters.unlinked_unproven,
            UnlinkedReason::Loss => &mut self.counters.unlinked_loss,
            UnlinkedReason::Pipelined => &mut self.counters.unlinked_pipelined,
            UnlinkedReason::Limit => &mut self.counters.unlinked_limit,
        };
        *counter += 1;
    }
}
