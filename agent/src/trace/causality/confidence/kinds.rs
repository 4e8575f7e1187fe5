//! Calls of one kind: to one peer, with one method and the same beginning of the path. What a program does besides its
//! requests (a poller, a cache that refreshes itself) looks, while requests are open, like one more call for one of them. It
//! shows only in that calls of its kind never end in an answer.

use std::collections::VecDeque;

use rustc_hash::FxHashMap;

use super::LinkOutcome;

/// Kinds that are remembered of a process; the one that came first goes.
const KINDS: usize = 64;
/// Calls of a kind after which it may be trusted; as many as fit are remembered.
const SEEN: u32 = 30;
/// Such calls, of those that are remembered, that another one with the same cause went before; the same for them.
const SEEN_AGAIN: u32 = 16;
/// Calls of a kind after which those that were before count half.
const LONG: u32 = 1_024;

/// What sort of call one is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::trace::causality) struct Sort {
    /// 0: not known.
    pub(in crate::trace::causality) kind: u64,
    /// Another one with the same cause went before: one of several calls at once, or of another request that the thread
    /// went on with.
    pub(in crate::trace::causality) again: bool,
}

/// What the last 64 calls of each kind have outcome.
#[derive(Debug, Clone, Default)]
pub(in crate::trace::causality) struct Kinds {
    known: FxHashMap<u64, Kind>,
    /// In the order in which they came.
    order: VecDeque<u64>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Kind {
    /// A bit for each call, the youngest lowest: it was seen, its links agreed, it ended in an answer, it spoke against the start
    /// side, no request explained it.
    seen: u64,
    agreed: u64,
    ended: u64,
    against: u64,
    beside: u64,
    /// And another one with the same cause went before.
    again: u64,
    long: Long,
}

/// What the calls before have outcome, too: a timer falls into step with requests for hundreds of them.
#[derive(Debug, Clone, Copy, Default)]
struct Long {
    seen: u32,
    agreed: u32,
    against: u32,
}

impl Long {
    fn add(&mut self, outcome: LinkOutcome) {
        if self.seen >= LONG {
            *self = Self { seen: self.seen / 2, agreed: self.agreed / 2, against: self.against / 2 };
        }
        self.seen += 1;
        let [agreed, _, against, _] = Kind::bits(outcome);
        self.agreed += u32::from(agreed);
        self.against += u32::from(against);
    }

    /// More than one in 64.
    const fn are_contested(self) -> bool {
        self.against * 64 > self.seen
    }

    fn correct(&mut self, before: LinkOutcome, outcome: LinkOutcome) {
        let [agreed, _, against, _] = Kind::bits(before);
        // What it had outcome may have been halved since.
        self.agreed = self.agreed.saturating_sub(u32::from(agreed));
        self.against = self.against.saturating_sub(u32::from(against));
        self.seen = self.seen.saturating_sub(1);
        self.add(outcome);
    }
}

impl Kind {
    /// The bit of the youngest call that has outcome this; which of several it is makes no difference.
    fn like(&self, outcome: LinkOutcome, again: bool) -> Option<u64> {
        let same = |bits: u64, value: bool| if value { bits } else { !bits };
        let [agreed, ended, against, beside] = Self::bits(outcome);
        let calls = self.seen
            & same(self.agreed, agreed)
            & same(self.ended, ended)
            & same(self.against, against)
            & same(self.beside, beside)
            & same(self.again, again);
        (calls != 0).then(|| calls & calls.wrapping_neg())
    }

    fn set(&mut self, call: u64, outcome: LinkOutcome) {
        let known = [&mut self.agreed, &mut self.ended, &mut self.against, &mut self.beside];
        for (bits, value) in known.into_iter().zip(Self::bits(outcome)) {
            *bits = *bits & !call | if value { call } else { 0 };
        }
    }

