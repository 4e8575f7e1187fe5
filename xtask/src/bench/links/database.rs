//! Databases that an application uses: real servers, new for each run, on a port of loopback. They
//! are not traced. To the agent a connection to them is opaque.

use std::{
    fs,
    net::TcpStream,
    os::unix::fs::chown,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, ensure};
use nix::sys::signal::Signal;
use wirespan_tests::{
    process::{Launch, Process},
    stage, wait,
};

use crate::{setup, sh};

/// PostgreSQL refuses to run as root: both run as Debian's user without rights, 65534 on every
/// Debian.
const NOBODY: u32 = 65_534;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Database {
    Redis,
    Postgres,
}

/// A database that listens until it is dropped.
#[derive(Debug)]
pub(super) struct Server {
    pub(super) port: u16,
    process: Process,
    dir: PathBuf,
}

impl Database {
    /// Makes sure that it is installed.
    pub(super) fn prepare(self) -> Result<()> {
        if self.program().is_none() {
            setup::install(&[match self {
                Self::Redis => "redis-server",
                Self::Postgres => "postgresql",
            }])?;
        }
        self.program().map(drop).context("its package has no such program")
    }

    /// The server's program.
    fn program(self) -> Option<PathBuf> {
        match self {
            Self::Redis => sh::which("redis-server"),
            // Debian keeps each version in its own directory, and none of them on PATH.
            Self::Postgres => {
                let versions = fs::read_dir("/usr/lib/postgresql").ok()?.flatten();
                let programs = versions.map(|version| version.path().join("bin/postgres"));
                programs.filter(|program| program.is_file()).max()
            }
        }
    }

    /// Starts it; what it writes goes to `output`.
    pub(super) fn start(self, output: &Path) -> Result<Server> {
        let program = self.program().context("the database is not installed")?;
        // The target directory may be closed to others, and the user `nobody` needs a directory.
        let dir = std::env::temp_dir().join(format!("wirespan-links-{}", std::process::id()));
        let _ = fs::remove_dir_all(&dir);
        fs::create_dir(&dir).with_context(|| format!("cannot create {}", dir.display()))?;
        chown(&dir, Some(NOBODY), Some(NOBODY))?;
        let port = stage::port();
        let launch = match self {
            Self::Redis => as_nobody(&program)
                .args(["--bind", "127.0.0.1", "--port", &port.to_string(), "--save", "", "--dir"])
                .arg(&dir),
            Self::Postgres => postgres(&program, &dir, port, output)?,
        };
        let mut server = Server { port, process: launch.start(output)?, dir };
        let listens = || TcpStream::connect(("127.0.0.1", port)).is_ok();
        let process = &mut server.process;
        wait::until("the database to listen", || (listens() || !process.is_running()).then_some(()))?;
        ensure!(process.is_running(), "the database ended: {}{}", process.stdout(), process.stderr());
        Ok(server)
    }
}

fn as_nobody(program: &Path) -> Launch<'static> {
    let (user, group) = (format!("--reuid={NOBODY}"), format!("--regid={NOBODY}"));
    Launch::new("setpriv").args([&user, &group, "--clear-groups"]).arg(program)
}

/// A server of a new cluster. Nothing of it outlives the run, so nothing is synced to the disk.
fn postgres(program: &Path, dir: &Path, port: u16, output: &Path) -> Result<Launch<'static>> {
    let data = dir.join("data");
    as_nobody(&program.with_file_name("initdb"))
        .args(["--username=links", "--auth=trust", "--no-sync", "--no-locale", "--encoding=UTF8"])
        .arg("--pgdata")
        .arg(&data)
        .start(output)?
        .finish()?;
    Ok(as_nobody(program)
        .args(["-F", "-h", "127.0.0.1", "-p", &port.to_string()])
        .args(["-c", "unix_socket_directories=", "-c", "max_connections=100", "-D"])
        .arg(data))
}

impl Drop for Server {
    fn drop(&mut self) {
        // Both end without waiting for clients. After SIGKILL PostgreSQL's shared memory would
        // stay.
        let _ = self.process.signal(Signal::SIGINT);
        if self.process.wait().is_ok() {
            let _ = fs::remove_dir_all(&self.dir);
        }
    }
}
