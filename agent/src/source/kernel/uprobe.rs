//! Probes in programs, for Go's handoff of a request from one goroutine to another. A file gets its
//! probes once, they serve every process that runs it, and they go with the last traced one.

use std::{
    path::Path,
    thread::{self, JoinHandle},
};

use aya::{
    Ebpf,
    programs::{
        UProbe,
        uprobe::{UProbeLink, UProbeScope},
    },
};
use rustc_hash::{FxHashMap, FxHashSet};

use super::{
    AttachError, KernelSource,
    attach::program,
    attach_mode::{HookReport, HookState},
};
use crate::elf::Image;

/// Most files that carry probes at a time.
const FILES: usize = 512;

const PROGRAMS: [&str; 2] = ["go_round_trip", "go_request_write"];
const WITHOUT: &str =
    "Go programs are followed by their threads, and only calls whose two sides agree are linked";

/// Names an executable file: device, inode, and whatever changes with its content.
pub type FileKey = [u64; 4];

/// Where the probes of a file belong, as offsets in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GoProbes {
    /// `net/http.(*persistConn).roundTrip`
    pub round_trip: u64,
    /// `net/http.(*Request).write`
    pub request_write: u64,
}

/// The files that carry probes.
#[derive(Default)]
pub(super) struct Probes {
    files: FxHashMap<FileKey, Probed>,
    by_pid: FxHashMap<u32, FileKey>,
    /// Probes that are being detached.
    leaving: Vec<JoinHandle<()>>,
}

struct Probed {
    links: Vec<UProbeLink>,
    pids: FxHashSet<u32>,
}

impl Probes {
    /// Detaches in a thread: the kernel waits until nothing runs in a probe any more, and the agent
    /// reads events meanwhile.
    fn detach(&mut self, links: Vec<UProbeLink>) {
        self.leaving.retain(|thread| !thread.is_finished());
        // Without a thread they are dropped here.
        self.leaving.extend(thread::Builder::new().name("detach".to_owned()).spawn(move || drop(links)));
    }
}

/// A process that ends while the kernel takes a breakpoint out (it is killed, or its main thread
/// returns) makes that fail: the breakpoint stays in the program for as long as the program runs
/// (uprobe_unregister_nosync: "failed to unregister, leaking uprobe",
/// <https://github.com/torvalds/linux/blob/v6.18/kernel/events/uprobes.c>). So all threads are
/// waited for, side by side.
impl Drop for Probes {
    fn drop(&mut self) {
        for (_, probed) in std::mem::take(&mut self.files) {
            self.detach(probed.links);
        }
        for thread in self.leaving.drain(..) {
            drop(thread.join());
        }
    }
}

impl KernelSource {
    /// Loads the programs, and tries whether they may be attached: at the agent's own entry, which
    /// it does not execute again.
    pub(super) fn prepare_probes(&mut self) {
        let outcome = PROGRAMS.iter().try_for_each(|name| load(&mut self.ebpf, name)).and_then(|()| {
            let entry = own_entry().ok_or(AttachError::OwnFile)?;
            let link = attach(&mut self.ebpf, PROGRAMS[0], Path::new("/proc/self/exe"), entry)?;
            self.probes.detach(vec![link]);
            Ok(())
        });
        self.report.hooks.push(HookReport {
            hook: "Go net/http: roundTrip, Request.write".to_owned(),
            kind: "uprobe",
            state: match outcome {
                Ok(()) => HookState::Attached,
                Err(reason) => HookState::Refused(reason.to_string()),
            },
            without: Some(WITHOUT),
        });
    }

    /// Process `pid`, which runs the file at `path`, gets its probes.
    ///
    /// # Errors
    /// When the probes cannot be attached; says why.
    pub fn probe(&mut self, pid: u32, file: FileKey, path: &Path, at: GoProbes) -> Result<(), AttachError> {
        if self.probes.by_pid.get(&pid) == Some(&file) {
            return Ok(());
        }
        self.unprobe(pid);
        if !self.probes.files.contains_key(&file) {
            if self.probes.files.len() >= FILES {
                return Err(AttachError::TooManyFiles(FILES));
            }
            let links = PROGRAMS
                .iter()
                .zip([at.round_trip, at.request_write])
                .map(|(program, offset)| attach(&mut self.ebpf, program, path, offset))
                .collect::<Result<_, _>>()?;
            self.probes.files.insert(file, Probed { links, pids: FxHashSet::default() });
        }
        if let Some(probed) = self.probes.files.get_mut(&file) {
            probed.pids.insert(pid);
            self.probes.by_pid.insert(pid, file);
        }
        Ok(())
    }

    /// The process needs no probes any more: it is gone, not traced, or runs another program.
    pub(super) fn unprobe(&mut self, pid: u32) {
        let Some(file) = self.probes.by_pid.remove(&pid) else { return };
        let Some(probed) = self.probes.files.get_mut(&file) else { return };
        probed.pids.remove(&pid);
        if probed.pids.is_empty()
            && let Some(probed) = self.probes.files.remove(&file)
        {
            self.probes.detach(probed.links);
        }
    }

    /// Processes that run programs with probes.
    #[must_use]
    pub fn probed_processes(&self) -> usize {
        self.probes.by_pid.len()
    }

    /// Probes that are attached now.
    #[must_use]
    pub fn attached_probes(&self) -> usize {
        self.probes.files.values().map(|probed| probed.links.len()).sum()
    }
}

fn load(ebpf: &mut Ebpf, name: &str) -> Result<(), AttachError> {
    let program: &mut UProbe = program(ebpf, name)?;
    Ok(program.load()?)
}

fn attach(ebpf: &mut Ebpf, name: &str, path: &Path, offset: u64) -> Result<UProbeLink, AttachError> {
    let program: &mut UProbe = program(ebpf, name)?;
    let link = program.attach(offset, path, UProbeScope::AllProcesses)?;
    Ok(program.take_link(link)?)
}

/// Offset, in its file, of the first instruction that this process has executed.
fn own_entry() -> Option<u64> {
    let cache = object::ReadCache::new(std::fs::File::open("/proc/self/exe").ok()?);
    let image = Image::parse(&cache)?;
    image.file_offset(image.entry())
}
