//! Time and memory that a span costs, from event to OTLP bytes; `cargo xtask bench pipeline` runs it, once for each size, and
//! makes a table. CPU time of the one thread, so that other load on the machine disturbs less.

mod replay;

use clap::Parser as _;
use nix::time::{ClockId, clock_gettime};

use self::replay::{Meter, Options, Replay};

/// Nanoseconds of CPU time of this thread.
struct CpuTime;

impl Meter for CpuTime {
    type Reading = i64;
    fn read(&self) -> i64 {
        let time = clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).expect("every thread has a clock");
        time.tv_sec() * 1_000_000_000 + time.tv_nsec()
    }
}

fn main() {
    let mut replay = Replay::new(Options::parse());
    let generator = memory("VmRSS:");
    let measured = replay.run(&CpuTime);
    let report = serde_json::json!({
        "spans": measured.spans,
        "engine_ns": measured.all - measured.encoding,
        "encoder_ns": measured.encoding,
        "captured_bytes": measured.captured_bytes,
        "encoded_bytes": measured.encoded_bytes,
        "memory_bytes": memory("VmHWM:").saturating_sub(generator),
    });
    println!("{report}");
}

/// A line of /proc/self/status, in bytes.
fn memory(line: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("/proc is mounted");
    let value = status.lines().find_map(|text| text.strip_prefix(line)).expect("the kernel says it");
    let kilobytes: u64 = value.trim().trim_end_matches(" kB").parse().expect("a number of kB");
    kilobytes * 1024
}
