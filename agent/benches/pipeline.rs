//! What a span costs, from event to encoded bytes; `cargo xtask bench pipeline` runs it, once for each row of a table: under
//! valgrind, which counts instructions, or for time and memory. Time is CPU time of the one thread, so that other load on
//! the machine disturbs less.

mod replay;

use clap::Parser as _;

use self::replay::{Options, Replay};

fn main() {
    let mut replay = Replay::new(Options::parse());
    let generator = memory("VmRSS:");
    let measured = replay.run();
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
