//! A process under a guard: it starts inside a cgroup and a network namespace, writes its output to
//! files, and ends when it is dropped.

use std::{
    ffi::{OsStr, OsString},
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::atomic::{AtomicU32, Ordering},
};

use anyhow::{Context as _, Result, bail};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::{cgroup::Cgroup, wait};

/// A command that will run under a guard.
#[derive(Debug)]
pub struct Launch<'a> {
    words: Vec<OsString>,
    environment: Vec<(OsString, OsString)>,
    cgroup: Option<&'a Cgroup>,
    namespace: Option<&'a str>,
    stdin: Option<String>,
}

impl<'a> Launch<'a> {
    #[must_use]
    pub fn new(program: impl AsRef<OsStr>) -> Self {
        let words = vec![program.as_ref().to_owned()];
        Self { words, environment: Vec::new(), cgroup: None, namespace: None, stdin: None }
    }

    #[must_use]
    pub fn arg(mut self, word: impl AsRef<OsStr>) -> Self {
        self.words.push(word.as_ref().to_owned());
        self
    }

    #[must_use]
    pub fn args<S: AsRef<OsStr>>(mut self, words: impl IntoIterator<Item = S>) -> Self {
        self.words.extend(words.into_iter().map(|word| word.as_ref().to_owned()));
        self
    }

    #[must_use]
    pub fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.environment.push((name.into(), value.as_ref().to_owned()));
        self
    }

    /// Start it in this cgroup: it is a member before it runs its first instruction.
    #[must_use]
    pub fn inside(mut self, cgroup: &'a Cgroup) -> Self {
        self.cgroup = Some(cgroup);
        self
    }

    /// Start it in this network namespace (a name of `ip netns`).
    #[must_use]
    pub fn namespace(mut self, name: Option<&'a str>) -> Self {
        self.namespace = name;
        self
    }

    /// What it reads on standard input; nothing without this.
    #[must_use]
    pub fn stdin(mut self, text: impl Into<String>) -> Self {
        self.stdin = Some(text.into());
        self
    }

    /// Starts it; its output goes to files in `dir`.
    ///
    /// # Errors
    /// When the program cannot be started.
    pub fn start(self, dir: &Path) -> Result<Process> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = Path::new(&self.words[0]).file_name().unwrap_or_default().to_string_lossy().into_owned();
        let file = |kind: &str| dir.join(format!("{number}-{name}.{kind}"));
        let (stdout, stderr) = (file("stdout"), file("stderr"));

        let mut words: Vec<OsString> = Vec::new();
        if let Some(cgroup) = self.cgroup {
            let join = r#"echo $$ >"$0" && exec "$@""#;
            words.extend(["sh".into(), "-c".into(), join.into(), cgroup.procs().into()]);
        }
        if let Some(namespace) = self.namespace {
            words.extend(["ip", "netns", "exec", namespace].map(OsString::from));
        }
        words.extend(self.words);
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).envs(self.environment);
        match self.stdin {
            None => command.stdin(Stdio::null()),
            Some(text) => {
                let path = file("stdin");
                fs::write(&path, text)?;
                command.stdin(File::open(path)?)
            }
        };
        command.stdout(File::create(&stdout)?).stderr(File::create(&stderr)?);
        let child = command.spawn().with_context(|| format!("cannot start {name}"))?;
        Ok(Process { child, name, stdout, stderr })
    }
}

/// A running process; dropping it kills it. What it started itself ends with its cgroup.
#[derive(Debug)]
pub struct Process {
    child: Child,
    name: String,
    stdout: PathBuf,
    stderr: PathBuf,
}

impl Process {
    /// The process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it has written to standard output so far.
    #[must_use]
    pub fn stdout(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.stdout).unwrap_or_default()).into_owned()
    }

    /// What it has written to standard error so far.
    #[must_use]
    pub fn stderr(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.stderr).unwrap_or_default()).into_owned()
    }

    /// Waits until its output has the text.
    ///
    /// # Errors
    /// When it ends before, or does not write it in time.
    pub fn says(&mut self, text: &str) -> Result<()> {
        let what = format!("{} to say {text:?}", self.name);
        let said = wait::until(&what, || {
            if self.stdout().contains(text) || self.stderr().contains(text) {
                return Some(Ok(()));
            }
            let ended = self.child.try_wait().ok().flatten()?;
            // It may have written the text just before it ended.
            let said = self.stdout().contains(text) || self.stderr().contains(text);
            Some(if said { Ok(()) } else { Err(ended) })
        });
        match said.with_context(|| format!("its standard error: {}", self.stderr()))? {
            Ok(()) => Ok(()),
            Err(status) => bail!("{} ended ({status}) before it said {text:?}: {}", self.name, self.stderr()),
        }
    }

    /// The file of its standard error.
    #[must_use]
    pub fn stderr_file(&self) -> &Path {
        &self.stderr
    }

    /// Whether it has not ended yet.
    #[must_use]
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Sends a signal.
    ///
    /// # Errors
    /// When the process is gone.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).context("a pid is an i32")?);
        kill(pid, signal).with_context(|| format!("cannot send {signal} to {}", self.name))
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// When it does not end in time.
    pub fn wait(&mut self) -> Result<ExitStatus> {
        let what = format!("{} to end", self.name);
        wait::until(&what, || self.child.try_wait().ok().flatten())
    }

    /// Waits for its end, which must be a success, and gives its standard output.
    ///
    /// # Errors
    /// When it fails or does not end in time.
    pub fn finish(mut self) -> Result<String> {
        let status = self.wait()?;
        if !status.success() {
            bail!("{} failed ({status}): {}{}", self.name, self.stdout(), self.stderr());
        }
        Ok(self.stdout())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
