//! How often a kind of evidence has named the same request as a certain request side.

use super::RESPONSES;

/// The number of agreements since the last disagreement, and whether there was one.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct TrackRecord {
    agreed: u64,
    has_differed: bool,
    agreed_in_all: u64,
    /// Disagreements that may be due to a wrong request side.
    strayed: u64,
}

impl TrackRecord {
    pub(super) const fn add(&mut self, agrees: bool) {
        self.agreed = if agrees { self.agreed + 1 } else { 0 };
        self.agreed_in_all += agrees as u64;
        self.has_differed |= !agrees;
    }

    pub(super) const fn stray(&mut self) {
        self.strayed += 1;
    }

    /// Whether the evidence can be trusted: after `least` agreements, or 400 if it was ever wrong.
    pub(super) const fn suffices(self, least: u64) -> bool {
        let needed = if self.has_differed { RESPONSES as u64 } else { least };
        self.agreed >= needed && self.strayed * STRAYS_ONE_IN <= self.agreed_in_all
    }
}

/// One wrong request side in this many agreements is tolerated. Where tasks are stolen, one in 400
/// was observed.
const STRAYS_ONE_IN: u64 = 100;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frequent_disagreements_are_not_tolerated() {
        let mut record = TrackRecord::default();
        (0..199).for_each(|_| record.add(true));
        assert!(record.suffices(100));
        record.stray();
        assert!(record.suffices(100), "one in 199");
        record.stray();
        assert!(!record.suffices(100), "two");
        record.add(true);
        assert!(record.suffices(100), "two in 200");
    }
}
