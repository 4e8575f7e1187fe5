//! How far a process is trusted: what the last calls and answers have outcome of it.
//!
//! Each call that is judged shows something: its two links agree or differ, it has one of them, or none. Each answer is
//! *covered* or not: its cause is the answered request itself or a call made for it. Where the rule is sound, links do not
//! differ and answers are covered; a program that defers its work to timers, queues or other threads conflicts_with_task itself.
//! What that must look like to be trusted is in [`Confidence`]'s questions. The figures are those of the experiments, except that
//! what happened while one request alone was open proves nothing for when there are several: then 30 calls that agreed, or 30
//! answers that were covered, while others were open come first. Until then the process had no chance to contradict itself, and
//! a program with timers that is idle at first would be trusted just when load comes.

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

/// Calls or answers after which the absence of conflicts means something.
const SEEN: u64 = 30;
/// Calls after which a start side alone may be trusted, as many as the long window has: a program whose tasks change places now
/// and then has outcome it by then.
const SEEN_ALONE: u64 = 2_000;
/// Calls that agree, for each that differs although its receive was clear, where half of all suffice.
const DIFFER: u64 = 32;
/// Coverage after which end links are trusted where several threads read requests: they may go on with each other's seldom
/// enough that the first [`SEEN`] do not show it.
const SEEN_SEVERAL: u64 = 100;
/// Calls after which another order of receives may be tried.
const TRIED: u64 = 40;
/// The first calls of another order, which say nothing of it.
const SETTLED: u64 = 16;
/// Calls that are not trusted after a goroutine has handed one over that was another request's.
const DOUBTED: u32 = 2_000;
/// So many of the last 64 connections must have served another request than the one they were made for before that says nothing.
const CONNECTS_WRONG: u32 = 2;

/// What a process has outcome so far.
#[derive(Debug, Clone, Default)]
pub(in crate::trace) struct Confidence {
    /// Calls whose links agreed although other requests were open.
    concurrent: u64,
    /// Requests that were read and are not answered yet.
    open_requests: u64,
    /// Who read the first request, and whether others have read some, too.
    reader: Option<Runner>,
    several_read: bool,
    outcomes: Window,
    signatures: SignatureStats,
    coverage: Coverage,
    /// Calls of tasks that were stolen.
    stolen: TrackRecord,
    /// Calls that were ended next after an answer that nothing else explains.
    given_up: TrackRecord,
    unexplained: Unexplained,
    /// Calls that goroutines hand over and that are not trusted any more.
    doubtful: u32,
    /// Start links that connects connect_cause, and others that were clear.
    by_connect: RequestSides,
    by_thread: RequestSides,
    /// Which of its thread's receives a call is received to follow from.
    deferral: Deferral,
    receive_order: u32,
    /// It was chosen a moment ago.
    settling: bool,
    /// No order of them makes links agree.
    no_order_fits: bool,
}

/// The last 64 start links of a signature that an end side has confirmed or end_for_good.
#[derive(Debug, Clone, Copy, Default)]
struct RequestSides {
    seen: u32,
    /// Those that it has end_for_good; the youngest is bit 0.
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
    /// A request was read.
    pub(in crate::trace) fn request_opened(&mut self, origin: &Origin) {
        self.open_requests += 1;
        let reader = Runner::of_origin(origin);
        self.several_read |= *self.reader.get_or_insert(reader) != reader;
    }

    /// It was answered, or never will be.
    pub(super) const fn request_closed(&mut self) {
        self.open_requests = self.open_requests.saturating_sub(1);
    }

    /// Requests that are open.
    pub(in crate::trace) const fn open_requests(&self) -> u64 {
        self.open_requests
    }

    /// Whether no more than one request is open: then a call has not many to belong to.
    pub(super) const fn unambiguous(&self) -> bool {
        self.open_requests <= 1
    }

    /// Start side and end side of a call agree, and might as well have differed.
    pub(super) const fn agreed_concurrently(&mut self) {
        self.concurrent += 1;
    }

    /// An answer was written, after its request was closed.
    pub(super) fn answered(&mut self, covered: bool) {
        if covered {
            self.coverage.add_covered(self.open_requests > 0);
        } else {
            self.coverage.add_uncovered(None);
        }
    }

