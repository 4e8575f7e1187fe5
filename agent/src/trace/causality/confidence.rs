//! The confidence in a process: how well request sides and response sides have named parents there
//! of late.
//!
//! Each judged call has a [`LinkOutcome`]: its two sides agree or conflict, it has one of them, or
//! none. Each response to an inbound request is *covered* or not. It is covered if its cause is the
//! inbound request itself or a call made for it. Where a thread serves one request at a time, sides
//! do not conflict and responses are covered. A program that defers its work to timers, queues or
//! other threads produces conflicts and uncovered responses.
//!
//! The methods of [`Confidence`] say how much of each is required before a kind of evidence is
//! trusted. The numbers come from experiments, with one addition: what was observed while a single
//! inbound request was open proves nothing for times when several are open. So 30 consistent calls,
//! or 30 covered responses, must come first while other requests are open. Without that rule a
//! program with timers that is idle at first would be trusted just when load arrives.

mod coverage;
mod signatures;
mod track_record;
mod unexplained;
mod window;

use coverage::{Coverage, RESPONSES};
pub(super) use signatures::{CallSignature, SignatureStats};
use track_record::TrackRecord;
use unexplained::Unexplained;
pub(super) use window::LinkOutcome;
use window::Window;

use super::{Deferral, Runner};
use crate::{
    protocol::Origin,
    trace::{Figures, TrustLevel, exchange::Key},
};

/// Calls or responses after which the absence of conflicts means something.
const SEEN: u64 = 30;
/// Calls after which the request side alone may be trusted, as many as the long window holds. A
/// program whose tasks change threads now and then has produced a conflict by then.
const SEEN_REQUEST_SIDE: u64 = 2_000;
/// Where consistency of half of the calls suffices, there must be this many consistent calls for
/// each conflict whose request side was unambiguous.
const CONSISTENT_PER_CONFLICT: u64 = 32;
/// Responses after which response sides are trusted where several threads read requests. Such
/// threads may continue each other's work so rarely that the first [`SEEN`] responses do not show
/// it.
const SEEN_SEVERAL_READERS: u64 = 100;
/// Calls after which another receive order may be tried.
const SEEN_ORDER: u64 = 40;
/// Calls that are ignored after a change of the receive order.
const CALLS_TO_SETTLE: u64 = 16;
/// Handoffs that are not trusted after one of them has named the wrong request.
const DOUBTED_HANDOFFS: u32 = 2_000;
/// Conflicts among the last 64 first calls of connections below which connects stay trusted.
const TOLERATED_CONNECTS: u32 = 2;

/// What the calls and responses of one process have shown so far.
#[derive(Debug, Clone, Default)]
pub(in crate::trace) struct Confidence {
    /// Calls whose sides agreed while several inbound requests were open.
    concurrent_agreements: u64,
    /// Inbound requests that were read and are not answered yet.
    open_requests: u64,
    /// Who read the first inbound request, and whether anyone else has read one since.
    reader: Option<Runner>,
    several_readers: bool,
    outcomes: Window,
    signatures: SignatureStats,
    coverage: Coverage,
    /// How often calls of stolen tasks agreed with a certain request side; see `stolen.rs`.
    stolen: TrackRecord,
    /// How often calls that were given up agreed with a certain request side; see `given_up.rs`.
    given_up: TrackRecord,
    unexplained: Unexplained,
    /// How many of the next handoffs are not trusted.
    doubtful: u32,
    /// Request sides that came from a connect, and other unambiguous ones.
    by_connect: RequestSides,
    by_thread: RequestSides,
    /// Which of a thread's receives is taken as the cause of a call.
    deferral: Deferral,
    receive_order: u32,
    /// The receive order was changed a moment ago.
    settling: bool,
    /// No receive order makes sides agree.
    no_order_fits: bool,
}

/// The last 64 request sides of one origin that a response side has confirmed or refuted.
#[derive(Debug, Clone, Copy, Default)]
struct RequestSides {
    seen: u32,
    /// One bit per request side, set if it was refuted; the latest is bit 0.
    wrong: u64,
}

