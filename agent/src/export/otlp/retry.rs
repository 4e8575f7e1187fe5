//! When a request that failed is sent again: exponential backoff with jitter, and what the collector asks for.

use std::time::Duration;

/// The longest that a collector's Retry-After is honoured for one wait.
const MAX_ASKED: Duration = Duration::from_secs(120);

/// Settings of the backoff.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetrySettings {
    /// The first wait, before jitter.
    pub initial: Duration,
    /// The longest wait, before jitter.
    pub max: Duration,
    /// Time after the first attempt at which a request is given up and its spans are counted as dropped.
    pub max_elapsed: Duration,
}

impl Default for RetrySettings {
    /// 1 s doubling to 30 s; given up after 5 min.
    fn default() -> Self {
        Self {
            initial: Duration::from_secs(1),
            max: Duration::from_secs(30),
            max_elapsed: Duration::from_secs(300),
        }
    }
}

impl RetrySettings {
    /// The wait before attempt `failures + 1`, `failures` from 1; `chance` is in 0..1.
    ///
    /// What the collector `asked` for is waited for in full (at most 2 min) and never undercut by the backoff; without
    /// it, the wait is half to all of the backoff, so that agents that failed together do not return together.
    pub(crate) fn wait(&self, failures: u32, asked: Option<Duration>, chance: f64) -> Duration {
        let doublings = failures.saturating_sub(1).min(30);
        let backoff = self.initial.saturating_mul(1 << doublings).min(self.max);
        match asked {
            Some(asked) => asked.min(MAX_ASKED) + backoff.mul_f64(0.1 * chance),
            None => backoff.mul_f64(0.5 + 0.5 * chance),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits() {
        let settings = RetrySettings::default();
        let seconds = Duration::from_secs_f64;
        for (failures, asked, chance, expected) in [
            (1, None, 0.0, seconds(0.5)),
            (1, None, 1.0, seconds(1.0)),
            (2, None, 1.0, seconds(2.0)),
            (5, None, 1.0, seconds(16.0)),
            (6, None, 1.0, seconds(30.0)),
            (u32::MAX, None, 0.0, seconds(15.0)),
            (1, Some(seconds(7.0)), 0.0, seconds(7.0)),
            (1, Some(seconds(7.0)), 1.0, seconds(7.1)),
            (9, Some(seconds(0.0)), 0.0, seconds(0.0)),
            (1, Some(seconds(1e6)), 0.0, MAX_ASKED),
        ] {
            assert_eq!(settings.wait(failures, asked, chance), expected, "{failures} {asked:?} {chance}");
        }
    }
}
