//! One libFuzzer binary for all targets: `WIRESPAN_FUZZ` names the one. `cargo xtask fuzz` builds
//! and runs it.

#![no_main]

use std::sync::LazyLock;

use wirespan_fuzz::{Target, target};

const VARIABLE: &str = "WIRESPAN_FUZZ";

static TARGET: LazyLock<Target> = LazyLock::new(|| {
    let name = std::env::var(VARIABLE).unwrap_or_default();
    target(&name).unwrap_or_else(|| panic!("{VARIABLE} names no target: {name:?}"))
});

libfuzzer_sys::fuzz_target!(|data: &[u8]| (*TARGET)(data));