    /// The answer of this request was written, and nothing covers it.
    pub(super) fn answered_uncovered(&mut self, request: Key) {
        self.coverage.add_uncovered(Some(request));
    }

    /// Something else explains that answer: it counts neither way.
    pub(in crate::trace) fn excuse(&mut self, request: Key) {
        self.coverage.excuse(request);
    }

    /// A call was judged; the number names it for [`Confidence::correct`].
    pub(super) fn record(&mut self, outcome: LinkOutcome) -> u64 {
        self.outcomes.push(outcome)
    }

    /// The number of the order of receives that is tried.
    pub(super) const fn receive_order(&self) -> u32 {
        self.receive_order
    }

    /// Which of its thread's receives a call is received to follow from.
    pub(in crate::trace) const fn deferral(&self) -> Deferral {
        self.deferral
    }

    /// Tries another order of receives where the one that is tried leaves too many calls without a parent. Only where every answer is
    /// covered: then end links say whether it is the right one.
    pub(in crate::trace) fn reconsider(&mut self) {
        let counts = self.outcomes.short();
        if self.no_order_fits || counts.all() < if self.settling { SETTLED } else { TRIED } {
            return;
        }
        if std::mem::take(&mut self.settling) {
            // The turns that were under way when it was chosen are over.
            self.begin_again();
            return;
        }
        // Calls at once have a start side alone, too, but do not differ.
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
        self.begin_again();
    }

    /// Nothing that calls have outcome counts any more; what answers have outcome does.
    fn begin_again(&mut self) {
        self.concurrent = 0;
        self.outcomes.restart();
        self.signatures = SignatureStats::default();
    }

    /// A call that was judged shows something else now.
    pub(super) fn correct(&mut self, number: u64, outcome: LinkOutcome) {
        self.outcomes.replace(number, outcome);
    }

