//! The stage of one test: a directory, a cgroup, ports, and the right to run agents.

use std::{
    env, fs,
    net::TcpListener,
    path::{Path, PathBuf},
    process::Command,
    sync::{
        RwLock, RwLockReadGuard, RwLockWriteGuard,
        atomic::{AtomicU32, Ordering},
    },
};

use anyhow::{Context as _, Result, bail};

use crate::{cgroup::Cgroup, machine};

/// Tests that look at the whole machine (BPF programs left behind, full speed) run alone; in attach mode fexit all do.
static MACHINE: RwLock<()> = RwLock::new(());

#[derive(Debug)]
#[expect(dead_code, reason = "held for its drop")]
enum Share {
    Shared(RwLockReadGuard<'static, ()>),
    Alone(RwLockWriteGuard<'static, ()>),
}

/// Holds everything that a test starts, and ends or removes it when it is dropped.
#[derive(Debug)]
pub struct Stage {
    /// Selected by the agent that [`Stage::select`] configures.
    pub cgroup: Cgroup,
    dir: Directory,
    _share: Share,
}

impl Stage {
    /// A stage beside those of other tests, or `None` (and a `SKIPPED` line) when the machine lacks
    /// something.
    ///
    /// # Panics
    /// When the machine has all that is needed, but the stage cannot be made.
    #[must_use]
    pub fn shared(name: &str, programs: &[&str]) -> Option<Self> {
        Self::new(name, programs, false)
    }

    /// A stage with no other beside it.
    ///
    /// # Panics
    /// As [`Stage::shared`].
    #[must_use]
    pub fn alone(name: &str, programs: &[&str]) -> Option<Self> {
        Self::new(name, programs, true)
    }

    fn new(name: &str, programs: &[&str], alone: bool) -> Option<Self> {
        if let Some(reason) = machine::lacks(programs) {
            machine::skip(&reason);
            return None;
        }
        // A test that failed with the lock held has cleaned up like any other.
        let share = if alone || machine::agents_disturb_each_other() {
            Share::Alone(MACHINE.write().unwrap_or_else(std::sync::PoisonError::into_inner))
        } else {
            Share::Shared(MACHINE.read().unwrap_or_else(std::sync::PoisonError::into_inner))
        };
        let cgroup = Cgroup::create(name).expect("root may make a cgroup");
        let dir = Directory::create(name).expect("the temporary directory can be written");
        Some(Self { cgroup, dir, _share: share })
    }

    /// The stage's directory.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir.0
    }

    /// Writes a file of the test's into the stage's directory.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn file(&self, name: &str, content: &str) -> Result<PathBuf> {
        let path = self.dir().join(name);
        fs::write(&path, content).with_context(|| format!("cannot write {}", path.display()))?;
        Ok(path)
    }

    /// The rule of the agent's configuration that selects everything in the stage's cgroup.
    #[must_use]
    pub fn select(&self) -> String {
        format!("select: [ {{ cgroup: \"{}\" }} ]\n", self.cgroup.path())
    }
}

/// A port that nothing listens on, below those that the kernel gives to clients; each is given
/// once.
///
/// # Panics
/// When thousands of ports in a row are taken.
#[must_use]
pub fn port() -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let offset = std::process::id() * 97;
    for _ in 0..10_000 {
        let step = NEXT.fetch_add(1, Ordering::Relaxed);
        let port = 12_000 + u16::try_from((offset + step) % 18_000).expect("below 18,000");
        if TcpListener::bind(("0.0.0.0", port)).is_ok() && TcpListener::bind(("::1", port)).is_ok() {
            return port;
        }
    }
    panic!("no port is free");
}

/// A directory that goes when it is dropped.
#[derive(Debug)]
struct Directory(PathBuf);

