//! Outcomes of calls by their signatures. Calls to one peer with one method and the same first part
//! of the path have the same signature.
//!
//! What a program does besides its requests (a poller, a cache that refreshes itself) looks like
//! one more call of whichever request is open. Only its signature gives it away: such calls never
//! get a response side.

use std::collections::VecDeque;

use super::LinkOutcome;
use crate::trace::table::Table;

/// Signatures that are remembered per process. Beyond this number the oldest one is dropped.
const SIGNATURES: usize = 64;
/// Calls with a signature after which it may be trusted.
const SEEN: u32 = 30;
/// The same for calls that share their cause with an earlier call.
const SEEN_SHARED: u32 = 16;
/// Calls after which the long-term counts are halved.
const LONG: u32 = 1_024;

/// What a call looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::trace::causality) struct CallSignature {
    /// Hash of peer, method and first part of the path; 0 if it is not known.
    pub(in crate::trace::causality) hash: u64,
    /// An earlier call has the same cause. It may be one of several concurrent calls, or belong to
    /// another request that the thread went on with.
    pub(in crate::trace::causality) shares_cause: bool,
}

/// The outcomes of the last 64 calls of each signature.
#[derive(Debug, Clone, Default)]
pub(in crate::trace::causality) struct SignatureStats {
    known: Table<u64, Stats, 16>,
    /// Hashes in the order in which they were first seen.
    order: VecDeque<u64>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Stats {
    /// One bit per call, the latest in bit 0: it was seen, its sides agreed, it has a response
    /// side, it counts against the request side, no request explains it.
    seen: u64,
    consistent: u64,
    in_response: u64,
    against: u64,
    unattributed: u64,
    /// An earlier call has the same cause.
    shares_cause: u64,
    long: Long,
}

/// Counts over a longer time. A timer can stay in step with requests for hundreds of calls.
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

    /// More than one call in 64.
    const fn has_many_conflicts(self) -> bool {
        self.against * 64 > self.seen
    }

    fn correct(&mut self, before: LinkOutcome, outcome: LinkOutcome) {
        let [consistent, _, against, _] = Stats::bits(before);
        // The earlier outcome may have been halved since.
        self.consistent = self.consistent.saturating_sub(u32::from(consistent));
        self.against = self.against.saturating_sub(u32::from(against));
        self.seen = self.seen.saturating_sub(1);
        self.add(outcome);
    }
}

impl Stats {
    /// The bit of the latest call with this outcome. If there are several, any of them will do.
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

