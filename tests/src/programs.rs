//! The services and clients in `tests/programs`: where they are written, compiled and started.

use std::{
    collections::hash_map::DefaultHasher,
    env, fs,
    hash::{Hash as _, Hasher as _},
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};

use crate::{
    cgroup::Cgroup,
    machine,
    process::{Launch, Process},
    stage::{self, Stage},
};

/// A service: `start` gives its port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Service {
    Python,
    Wsgi,
    /// On asyncio.
    Tasks,
    Node,
    Java,
    Go,
}

impl Service {
    /// The programs without which it cannot run.
    #[must_use]
    pub const fn needs(self) -> &'static [&'static str] {
        match self {
            Self::Python | Self::Wsgi | Self::Tasks => &["/usr/bin/python3"],
            Self::Node => &["node"],
            Self::Java => &["java", "javac"],
            Self::Go => &["go"],
        }
    }

    /// Starts it in the stage's cgroup and waits until it listens on `127.0.0.1`.
    ///
    /// # Errors
    /// When it cannot be compiled or started.
    pub fn start(self, stage: &Stage) -> Result<Running> {
        self.start_as(stage, &stage.cgroup, None)
    }

    /// Starts it in this cgroup, with `OTEL_SERVICE_NAME` in its environment if a name is given.
    ///
    /// # Errors
    /// When it cannot be compiled or started.
    pub fn start_as(self, stage: &Stage, cgroup: &Cgroup, name: Option<&str>) -> Result<Running> {
        let port = stage::port();
        let launch = match self {
            Self::Python => script(stage, "server.py", include_str!("../programs/server.py"))?,
            Self::Wsgi => script(stage, "wsgi.py", include_str!("../programs/wsgi.py"))?,
            Self::Tasks => script(stage, "tasks.py", include_str!("../programs/tasks.py"))?,
            Self::Node => script(stage, "server.js", include_str!("../programs/server.js"))?,
            Self::Java => java("Server", include_str!("../programs/Server.java"))?,
            Self::Go => Launch::new(go_server()?),
        };
        let launch = name.into_iter().fold(launch, |launch, name| launch.env("OTEL_SERVICE_NAME", name));
        let mut process = launch.arg(port.to_string()).inside(cgroup).start(stage.dir())?;
        process.says("listening")?;
        Ok(Running { port, process })
    }
}

/// A service that listens.
#[derive(Debug)]
pub struct Running {
    pub port: u16,
    pub process: Process,
}

/// A Python or Node program that the tests carry, in the stage's directory.
pub(crate) fn script(stage: &Stage, name: &str, text: &str) -> Result<Launch<'static>> {
    let path = stage.file(name, text)?;
    // A script's language is its extension.
    let interpreter = if name.ends_with(".js") { "node" } else { machine::python() };
    Ok(Launch::new(interpreter).arg(path))
}

/// The Go service, compiled.
///
/// # Errors
/// When Go cannot compile it.
pub fn go_server() -> Result<PathBuf> {
    go("go-server", include_str!("../programs/go-server/main.go"))
}

/// A Go service that calls another, compiled; `stripped`: without symbols.
///
/// # Errors
/// When Go cannot compile it.
pub fn go_relay(stripped: bool) -> Result<PathBuf> {
    let text = include_str!("../programs/go-relay/main.go");
    if stripped { go_with("go-relay-stripped", text, "-s -w") } else { go("go-relay", text) }
}

/// What a Go program needs: Go itself, or a program that was compiled elsewhere.
#[must_use]
pub fn go_needs() -> &'static [&'static str] {
    if env::var_os("WIRESPAN_PROGRAMS").is_some() { &["go-relay", "go-relay-stripped"] } else { &["go"] }
}

/// A compiled Java class.
pub(crate) fn java(class: &str, text: &str) -> Result<Launch<'static>> {
    let dir = compiled(class, text, &|source, to| {
        let file = source.join(format!("{class}.java"));
        fs::write(&file, text)?;
        run(Command::new("javac").arg("-d").arg(to).arg(file))
    })?;
    Ok(Launch::new("java").args(["-XX:+UseSerialGC", "-Xshare:auto", "-cp"]).arg(dir).arg(class))
}

/// A compiled Go program; `WIRESPAN_PROGRAMS` names a directory that holds it where there is no Go.
pub(crate) fn go(name: &str, text: &str) -> Result<PathBuf> {
    go_with(name, text, "")
}

/// The same with flags for the linker.
fn go_with(name: &str, text: &str, link: &str) -> Result<PathBuf> {
    if let Some(dir) = env::var_os("WIRESPAN_PROGRAMS") {
        return Ok(Path::new(&dir).join(name));
    }
    let dir = compiled(name, text, &|source, to| {
        fs::write(source.join("main.go"), text)?;
        fs::write(source.join("go.mod"), format!("module {name}\n\ngo 1.19\n"))?;
        let mut build = Command::new("go");
        // Nothing is fetched: the programs use the standard library alone.
        build.env("GOFLAGS", "-mod=mod").env("GOTOOLCHAIN", "local").env("GOPROXY", "off");
        run(build.args(["build", "-ldflags", link, "-o"]).arg(to.join(name)).arg(".").current_dir(source))
    })?;
    Ok(dir.join(name))
}

/// The directory with what `build` makes from `text`, kept under the target directory until the
/// text changes.
fn compiled(name: &str, text: &str, build: &dyn Fn(&Path, &Path) -> Result<()>) -> Result<PathBuf> {
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    let cache = env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../target"), PathBuf::from)
        .join("test-programs");
    let done = cache.join(format!("{name}-{:016x}", hasher.finish()));
    if done.exists() {
        return Ok(done);
    }
    // Each builder works in a directory of its own; the first to finish gives its result the name.
    let own = format!("{:?}-{}", std::thread::current().id(), std::process::id());
    let work = cache.join(format!("{name}-{own}"));
    let (source, result) = (work.join("source"), work.join("result"));
    fs::create_dir_all(&source).with_context(|| format!("cannot create {}", source.display()))?;
    fs::create_dir_all(&result)?;
    build(&source, &result)?;
    let renamed = fs::rename(&result, &done);
    fs::remove_dir_all(&work)?;
    if !done.exists() {
        renamed.with_context(|| format!("cannot keep {}", done.display()))?;
    }
    Ok(done)
}

fn run(command: &mut Command) -> Result<()> {
    let output = command.output().with_context(|| format!("cannot run {command:?}"))?;
    if !output.status.success() {
        bail!("{command:?} failed: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}