    /// Its links agreed, it ended in an answer, it spoke against the start side, no request explained it.
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

impl Kinds {
    /// A call of this sort has outcome this.
    pub(super) fn record(&mut self, Sort { kind, again }: Sort, outcome: LinkOutcome) {
        if kind == 0 {
            return;
        }
        let kind = self.known.entry(kind).or_insert_with(|| {
            self.order.push_back(kind);
            Kind::default()
        });
        kind.seen = kind.seen << 1 | 1;
        for bits in [&mut kind.agreed, &mut kind.ended, &mut kind.against, &mut kind.beside] {
            *bits <<= 1;
        }
        kind.again = kind.again << 1 | u64::from(again);
        kind.long.add(outcome);
        kind.set(1, outcome);
        if self.order.len() > KINDS
            && let Some(first) = self.order.pop_front()
        {
            self.known.remove(&first);
        }
    }

    /// A call of this sort that had outcome the first shows the second now.
    pub(super) fn correct(&mut self, sort: Sort, before: LinkOutcome, outcome: LinkOutcome) {
        let known = self.known.get_mut(&sort.kind);
        match known.and_then(|kind| Some((kind.like(before, sort.again)?, kind))) {
            Some((call, kind)) => {
                kind.long.correct(before, outcome);
                kind.set(call, outcome);
            }
            None => self.record(sort, outcome),
        }
    }

    /// Whether the links of such calls have been seen to agree: none of the last ones speaks against the start side and few of
    /// those before do, a quarter agrees.
    pub(in crate::trace::causality) fn agree(&self, kind: u64) -> bool {
        self.of(kind).is_some_and(|kind| {
            let seen = kind.seen.count_ones();
            let contested = kind.against != 0 || kind.long.are_contested();
            seen >= SEEN && !contested && kind.agreed.count_ones() * 4 >= seen
        })
    }

    /// Whether a start side alone may be trusted of such calls; of those that another one went before, if a sixteenth of them
    /// agrees.
    pub(in crate::trace::causality) fn trusts(&self, sort: Sort) -> bool {
        let again = |kind: &Kind| {
            let (seen, agreed) = (kind.again.count_ones(), (kind.again & kind.agreed).count_ones());
            seen >= SEEN_AGAIN && agreed * 16 >= seen
        };
        self.agree(sort.kind) && (!sort.again || self.of(sort.kind).is_some_and(again))
    }

    /// Whether such calls may agree by chance: more than an eighth is explained by no request, or some speak against it while few
    /// were seen, or less than half of them agree, of the last ones or of those before. What a program does on its own, over and
    /// over, agrees now and then with a request that is open meanwhile.
    pub(in crate::trace::causality) fn waver(&self, kind: u64) -> bool {
        self.of(kind).is_some_and(|kind| {
            let seen = kind.seen.count_ones();
            kind.beside.count_ones() * 8 > seen
                || kind.against != 0 && (seen < SEEN || kind.agreed.count_ones() * 2 < seen)
                || kind.long.are_contested() && kind.long.agreed * 2 < kind.long.seen
        })
    }

    /// Whether any of such calls speaks against its start side.
    pub(in crate::trace::causality) fn contested(&self, kind: u64) -> bool {
        self.of(kind).is_some_and(|kind| kind.against != 0)
    }

    /// Whether more than a few of them do, of the last ones and those before.
    pub(in crate::trace::causality) fn often_contested(&self, kind: u64) -> bool {
        self.of(kind).is_some_and(|kind| kind.long.are_contested())
    }

    /// Whether such calls hardly ever end in an answer: where one does, that is chance.
    pub(in crate::trace::causality) fn hardly_end(&self, kind: u64) -> bool {
        self.of(kind).is_some_and(|kind| {
            let seen = kind.seen.count_ones();
            seen >= SEEN && kind.ended.count_ones() * 4 < seen
        })
    }

