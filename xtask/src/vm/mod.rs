//! `cargo xtask vm`: the end-to-end tests, or any command, under Debian's kernels in an emulated
//! machine.

mod guest;
mod image;
mod kernel;
mod qemu;
mod suite;

use std::{
    path::PathBuf,
    process::ExitCode,
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use anyhow::{Context as _, Result};

use self::{
    guest::Own,
    kernel::Version,
    qemu::{Boot, Clock, Outcome},
};
use crate::{build, sh};

pub(crate) use self::{kernel::VERSIONS, suite::Programs};

/// The module of end-to-end tests for which a guest has no room.
pub(crate) const NOT_IN_ANY_GUEST: &str = "native::";

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The kernel: 5.10, 6.1 or 6.12; without it, each in turn
    #[arg(long)]
    kernel: Option<String>,
    /// The attach mode: raw_tp or fexit; without it, each that the kernel has in turn
    #[arg(long)]
    attach_mode: Option<String>,
    /// Run this shell command instead of the tests; `wirespan` is on PATH
    #[arg(long)]
    shell_command: Option<String>,
    /// Seconds after which the guest is killed
    #[arg(long, default_value_t = 600)]
    timeout: u64,
    /// Build the agent without optimisation (faster to build)
    #[arg(long)]
    dev: bool,
    /// Which tests to run, and other arguments for the test runner; without it, all that fit into a
    /// guest
    #[arg(last = true)]
    filter: Vec<String>,
}

pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode> {
    let versions = match &arguments.kernel {
        Some(name) => vec![Version::named(name)?],
        None => VERSIONS.to_vec(),
    };
    let profile = if arguments.dev { build::Profile::Dev } else { build::Profile::Release };
    let timeout = Duration::from_secs(arguments.timeout);
    if let Some(command) = &arguments.shell_command {
        return shell(&versions, profile, timeout, command);
    }
    let programs = Programs::build(profile)?;
    let all = ["--skip".to_owned(), NOT_IN_ANY_GUEST.to_owned()];
    let filter = if arguments.filter.is_empty() { &all[..] } else { &arguments.filter };
    let forced = arguments.attach_mode.as_deref();
    let attach_modes = |version: &Version| {
        forced.map_or_else(|| version.attach_modes.to_vec(), |attach_mode| vec![attach_mode])
    };
    let boots: Vec<_> = versions
        .iter()
        .flat_map(|version| attach_modes(version).into_iter().map(|attach_mode| (*version, attach_mode)))
        .collect();
    let sum = programs.run(&boots, timeout, filter)?;
    println!("{sum}");
    Ok(if sum.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Runs a command line under each kernel.
fn shell(
    versions: &[Version],
    profile: build::Profile,
    timeout: Duration,
    command: &str,
) -> Result<ExitCode> {
    let own = [(build::agent(profile)?, "wirespan".to_owned())];
    let mut code = ExitCode::SUCCESS;
    for &version in versions {
        let machine = Machine { version, own: &own, clock: Clock::Real, timeout };
        let outcome = machine.run(command, &mut |line| println!("{line}"))?;
        let boot = outcome.boot.as_secs_f64();
        eprintln!("vm: kernel {}: up after {boot:.1} s, exit status {}", version.name, outcome.status);
        if outcome.status != 0 {
            code = ExitCode::from(outcome.status);
        }
    }
    Ok(code)
}

/// Runs a command in the guest whose time is a count of instructions; gives its exit status.
pub(crate) fn measure(
    kernel: &str,
    own: &[Own],
    command: &str,
    timeout: Duration,
    show: &mut dyn FnMut(&str),
) -> Result<u8> {
    let machine = Machine { version: Version::named(kernel)?, own, clock: Clock::Instructions, timeout };
    Ok(machine.run(command, show)?.status)
}

/// An emulated machine that runs one command.
struct Machine<'a> {
    version: Version,
    own: &'a [Own],
    clock: Clock,
    timeout: Duration,
}

impl Machine<'_> {
    fn run(&self, command: &str, show: &mut dyn FnMut(&str)) -> Result<Outcome> {
        let kernel = self.version.fetch()?;
        let files = Files::new(self.version.name);
        guest::write(&files.initramfs, &kernel, self.own, command)?;
        let boot = Boot {
            kernel: &kernel.image,
            initramfs: &files.initramfs,
            log: &files.log,
            clock: self.clock,
            deadline: self.timeout,
        };
        let outcome = boot.run(show).with_context(|| format!("kernel {}", self.version.name))?;
        // The kernel's messages are of interest only when the boot went wrong.
        let _ = std::fs::remove_file(&files.log);
        Ok(outcome)
    }
}

/// The files of one boot; the large one goes when the boot ends.
struct Files {
    initramfs: PathBuf,
    log: PathBuf,
}

impl Files {
    /// Several guests may have the same kernel.
    fn new(kernel: &str) -> Self {
        static BOOTS: AtomicU32 = AtomicU32::new(0);
        let dir = sh::target().join("vm");
        let boot = BOOTS.fetch_add(1, Ordering::Relaxed);
        let name = format!("{kernel}-{}-{boot}", std::process::id());
        Self { initramfs: dir.join(format!("{name}.cpio")), log: dir.join(format!("{name}.log")) }
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.initramfs);
    }
}
