//! `cargo xtask vm`: the end-to-end tests, or any command, under Debian's kernels in an emulated machine.

mod guest;
mod image;
mod kernel;
mod qemu;

use std::{path::PathBuf, process::ExitCode, time::Duration};

use anyhow::{Context as _, Result};

use self::{
    guest::Own,
    kernel::{VERSIONS, Version},
    qemu::{Boot, Clock, Outcome},
};
use crate::{build, sh};

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The kernel: 5.10, 6.1 or 6.12; without it, each in turn
    #[arg(long)]
    kernel: Option<String>,
    /// Run this shell command instead of the tests; `wirespan` is on PATH
    #[arg(long)]
    shell_command: Option<String>,
    /// Seconds until the guest is given up
    #[arg(long, default_value_t = 600)]
    timeout: u64,
    /// Build the agent without optimisation (faster to build)
    #[arg(long)]
    dev: bool,
}

pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode> {
    let versions = match &arguments.kernel {
        Some(name) => vec![Version::named(name)?],
        None => VERSIONS.to_vec(),
    };
    let agent = build::agent(if arguments.dev { build::Profile::Dev } else { build::Profile::Release })?;
    let own = vec![(agent, "wirespan".to_owned())];
    let mut code = ExitCode::SUCCESS;
    for version in versions {
        let command = arguments.shell_command.clone().unwrap_or_default();
        let machine = Machine {
            version,
            own: &own,
            clock: Clock::Real,
            timeout: Duration::from_secs(arguments.timeout),
        };
        let outcome = machine.run(&command, &mut |line| println!("{line}"))?;
        eprintln!(
            "vm: kernel {}: up after {:.1} s, exit status {}",
            version.name,
            outcome.boot.as_secs_f64(),
            outcome.status
        );
        if outcome.status != 0 {
            code = ExitCode::from(outcome.status);
        }
    }
    Ok(code)
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
        boot.run(show).with_context(|| format!("kernel {}", self.version.name))
    }
}

/// The files of one boot; the large one goes when the boot ends.
struct Files {
    initramfs: PathBuf,
    log: PathBuf,
}

impl Files {
    fn new(kernel: &str) -> Self {
        let name = format!("{kernel}-{}", std::process::id());
        let dir = sh::target().join("vm");
        Self { initramfs: dir.join(format!("{name}.cpio")), log: dir.join(format!("{kernel}.log")) }
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.initramfs);
    }
}