impl RequestSides {
    fn add(&mut self, wrong: bool) {
        self.seen = (self.seen + 1).min(u64::BITS);
        self.wrong = self.wrong << 1 | u64::from(wrong);
    }

    const fn wrong(self) -> u32 {
        self.wrong.count_ones()
    }
}

impl Confidence {
    /// An inbound request was read.
    pub(in crate::trace) fn request_opened(&mut self, origin: &Origin) {
        self.open_requests += 1;
        let reader = Runner::of_origin(origin);
        self.several_readers |= *self.reader.get_or_insert(reader) != reader;
    }

    /// An inbound request was answered, or never will be.
    pub(super) const fn request_closed(&mut self) {
        self.open_requests = self.open_requests.saturating_sub(1);
    }

    /// The number of inbound requests that are open.
    pub(in crate::trace) const fn open_requests(&self) -> u64 {
        self.open_requests
    }

    /// Whether at most one inbound request is open, so that a call has no other to belong to.
    pub(super) const fn unambiguous(&self) -> bool {
        self.open_requests <= 1
    }

    /// The two sides of a call agree although several requests were open, so they could have
    /// differed.
    pub(super) const fn record_concurrent_agreement(&mut self) {
        self.concurrent_agreements += 1;
    }

    /// A response was written, after its request was closed.
    pub(super) fn record_coverage(&mut self, covered: bool) {
        if covered {
            self.coverage.add_covered(self.open_requests > 0);
        } else {
            self.coverage.add_uncovered(None);
        }
    }

    /// The response to this request was written and is not covered. Something may still explain it.
    pub(super) fn record_uncovered(&mut self, request: Key) {
        self.coverage.add_uncovered(Some(request));
    }

    /// Something else explains the uncovered response to this request, which then counts neither
    /// way.
    pub(in crate::trace) fn excuse(&mut self, request: Key) {
        self.coverage.excuse(request);
    }

    /// Records the outcome of a judged call. The returned number identifies it for
    /// [`Confidence::correct_outcome`].
    pub(super) fn record_outcome(&mut self, outcome: LinkOutcome) -> u64 {
        self.outcomes.push(outcome)
    }

    /// The number of the receive order in use. It rises whenever another one is tried.
    pub(super) const fn receive_order(&self) -> u32 {
        self.receive_order
    }

    /// Which of a thread's receives is taken as the cause of a call.
    pub(in crate::trace) const fn deferral(&self) -> Deferral {
        self.deferral
    }

    /// Tries another receive order where the current one leaves too many calls without a parent.
    /// This requires that every response is covered, because only then do response sides tell which
    /// order is right.
    pub(in crate::trace) fn reconsider_receive_order(&mut self) {
        let counts = self.outcomes.short();
        if self.no_order_fits || counts.all() < if self.settling { CALLS_TO_SETTLE } else { SEEN_ORDER } {
            return;
        }
        if std::mem::take(&mut self.settling) {
            // The turns that were in progress when the order was chosen are over.
            self.forget_outcomes();
            return;
        }
        // Concurrent calls with one cause have only a request side too, but they do not conflict.
        let alone = (counts.request_side_only + counts.unexplained) * 4 >= counts.all()
            && counts.all_conflicts() * 10 >= counts.all()
            && counts.consistent * 2 < counts.all();
        let fails = counts.all_conflicts() * 16 > counts.all() || counts.consistent * 4 < counts.all();
        let next = match self.deferral {
            Deferral::Nothing if alone && self.trusts_response_side(false) => Deferral::Responses,
            Deferral::Responses if fails => Deferral::Everything,
            Deferral::Everything if fails => {
                self.no_order_fits = true;
                Deferral::Nothing
            }
            _ => return,
        };
        self.deferral = next;
        self.receive_order += 1;
        self.settling = next != Deferral::Nothing;
        self.forget_outcomes();
    }

    /// Forgets all outcomes of calls. The coverage of responses stays.
    fn forget_outcomes(&mut self) {
        self.concurrent_agreements = 0;
        self.outcomes.restart();
        self.signatures = SignatureStats::default();
    }

    /// Replaces the outcome of a call that was recorded before.
    pub(super) fn correct_outcome(&mut self, number: u64, outcome: LinkOutcome) {
        self.outcomes.replace(number, outcome);
    }

