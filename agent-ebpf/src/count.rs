//! Per-CPU counters: every entry counts its runs, every refusal its reason.

use agent_common::Counter;

use crate::maps::COUNTERS;

/// Adds `n` to a counter of this CPU.
#[inline(always)]
pub(crate) fn add(counter: Counter, n: u64) {
    if let Some(slot) = COUNTERS.get_ptr_mut(counter as u32) {
        // SAFETY: a per-CPU slot, and tracepoint programs do not migrate. An interrupt between load
        // and store may lose one count.
        unsafe { *slot += n };
    }
}

/// Counts the run and, if it was refused, why.
#[inline(always)]
pub(crate) fn finish(program: Counter, outcome: Result<(), Counter>) -> i32 {
    add(program, 1);
    if let Err(reason) = outcome {
        add(reason, 1);
    }
    0
}
