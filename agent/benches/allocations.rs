//! Allocations that a span costs, from event to OTLP bytes: the same traffic as in the benchmark `pipeline`.

mod replay;

use std::{
    alloc::System,
    ops::{AddAssign, Sub},
};

use clap::Parser as _;
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};

use self::replay::{Meter, Options, Replay};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

#[derive(Debug, Clone, Copy, Default)]
struct Counts {
    allocations: usize,
    bytes: usize,
}

impl Sub for Counts {
    type Output = Self;
    fn sub(self, other: Self) -> Self {
        Self { allocations: self.allocations - other.allocations, bytes: self.bytes - other.bytes }
    }
}

impl AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        self.allocations += other.allocations;
        self.bytes += other.bytes;
    }
}

/// What was asked of the allocator; growing counts as an allocation.
struct Allocator;

impl Meter for Allocator {
    type Reading = Counts;
    fn read(&self) -> Counts {
        let stats = ALLOCATOR.stats();
        Counts { allocations: stats.allocations + stats.reallocations, bytes: stats.bytes_allocated }
    }
}

fn main() {
    let mut replay = Replay::new(Options::parse());
    let measured = replay.run(&Allocator);
    let report = serde_json::json!({
        "spans": measured.spans,
        "captured_bytes": measured.captured_bytes,
        "encoded_bytes": measured.encoded_bytes,
        "allocations": measured.all.allocations,
        "allocated_bytes": measured.all.bytes,
        "encoder_allocations": measured.encoding.allocations,
    });
    println!("{report}");
}
