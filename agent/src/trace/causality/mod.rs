//! Causality from two sides, in its simplest form: which request caused a call, on nothing but what each thread took in
//! last before it sent something.
//!
//! Every *output* (a call's request, a connect, an answer) has a *trigger*: the message to which the last byte belongs that
//! its thread took in.
//! * Start side: a call belongs to the request that its trigger belongs to; if the trigger is a call's response, to the
//!   request of that call (a *continuation*).
//! * End side: when a call's response is the trigger of an answer, that call is a child of the answered request.
//!
//! A call gets a parent when both sides agree and its process has not contradicted itself of late; a process's first
//! calls moreover only when no other request was open ([`Belief`]).
//! A continuation confirms the start side of the calls it continues, it never decides. Everything else is an orphan.
//! A request's own bytes trigger nothing once it is answered; an answer uses its trigger up; a call sent before the
//! request was read cannot be its child. The verdict falls when the request of the start side is answered: no end side
//! can come after that.

mod belief;

pub(in crate::trace) use belief::Belief;

use super::{
    exchange::{Exchange, Exchanges, Key},
    process::Processes,
    span::SpanKind,
};
use crate::event::LastInput;

/// Continuations that are followed back from a call.
const CHAIN: u8 = 40;

/// What causality knows of one exchange. Small: it outlives the span.
#[derive(Debug, Clone, Copy, Default)]
pub(in crate::trace) struct Sides {
    /// The process's epoch when the exchange began. In a later one it neither gives nor gets a parent: something was lost.
    epoch: u32,
    /// Triggers nothing any more.
    over: bool,
    /// Request: the first byte of its final response was written, or never will be.
    answered: bool,
    /// Call: its number in its process.
    number: u64,
    /// Call: the request of the start side.
    root: Option<Key>,
    /// Call: the call whose response was its trigger.
    previous: Option<Key>,
    /// Call: how many calls lie before it in that chain.
    depth: u8,
    /// Call: its response triggered an answer.
    ended: bool,
    /// Call: that answer, or that of a call that continues it, was the one of the request of its start side.
    confirmed: bool,
    /// Call: its sides differ.
    contradicted: bool,
    /// Call: something of its chain was lost.
    lost: bool,
    /// Call: the request of its start side was the only one open when it was sent.
    unambiguous: bool,
}

impl Sides {
    /// Of an exchange that begins in this epoch of its process.
    pub(in crate::trace) fn new(epoch: u32) -> Self {
        Self { epoch, ..Self::default() }
    }

    /// What is received from here on belongs to no message.
    pub(in crate::trace) const fn trigger_nothing(&mut self) {
        self.over = true;
    }
}

/// What is known of a call's parent when the verdict falls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::trace) enum Verdict {
    /// Both sides agree on this request.
    Agreed(Key),
    Orphan(Orphan),
}

/// Why a call has no inferred parent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(in crate::trace) enum Orphan {
    /// No start side.
    None,
    /// No end side confirmed the start side.
    StartOnly,
    /// The request of the start side ended without an answer.
    Unanswered,
    /// Its sides differ, or those of another of the last 400 calls of its process do.
    Contradiction,
    /// Both sides agree, but other requests were open and the process has not shown enough calls to be believed.
    Unproven,
    /// Events of the process were lost while it or the request of the start side was open.
    Loss,
    /// The request has too many calls.
    Bound,
}

/// What a thread's last input means for what it sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::trace) enum Trigger {
    None,
    /// Something was lost since: the input cannot be told to belong to this message.
    Lost,
    Message(Key),
}

impl Trigger {
    /// The message to which the byte belongs that a thread took in last.
    pub(in crate::trace) fn of(
        exchanges: &Exchanges,
        processes: &Processes,
        input: Option<LastInput>,
    ) -> Self {
        let Some(input) = input else { return Self::None };
        let Some(exchange) =
            exchanges.connection(input.connection).and_then(|connection| connection.by_input(input.position))
        else {
            return Self::None;
        };
        if exchange.sides.over {
            Self::None
        } else if lost(processes, exchange) {
            Self::Lost
        } else {
            Self::Message(Key { connection: input.connection, ordinal: exchange.ordinal })
        }
    }

