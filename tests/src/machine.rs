//! What the machine under the tests can do. A test that lacks something says `SKIPPED`; in CI that
//! is a failure.

use std::{
    env,
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::OnceLock,
};

use crate::cgroup;

/// The first file of this name on PATH, or in the directories of system programs.
#[must_use]
pub fn program(name: &str) -> Option<PathBuf> {
    if name.contains('/') {
        return Path::new(name).is_file().then(|| name.into());
    }
    let path = env::var_os("PATH").unwrap_or_default();
    let system = ["/usr/sbin", "/sbin"].map(PathBuf::from);
    env::split_paths(&path).chain(system).map(|dir| dir.join(name)).find(|file| file.is_file())
}

/// Debian's own Python, if it is installed: a wrapper on PATH would not be the process that serves.
#[must_use]
pub fn python() -> &'static str {
    if Path::new("/usr/bin/python3").exists() { "/usr/bin/python3" } else { "python3" }
}

/// Why no agent can run here, if so.
#[must_use]
pub fn lacks_kernel_access() -> Option<&'static str> {
    if !nix::unistd::geteuid().is_root() {
        return Some("only root may load BPF programs");
    }
    if !Path::new("/sys/kernel/btf/vmlinux").exists() {
        return Some("the kernel has no BTF");
    }
    if cgroup::mount().is_none() {
        return Some("no cgroup2 hierarchy is mounted");
    }
    None
}

/// What the machine lacks: one of these programs, or what [`lacks_kernel_access`] checks.
#[must_use]
pub fn lacks(programs: &[&str]) -> Option<String> {
    if let Some(reason) = lacks_kernel_access() {
        return Some(reason.to_owned());
    }
    let missing: Vec<_> = programs.iter().copied().filter(|name| program(name).is_none()).collect();
    (!missing.is_empty()).then(|| format!("{} is not installed", missing.join(", ")))
}

/// Reports that a test was skipped. The line bypasses the test runner's capture. It also goes into
/// the file that `WIRESPAN_SKIPPED` names, from which `cargo xtask test` makes its summary.
///
/// # Panics
/// In CI (`CI=true`) on a machine where the agent can run: there nothing may be skipped.
pub fn skip(reason: &str) {
    let test = std::thread::current().name().unwrap_or("a test").to_owned();
    let line = format!("SKIPPED: {test}: {reason}\n");
    let _ = std::io::stderr().write_all(line.as_bytes());
    if let Some(path) = env::var_os("WIRESPAN_SKIPPED") {
        let file = std::fs::OpenOptions::new().create(true).append(true).open(path);
        let _ = file.and_then(|mut file| file.write_all(line.as_bytes()));
    }
    let in_ci = env::var("CI").is_ok_and(|value| value == "true");
    assert!(!in_ci || lacks_kernel_access().is_some(), "skipped in CI: {reason}");
}

/// Whether an agent that starts or ends makes another miss a receive that is waiting just then: in attach mode fexit, which
/// kernels before 6.3 take (ARCHITECTURE.md).
#[must_use]
pub fn agents_disturb_each_other() -> bool {
    if let Ok(attach_mode) = env::var("WIRESPAN_ATTACH_MODE") {
        return attach_mode == "fexit";
    }
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let mut numbers =
        release.split(|c: char| !c.is_ascii_digit()).map_while(|number| number.parse::<u32>().ok());
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)) < (6, 3)
}

/// The agent's binary: that of `WIRESPAN_BIN`, or a release build of this workspace, made once.
///
/// # Errors
/// When cargo cannot build it.
pub fn wirespan() -> anyhow::Result<PathBuf> {
    static BUILT: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    BUILT.get_or_init(build).clone().map_err(anyhow::Error::msg)
}

/// Cargo, as a shell would run it. The variables that cargo sets for the programs that it runs
/// would make build scripts, and so everything, run again.
#[must_use]
pub fn cargo() -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    for (name, _) in env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("CARGO_PKG_") || text == "CARGO_MANIFEST_DIR" || text == "CARGO_MANIFEST_PATH" {
            command.env_remove(&name);
        }
    }
    command
}

fn build() -> Result<PathBuf, String> {
    if let Some(path) = env::var_os("WIRESPAN_BIN") {
        return Ok(path.into());
    }
    let mut command = cargo();
    command.args(["build", "--release", "--package", "wirespan", "--bin", "wirespan"]);
    command.arg("--message-format=json-render-diagnostics");
    command.current_dir(env!("CARGO_MANIFEST_DIR")).stderr(Stdio::inherit());
    let output = command.output().map_err(|err| format!("cannot run cargo: {err}"))?;
    let messages = String::from_utf8_lossy(&output.stdout).into_owned();
    let executable = messages.lines().rev().find_map(|line| {
        let message: serde_json::Value = serde_json::from_str(line).ok()?;
        message["executable"].as_str().map(PathBuf::from)
    });
    executable.filter(|_| output.status.success()).ok_or_else(|| "cargo could not build wirespan".to_owned())
}