    /// A call of this signature shows this, instead of what it showed before.
    pub(super) fn record_of_signature(
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

    /// Whether a call whose links agree belongs to the request on which they do. `unambiguous`: no other was open; `clear`: at
    /// both ends its thread had received in nothing else.
    pub(super) fn trusts_agreement(&self, unambiguous: bool, clear: bool) -> bool {
        self.had_chances(unambiguous)
            && (self.is_consistent() || self.agrees_mostly() || clear && self.agrees_rather())
    }

    /// Whether half of the calls agree, and hardly any differ although their receives were clear: threads that take over each
    /// other's work (Go without its goroutines), where many calls have one side, or none that says much.
    const fn agrees_rather(&self) -> bool {
        let counts = self.outcomes.short();
        counts.all() >= SEEN
            && counts.consistent * 2 >= counts.all()
            && counts.consistent >= counts.conflicts * DIFFER
    }

    /// Whether links agree so often that a call on which they differ has no parent.
    pub(in crate::trace) fn agrees_mostly(&self) -> bool {
        let counts = self.outcomes.short();
        counts.all() >= SEEN && counts.consistent * 4 >= counts.all() * 3
    }

    /// Whether a call belongs to the request in whose answer it ended, whatever its start side is. `unambiguous`: no other
    /// request was open.
    pub(super) fn trusts_response_side(&self, unambiguous: bool) -> bool {
        let enough = if self.several_read { SEEN_SEVERAL } else { SEEN };
        let seen = self.coverage.seen() >= enough;
        self.coverage.uncovered() == 0
            && seen
            && (unambiguous || self.coverage.covered_concurrently() >= SEEN)
    }

    /// Whether one thread has read all requests.
    pub(super) const fn one_reads(&self) -> bool {
        !self.several_read
    }

    /// A call of a task that was stolen has ended in the answer of the request of its start side, or of another one.
    pub(super) const fn record_stolen(&mut self, agrees: bool) {
        self.stolen.add(agrees);
    }

    /// It has ended in the answer of another request, which had no call by its start side: the start side was stolen, or a timer has
    /// answered.
    pub(super) const fn record_stray_stolen(&mut self) {
        self.stolen.stray();
    }

    /// Whether what a thread answers right after it has read a response follows from that, although another one had read the request.
    pub(super) const fn trusts_stolen(&self) -> bool {
        self.stolen.suffices(SEEN_SEVERAL)
    }

    /// Who has answered the request of a call's start side, or (`!agrees`) another one, has ended the call next.
    pub(super) const fn record_given_up(&mut self, agrees: bool) {
        self.given_up.add(agrees);
    }

    /// Whether a call belongs to the request after whose answer it was ended next; `agrees`: by its start side, too.
    pub(super) const fn trusts_given_up(&self, agrees: bool) -> bool {
        self.given_up.suffices(if agrees { SEEN } else { SEEN_SEVERAL })
    }

    /// Coverage that nothing explains.
    pub(super) const fn unexplained(&mut self) -> &mut Unexplained {
        &mut self.unexplained
    }

    /// Whether a call without a trusted start side should wait for its end side. Where none of the last calls had one, none
    /// will come: other threads read the responses than write the answers, which are covered by the requests themselves.
    /// Where links mostly agree, a call without a start side has none because no request caused it.
    /// Unless such calls end in answers all the same, and are frequent or known to be of tasks that threads take over.
    pub(super) fn awaits_response_side(&self) -> bool {
        let counts = self.outcomes.short();
        let ends_come =
            counts.all() < SEEN || counts.consistent + counts.all_conflicts() + counts.response_side_only > 0;
        let ends_matter = counts.response_side_only * 20 >= counts.all()
            || counts.response_side_only > 0 && self.trusts_stolen();
        self.trusts_response_side(false) && ends_come && (ends_matter || !self.agrees_mostly())
    }

    /// Whether a call of this signature that nothing conflicts_with_task belongs to the request of its start side.
    pub(super) fn trusts_request_side(&self, unambiguous: bool, signature: CallSignature) -> bool {
        self.signatures.trusts(signature) && self.request_side_suffices(unambiguous)
    }

    /// What the last calls of each kind have outcome.
    pub(super) const fn signatures(&self) -> &SignatureStats {
        &self.signatures
    }

    fn request_side_suffices(&self, unambiguous: bool) -> bool {
        let counts = self.outcomes.long();
        let all = counts.all();
        let clean = counts.all_conflicts() == 0 && counts.unexplained == 0;
        self.had_chances(unambiguous) && all >= SEEN_ALONE && clean && counts.consistent * 4 >= all
    }

    /// Whether no call end_for_good itself of late.
    pub(super) fn is_consistent(&self) -> bool {
        self.outcomes.short().all_conflicts() == 0
    }

    /// A call that was handed over has ended in the answer of another request than its goroutine served: goroutines of this
    /// process do not serve one request each.
    pub(super) const fn doubt_handoffs(&mut self) {
        self.doubtful = DOUBTED;
    }

    /// Whether the next call that is handed over is trusted.
    pub(super) const fn trusts_handoff(&mut self) -> bool {
        let trusted = self.doubtful == 0;
        self.doubtful = self.doubtful.saturating_sub(1);
        trusted
    }

    /// A call has ended in the answer of the request of its start side, or (`!its_own`) of another one. `connected`: it was the first
    /// of a connection, and its start side that of the connect.
    pub(super) fn record_response_side(&mut self, connected: bool, its_own: bool) {
        let starts = if connected { &mut self.by_connect } else { &mut self.by_thread };
        starts.add(!its_own);
    }

    /// Whether the first call of a connection belongs to the request that the connection was made for. Not where a pool gives it to
    /// whoever waits by the time that it is there: then one in eight or more is wrong, far more than of what threads have read.
    pub(in crate::trace) const fn trusts_connects(&self) -> bool {
        let (connects, threads) = (self.by_connect.wrong(), self.by_thread.wrong());
        connects < CONNECTS_WRONG || connects * 8 < self.by_connect.seen || connects < threads * 4
    }

    /// Whether it has served that request each time of late, as far as end links tell.
    pub(super) const fn connects_serve_their_own(&self) -> bool {
        self.by_connect.wrong == 0
    }

    /// What names parents where several requests are open, and what that is made of.
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
        let answers = self.coverage.seen();
        let figures = Figures {
            consistent: counts.consistent,
            conflicts: counts.all_conflicts(),
            request_side_only: counts.request_side_only,
            response_side_only: counts.response_side_only,
            unexplained: counts.unexplained,
            responses: answers,
            covered: answers - self.coverage.uncovered(),
            agreed_concurrently: self.concurrent,
            ..Figures::default()
        };
        (level, figures)
    }

