//! Calls of one kind: to one peer, with one method and the same beginning of the path. What a program does besides its
//! requests (a poller, a cache that refreshes itself) looks, while requests are open, like one more call for one of them. It
//! shows only in that calls of its kind never end in an answer.

use super::Shown;

/// Kinds that are remembered of a process; the one that came first goes.
const KINDS: usize = 64;
/// Calls of a kind after which it may be believed; as many as fit are remembered.
const SEEN: u32 = 30;

/// What the last 64 calls of each kind have shown.
#[derive(Debug, Clone, Default)]
pub(in crate::trace::causality) struct Kinds(Vec<(u64, Kind)>);

#[derive(Debug, Clone, Copy, Default)]
struct Kind {
    /// A bit for each call, the youngest lowest: it was seen, its sides agreed, it ended in an answer, it spoke against the start
    /// side.
    seen: u64,
    agreed: u64,
    ended: u64,
    against: u64,
}

impl Kind {
    /// The bit of the youngest call that has shown this; which of several it is makes no difference.
    fn like(&self, shown: Shown) -> Option<u64> {
        let (agreed, ended, against) = Self::bits(shown);
        let same = |bits: u64, value: bool| if value { bits } else { !bits };
        let calls =
            self.seen & same(self.agreed, agreed) & same(self.ended, ended) & same(self.against, against);
        (calls != 0).then(|| calls & calls.wrapping_neg())
    }

    fn set(&mut self, call: u64, shown: Shown) {
        let (agreed, ended, against) = Self::bits(shown);
        for (bits, value) in
            [(&mut self.agreed, agreed), (&mut self.ended, ended), (&mut self.against, against)]
        {
            *bits = *bits & !call | if value { call } else { 0 };
        }
    }

    /// Its sides agreed, it ended in an answer, it spoke against the start side.
    const fn bits(shown: Shown) -> (bool, bool, bool) {
        match shown {
            Shown::Agrees => (true, true, false),
            Shown::Differs | Shown::Ends => (false, true, true),
            Shown::Unexplained => (false, false, true),
            Shown::Starts => (false, false, false),
        }
    }
}

impl Kinds {
    /// A call of this kind has shown this; 0: its kind is not known.
    pub(super) fn show(&mut self, kind: u64, shown: Shown) {
        if kind == 0 {
            return;
        }
        let index = self.0.iter().position(|(known, _)| *known == kind).unwrap_or_else(|| {
            if self.0.len() >= KINDS {
                self.0.remove(0);
            }
            self.0.push((kind, Kind::default()));
            self.0.len() - 1
        });
        let kind = &mut self.0[index].1;
        kind.seen = kind.seen << 1 | 1;
        (kind.agreed, kind.ended, kind.against) = (kind.agreed << 1, kind.ended << 1, kind.against << 1);
        kind.set(1, shown);
    }

    /// A call of this kind that had shown the first shows the second now.
    pub(super) fn correct(&mut self, kind: u64, before: Shown, shown: Shown) {
        let known = self.0.iter_mut().find(|(known, _)| *known == kind);
        match known.and_then(|(_, kind)| Some((kind.like(before)?, kind))) {
            Some((call, kind)) => kind.set(call, shown),
            None => self.show(kind, shown),
        }
    }

    /// Whether the sides of such calls have been seen to agree: none speaks against the start side, a quarter agrees.
    pub(in crate::trace::causality) fn agree(&self, kind: u64) -> bool {
        self.of(kind).is_some_and(|kind| {
            let seen = kind.seen.count_ones();
            seen >= SEEN && kind.against == 0 && kind.agreed.count_ones() * 4 >= seen
        })
    }

    /// Whether such calls hardly ever end in an answer: where one does, that is chance.
    pub(in crate::trace::causality) fn hardly_end(&self, kind: u64) -> bool {
        self.of(kind).is_some_and(|kind| {
            let seen = kind.seen.count_ones();
            seen >= SEEN && kind.ended.count_ones() * 4 < seen
        })
    }

    fn of(&self, kind: u64) -> Option<&Kind> {
        self.0.iter().find(|(known, _)| *known == kind).map(|(_, kind)| kind)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_that_never_agrees_is_not_believed() {
        let mut kinds = Kinds::default();
        for _ in 0..100 {
            kinds.show(1, Shown::Agrees);
            kinds.show(2, Shown::Starts);
            kinds.show(3, Shown::Starts);
        }
        for _ in 0..15 {
            kinds.show(3, Shown::Agrees);
        }
        assert!(kinds.agree(1) && !kinds.agree(2) && !kinds.agree(3) && !kinds.agree(4));
        kinds.show(3, Shown::Agrees);
        assert!(kinds.agree(3), "a quarter of the last 64");
        assert!(kinds.hardly_end(2) && !kinds.hardly_end(1) && !kinds.hardly_end(3) && !kinds.hardly_end(4));
        kinds.show(1, Shown::Unexplained);
        assert!(!kinds.agree(1));
        for _ in 0..63 {
            kinds.show(1, Shown::Agrees);
        }
        assert!(!kinds.agree(1));
        kinds.show(1, Shown::Agrees);
        assert!(kinds.agree(1));
    }

    #[test]
    fn a_call_counts_once() {
        let mut kinds = Kinds::default();
        for _ in 0..100 {
            kinds.show(1, Shown::Unexplained);
            kinds.correct(1, Shown::Unexplained, Shown::Ends);
            kinds.show(1, Shown::Unexplained);
            kinds.correct(1, Shown::Unexplained, Shown::Differs);
        }
        assert_eq!(kinds.0[0].1.ended, u64::MAX);
        assert!(!kinds.hardly_end(1) && !kinds.agree(1));
        for _ in 0..64 {
            kinds.show(1, Shown::Starts);
            kinds.correct(1, Shown::Starts, Shown::Agrees);
        }
        assert_eq!((kinds.0[0].1.agreed, kinds.0[0].1.against), (u64::MAX, 0));
        // What it had shown is out of sight.
        kinds.correct(1, Shown::Unexplained, Shown::Ends);
        assert_eq!(kinds.0[0].1.against, 1);
    }

    #[test]
    fn the_number_of_kinds_is_bounded() {
        let mut kinds = Kinds::default();
        (1..1_000).for_each(|kind| kinds.show(kind, Shown::Agrees));
        assert_eq!(kinds.0.len(), KINDS);
    }
}
