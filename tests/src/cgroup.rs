//! A cgroup for one test. The agent selects the test's processes by it, and they end with it.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU32, Ordering},
};

use anyhow::{Context as _, Result};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::wait;

/// Where the cgroup2 hierarchy is mounted, if it is.
#[must_use]
pub fn mount() -> Option<PathBuf> {
    let mounts = fs::read_to_string("/proc/mounts").ok()?;
    mounts.lines().find_map(|line| {
        let mut fields = line.split(' ');
        let (point, kind) = (fields.nth(1)?, fields.next()?);
        (kind == "cgroup2").then(|| PathBuf::from(point))
    })
}

/// A cgroup that is removed, with the processes in it, when it is dropped.
#[derive(Debug)]
pub struct Cgroup {
    dir: PathBuf,
    path: String,
}

impl Cgroup {
    /// Makes a new cgroup below the hierarchy's root.
    ///
    /// # Errors
    /// When no cgroup2 hierarchy is mounted or it may not be written.
    pub fn create(name: &str) -> Result<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = format!("/wirespan-test-{}-{number}-{name}", std::process::id());
        let dir = mount().context("no cgroup2 hierarchy is mounted")?.join(path.trim_start_matches('/'));
        fs::create_dir(&dir).with_context(|| format!("cannot create {}", dir.display()))?;
        Ok(Self { dir, path })
    }

    /// The path below the hierarchy's root, as `/proc/PID/cgroup` and the agent's configuration
    /// have it.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The file to which a process writes its id to move in.
    #[must_use]
    pub fn procs(&self) -> PathBuf {
        self.dir.join("cgroup.procs")
    }

    fn members(&self) -> Vec<Pid> {
        let text = fs::read_to_string(self.procs()).unwrap_or_default();
        // 0 stands for a process of another PID namespace.
        text.lines().filter_map(|line| line.parse().ok()).filter(|&pid| pid > 0).map(Pid::from_raw).collect()
    }

    /// Ends every process in the cgroup.
    pub fn clear(&self) {
        let gone = wait::until("the processes of a cgroup to end", || {
            let members = self.members();
            for &pid in &members {
                let _ = kill(pid, Signal::SIGKILL);
            }
            members.is_empty().then_some(())
        });
        if let Err(err) = gone {
            eprintln!("{}: {err}", self.path);
        }
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        self.clear();
        // A process that has just ended may keep the directory busy for a moment.
        let removed = wait::until("a cgroup to be empty", || remove(&self.dir).then_some(()));
        if let Err(err) = removed {
            eprintln!("{}: {err}", self.path);
        }
    }
}

fn remove(dir: &Path) -> bool {
    fs::remove_dir(dir).is_ok() || !dir.exists()
}
