//! How often something has named the same request as a start side that is beyond doubt.

use super::RESPONSES;

/// Since it last named another one; and whether it ever did that.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct TrackRecord {
    agreed: u64,
    has_differed: bool,
    agreed_in_all: u64,
    /// Times that it has named another one, maybe because the start side was wrong.
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

    /// Whether it can be relied on, after so many agreements at least, or 400 where it was wrong before.
    pub(super) const fn suffices(self, least: u64) -> bool {
        let needed = if self.has_differed { RESPONSES as u64 } else { least };
        self.agreed >= needed && self.strayed * STRAYS_ONE_IN <= self.agreed_in_all
    }
}

/// Of so many agreements one stray start side is usual where tasks are stolen (one in 400 was seen).
const STRAYS_ONE_IN: u64 = 100;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_strays_often_is_not_relied_on() {
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