    /// What a connect lent when it began, as it is worth now.
    pub(in crate::trace) fn lent(self, exchanges: &Exchanges, processes: &Processes) -> Self {
        let Self::Message(key) = self else { return self };
        match exchanges.get(key) {
            None => Self::None,
            Some(exchange) if lost(processes, exchange) => Self::Lost,
            Some(_) => self,
        }
    }
}

/// A call's verdict, as far as it is known at once, and where to wait for it otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::trace) enum Start {
    Decided(Verdict),
    /// The verdict falls when this request is answered.
    Waits(Key),
}

/// Judges calls; `contradictions` counts those whose two sides differ.
#[derive(Debug, Default)]
pub(in crate::trace) struct Causality {
    pub(in crate::trace) contradictions: u64,
}

impl Causality {
    /// A call's first byte was written: notes its start side.
    pub(in crate::trace) fn call(
        exchanges: &mut Exchanges,
        processes: &mut Processes,
        key: Key,
        trigger: Trigger,
    ) -> Start {
        let (root, previous, depth) = match trigger {
            Trigger::None | Trigger::Lost => (None, None, 0),
            Trigger::Message(trigger) => start_side(exchanges, trigger),
        };
        let request = root.and_then(|root| exchanges.get(root));
        let root_open = request.is_some_and(|request| !request.sides.answered);
        let unambiguous = request
            .and_then(|request| processes.get(request.pid))
            .is_some_and(|process| process.belief.unambiguous());
        let Some(call) = exchanges.get_mut(key) else { return Start::Decided(Verdict::Orphan(Orphan::None)) };
        let number = processes.get_mut(call.pid).map(|process| process.belief.count_call());
        call.sides.number = number.unwrap_or(0);
        call.sides.root = root;
        call.sides.previous = previous;
        call.sides.depth = depth;
        call.sides.unambiguous = unambiguous;
        call.sides.lost = trigger == Trigger::Lost || number.is_none();
        if call.sides.lost {
            return Start::Decided(Verdict::Orphan(Orphan::Loss));
        }
        match root {
            None => Start::Decided(Verdict::Orphan(Orphan::None)),
            Some(root) if root_open => Start::Waits(root),
            // A continuation of an answered request, which no end side can confirm any more.
            Some(_) => Start::Decided(Verdict::Orphan(Orphan::StartOnly)),
        }
    }

    /// The first byte of a request's final response was written: notes the end side. `false` when it was answered before.
    pub(in crate::trace) fn answer(
        &mut self,
        exchanges: &mut Exchanges,
        processes: &mut Processes,
        key: Key,
        input: Option<LastInput>,
    ) -> bool {
        let trigger = Trigger::of(exchanges, processes, input);
        let Some(request) = exchanges.get_mut(key) else { return false };
        if request.sides.answered {
            return false;
        }
        close(processes, request);
        let read_at = request.at;
        let request_lost = lost(processes, request);
        let Trigger::Message(trigger) = trigger else { return true };
        let Some(call) = exchanges.get_mut(trigger) else { return true };
        if call.kind != SpanKind::Client {
            return true;
        }
        call.sides.over = true;
        if call.at <= read_at || request_lost {
            return true;
        }
        call.sides.ended = true;
        let previous = call.sides.previous;
        self.compare(exchanges, processes, trigger, key);
        self.confirm_chain(exchanges, processes, previous, key);
        true
    }

    /// The request ended without an answer: no end side can come.
    /// `false` when it was answered before.
    pub(in crate::trace) fn unanswered(
        exchanges: &mut Exchanges,
        processes: &mut Processes,
        key: Key,
    ) -> bool {
        let Some(request) = exchanges.get_mut(key) else { return false };
        if request.sides.answered {
            return false;
        }
        close(processes, request);
        true
    }

