//! A /proc of the tests' own: real files and links in a directory of its own, removed at the end.

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU32, Ordering},
};

use super::ProcRoot;

pub(super) struct FakeProc(ProcRoot);

pub(super) struct FakeProcess<'a> {
    pub(super) pid: u32,
    pub(super) parent: u32,
    pub(super) state: char,
    pub(super) start_time: u64,
    /// Changes with each exec.
    pub(super) image: u64,
    /// Empty: no link, as for a kernel thread.
    pub(super) exe: &'a str,
    pub(super) cmdline: &'a [&'a str],
    pub(super) environment: &'a str,
    pub(super) cgroup: &'a str,
    pub(super) user: u32,
    /// Inodes of open sockets.
    pub(super) sockets: &'a [u64],
}

impl Default for FakeProcess<'_> {
    fn default() -> Self {
        Self {
            pid: 0,
            parent: 1,
            state: 'S',
            start_time: 10,
            image: 1,
            exe: "/usr/bin/app",
            cmdline: &["app"],
            environment: "",
            cgroup: "0::/\n",
            user: 0,
            sockets: &[],
        }
    }
}

impl FakeProc {
    pub(super) fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("wirespan-proc-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(path.join("self")).unwrap();
        Self(ProcRoot::new(path))
    }

    pub(super) fn root(&self) -> &ProcRoot {
        &self.0
    }

    /// Adds a process or puts another in its place.
    pub(super) fn add(&self, process: &FakeProcess<'_>) {
        let FakeProcess { pid, parent, state, start_time, image, .. } = process;
        self.remove(*pid);
        let directory = self.directory(*pid);
        fs::create_dir_all(directory.join("fd")).unwrap();
        fs::create_dir_all(directory.join("net")).unwrap();
        fs::create_dir_all(directory.join("ns")).unwrap();
        let zeros = "0 ".repeat(40);
        // Fields 5 to 21 stand between the parent and the start time (proc_pid_stat(5)).
        let before_start = "0 ".repeat(17);
        let stat = format!(
            "{pid} (a (b) c) {state} {parent} {before_start}{start_time} 0 0 0 {image} 0 {image} {zeros}\n"
        );
        write(&directory, "stat", &stat);
        write(&directory, "status", &format!("Name:\tx\nUid:\t0\t{}\t0\t0\n", process.user));
        let cmdline: String = process.cmdline.iter().map(|argument| format!("{argument}\0")).collect();
        write(&directory, "cmdline", &cmdline);
        write(&directory, "environ", process.environment);
        write(&directory, "cgroup", process.cgroup);
        if !process.exe.is_empty() {
            symlink(process.exe, directory.join("exe")).unwrap();
        }
        symlink("net:[4026531840]", directory.join("ns/net")).unwrap();
        for (number, inode) in process.sockets.iter().enumerate() {
            symlink(format!("socket:[{inode}]"), directory.join("fd").join(number.to_string())).unwrap();
        }
    }

    /// Makes `inode` a socket that listens on 127.0.0.1:`port`, as seen by `pid`.
    pub(super) fn listen(&self, pid: u32, port: u16, inode: u64) {
        let row = format!(
            "   0: 0100007F:{port:04X} 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 {inode} 1 0 0\n"
        );
        let path = self.directory(pid).join("net/tcp");
        let header = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n";
        let table = fs::read_to_string(&path).unwrap_or_else(|_| header.to_owned());
        fs::write(&path, table + &row).unwrap();
    }

    pub(super) fn remove(&self, pid: u32) {
        let _ = fs::remove_dir_all(self.directory(pid));
    }

    fn directory(&self, pid: u32) -> PathBuf {
        self.0.path().join(pid.to_string())
    }
}

impl Drop for FakeProc {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(self.0.path());
    }
}

fn write(directory: &Path, name: &str, text: &str) {
    fs::write(directory.join(name), text).unwrap();
}
