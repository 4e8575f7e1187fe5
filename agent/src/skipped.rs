//! Tests that cannot run on every machine. Such a test lists itself here, so that a skipped test
//! never looks like a passed one.

use std::{env, fs::OpenOptions, io::Write as _, path::Path};

use crate::source::kernel;

/// Whether this machine has what a skipped test needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Machine {
    /// The test cannot run here.
    Lacks,
    /// [`can_trace`] decides. If the machine can, the build or the environment is at fault.
    MayTrace,
}

/// Lists the current test as skipped: on standard error past the test runner's capture, and in the
/// file that `WIRESPAN_SKIPPED` names, from which `cargo xtask test` makes its summary.
///
/// # Panics
/// In CI (`CI=true`) where the machine can run the test: nothing may be skipped there.
pub(crate) fn skip(machine: Machine, reason: &str) {
    let test = std::thread::current().name().unwrap_or("a test").to_owned();
    let line = format!("SKIPPED: {test}: {reason}\n");
    let _ = std::io::stderr().write_all(line.as_bytes());
    if let Some(path) = env::var_os("WIRESPAN_SKIPPED") {
        let file = OpenOptions::new().create(true).append(true).open(path);
        let _ = file.and_then(|mut file| file.write_all(line.as_bytes()));
    }
    let is_ci = env::var("CI").is_ok_and(|value| value == "true");
    assert!(!(is_ci && machine == Machine::MayTrace && can_trace()), "skipped in CI: {reason}");
}

/// Whether the agent can run on this machine: the same conditions as `machine::lacks_kernel_access`
/// of the end-to-end tests.
fn can_trace() -> bool {
    nix::unistd::geteuid().is_root()
        && Path::new(kernel::btf::VMLINUX).exists()
        && kernel::cgroup_root().is_ok()
}
