//! Calls of one kind: to one peer, with one method and the same beginning of the path. What a program does besides its
//! requests (a poller, a cache that refreshes itself) looks, while requests are open, like one more call for one of them. It
//! shows only in that calls of its kind never end in an answer.

use std::collections::VecDeque;

use rustc_hash::FxHashMap;

use super::LinkOutcome;

/// SignatureStats that are remembered of a process; the one that came first goes.
const SIGNATURES: usize = 64;
/// Calls of a kind after which it may be trusted; as many as fit are remembered.
const SEEN: u32 = 30;
/// Such calls, of those that are remembered, that another one with the same cause went before; the same for them.
const SEEN_SHARED: u32 = 16;
/// Calls of a kind after which those that were before count half.
const LONG: u32 = 1_024;

/// What signature of call one is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::trace::causality) struct CallSignature {
    /// 0: not known.
    pub(in crate::trace::causality) hash: u64,
    /// Another one with the same cause went before: one of several calls at once, or of another request that the thread
    /// went on with.
    pub(in crate::trace::causality) shares_cause: bool,
}

/// What the last 64 calls of each kind have outcome.
#[derive(Debug, Clone, Default)]
pub(in crate::trace::causality) struct SignatureStats {
    known: FxHashMap<u64, Stats>,
    /// In the order in which they came.
    order: VecDeque<u64>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Stats {
    /// A bit for each call, the youngest lowest: it was seen, its links consistent, it in_response in an answer, it spoke against the start
    /// side, no request explained it.
    seen: u64,
    consistent: u64,
    in_response: u64,
    against: u64,
    unattributed: u64,
    /// And another one with the same cause went before.
    shares_cause: u64,
    long: Long,
}

/// What the calls before have outcome, too: a timer falls into step with requests for hundreds of them.
#[derive(Debug, Clone, Copy, Default)]
struct Long {
    seen: u32,
    consistent: u32,
    against: u32,
}

impl Long {
    fn add(&mut self, outcome: LinkOutcome) {
        if self.seen >= LONG {
            *self = Self { seen: self.seen / 2, consistent: self.consistent / 2, against: self.against / 2 };
        }
        self.seen += 1;
        let [consistent, _, against, _] = Stats::bits(outcome);
        self.consistent += u32::from(consistent);
        self.against += u32::from(against);
    }

    /// More than one in 64.
    const fn has_many_conflicts(self) -> bool {
        self.against * 64 > self.seen
    }

    fn correct(&mut self, before: LinkOutcome, outcome: LinkOutcome) {
        let [consistent, _, against, _] = Stats::bits(before);
        // What it had outcome may have been halved since.
        self.consistent = self.consistent.saturating_sub(u32::from(consistent));
        self.against = self.against.saturating_sub(u32::from(against));
        self.seen = self.seen.saturating_sub(1);
        self.add(outcome);
    }
}

impl Stats {
    /// The bit of the youngest call that has outcome this; which of several it is makes no difference.
    fn like(&self, outcome: LinkOutcome, shares_cause: bool) -> Option<u64> {
        let same = |bits: u64, value: bool| if value { bits } else { !bits };
        let [consistent, in_response, against, unattributed] = Self::bits(outcome);
        let calls = self.seen
            & same(self.consistent, consistent)
            & same(self.in_response, in_response)
            & same(self.against, against)
            & same(self.unattributed, unattributed)
            & same(self.shares_cause, shares_cause);
        (calls != 0).then(|| calls & calls.wrapping_neg())
    }

    fn set(&mut self, call: u64, outcome: LinkOutcome) {
        let known = [&mut self.consistent, &mut self.in_response, &mut self.against, &mut self.unattributed];
        for (bits, value) in known.into_iter().zip(Self::bits(outcome)) {
            *bits = *bits & !call | if value { call } else { 0 };
        }
    }

