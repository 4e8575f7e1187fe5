//! Per-CPU counters: every entry counts its runs, every refusal its reason.

use agent_common::{COUNTERS as SLOTS, Counter};

use crate::maps::COUNTERS;

/// The counters of this CPU, looked up once for the run of a program.
#[derive(Clone, Copy)]
pub(crate) struct Counts(*mut [u64; SLOTS as usize]);

impl Counts {
    #[inline(always)]
    pub(crate) fn of_this_cpu() -> Option<Self> {
        COUNTERS.get_ptr_mut(0).map(Self)
    }

    /// Adds `n` to a counter.
    #[inline(always)]
    pub(crate) fn add(self, counter: Counter, n: u64) {
        // SAFETY: a slot of this CPU's entry, and tracepoint programs do not migrate. An interrupt
        // between load and store may lose one count.
        unsafe { *self.0.cast::<u64>().add(counter as usize) += n };
    }
}

/// Runs a send's or receive's program, and counts that and, if it was refused, why. Sends and
/// receives run most often: they look the counters up once.
#[inline(always)]
pub(crate) fn run(program: Counter, body: impl FnOnce(Counts) -> Result<(), Counter>) -> i32 {
    let Some(counts) = Counts::of_this_cpu() else { return 0 };
    counts.add(program, 1);
    if let Err(reason) = body(counts) {
        counts.add(reason, 1);
    }
    0
}

/// Adds `n` to a counter of this CPU.
#[inline(always)]
pub(crate) fn add(counter: Counter, n: u64) {
    if let Some(counts) = Counts::of_this_cpu() {
        counts.add(counter, n);
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