    fn of(&self, kind: u64) -> Option<&Kind> {
        self.known.get(&kind)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn sort(kind: u64) -> Sort {
        Sort { kind, again: false }
    }

    #[test]
    fn a_kind_that_never_agrees_is_not_believed() {
        let mut kinds = Kinds::default();
        for _ in 0..100 {
            kinds.record(sort(1), LinkOutcome::Consistent);
            kinds.record(sort(2), LinkOutcome::RequestSideOnly);
            kinds.record(sort(3), LinkOutcome::RequestSideOnly);
        }
        for _ in 0..15 {
            kinds.record(sort(3), LinkOutcome::Consistent);
        }
        assert!(kinds.agree(1) && !kinds.agree(2) && !kinds.agree(3) && !kinds.agree(4));
        kinds.record(sort(3), LinkOutcome::Consistent);
        assert!(kinds.agree(3), "a quarter of the last 64");
        assert!(kinds.hardly_end(2) && !kinds.hardly_end(1) && !kinds.hardly_end(3) && !kinds.hardly_end(4));
        kinds.record(sort(1), LinkOutcome::Unexplained);
        assert!(!kinds.agree(1));
        for _ in 0..63 {
            kinds.record(sort(1), LinkOutcome::Consistent);
        }
        assert!(!kinds.agree(1));
        kinds.record(sort(1), LinkOutcome::Consistent);
        assert!(kinds.agree(1));
    }

    #[test]
    fn several_calls_with_one_trigger_are_believed_where_others_of_them_agree() {
        let mut kinds = Kinds::default();
        let again = Sort { kind: 1, again: true };
        (0..48).for_each(|_| kinds.record(sort(1), LinkOutcome::Consistent));
        assert!(kinds.trusts(sort(1)) && !kinds.trusts(again), "none was seen");
        (0..16).for_each(|_| kinds.record(again, LinkOutcome::RequestSideOnly));
        assert!(kinds.trusts(sort(1)) && !kinds.trusts(again), "none agreed");
        kinds.correct(again, LinkOutcome::RequestSideOnly, LinkOutcome::Consistent);
        assert!(kinds.trusts(again));
        kinds.record(sort(1), LinkOutcome::Conflict);
        assert!(!kinds.trusts(sort(1)) && !kinds.trusts(again));
    }

    #[test]
    fn what_is_called_beside_requests_too_agrees_by_chance() {
        let mut kinds = Kinds::default();
        kinds.record(sort(1), LinkOutcome::RequestSideOnly);
        assert!(!kinds.contested(1));
        kinds.record(sort(1), LinkOutcome::Unexplained);
        assert!(kinds.contested(1) && !kinds.contested(2));
        let after = |what: &[(LinkOutcome, usize)]| {
            let mut kinds = Kinds::default();
            for (outcome, times) in what {
                (0..*times).for_each(|_| kinds.record(sort(1), *outcome));
            }
            kinds.waver(1)
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
        let mut kinds = Kinds::default();
        let mut record = |outcome: LinkOutcome, times: usize| {
            (0..times).for_each(|_| kinds.record(sort(1), outcome));
            (kinds.waver(1), kinds.often_contested(1))
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
            kinds.record(sort(1), LinkOutcome::Unexplained);
            kinds.correct(sort(1), LinkOutcome::Unexplained, LinkOutcome::Consistent);
        });
        assert_eq!((kinds.waver(1), kinds.often_contested(1)), (false, false), "corrected");
        assert!(kinds.known[&1].long.seen <= LONG);
    }

    #[test]
    fn a_call_counts_once() {
        let mut kinds = Kinds::default();
        for _ in 0..100 {
            kinds.record(sort(1), LinkOutcome::Unexplained);
            kinds.correct(sort(1), LinkOutcome::Unexplained, LinkOutcome::ResponseSideOnly);
            kinds.record(sort(1), LinkOutcome::Unexplained);
            kinds.correct(sort(1), LinkOutcome::Unexplained, LinkOutcome::Conflict);
        }
        assert_eq!(kinds.known[&1].ended, u64::MAX);
        assert!(!kinds.hardly_end(1) && !kinds.agree(1));
        for _ in 0..64 {
            kinds.record(sort(1), LinkOutcome::RequestSideOnly);
            kinds.correct(sort(1), LinkOutcome::RequestSideOnly, LinkOutcome::Consistent);
        }
        assert_eq!((kinds.known[&1].agreed, kinds.known[&1].against), (u64::MAX, 0));
        // What it had outcome is out of sight.
        kinds.correct(sort(1), LinkOutcome::Unexplained, LinkOutcome::ResponseSideOnly);
        assert_eq!(kinds.known[&1].against, 1);
    }

    #[test]
    fn the_number_of_kinds_is_bounded() {
        let mut kinds = Kinds::default();
        (1..1_000).for_each(|kind| kinds.record(sort(kind), LinkOutcome::Consistent));
        assert_eq!(kinds.known.len(), KINDS);
    }
}
