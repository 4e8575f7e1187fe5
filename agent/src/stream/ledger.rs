//! The loss ledger: what became of every byte that the kernel counted, per direction of a connection.

/// What the parser did with the bytes of the transfers that it was given. Every byte is counted in exactly one field.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub parsed: u64,
    pub skipped: u64,
    pub truncated: u64,
}

impl Tally {
    /// Adds what was read besides.
    pub(super) const fn add(&mut self, other: Self) {
        self.parsed += other.parsed;
        self.skipped += other.skipped;
        self.truncated += other.truncated;
    }
}

/// One direction of a connection: `observed = parsed + skipped + truncated + dropped + unseen`, in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Account {
    /// The kernel's own count, by sequence numbers.
    pub observed: u64,
    /// Captured and understood: heads, chunk framing.
    pub parsed: u64,
    /// Not needed: bodies, bytes for which the kernel was asked to make no event, protocols that nobody parses.
    pub skipped: u64,
    /// Needed, the system call was seen, the bytes were not captured.
    pub truncated: u64,
    /// The event found no room in the ring.
    pub dropped: u64,
    /// What is left: bytes that passed without an event.
    pub unseen: u64,
    /// More bytes were accounted for than observed: `unseen` would be negative. A defect, never rounding.
    pub violation: bool,
}

impl Account {
    /// Balances the account; `skipped` of the kernel and of the parser are disjoint and add up.
    pub(crate) fn balance(tally: Tally, observed: u64, dropped: u64, kernel_skipped: u64) -> Self {
        let skipped = tally.skipped.saturating_add(kernel_skipped);
        let known =
            tally.parsed.saturating_add(skipped).saturating_add(tally.truncated).saturating_add(dropped);
        Self {
            observed,
            parsed: tally.parsed,
            skipped,
            truncated: tally.truncated,
            dropped,
            unseen: observed.saturating_sub(known),
            violation: known > observed,
        }
    }
}

/// Both directions of a connection.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Ledger {
    /// By [`Direction::index`](crate::event::Direction::index).
    pub directions: [Account; 2],
}

impl Ledger {
    /// Whether either direction is in violation.
    #[must_use]
    pub fn violation(&self) -> bool {
        self.directions.iter().any(|account| account.violation)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_is_unseen() {
        let account = Account::balance(Tally { parsed: 10, skipped: 20, truncated: 30 }, 100, 5, 7);
        assert_eq!((account.skipped, account.unseen, account.violation), (27, 28, false));
    }

    #[test]
    fn a_negative_rest_is_a_violation_and_not_a_wrapped_number() {
        let ledger = Ledger {
            directions: [
                Account::default(),
                Account::balance(Tally { parsed: 10, ..Tally::default() }, 9, 0, 0),
            ],
        };
        assert_eq!(ledger.directions[1].unseen, 0);
        assert!(ledger.violation());
    }
}