    const fn had_chances(&self, unambiguous: bool) -> bool {
        unambiguous || self.concurrent >= SEEN
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Thread, Timestamp};

    const SIGNATURE: CallSignature = CallSignature { hash: 7, shares_cause: false };

    fn read_by(tid: u32) -> Origin {
        let thread = Thread { pid: 1, tid };
        Origin { at: Timestamp(0), thread, position: 0, last_receive: None, task: None }
    }

    fn tell(confidence: &mut Confidence, outcome: LinkOutcome) -> u64 {
        confidence.record_of_signature(SIGNATURE, None, outcome);
        confidence.record(outcome)
    }

    fn after(what: &[(LinkOutcome, usize)]) -> Confidence {
        let mut confidence = Confidence::default();
        for (outcome, times) in what {
            for _ in 0..*times {
                tell(&mut confidence, *outcome);
            }
        }
        confidence
    }

    #[test]
    fn a_contradiction_counts_for_400_calls() {
        let mut confidence = after(&[(LinkOutcome::Consistent, 1), (LinkOutcome::Conflict, 1)]);
        for _ in 0..SEEN {
            confidence.agreed_concurrently();
        }
        for _ in 0..399 {
            tell(&mut confidence, LinkOutcome::RequestSideOnly);
            assert!(!confidence.trusts_agreement(true, false) && !confidence.is_consistent());
        }
        tell(&mut confidence, LinkOutcome::RequestSideOnly);
        assert!(confidence.trusts_agreement(true, false) && confidence.is_consistent());
    }

    #[test]
    fn several_open_requests_need_a_history_of_such() {
        let mut confidence = Confidence::default();
        assert!(confidence.trusts_agreement(true, false) && !confidence.trusts_agreement(false, false));
        for _ in 0..SEEN {
            confidence.agreed_concurrently();
        }
        assert!(confidence.trusts_agreement(false, false));
    }

    #[test]
    fn three_quarters_of_agreement_outweigh_contradictions() {
        assert!(!after(&[(LinkOutcome::Conflict, 1), (LinkOutcome::Consistent, 28)]).agrees_mostly());
        assert!(after(&[(LinkOutcome::Conflict, 1), (LinkOutcome::Consistent, 29)]).agrees_mostly());
        assert!(after(&[(LinkOutcome::Conflict, 100), (LinkOutcome::Consistent, 300)]).agrees_mostly());
        assert!(!after(&[(LinkOutcome::Conflict, 101), (LinkOutcome::Consistent, 299)]).agrees_mostly());
    }

    #[test]
    fn half_of_agreement_suffices_where_both_inputs_are_clear() {
        let concurrent = |what: &[(LinkOutcome, usize)]| {
            let mut confidence = after(what);
            (0..SEEN).for_each(|_| confidence.agreed_concurrently());
            confidence
        };
        let half = concurrent(&[
            (LinkOutcome::Consistent, 200),
            (LinkOutcome::Conflict, 6),
            (LinkOutcome::AmbiguousConflict, 60),
            (LinkOutcome::RequestSideOnly, 134),
        ]);
        assert!(half.trusts_agreement(false, true) && !half.trusts_agreement(false, false));
        assert!(!half.agrees_mostly());
        let less = concurrent(&[
            (LinkOutcome::Consistent, 199),
            (LinkOutcome::AmbiguousConflict, 1),
            (LinkOutcome::RequestSideOnly, 200),
        ]);
        assert!(!less.trusts_agreement(false, true));
        let oftener = concurrent(&[
            (LinkOutcome::Consistent, 200),
            (LinkOutcome::Conflict, 7),
            (LinkOutcome::RequestSideOnly, 193),
        ]);
        assert!(!oftener.trusts_agreement(false, true));
        assert!(
            !after(&[(LinkOutcome::Consistent, 20), (LinkOutcome::Conflict, 1)]).trusts_agreement(true, true),
            "too few"
        );
    }