    /// Its links consistent, it in_response in an answer, it spoke against the start side, no request explained it.
    const fn bits(outcome: LinkOutcome) -> [bool; 4] {
        match outcome {
            LinkOutcome::Consistent => [true, true, false, false],
            LinkOutcome::Conflict | LinkOutcome::AmbiguousConflict | LinkOutcome::ResponseSideOnly => {
                [false, true, true, false]
            }
            LinkOutcome::Unexplained => [false, false, true, true],
            LinkOutcome::RequestSideOnly => [false; 4],
        }
    }
}

impl SignatureStats {
    /// A call of this signature has outcome this.
    pub(super) fn record(
        &mut self,
        CallSignature { hash, shares_cause }: CallSignature,
        outcome: LinkOutcome,
    ) {
        if hash == 0 {
            return;
        }
        let stats = self.known.entry(hash).or_insert_with(|| {
            self.order.push_back(hash);
            Stats::default()
        });
        stats.seen = stats.seen << 1 | 1;
        for bits in
            [&mut stats.consistent, &mut stats.in_response, &mut stats.against, &mut stats.unattributed]
        {
            *bits <<= 1;
        }
        stats.shares_cause = stats.shares_cause << 1 | u64::from(shares_cause);
        stats.long.add(outcome);
        stats.set(1, outcome);
        if self.order.len() > SIGNATURES
            && let Some(first) = self.order.pop_front()
        {
            self.known.remove(&first);
        }
    }

    /// A call of this signature that had outcome the first shows the second now.
    pub(super) fn correct(&mut self, signature: CallSignature, before: LinkOutcome, outcome: LinkOutcome) {
        let known = self.known.get_mut(&signature.hash);
        match known.and_then(|stats| Some((stats.like(before, signature.shares_cause)?, stats))) {
            Some((call, stats)) => {
                stats.long.correct(before, outcome);
                stats.set(call, outcome);
            }
            None => self.record(signature, outcome),
        }
    }

    /// Whether the links of such calls have been seen to agree: none of the last ones speaks against the start side and few of
    /// those before do, a quarter agrees.
    pub(in crate::trace::causality) fn is_consistent(&self, hash: u64) -> bool {
        self.of(hash).is_some_and(|stats| {
            let seen = stats.seen.count_ones();
            let has_conflicts = stats.against != 0 || stats.long.has_many_conflicts();
            seen >= SEEN && !has_conflicts && stats.consistent.count_ones() * 4 >= seen
        })
    }

    /// Whether a start side alone may be trusted of such calls; of those that another one went before, if a sixteenth of them
    /// agrees.
    pub(in crate::trace::causality) fn trusts(&self, signature: CallSignature) -> bool {
        let shares_cause = |stats: &Stats| {
            let (seen, consistent) =
                (stats.shares_cause.count_ones(), (stats.shares_cause & stats.consistent).count_ones());
            seen >= SEEN_SHARED && consistent * 16 >= seen
        };
        self.is_consistent(signature.hash)
            && (!signature.shares_cause || self.of(signature.hash).is_some_and(shares_cause))
    }

    /// Whether such calls may agree by chance: more than an eighth is explained by no request, or some speak against it while few
    /// were seen, or less than half of them agree, of the last ones or of those before. What a program does on its own, over and
    /// over, agrees now and then with a request that is open meanwhile.
    pub(in crate::trace::causality) fn is_unreliable(&self, hash: u64) -> bool {
        self.of(hash).is_some_and(|stats| {
            let seen = stats.seen.count_ones();
            stats.unattributed.count_ones() * 8 > seen
                || stats.against != 0 && (seen < SEEN || stats.consistent.count_ones() * 2 < seen)
                || stats.long.has_many_conflicts() && stats.long.consistent * 2 < stats.long.seen
        })
    }

    /// Whether any of such calls speaks against its start side.
    pub(in crate::trace::causality) fn has_conflicts(&self, hash: u64) -> bool {
        self.of(hash).is_some_and(|stats| stats.against != 0)
    }