    /// Records the outcome of a call for its signature, replacing the one it had before.
    pub(super) fn record_signature_outcome(
        &mut self,
        signature: CallSignature,
        before: Option<LinkOutcome>,
        outcome: LinkOutcome,
    ) {
        match before {
            None => self.signatures.record(signature, outcome),
            Some(before) => self.signatures.correct(signature, before, outcome),
        }
    }

    /// Whether a call whose sides agree has that request as its parent. `unambiguous`: no other
    /// request was open. `clear`: at both ends of the call its thread had received nothing else.
    pub(super) fn trusts_agreement(&self, unambiguous: bool, clear: bool) -> bool {
        self.had_chances(unambiguous)
            && (self.is_consistent() || self.agrees_mostly() || clear && self.agrees_by_half())
    }

    /// Whether half of the calls are consistent and hardly any unambiguous ones conflict. This is
    /// what threads that take over each other's work look like (Go without its goroutines): many of
    /// their calls have one side, or none that says much.
    const fn agrees_by_half(&self) -> bool {
        let counts = self.outcomes.short();
        counts.all() >= SEEN
            && counts.consistent * 2 >= counts.all()
            && counts.consistent >= counts.conflicts * CONSISTENT_PER_CONFLICT
    }

    /// Whether sides agree so often that a call whose sides conflict has no parent.
    pub(in crate::trace) fn agrees_mostly(&self) -> bool {
        let counts = self.outcomes.short();
        counts.all() >= SEEN && counts.consistent * 4 >= counts.all() * 3
    }

    /// Whether a call has the request that its response side names as its parent, whatever its
    /// request side says. `unambiguous`: no other request was open.
    pub(super) fn trusts_response_side(&self, unambiguous: bool) -> bool {
        let enough = if self.several_readers { SEEN_SEVERAL_READERS } else { SEEN };
        let seen = self.coverage.seen() >= enough;
        self.coverage.uncovered() == 0
            && seen
            && (unambiguous || self.coverage.covered_concurrently() >= SEEN)
    }

    /// Whether a single thread has read all inbound requests.
    pub(super) const fn has_one_reader(&self) -> bool {
        !self.several_readers
    }

    /// Records a call of a stolen task: its response side agrees with its certain request side, or
    /// conflicts with it.
    pub(super) const fn record_stolen(&mut self, agrees: bool) {
        self.stolen.add(agrees);
    }

    /// Records a call of a stolen task whose response side names a request without calls of its
    /// own. Either the request side is what the thief had read, or a timer caused the response.
    pub(super) const fn record_stray_stolen(&mut self) {
        self.stolen.stray();
    }

    /// Whether a thread that reads a response and then answers a request does so because of that
    /// response, although another thread had read the request.
    pub(super) const fn trusts_stolen(&self) -> bool {
        self.stolen.suffices(SEEN_SEVERAL_READERS)
    }

    /// Records a call that a thread closed right after it had answered a request. `agrees`: the
    /// call's certain request side names that request.
    pub(super) const fn record_given_up(&mut self, agrees: bool) {
        self.given_up.add(agrees);
    }

    /// Whether a call has as its parent the request that its closer had answered just before.
    /// `agrees`: the call's request side names it as well.
    pub(super) const fn trusts_given_up(&self, agrees: bool) -> bool {
        self.given_up.suffices(if agrees { SEEN } else { SEEN_SEVERAL_READERS })
    }

    /// Responses that nothing which was received explains.
    pub(super) const fn unexplained(&mut self) -> &mut Unexplained {
        &mut self.unexplained
    }

    /// Whether a call without a trusted request side should wait for its response side.
    ///
    /// Where none of the last calls had a response side, none will come: other threads read the
    /// responses than write the ones that are covered by the requests themselves. Where sides
    /// mostly agree, a call without a request side has none because no request caused it. Such a
    /// call still waits if response sides alone are frequent, or known to belong to tasks that
    /// threads steal.
    pub(super) fn awaits_response_side(&self) -> bool {
        let counts = self.outcomes.short();
        let response_sides_come =
            counts.all() < SEEN || counts.consistent + counts.all_conflicts() + counts.response_side_only > 0;
        let response_sides_matter = counts.response_side_only * 20 >= counts.all()
            || counts.response_side_only > 0 && self.trusts_stolen();
        self.trusts_response_side(false)
            && response_sides_come
            && (response_sides_matter || !self.agrees_mostly())
    }

