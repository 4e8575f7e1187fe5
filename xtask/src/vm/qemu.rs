//! Boots a guest once: qemu without hardware acceleration, with a deadline. One serial line has the
//! kernel's log, which goes to a file; the other has the guest's output.

use std::{
    fs,
    io::{BufRead as _, BufReader, Write as _},
    path::Path,
    process::{Child, ChildStdout, Command, Stdio},
    sync::mpsc::{self, RecvTimeoutError},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};

/// The line that the guest's init writes last, with the exit status of what it ran.
pub(super) const EXIT_MARKER: &str = "wirespan-vm-exit-status:";

/// Warnings are logged with their stacks; a processor that hangs for a minute ends the boot instead
/// of waiting for the deadline.
const KERNEL_ARGUMENTS: &str = "console=ttyS0 panic=-1 loglevel=5 watchdog_thresh=20 softlockup_panic=1 softlockup_all_cpu_backtrace=1 mitigations=off";

/// How time passes in the guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Clock {
    /// As on the host.
    Real,
    /// One instruction takes 4 ns, on one processor: so a busy host measures the same.
    Instructions,
}

/// What one boot is made of.
#[derive(Debug)]
pub(super) struct Boot<'a> {
    pub(super) kernel: &'a Path,
    pub(super) initramfs: &'a Path,
    /// Where the kernel's messages go.
    pub(super) log: &'a Path,
    pub(super) clock: Clock,
    pub(super) deadline: Duration,
}

/// How the guest's command ended.
#[derive(Debug)]
pub(super) struct Outcome {
    pub(super) status: u8,
    /// From the start of qemu to the first line of the guest's output.
    pub(super) boot: Duration,
}

impl Boot<'_> {
    /// Boots, hands each line of output to `show` as it comes, and waits for the power-off.
    pub(super) fn run(&self, show: &mut dyn FnMut(&str)) -> Result<Outcome> {
        let started = Instant::now();
        let guest = Guest::start(self)?;
        let mut boot = None;
        let lost = loop {
            let left = self.deadline.saturating_sub(started.elapsed());
            match guest.lines.recv_timeout(left) {
                Ok(line) => {
                    boot.get_or_insert_with(|| started.elapsed());
                    if let Some(status) = line.strip_prefix(EXIT_MARKER) {
                        let status =
                            status.trim().parse().context("the guest's exit status is not a number")?;
                        return Ok(Outcome { status, boot: boot.unwrap_or_default() });
                    }
                    show(&line);
                }
                Err(RecvTimeoutError::Timeout) => {
                    break format!("nothing more came within {} s", self.deadline.as_secs());
                }
                Err(RecvTimeoutError::Disconnected) => {
                    break "the guest stopped before its command ended".to_owned();
                }
            }
        };
        drop(guest);
        let log = fs::read(self.log).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        let tail: Vec<_> = log.lines().rev().take(40).collect();
        for line in tail.iter().rev() {
            let _ = writeln!(std::io::stderr(), "[kernel] {line}");
        }
        bail!("{lost}; the kernel's messages are in {}", self.log.display())
    }
}

/// A running qemu; dropping it ends it.
struct Guest {
    qemu: Child,
    lines: mpsc::Receiver<String>,
}

impl Guest {
    fn start(boot: &Boot<'_>) -> Result<Self> {
        // The guest goes with this process, however that ends.
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "qemu-system-x86_64"]);
        command.args(["-machine", "q35", "-cpu", "max", "-m", "2048", "-no-reboot", "-nodefaults"]);
        command.args(["-display", "none", "-monitor", "none"]);
        match boot.clock {
            // With a thread for each processor, qemu 7.2 may keep a breakpoint in its translation
            // that the kernel has removed after attaching a program. Code that runs into it hangs,
            // and programs with uprobes crash.
            Clock::Real => command.args(["-smp", "2", "-accel", "tcg,thread=single"]),
            Clock::Instructions => command
                .args(["-smp", "1", "-accel", "tcg,thread=single"])
                .args(["-icount", "shift=2,sleep=off"]),
        };
        command.arg("-kernel").arg(boot.kernel).arg("-initrd").arg(boot.initramfs);
        command.args(["-append", KERNEL_ARGUMENTS]);
        command.arg("-serial").arg(format!("file:{}", boot.log.display()));
        command.args(["-chardev", "stdio,id=out,signal=off", "-serial", "chardev:out"]);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::inherit());
        let mut qemu = command.spawn().context("cannot start qemu-system-x86_64: run `cargo xtask setup`")?;
        let stdout = qemu.stdout.take().expect("standard output is a pipe");
        let (sender, lines) = mpsc::channel();
        thread::spawn(move || read_lines(stdout, &sender));
        Ok(Self { qemu, lines })
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        let _ = self.qemu.kill();
        let _ = self.qemu.wait();
    }
}

fn read_lines(stdout: ChildStdout, sender: &mpsc::Sender<String>) {
    let mut reader = BufReader::new(stdout);
    let mut line = Vec::new();
    while reader.read_until(b'\n', &mut line).is_ok_and(|read| read > 0) {
        let text = String::from_utf8_lossy(&line);
        if sender.send(text.trim_end_matches(['\r', '\n']).to_owned()).is_err() {
            return;
        }
        line.clear();
    }
}