    #[test]
    fn the_start_side_alone_needs_a_full_clean_window_with_agreement() {
        assert!(
            after(&[(LinkOutcome::RequestSideOnly, 1_500), (LinkOutcome::Consistent, 500)])
                .request_side_suffices(true)
        );
        assert!(
            !after(&[(LinkOutcome::RequestSideOnly, 1_499), (LinkOutcome::Consistent, 500)])
                .request_side_suffices(true)
        );
        assert!(
            !after(&[(LinkOutcome::RequestSideOnly, 1_501), (LinkOutcome::Consistent, 499)])
                .request_side_suffices(true)
        );
        for spoiler in [LinkOutcome::Conflict, LinkOutcome::Unexplained] {
            let mut confidence = after(&[(spoiler, 1), (LinkOutcome::Consistent, 1_999)]);
            assert!(!confidence.trusts_request_side(true, SIGNATURE));
            tell(&mut confidence, LinkOutcome::Consistent);
            assert!(confidence.trusts_request_side(true, SIGNATURE));
            assert!(
                !confidence.trusts_request_side(true, CallSignature { hash: 8, ..SIGNATURE }),
                "another kind of call"
            );
        }
    }

    #[test]
    fn what_a_call_shows_can_be_corrected() {
        let mut confidence = after(&[(LinkOutcome::Consistent, 2_000)]);
        let number = tell(&mut confidence, LinkOutcome::Unexplained);
        assert!(!confidence.request_side_suffices(true));
        confidence.correct(number, LinkOutcome::Consistent);
        assert!(confidence.request_side_suffices(true));
    }

    #[test]
    fn an_end_side_is_waited_for_only_where_some_come() {
        let waits = |what: &[(LinkOutcome, usize)]| {
            let mut confidence = after(what);
            confidence.request_opened(&read_by(1));
            (0..RESPONSES).for_each(|_| confidence.answered(true));
            assert!(confidence.trusts_response_side(false));
            confidence.awaits_response_side()
        };
        assert!(waits(&[]), "nothing is known");
        assert!(waits(&[(LinkOutcome::Unexplained, 29)]));
        assert!(!waits(&[(LinkOutcome::Unexplained, 30)]));
        assert!(
            !waits(&[(LinkOutcome::ResponseSideOnly, 1), (LinkOutcome::Unexplained, 400)]),
            "too long ago"
        );
        for come in [LinkOutcome::ResponseSideOnly, LinkOutcome::Consistent, LinkOutcome::Conflict] {
            assert!(waits(&[(come, 1), (LinkOutcome::Unexplained, 399)]));
        }
        let seldom = [(LinkOutcome::ResponseSideOnly, 1), (LinkOutcome::Consistent, 399)];
        assert!(!waits(&seldom));
        let mut stealing = after(&seldom);
        stealing.request_opened(&read_by(1));
        (0..RESPONSES).for_each(|_| stealing.answered(true));
        (0..SEEN_SEVERAL).for_each(|_| stealing.record_stolen(true));
        assert!(stealing.awaits_response_side(), "of tasks that were stolen");
    }

    #[test]
    fn one_uncovered_answer_counts_for_400() {
        let mut confidence = Confidence::default();
        for _ in 0..SEEN - 1 {
            confidence.answered(true);
        }
        assert!(!confidence.trusts_response_side(true));
        confidence.answered(true);
        assert!(
            confidence.trusts_response_side(true) && !confidence.trusts_response_side(false),
            "no other request was open"
        );
        confidence.request_opened(&read_by(1));
        for _ in 0..SEEN {
            confidence.answered(true);
        }
        assert!(confidence.trusts_response_side(false));
        let mut several = confidence.clone();
        several.request_opened(&read_by(2));
        assert!(!several.trusts_response_side(false), "two threads");
        (0..RESPONSES).for_each(|_| several.answered(true));
        assert!(several.trusts_response_side(false));
        confidence.answered(false);
        for _ in 0..399 {
            confidence.answered(true);
            assert!(!confidence.trusts_response_side(true));
        }
        confidence.answered(true);
        assert!(confidence.trusts_response_side(true));
    }
}