    /// Whether a call with this signature and a request side alone has that request as its parent.
    pub(super) fn trusts_request_side(&self, unambiguous: bool, signature: CallSignature) -> bool {
        self.signatures.trusts(signature) && self.request_side_suffices(unambiguous)
    }

    /// The outcomes of the last calls by their signatures.
    pub(super) const fn signatures(&self) -> &SignatureStats {
        &self.signatures
    }

    fn request_side_suffices(&self, unambiguous: bool) -> bool {
        let counts = self.outcomes.long();
        let all = counts.all();
        let clean = counts.all_conflicts() == 0 && counts.unexplained == 0;
        self.had_chances(unambiguous) && all >= SEEN_REQUEST_SIDE && clean && counts.consistent * 4 >= all
    }

    /// Whether none of the last calls had a conflict.
    pub(super) fn is_consistent(&self) -> bool {
        self.outcomes.short().all_conflicts() == 0
    }

    /// The response side of a handed-off call names another request than its goroutine had read.
    /// Goroutines of this process do not serve one request each.
    pub(super) const fn doubt_handoffs(&mut self) {
        self.doubtful = DOUBTED_HANDOFFS;
    }

    /// Whether the next handoff is trusted. Counts down the handoffs that are not.
    pub(super) const fn trusts_handoff(&mut self) -> bool {
        let trusted = self.doubtful == 0;
        self.doubtful = self.doubtful.saturating_sub(1);
        trusted
    }

    /// Records whether a response side named the request of the request side (`its_own`).
    /// `connected`: the call was the first of its connection, and its request side came from the
    /// connect.
    pub(super) fn record_response_side(&mut self, connected: bool, its_own: bool) {
        let request_sides = if connected { &mut self.by_connect } else { &mut self.by_thread };
        request_sides.add(!its_own);
    }

    /// Whether the first call of a connection has the request for which the connection was made as
    /// its parent.
    ///
    /// This fails where a pool gives a new connection to whoever waits when it is ready. Then at
    /// least one connect in eight is wrong, far more than among request sides of what threads have
    /// read.
    pub(in crate::trace) const fn trusts_connects(&self) -> bool {
        let (connects, threads) = (self.by_connect.wrong(), self.by_thread.wrong());
        connects < TOLERATED_CONNECTS || connects * 8 < self.by_connect.seen || connects < threads * 4
    }

    /// Whether each of the last connects served the request for which it was made, as far as
    /// response sides show.
    pub(super) const fn connects_serve_their_own(&self) -> bool {
        self.by_connect.wrong == 0
    }

    /// Which evidence is trusted where several requests are open, and the numbers behind that.
    pub(in crate::trace) fn trust_level(&self) -> (TrustLevel, Figures) {
        let counts = self.outcomes.short();
        let level = if self.request_side_suffices(false) {
            TrustLevel::RequestSide
        } else if self.trusts_response_side(false) {
            TrustLevel::ResponseSide
        } else if self.trusts_agreement(false, true) {
            TrustLevel::BothSides
        } else if self.is_consistent() {
            TrustLevel::Unproven
        } else {
            TrustLevel::Conflicting
        };
        let responses = self.coverage.seen();
        let figures = Figures {
            consistent: counts.consistent,
            conflicts: counts.all_conflicts(),
            request_side_only: counts.request_side_only,
            response_side_only: counts.response_side_only,
            unexplained: counts.unexplained,
            responses,
            covered: responses - self.coverage.uncovered(),
            agreed_concurrently: self.concurrent_agreements,
            ..Figures::default()
        };
        (level, figures)
    }

    const fn had_chances(&self, unambiguous: bool) -> bool {
        unambiguous || self.concurrent_agreements >= SEEN
    }
}

#[cfg(test)]
mod tests;
