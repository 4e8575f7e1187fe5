//! What a program sees around it: its working directory, files there, its environment. Read only
//! where a name needs it.

use std::{
    fs::{self, File},
    io::Read as _,
    os::unix::fs::OpenOptionsExt as _,
};

use crate::process::ProcRoot;

/// Most bytes of a file (package.json, a Java argument file) in which a name is looked for.
const MAX_FILE: u64 = 64 * 1024;

/// The surroundings of a program.
pub(crate) trait Place {
    /// The working directory.
    fn directory(&self) -> Option<String>;
    /// A file by absolute path or by one relative to the working directory.
    fn file(&self, path: &str) -> Option<String>;
    /// A variable of the environment that the program was started with.
    fn variable(&self, name: &str) -> Option<String>;
}

/// Nothing can be seen of a process that is gone.
pub(crate) struct Nowhere;

impl Place for Nowhere {
    fn directory(&self) -> Option<String> {
        None
    }

    fn file(&self, _path: &str) -> Option<String> {
        None
    }

    fn variable(&self, _name: &str) -> Option<String> {
        None
    }
}

/// Where a living process is.
pub(crate) struct Around<'a> {
    pub(crate) proc: &'a ProcRoot,
    pub(crate) pid: u32,
}

impl Place for Around<'_> {
    fn directory(&self) -> Option<String> {
        fs::read_link(self.proc.file(self.pid, "cwd")).ok()?.into_os_string().into_string().ok()
    }

    fn file(&self, path: &str) -> Option<String> {
        let base = self.proc.file(self.pid, if path.starts_with('/') { "root" } else { "cwd" });
        // A pipe in its place must not make the agent wait.
        let flags = libc::O_NONBLOCK | libc::O_NOFOLLOW;
        let file: File = fs::OpenOptions::new()
            .read(true)
            .custom_flags(flags)
            .open(base.join(path.trim_start_matches('/')))
            .ok()?;
        if !file.metadata().ok()?.is_file() {
            return None;
        }
        let mut text = String::new();
        file.take(MAX_FILE).read_to_string(&mut text).ok()?;
        Some(text)
    }

    fn variable(&self, name: &str) -> Option<String> {
        let [value] = self.proc.environment(self.pid, [name]);
        value.filter(|value| !value.is_empty())
    }
}