    /// The verdict on a call, now that the request of its start side is answered (or never will be: `answered` false).
    pub(in crate::trace) fn verdict(
        exchanges: &Exchanges,
        processes: &Processes,
        key: Key,
        answered: bool,
    ) -> Verdict {
        let Some(call) = exchanges.get(key) else { return Verdict::Orphan(Orphan::None) };
        let sides = &call.sides;
        let Some(root) = sides.root else { return Verdict::Orphan(Orphan::None) };
        let Some(request) = exchanges.get(root) else { return Verdict::Orphan(Orphan::StartOnly) };
        if sides.lost || lost(processes, call) || lost(processes, request) {
            return Verdict::Orphan(Orphan::Loss);
        }
        if sides.contradicted || !believed(processes, call, request) {
            return Verdict::Orphan(Orphan::Contradiction);
        }
        if !answered {
            return Verdict::Orphan(Orphan::Unanswered);
        }
        let proven = processes.get(call.pid).is_some_and(|process| process.belief.proven());
        match (sides.confirmed, sides.unambiguous || proven) {
            (true, true) => Verdict::Agreed(root),
            (true, false) => Verdict::Orphan(Orphan::Unproven),
            (false, _) => Verdict::Orphan(Orphan::StartOnly),
        }
    }

    /// The end side travels back along the continuations, up to a call that has an end side of its own.
    fn confirm_chain(
        &mut self,
        exchanges: &mut Exchanges,
        processes: &mut Processes,
        mut next: Option<Key>,
        request: Key,
    ) {
        for _ in 0..CHAIN {
            let Some((key, call)) = next.and_then(|key| exchanges.get(key).map(|call| (key, call))) else {
                return;
            };
            if call.sides.ended {
                return;
            }
            next = call.sides.previous;
            self.compare(exchanges, processes, key, request);
        }
    }

    /// Holds the start side of a call against the request in which it, or a continuation of it, ended.
    fn compare(&mut self, exchanges: &mut Exchanges, processes: &mut Processes, call: Key, request: Key) {
        let Some(call) = exchanges.get_mut(call) else { return };
        let Some(root) = call.sides.root else { return };
        if root == request {
            call.sides.confirmed = true;
            if !call.sides.unambiguous
                && let Some(process) = processes.get_mut(call.pid)
            {
                process.belief.agree();
            }
        } else {
            call.sides.contradicted = true;
            self.contradictions += 1;
            if let Some(process) = processes.get_mut(call.pid) {
                process.belief.contradict();
            }
        }
    }
}

/// The request that a call with this trigger belongs to, the call that it continues, and how many it continues.
fn start_side(exchanges: &Exchanges, trigger: Key) -> (Option<Key>, Option<Key>, u8) {
    match exchanges.get(trigger) {
        None => (None, None, 0),
        Some(message) if message.kind == SpanKind::Server => (Some(trigger), None, 0),
        Some(message) if message.sides.depth >= CHAIN => (None, Some(trigger), message.sides.depth),
        Some(message) => (message.sides.root, Some(trigger), message.sides.depth + 1),
    }
}

/// From now on the request triggers nothing.
fn close(processes: &mut Processes, request: &mut Exchange) {
    request.sides.answered = true;
    request.sides.over = true;
    if let Some(process) = processes.get_mut(request.pid) {
        process.belief.request_closed();
    }
}

/// Whether events of its process were lost since the exchange began (or nothing is known of the process any more).
fn lost(processes: &Processes, exchange: &Exchange) -> bool {
    processes.get(exchange.pid).is_none_or(|process| process.epoch != exchange.sides.epoch)
}

/// A call is judged by its own process; where a child process makes the call of its parent's request, by both.
fn believed(processes: &Processes, call: &Exchange, request: &Exchange) -> bool {
    let own = processes.get(call.pid).is_some_and(|process| process.belief.believes(call.sides.number));
    own && (call.pid == request.pid
        || processes.get(request.pid).is_some_and(|process| process.belief.believes_now()))
}