impl Directory {
    fn create(name: &str) -> Result<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = env::temp_dir().join(format!("wirespan-test-{}-{number}-{name}", std::process::id()));
        fs::create_dir(&path).with_context(|| format!("cannot create {}", path.display()))?;
        Ok(Self(path))
    }

    /// Prints the end of each process's standard error, because the files of a guest are gone with
    /// the guest.
    fn tell(&self) {
        let files = fs::read_dir(&self.0).into_iter().flatten().flatten().map(|entry| entry.path());
        for path in files.filter(|path| path.extension().is_some_and(|kind| kind == "stderr")) {
            let bytes = fs::read(&path).unwrap_or_default();
            let text = String::from_utf8_lossy(&bytes);
            let lines: Vec<_> = text.lines().collect();
            for line in lines.iter().skip(lines.len().saturating_sub(15)) {
                eprintln!("{}: {line}", path.file_name().unwrap_or_default().to_string_lossy());
            }
        }
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.tell();
        }
        // A failing test's files help to find out why.
        if !std::thread::panicking() || env::var_os("CI").is_some() {
            let _ = fs::remove_dir_all(&self.0);
        } else {
            eprintln!("the test's files are in {}", self.0.display());
        }
    }
}

/// A network namespace with its loopback up; it goes when it is dropped.
#[derive(Debug)]
pub struct Namespace(String);

impl Namespace {
    /// Makes a namespace of its own.
    ///
    /// # Errors
    /// When `ip netns` fails.
    pub fn create() -> Result<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let namespace = Self(format!("wirespan-{}-{number}", std::process::id()));
        ip(&["netns", "add", &namespace.0])?;
        ip(&["-n", &namespace.0, "link", "set", "lo", "up"])?;
        Ok(namespace)
    }

    /// The name that `ip netns` knows.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.0
    }

    /// Gives its end of the wire to its only neighbour another address.
    ///
    /// # Errors
    /// When it is not connected.
    pub fn add_address(&self, address: &str) -> Result<()> {
        ip(&["-n", &self.0, "addr", "add", &format!("{address}/24"), "dev", &self.wire()?])
    }

    /// Connects two namespaces: `10.77.N.1` here, `10.77.N.2` there. Gives the two addresses.
    ///
    /// # Errors
    /// When the kernel has no veth.
    pub fn connect(&self, other: &Self) -> Result<(String, String)> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed) % 250;
        let (here, there) = (format!("10.77.{number}.1"), format!("10.77.{number}.2"));
        // A namespace in the middle has several.
        let wire = format!("wire{number}");
        let peer = ["type", "veth", "peer", "name", &wire, "netns", &other.0];
        ip(&[&["-n", &self.0, "link", "add", &wire], &peer[..]].concat())?;
        for (namespace, address) in [(self, &here), (other, &there)] {
            ip(&["-n", &namespace.0, "addr", "add", &format!("{address}/24"), "dev", &wire])?;
            ip(&["-n", &namespace.0, "link", "set", &wire, "up"])?;
        }
        Ok((here, there))
    }
}

impl Namespace {
    /// Cuts the wire to its only neighbour: packets on their way are lost, and neither end is
    /// notified.
    ///
    /// # Errors
    /// When it is not connected.
    pub fn cut(&self) -> Result<()> {
        ip(&["-n", &self.0, "link", "set", &self.wire()?, "down"])
    }

    /// The name of its end of the wire.
    fn wire(&self) -> Result<String> {
        let shown =
            Command::new("ip").args(["-n", &self.0, "-o", "link", "show", "type", "veth"]).output()?;
        let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
        Ok(shown.split([':', '@']).nth(1).context("no wire")?.trim().to_owned())
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        if let Err(err) = ip(&["netns", "delete", &self.0]) {
            eprintln!("{err}");
        }
    }
}

fn ip(arguments: &[&str]) -> Result<()> {
    let output = Command::new("ip").args(arguments).output().context("cannot run ip")?;
    if !output.status.success() {
        bail!("ip {}: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}
