//! Probes in programs and libraries, as [`table`] has them. A file gets the probes of a set once,
//! they serve every process that runs it, and they go with the last traced one.

pub(super) mod table;

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

use self::table::{FileKey, ProbeSet, ProbeSite, TABLE};
use super::{
    AttachError, KernelSource,
    attach::program,
    attach_mode::{HookReport, HookState},
};
use crate::elf::Image;

/// Most files that carry probes at a time. One with the probes of two sets counts twice.
const FILES: usize = 512;

/// A file, and the name of the set whose probes it carries.
type Site = (FileKey, &'static str);

/// The files that carry probes.
#[derive(Default)]
pub(super) struct Probes {
    sites: FxHashMap<Site, Probed>,
    by_pid: FxHashMap<u32, Vec<Site>>,
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

    /// The process needs the probes of these sites no longer.
    fn release(&mut self, pid: u32, sites: impl IntoIterator<Item = Site>) {
        for site in sites {
            let Some(probed) = self.sites.get_mut(&site) else { continue };
            probed.pids.remove(&pid);
            if probed.pids.is_empty()
                && let Some(probed) = self.sites.remove(&site)
            {
                self.detach(probed.links);
            }
        }
    }
}

/// A process that ends while the kernel takes a breakpoint out (it is killed, or its main thread
/// returns) makes that fail: the breakpoint stays in the program for as long as the program runs
/// (uprobe_unregister_nosync: "failed to unregister, leaking uprobe",
/// <https://github.com/torvalds/linux/blob/v6.18/kernel/events/uprobes.c>). So all threads are
/// waited for, side by side.
impl Drop for Probes {
    fn drop(&mut self) {
        for (_, probed) in std::mem::take(&mut self.sites) {
            self.detach(probed.links);
        }
        for thread in self.leaving.drain(..) {
            drop(thread.join());
        }
    }
}

impl KernelSource {
    /// Loads the programs of each set, and tries whether they may be attached: at the agent's own
    /// entry, which it does not execute again.
    pub(super) fn prepare_probes(&mut self) {
        for set in TABLE {
            let state = match self.prepare(set) {
                Ok(()) => HookState::Attached,
                Err(reason) => HookState::Refused(reason.to_string()),
            };
            self.report.hooks.push(HookReport {
                hook: set.name.to_owned(),
                kind: "uprobe",
                state,
                without: Some(set.without),
            });
        }
    }

    fn prepare(&mut self, set: &ProbeSet) -> Result<(), AttachError> {
        set.probes.iter().try_for_each(|probe| load(&mut self.ebpf, probe.program))?;
        let Some(first) = set.probes.first() else { return Ok(()) };
        let entry = own_entry().ok_or(AttachError::OwnFile)?;
        let link = attach(&mut self.ebpf, first.program, Path::new("/proc/self/exe"), entry)?;
        self.probes.detach(vec![link]);
        Ok(())
    }

    /// Process `pid` gets these probes, and no others.
    ///
    /// # Errors
    /// When some cannot be attached; says why. Then the process has none.
    pub fn probe(&mut self, pid: u32, sites: &[ProbeSite]) -> Result<(), AttachError> {
        let mut before = self.probes.by_pid.remove(&pid).unwrap_or_default();
        let wanted: Vec<Site> = sites.iter().map(|site| (site.file, site.set.name)).collect();
        let kept = before.extract_if(.., |site| wanted.contains(site)).collect::<Vec<_>>();
        self.probes.release(pid, before);
        let outcome = sites
            .iter()
            .zip(&wanted)
            .filter(|(_, key)| !kept.contains(key))
            .try_for_each(|(site, key)| self.probe_site(pid, *key, site));
        if outcome.is_err() {
            self.probes.release(pid, wanted);
        } else if !wanted.is_empty() {
            self.probes.by_pid.insert(pid, wanted);
        }
        outcome
    }

    fn probe_site(&mut self, pid: u32, key: Site, site: &ProbeSite) -> Result<(), AttachError> {
        if !self.probes.sites.contains_key(&key) {
            if self.probes.sites.len() >= FILES {
                return Err(AttachError::TooManyFiles(FILES));
            }
            let places = site.set.probes.iter().zip(&*site.offsets);
            let links = places
                .map(|(probe, offset)| attach(&mut self.ebpf, probe.program, &site.path, *offset))
                .collect::<Result<_, _>>()?;
            self.probes.sites.insert(key, Probed { links, pids: FxHashSet::default() });
        }
        if let Some(probed) = self.probes.sites.get_mut(&key) {
            probed.pids.insert(pid);
        }
        Ok(())
    }

    /// The process needs no probes any more: it is gone, not traced, or runs another program.
    pub(super) fn unprobe(&mut self, pid: u32) {
        if let Some(sites) = self.probes.by_pid.remove(&pid) {
            self.probes.release(pid, sites);
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
        self.probes.sites.values().map(|probed| probed.links.len()).sum()
    }
}

fn load(ebpf: &mut Ebpf, name: &str) -> Result<(), AttachError> {
    let program: &mut UProbe = program(ebpf, name)?;
    Ok(program.load()?)
}

/// A program for the return of a function is of its own kind, and is attached at the entry, too.
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
