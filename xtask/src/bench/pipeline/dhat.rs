//! DHAT's profiles: how many blocks the allocator gave, and how many bytes memcpy and memmove moved
//! (`--mode=copy`), while the measured rounds ran. DHAT counts from the program's start, but
//! reports the stack of each place. Callgrind's own numbers of function calls are no use: it counts
//! them outside the measured rounds, too.

use anyhow::{Context as _, Result};
use serde_json::Value;

/// Only what happens inside this function counts.
pub(super) const MEASURED: &str = "Replay::measured_round";

/// Blocks allocated or calls that copied, and their bytes.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Blocks {
    pub(super) number: u64,
    pub(super) bytes: u64,
}

/// What happened in the measured rounds. A profile has program points (`pps`), each with blocks
/// (`tbk`), bytes (`tb`) and a stack (`fs`) of indices into the table of frames (`ftbl`).
pub(super) fn read(text: &str) -> Result<Blocks> {
    let profile: Value = serde_json::from_str(text).context("not a profile of DHAT")?;
    let frames: Vec<_> = list(&profile["ftbl"])?.iter().map(is_measured).collect();
    let mut blocks = Blocks::default();
    for point in list(&profile["pps"])? {
        let mut stack = list(&point["fs"])?.iter().filter_map(Value::as_u64);
        if stack.any(|frame| frames.get(frame as usize) == Some(&true)) {
            blocks.number += number(&point["tbk"])?;
            blocks.bytes += number(&point["tb"])?;
        }
    }
    Ok(blocks)
}

fn is_measured(frame: &Value) -> bool {
    frame.as_str().is_some_and(|frame| frame.contains(MEASURED))
}

fn list(value: &Value) -> Result<&Vec<Value>> {
    value.as_array().context("a list of the profile is missing")
}

fn number(value: &Value) -> Result<u64> {
    value.as_u64().context("a number of the profile is missing")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_measured_rounds_count() {
        let text = r#"{"mode":"copy","pps":[{"tb":5,"tbk":9,"fs":[1,2]},{"tb":7,"tbk":1,"fs":[1,3,2]},{"tb":30,"tbk":2,"fs":[3,2]}],
            "ftbl":["[root]","0x1: memcpy (in x.so)","0x2: p::Replay::run (mod.rs:1)","0x3: p::Replay::measured_round (mod.rs:2)"]}"#;
        assert_eq!(read(text).unwrap(), Blocks { number: 3, bytes: 37 });
    }
}
