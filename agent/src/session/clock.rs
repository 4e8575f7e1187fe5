//! The clocks: event time is the kernel's, and wall time is an offset to it.

use anyhow::{Context as _, Result};
use nix::time::{ClockId, clock_gettime};

use crate::event::Timestamp;

/// Both clocks are read again when more time than this passes between the two readings, at most
/// this many times.
const CLOCK_SPAN: u64 = 100_000;
const CLOCK_READINGS: usize = 5;

/// CLOCK_MONOTONIC, which is what bpf_ktime_get_ns reads.
pub(super) fn now() -> Result<Timestamp> {
    nanoseconds(ClockId::CLOCK_MONOTONIC).map(Timestamp)
}

fn nanoseconds(clock: ClockId) -> Result<u64> {
    let time = clock_gettime(clock).context("cannot read the clock")?;
    let seconds = u64::try_from(time.tv_sec()).unwrap_or(0);
    Ok(seconds * 1_000_000_000 + u64::try_from(time.tv_nsec()).unwrap_or(0))
}

/// The time, and how far wall time is ahead of it. The wall clock is read between two readings of
/// the monotonic clock, and again if the thread was interrupted in between.
pub(super) fn with_offset() -> Result<(Timestamp, u64)> {
    let mut closest = u64::MAX;
    let (mut at, mut unix_offset) = (Timestamp::default(), 0);
    for _ in 0..CLOCK_READINGS {
        let before = now()?;
        let unix = nanoseconds(ClockId::CLOCK_REALTIME)?;
        at = now()?;
        let span = at.since(before);
        if span < closest {
            closest = span;
            unix_offset = unix.saturating_sub(before.0 + span / 2);
        }
        if span <= CLOCK_SPAN {
            break;
        }
    }
    Ok((at, unix_offset))
}