    /// Whether more than a few of them do, of the last ones and those before.
    pub(in crate::trace::causality) fn often_conflicts(&self, hash: u64) -> bool {
        self.of(hash).is_some_and(|stats| stats.long.has_many_conflicts())
    }

    /// Whether such calls hardly ever end in an answer: where one does, that is chance.
    pub(in crate::trace::causality) fn rarely_ends_in_response(&self, hash: u64) -> bool {
        self.of(hash).is_some_and(|stats| {
            let seen = stats.seen.count_ones();
            seen >= SEEN && stats.in_response.count_ones() * 4 < seen
        })
    }

    fn of(&self, hash: u64) -> Option<&Stats> {
        self.known.get(&hash)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn signature(hash: u64) -> CallSignature {
        CallSignature { hash, shares_cause: false }
    }

    #[test]
    fn a_kind_that_never_agrees_is_not_believed() {
        let mut stats = SignatureStats::default();
        for _ in 0..100 {
            stats.record(signature(1), LinkOutcome::Consistent);
            stats.record(signature(2), LinkOutcome::RequestSideOnly);
            stats.record(signature(3), LinkOutcome::RequestSideOnly);
        }
        for _ in 0..15 {
            stats.record(signature(3), LinkOutcome::Consistent);
        }
        assert!(
            stats.is_consistent(1)
                && !stats.is_consistent(2)
                && !stats.is_consistent(3)
                && !stats.is_consistent(4)
        );
        stats.record(signature(3), LinkOutcome::Consistent);
        assert!(stats.is_consistent(3), "a quarter of the last 64");
        assert!(
            stats.rarely_ends_in_response(2)
                && !stats.rarely_ends_in_response(1)
                && !stats.rarely_ends_in_response(3)
                && !stats.rarely_ends_in_response(4)
        );
        stats.record(signature(1), LinkOutcome::Unexplained);
        assert!(!stats.is_consistent(1));
        for _ in 0..63 {
            stats.record(signature(1), LinkOutcome::Consistent);
        }
        assert!(!stats.is_consistent(1));
        stats.record(signature(1), LinkOutcome::Consistent);
        assert!(stats.is_consistent(1));
    }

    #[test]
    fn several_calls_with_one_trigger_are_believed_where_others_of_them_agree() {
        let mut stats = SignatureStats::default();
        let shares_cause = CallSignature { hash: 1, shares_cause: true };
        (0..48).for_each(|_| stats.record(signature(1), LinkOutcome::Consistent));
        assert!(stats.trusts(signature(1)) && !stats.trusts(shares_cause), "none was seen");
        (0..16).for_each(|_| stats.record(shares_cause, LinkOutcome::RequestSideOnly));
        assert!(stats.trusts(signature(1)) && !stats.trusts(shares_cause), "none consistent");
        stats.correct(shares_cause, LinkOutcome::RequestSideOnly, LinkOutcome::Consistent);
        assert!(stats.trusts(shares_cause));
        stats.record(signature(1), LinkOutcome::Conflict);
        assert!(!stats.trusts(signature(1)) && !stats.trusts(shares_cause));
    }

    #[test]
    fn what_is_called_beside_requests_too_agrees_by_chance() {
        let mut stats = SignatureStats::default();
        stats.record(signature(1), LinkOutcome::RequestSideOnly);
        assert!(!stats.has_conflicts(1));
        stats.record(signature(1), LinkOutcome::Unexplained);
        assert!(stats.has_conflicts(1) && !stats.has_conflicts(2));
        let after = |what: &[(LinkOutcome, usize)]| {
            let mut stats = SignatureStats::default();
            for (outcome, times) in what {
                (0..*times).for_each(|_| stats.record(signature(1), *outcome));
            }
            stats.is_unreliable(1)
        };
        assert!(
            !after(&[])
                && !after(&[(LinkOutcome::Consistent, 1)])
                && !after(&[(LinkOutcome::RequestSideOnly, 40), (LinkOutcome::Consistent, 20)])
        );
        assert!(after(&[(LinkOutcome::Unexplained, 1), (LinkOutcome::Consistent, 28)]), "few were seen");
        assert!(!after(&[(LinkOutcome::Unexplained, 1), (LinkOutcome::Consistent, 29)]));
        assert!(!after(&[(LinkOutcome::Unexplained, 8), (LinkOutcome::Consistent, 56)]));
        assert!(
            after(&[(LinkOutcome::Unexplained, 9), (LinkOutcome::Consistent, 55)]),
            "more than an eighth"
        );
        assert!(!after(&[(LinkOutcome::Conflict, 30), (LinkOutcome::Consistent, 34)]));
        assert!(
            after(&[
                (LinkOutcome::Conflict, 1),
                (LinkOutcome::RequestSideOnly, 40),
                (LinkOutcome::Consistent, 23)
            ]),
            "less than half"
        );
    }

    #[test]
    fn that_a_kind_is_called_beside_requests_is_not_soon_forgotten() {
        let mut stats = SignatureStats::default();
        let mut record = |outcome: LinkOutcome, times: usize| {
            (0..times).for_each(|_| stats.record(signature(1), outcome));
            (stats.is_unreliable(1), stats.often_conflicts(1))
        };
        assert_eq!(record(LinkOutcome::Consistent, 63), (false, false));
        assert_eq!(record(LinkOutcome::Unexplained, 1), (false, false), "one in 64");
        assert_eq!(record(LinkOutcome::Unexplained, 1), (false, true));
        assert_eq!(record(LinkOutcome::Unexplained, 9), (true, true), "more than an eighth of the last ones");
        assert_eq!(record(LinkOutcome::RequestSideOnly, 226), (true, true));
        assert_eq!(
            record(LinkOutcome::Consistent, 173),
            (true, true),
            "the last ones all agree, of all less than half"
        );
        assert_eq!(record(LinkOutcome::Consistent, 1), (false, true));
        assert_eq!(record(LinkOutcome::Consistent, 2_000), (false, false), "long ago");
        (0..10_000).for_each(|_| {
            stats.record(signature(1), LinkOutcome::Unexplained);
            stats.correct(signature(1), LinkOutcome::Unexplained, LinkOutcome::Consistent);
        });
        assert_eq!((stats.is_unreliable(1), stats.often_conflicts(1)), (false, false), "corrected");
        assert!(stats.known[&1].long.seen <= LONG);
    }

    #[test]
    fn a_call_counts_once() {
        let mut stats = SignatureStats::default();
        for _ in 0..100 {
            stats.record(signature(1), LinkOutcome::Unexplained);
            stats.correct(signature(1), LinkOutcome::Unexplained, LinkOutcome::ResponseSideOnly);
            stats.record(signature(1), LinkOutcome::Unexplained);
            stats.correct(signature(1), LinkOutcome::Unexplained, LinkOutcome::Conflict);
        }
        assert_eq!(stats.known[&1].in_response, u64::MAX);
        assert!(!stats.rarely_ends_in_response(1) && !stats.is_consistent(1));
        for _ in 0..64 {
            stats.record(signature(1), LinkOutcome::RequestSideOnly);
            stats.correct(signature(1), LinkOutcome::RequestSideOnly, LinkOutcome::Consistent);
        }
        assert_eq!((stats.known[&1].consistent, stats.known[&1].against), (u64::MAX, 0));
        // What it had outcome is out of sight.
        stats.correct(signature(1), LinkOutcome::Unexplained, LinkOutcome::ResponseSideOnly);
        assert_eq!(stats.known[&1].against, 1);
    }

    #[test]
    fn the_number_of_kinds_is_bounded() {
        let mut stats = SignatureStats::default();
        (1..1_000).for_each(|hash| stats.record(signature(hash), LinkOutcome::Consistent));
        assert_eq!(stats.known.len(), SIGNATURES);
    }
}