    /// Whether its sides agreed, it has a response side, it counts against the request side, no
    /// request explains it.
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
    /// Records the outcome of a call with this signature.
    pub(super) fn record(
        &mut self,
        CallSignature { hash, shares_cause }: CallSignature,
        outcome: LinkOutcome,
    ) {
        if hash == 0 {
            return;
        }
        if self.known.get(hash).is_none() {
            self.order.push_back(hash);
            self.known.insert(hash, Stats::default());
        }
        let Some(stats) = self.known.get_mut(hash) else { return };
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
            self.known.remove(first);
        }
    }

    /// Replaces the outcome `before` of a call with this signature.
    pub(super) fn correct(&mut self, signature: CallSignature, before: LinkOutcome, outcome: LinkOutcome) {
        let known = self.known.get_mut(signature.hash);
        match known.and_then(|stats| Some((stats.like(before, signature.shares_cause)?, stats))) {
            Some((call, stats)) => {
                stats.long.correct(before, outcome);
                stats.set(call, outcome);
            }
            None => self.record(signature, outcome),
        }
    }

    /// Whether the sides of such calls are known to agree: none of the last ones counts against the
    /// request side, few of the older ones do, and at least a quarter are consistent.
    pub(in crate::trace::causality) fn is_consistent(&self, hash: u64) -> bool {
        self.of(hash).is_some_and(|stats| {
            let seen = stats.seen.count_ones();
            let has_conflicts = stats.against != 0 || stats.long.has_many_conflicts();
            seen >= SEEN && !has_conflicts && stats.consistent.count_ones() * 4 >= seen
        })
    }

    /// Whether the request side alone is trusted for such calls. If the call shares its cause, at
    /// least a sixteenth of such calls must be consistent.
    pub(in crate::trace::causality) fn trusts(&self, signature: CallSignature) -> bool {
        let shares_cause = |stats: &Stats| {
            let (seen, consistent) =
                (stats.shares_cause.count_ones(), (stats.shares_cause & stats.consistent).count_ones());
            seen >= SEEN_SHARED && consistent * 16 >= seen
        };
        self.is_consistent(signature.hash)
            && (!signature.shares_cause || self.of(signature.hash).is_some_and(shares_cause))
    }

    /// Whether the sides of such calls may agree by coincidence. That is so if no request explains
    /// more than an eighth of them, if some conflict while few were seen, or if less than half of
    /// them are consistent, lately or over a longer time. What a program does on its own, over and
    /// over, agrees now and then with a request that happens to be open.
    pub(in crate::trace::causality) fn is_unreliable(&self, hash: u64) -> bool {
        self.of(hash).is_some_and(|stats| {
            let seen = stats.seen.count_ones();
            stats.unattributed.count_ones() * 8 > seen
                || stats.against != 0 && (seen < SEEN || stats.consistent.count_ones() * 2 < seen)
                || stats.long.has_many_conflicts() && stats.long.consistent * 2 < stats.long.seen
        })
    }

    /// Whether any of the last such calls counts against its request side.
    pub(in crate::trace::causality) fn has_conflicts(&self, hash: u64) -> bool {
        self.of(hash).is_some_and(|stats| stats.against != 0)
    }

    /// Whether more than a few of them do over a longer time.
    pub(in crate::trace::causality) fn often_conflicts(&self, hash: u64) -> bool {
        self.of(hash).is_some_and(|stats| stats.long.has_many_conflicts())
    }

    /// Whether such calls hardly ever have a response side, so that one is a coincidence.
    pub(in crate::trace::causality) fn rarely_ends_in_response(&self, hash: u64) -> bool {
        self.of(hash).is_some_and(|stats| {
            let seen = stats.seen.count_ones();
            seen >= SEEN && stats.in_response.count_ones() * 4 < seen
        })
    }

    fn of(&self, hash: u64) -> Option<&Stats> {
        self.known.get(hash)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn signature(hash: u64) -> CallSignature {
        CallSignature { hash, shares_cause: false }
    }

    #[test]
    fn a_signature_that_is_never_consistent_is_not_trusted() {
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
    fn several_calls_with_one_cause_are_trusted_if_such_calls_are_consistent() {
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
    fn a_signature_with_unattributed_calls_is_unreliable() {
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
    fn unattributed_calls_are_not_soon_forgotten() {
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
        assert!(stats.of(1).unwrap().long.seen <= LONG);
    }

    #[test]
    fn a_corrected_call_counts_once() {
        let mut stats = SignatureStats::default();
        for _ in 0..100 {
            stats.record(signature(1), LinkOutcome::Unexplained);
            stats.correct(signature(1), LinkOutcome::Unexplained, LinkOutcome::ResponseSideOnly);
            stats.record(signature(1), LinkOutcome::Unexplained);
            stats.correct(signature(1), LinkOutcome::Unexplained, LinkOutcome::Conflict);
        }
        assert_eq!(stats.of(1).unwrap().in_response, u64::MAX);
        assert!(!stats.rarely_ends_in_response(1) && !stats.is_consistent(1));
        for _ in 0..64 {
            stats.record(signature(1), LinkOutcome::RequestSideOnly);
            stats.correct(signature(1), LinkOutcome::RequestSideOnly, LinkOutcome::Consistent);
        }
        assert_eq!((stats.of(1).unwrap().consistent, stats.of(1).unwrap().against), (u64::MAX, 0));
        // The earlier outcome is no longer in the window.
        stats.correct(signature(1), LinkOutcome::Unexplained, LinkOutcome::ResponseSideOnly);
        assert_eq!(stats.of(1).unwrap().against, 1);
    }

    #[test]
    fn the_number_of_signatures_is_bounded() {
        let mut stats = SignatureStats::default();
        (1..1_000).for_each(|hash| stats.record(signature(hash), LinkOutcome::Consistent));
        assert_eq!(stats.known.len(), SIGNATURES);
    }
}
