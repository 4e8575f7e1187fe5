//! Signals. Only SIGKILL ends the agent before it has drained.
//!
//! | signal | `run` | `trace`, `record`, `replay` |
//! |---|---|---|
//! | SIGTERM, SIGINT, SIGQUIT, SIGALRM, SIGPWR, SIGXCPU | drains and ends | the same; with `-- CMD` it is passed on first |
//! | SIGHUP | opens its files anew | the terminal is gone: as SIGTERM, unless it was ignored at the start (`nohup`) |
//! | SIGUSR1 | opens its files anew | says what was seen and missed so far (`replay`: nothing) |
//! | SIGUSR2 | says what was seen and missed so far | the same |
//! | SIGXFSZ, SIGPIPE | no effect: the write fails and is counted | the same |

use std::{future::poll_fn, task::Poll};

use anyhow::{Context as _, Result};
use tokio::{
    runtime::Runtime,
    signal::unix::{Signal, SignalKind, signal},
};

/// What is caught. The Rust runtime ignores SIGPIPE.
const CAUGHT: [i32; 10] = [
    libc::SIGTERM,
    libc::SIGINT,
    libc::SIGQUIT,
    libc::SIGHUP,
    libc::SIGALRM,
    libc::SIGPWR,
    libc::SIGXCPU,
    libc::SIGXFSZ,
    libc::SIGUSR1,
    libc::SIGUSR2,
];

/// The signals of the module's table.
pub(super) struct Signals {
    streams: Vec<(i32, Signal)>,
    /// The agent was started to survive its terminal (`nohup`).
    hang_up_ignored: bool,
}

impl Signals {
    /// From now on these signals do not end the process by themselves. Needs the runtime's context.
    pub(super) fn catch(runtime: &Runtime) -> Result<Self> {
        // Read before a handler is installed, which would change it.
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let hang_up_ignored = is_ignored(&status, libc::SIGHUP);
        let _context = runtime.enter();
        let stream =
            |number| Ok((number, signal(SignalKind::from_raw(number)).context("cannot catch signals")?));
        Ok(Self { streams: CAUGHT.into_iter().map(stream).collect::<Result<_>>()?, hang_up_ignored })
    }

    /// The number of the next signal that has a meaning.
    pub(super) async fn any(&mut self) -> i32 {
        loop {
            let number = self.received().await;
            if number != libc::SIGXFSZ {
                return number;
            }
        }
    }

    /// The next signal that ends a command at a terminal. Calls `asked` for each that asks for a
    /// summary.
    pub(super) async fn next_end(&mut self, asked: impl Fn()) -> i32 {
        loop {
            match self.any().await {
                libc::SIGUSR1 | libc::SIGUSR2 => asked(),
                libc::SIGHUP if self.hang_up_ignored => {}
                number => return number,
            }
        }
    }

    /// The same, ignoring those that ask for a summary.
    pub(super) async fn next(&mut self) -> i32 {
        self.next_end(|| {}).await
    }

    async fn received(&mut self) -> i32 {
        poll_fn(|context| {
            for (number, stream) in &mut self.streams {
                if stream.poll_recv(context).is_ready() {
                    return Poll::Ready(*number);
                }
            }
            Poll::Pending
        })
        .await
    }
}

/// Whether /proc/PID/status says that the process ignores the signal.
fn is_ignored(status: &str, signal: i32) -> bool {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0);
    mask & 1 << (signal - 1) != 0
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use nix::sys::signal::{Signal as Number, raise};
    use tokio::time::timeout;

    use super::*;

    #[test]
    fn ignored_signals_are_read_from_the_status() {
        let status = "SigBlk:\t0000000000000000\nSigIgn:\t0000000000001001\nSigCgt:\t0000000000000000\n";
        assert!(is_ignored(status, libc::SIGHUP) && is_ignored(status, libc::SIGPIPE));
        assert!(!is_ignored(status, libc::SIGINT) && !is_ignored("", libc::SIGHUP));
    }

    /// One test, since signals concern the whole process.
    #[test]
    fn every_signal_has_its_meaning() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let mut signals = Signals::catch(&runtime).unwrap();
        signals.hang_up_ignored = false;
        let asked = std::cell::Cell::new(0);
        for number in [Number::SIGXFSZ, Number::SIGUSR1, Number::SIGUSR2] {
            raise(number).unwrap();
        }
        for number in [
            Number::SIGHUP,
            Number::SIGINT,
            Number::SIGQUIT,
            Number::SIGALRM,
            Number::SIGTERM,
            Number::SIGPWR,
        ] {
            raise(number).unwrap();
            let end = runtime.block_on(signals.next_end(|| asked.set(asked.get() + 1)));
            assert_eq!(end, number as i32);
        }
        assert_eq!(asked.get(), 2);
        signals.hang_up_ignored = true;
        raise(Number::SIGHUP).unwrap();
        let waited = runtime.block_on(async { timeout(Duration::from_millis(50), signals.next()).await });
        assert!(waited.is_err(), "nohup");
        raise(Number::SIGHUP).unwrap();
        assert_eq!(runtime.block_on(signals.any()), libc::SIGHUP);
    }
}
