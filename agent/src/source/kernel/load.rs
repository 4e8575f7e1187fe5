//! The programs at work: taking the best rung that passes its self-test, attaching everything else.

use std::{
    fs::File,
    os::fd::{AsFd, OwnedFd},
    process,
};

use agent_common::{Control, Counter, ExeKey, Process, Runtime};
use aya::{
    Ebpf,
    maps::{Array, HashMap, Map, MapData, PerCpuArray, PerCpuValues, RingBuf},
    programs::{CgroupAttachMode, ProgramError, SockOps},
};
use nix::sys::resource::{RLIM_INFINITY, Resource, setrlimit};

use rustc_hash::FxHashSet;

use super::{
    KernelError,
    attach::{attach_fexit, attach_raw, attach_typed, chain},
    btf::Btf,
    cgroup::{CgroupRoot, cgroup_root},
    inputs::Inputs,
    ladder::{self, Hook, HookReport, HookState, LadderReport, Rung, SHARED},
    memory,
    object::{self, Logger},
    pids,
    pod::Plain,
    ring_size, selftest,
    uprobe::Probes,
};
use crate::event::{ConnectionId, DEFAULT_CONNECTIONS, Feedback};

/// Times that the self-test is run before a rung is given up.
const SELF_TESTS: usize = 3;

/// What the kernel side is told at start.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Only this rung; `None`: the best that works.
    pub rung: Option<Rung>,
    /// Size of the ring in bytes: a power of two, at least a page. `None`: by the host (`ring_size`).
    pub ring_bytes: Option<u32>,
    /// Nice value for the thread that reads the ring; whoever starts the thread sets it.
    pub nice: i32,
    /// Most bytes copied from the start of a call, at most 4096.
    pub capture_bytes: u32,
    /// Heads of messages are captured up to so many bytes, in pieces.
    pub head_bytes: u32,
    /// Most connections traced at a time.
    pub connections: u32,
    /// Some rule selects by port.
    pub report_listen: bool,
    /// Some rule excludes by port.
    pub excludes_listeners: bool,
    /// Some rule selects what is executed from now on.
    pub report_exec: bool,
    /// No rule excludes anything.
    pub no_exclude: bool,
    /// cgroups whose processes the kernel selects by itself at exec (at most 8).
    pub cgroups: Vec<String>,
    /// Ports whose listeners the kernel selects by itself (at most 8).
    pub ports: Vec<u16>,
    /// Print what the programs log.
    pub verbose: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            rung: None,
            ring_bytes: None,
            nice: -10,
            capture_bytes: 4096,
            head_bytes: 64 << 10,
            connections: DEFAULT_CONNECTIONS,
            report_listen: false,
            excludes_listeners: false,
            report_exec: false,
            no_exclude: true,
            cgroups: Vec::new(),
            ports: Vec::new(),
            verbose: false,
        }
    }
}

/// The programs, attached. Dropping it detaches and frees everything, as does the death of the process.
pub struct KernelSource {
    pub(super) ring: RingBuf<MapData>,
    pub(super) switches: Array<MapData, u32>,
    pub(super) logger: Option<Logger>,
    pub(super) quiet_rounds: u32,
    pub(super) undecodable: u64,
    /// Runs that the kernel skipped, by program.
    pub(super) misses: Vec<(String, u64)>,
    /// Bytes read since the ring was last empty, and the most of that since someone asked.
    pub(super) round_bytes: u64,
    pub(super) most_bytes: u64,
    pub(super) connections: HashMap<MapData, u64, Plain<agent_common::Connection>>,
    processes: HashMap<MapData, u32, Plain<Process>>,
    /// The map `PIDS`.
    pids: OwnedFd,
    runtimes: HashMap<MapData, u32, Plain<Runtime>>,
    controls: HashMap<MapData, u64, Plain<Control>>,
    exes: HashMap<MapData, Plain<ExeKey>, u32>,
    pub(super) inputs: Inputs,
    pub(super) probes: Probes,
    counters: PerCpuArray<MapData, u64>,
    /// Connections for which something was asked and whose end has not been read yet.
    posted: FxHashSet<u64>,
    ring_bytes: u32,
    pub(super) report: LadderReport,
    /// Holds programs and links; dropped last.
    pub(super) ebpf: Ebpf,
}

impl KernelSource {
    /// Loads and attaches. Needs root or the capabilities that the error names.
    pub fn start(settings: &Settings) -> Result<Self, KernelError> {
        if object::is_stub() {
            return Err(KernelError::Stub);
        }
        // Before 5.11 map memory counts against RLIMIT_MEMLOCK; failing to raise it shows as a clear error below.
        let _refused = setrlimit(Resource::RLIMIT_MEMLOCK, RLIM_INFINITY, RLIM_INFINITY);
        let btf = Btf::of_kernel()?;
        let root = cgroup_root()?;
        let candidates = ladder::candidates(&btf, settings.rung)?;
        let ring_bytes = settings.ring_bytes.unwrap_or_else(|| ring_size::of_host(&root));
        let mut ebpf = object::load(&btf, &root, settings, ring_bytes)?;
        let mut source = Self {
            ring: map(&mut ebpf, "EVENTS", RingBuf::try_from)?,
            switches: map(&mut ebpf, "SWITCHES", Array::try_from)?,
            logger: object::logger(&mut ebpf, settings.verbose),
            quiet_rounds: 0,
            undecodable: 0,
            misses: Vec::new(),
            round_bytes: 0,
            most_bytes: 0,
            processes: map(&mut ebpf, "PROCESSES", HashMap::try_from)?,
            pids: descriptor(&ebpf, "PIDS")?,
            runtimes: map(&mut ebpf, "RUNTIMES", HashMap::try_from)?,
            connections: map(&mut ebpf, "CONNECTIONS", HashMap::try_from)?,
            controls: map(&mut ebpf, "CONTROLS", HashMap::try_from)?,
            exes: map(&mut ebpf, "EXES", HashMap::try_from)?,
            inputs: Inputs {
                threads: map(&mut ebpf, "THREADS", HashMap::try_from)?,
                goroutines: map(&mut ebpf, "GOROUTINES", HashMap::try_from)?,
                handed: map(&mut ebpf, "HANDED", HashMap::try_from)?,
                evicted: FxHashSet::default(),
            },
            probes: Probes::default(),
            counters: map(&mut ebpf, "COUNTERS", PerCpuArray::try_from)?,
            posted: FxHashSet::default(),
            ring_bytes,
            report: LadderReport { rejected: candidates.rejected, ..LadderReport::default() },
            ebpf,
        };
        source.attach_cookies(&root)?;
        source.climb(&candidates.rungs)?;
        for hook in SHARED {
            source.attach_shared(hook)?;
        }
        source.prepare_probes();
        source.look_for_misses();
        drop(btf);
        memory::give_back();
        Ok(source)
    }

    /// Which hooks are on which rung, and why.
    #[must_use]
    pub const fn report(&self) -> &LadderReport {
        &self.report
    }

    /// From now on the process is traced.
    pub fn select(&mut self, pid: u32) -> Result<(), KernelError> {
        let value = Plain(Process::SELECTED);
        // A process that is selected already keeps its drop count.
        match self.processes.insert(pid, value, BPF_NOEXIST) {
            Err(aya::maps::MapError::SyscallError(error)) if is(&error.io_error, libc::EEXIST) => {}
            other => other.map_err(|error| used("PROCESSES", &error))?,
        }
        self.mark(pid, true)?;
        // It may have ended meanwhile, and has cleared the byte before it was set.
        if self.processes.get(&pid, 0).is_err() { self.mark(pid, false) } else { Ok(()) }
    }

    /// Whether the process is traced.
    pub fn is_selected(&self, pid: u32) -> bool {
        self.processes.get(&pid, 0).is_ok() && pids::is_set(&self.pids, pid).unwrap_or(false)
    }

    /// What the programs ask first.
    fn mark(&self, pid: u32, selected: bool) -> Result<(), KernelError> {
        pids::set(&self.pids, pid, selected).map_err(|error| used("PIDS", &error))
    }

    /// From now on the process is not traced.
    pub fn deselect(&mut self, pid: u32) -> Result<(), KernelError> {
        ignore_missing(self.processes.remove(&pid)).map_err(|error| used("PROCESSES", &error))?;
        // The entry first: what the programs add between the two is then found by the next look at all processes.
        self.mark(pid, false)?;
        self.set_runtime(pid, None)
    }

    /// The same, unless the kernel has asked about it once more since its question `trial`.
    pub fn deselect_unless_asked(&mut self, pid: u32, trial: u32) -> Result<bool, KernelError> {
        match self.processes.get(&pid, 0) {
            Ok(Plain(process)) if process.trials != trial => Ok(false),
            _ => self.deselect(pid).map(|()| true),
        }
    }

    /// How the programs find what the runtime of a process runs; `None`: not at all.
    pub fn set_runtime(&mut self, pid: u32, runtime: Option<Runtime>) -> Result<(), KernelError> {
        let Some(runtime) = runtime else {
            self.unprobe(pid);
            return ignore_missing(self.runtimes.remove(&pid)).map_err(|error| used("RUNTIMES", &error));
        };
        self.runtimes.insert(pid, Plain(runtime), 0).map_err(|error| used("RUNTIMES", &error))?;
        // From now on the programs look.
        self.switches.set(2, 1, 0).map_err(|error| used("SWITCHES", &error))
    }

    /// Remembers for every later exec of this file whether it selects.
    pub fn decide_exe(&mut self, key: ExeKey, verdict: u32) -> Result<(), KernelError> {
        self.exes.insert(Plain(key), verdict, 0).map_err(|error| used("EXES", &error))
    }

    /// Passes the pipeline's wish to the kernel.
    pub fn apply(&mut self, feedback: &Feedback) -> Result<(), KernelError> {
        let (ConnectionId(cookie), change): (_, &dyn Fn(&mut Control)) = match feedback {
            Feedback::Forget { connection } => return self.release(*connection),
            Feedback::Opaque { connection } => (*connection, &|control| control.opaque = 1),
            Feedback::CaptureWhole { connection, direction } => {
                (*connection, &move |control| control.whole |= 1 << direction.index())
            }
            Feedback::SkipUntil { connection, direction, until } => {
                (*connection, &move |control| control.skip_until[direction.index()] = *until)
            }
        };
        let mut control = self.controls.get(&cookie, 0).map_or(Control::nothing(cookie), |Plain(c)| c);
        change(&mut control);
        self.controls.insert(cookie, Plain(control), 0).map_err(|error| used("CONTROLS", &error))?;
        if self.posted.is_empty() {
            // From now on the programs look.
            self.switches.set(1, 1, 0).map_err(|error| used("SWITCHES", &error))?;
        }
        self.posted.insert(cookie);
        Ok(())
    }

    /// Nothing is kept of an evicted connection, so that others find room; its next call is first sight again.
    fn release(&mut self, connection: ConnectionId) -> Result<(), KernelError> {
        self.forget(connection);
        self.inputs.evicted.insert(connection.0);
        ignore_missing(self.connections.remove(&connection.0)).map_err(|error| used("CONNECTIONS", &error))
    }

    /// The end of a connection was read: what was asked for it goes, also when the kernel had ended it before it was asked.
    pub fn forget(&mut self, ConnectionId(cookie): ConnectionId) {
        if self.posted.remove(&cookie) {
            // Usually the programs have removed it at the close.
            drop(self.controls.remove(&cookie));
        }
    }

    /// The programs' counters, summed over CPUs.
    pub fn counters(&self) -> Vec<(Counter, u64)> {
        let sum = |counter: Counter| -> u64 {
            self.counters.get(&(counter as u32), 0).map_or(0, |values| values.iter().sum())
        };
        Counter::ALL.iter().map(|&counter| (counter, sum(counter))).collect()
    }

    /// Size of the ring in bytes.
    #[must_use]
    pub const fn ring_bytes(&self) -> u32 {
        self.ring_bytes
    }

    /// sock_ops at the root of the hierarchy: cookies for every new socket.
    fn attach_cookies(&mut self, root: &CgroupRoot) -> Result<(), KernelError> {
        const HOOK: &str = "sock_cookie";
        let refused = |error: &dyn std::error::Error| KernelError::Hook { hook: HOOK, reason: chain(error) };
        let cgroup = File::open(&root.0)
            .map_err(|source| KernelError::Io { path: root.0.display().to_string(), source })?;
        let program = self.ebpf.program_mut(HOOK).ok_or(KernelError::Stub)?;
        let program: &mut SockOps = program.try_into().map_err(|error: ProgramError| refused(&error))?;
        program.load().map_err(|error| refused(&error))?;
        program.attach(cgroup, CgroupAttachMode::Single).map_err(|error| refused(&error))?;
        self.report.hooks.push(HookReport {
            hook: "sock_ops (socket cookies)".to_owned(),
            rung: "sock_ops",
            state: HookState::Attached,
            without: None,
        });
        Ok(())
    }

    /// Takes the first rung whose hooks attach and whose self-test passes.
    fn climb(&mut self, rungs: &[Rung]) -> Result<(), KernelError> {
        for &rung in rungs {
            match self.try_rung(rung) {
                Ok(()) => {
                    self.report.rung = Some(rung.name());
                    return Ok(());
                }
                Err(reason) => {
                    self.detach(rung);
                    self.report.rejected.push((rung.name(), reason));
                }
            }
        }
        let reasons: Vec<String> =
            self.report.rejected.iter().map(|(rung, why)| format!("{rung}: {why}")).collect();
        Err(KernelError::NoRung(reasons.join("; ")))
    }

    fn try_rung(&mut self, rung: Rung) -> Result<(), String> {
        self.report.hooks.retain(|hook| hook.rung == "sock_ops");
        for hook in rung.hooks() {
            let outcome = match rung {
                Rung::RawTracepoint => attach_typed(&mut self.ebpf, hook),
                Rung::Fexit => attach_fexit(&mut self.ebpf, hook),
            };
            self.note(hook, rung.name(), &outcome);
            if let (Err(reason), None) = (outcome, hook.without) {
                return Err(format!("{}: {reason}", hook.target));
            }
        }
        self.selftest()
    }

    /// Traces an exchange of the agent with itself through every system call that must be seen. Once more if it fails: a page that
    /// the kernel moves just then (khugepaged, compaction) cannot be read by a program, though the call could.
    fn selftest(&mut self) -> Result<(), String> {
        let me = process::id();
        self.select(me).map_err(|error| error.to_string())?;
        let mut outcome = selftest::run(self);
        for _ in 1..SELF_TESTS {
            if outcome.is_ok() {
                break;
            }
            outcome = selftest::run(self);
        }
        let cleaned = self.deselect(me).map_err(|error| error.to_string());
        let cookies: Vec<u64> = self.connections.keys().filter_map(Result::ok).collect();
        for cookie in cookies {
            drop(self.connections.remove(&cookie));
        }
        while self.ring.next().is_some() {}
        self.reset_counters();
        outcome.and(cleaned)
    }

    fn reset_counters(&mut self) {
        let Ok(cpus) = aya::util::nr_cpus() else { return };
        for counter in Counter::ALL {
            if let Ok(zero) = PerCpuValues::try_from(vec![0; cpus]) {
                drop(self.counters.set(*counter as u32, zero, 0));
            }
        }
    }

    /// Detaches and unloads the programs of a rung that failed.
    fn detach(&mut self, rung: Rung) {
        for hook in rung.hooks() {
            match self.ebpf.program_mut(hook.program) {
                Some(aya::programs::Program::BtfTracePoint(program)) => drop(program.unload()),
                Some(aya::programs::Program::FExit(program)) => drop(program.unload()),
                _ => {}
            }
        }
    }

    fn attach_shared(&mut self, hook: &'static Hook) -> Result<(), KernelError> {
        let outcome = attach_raw(&mut self.ebpf, hook);
        self.note(hook, "raw_tp", &outcome);
        match (outcome, hook.without) {
            (Err(reason), None) => Err(KernelError::Hook { hook: hook.target, reason }),
            _ => Ok(()),
        }
    }

    fn note(&mut self, hook: &Hook, rung: &'static str, outcome: &Result<(), String>) {
        let state = outcome.clone().map_or_else(HookState::Refused, |()| HookState::Attached);
        self.report.hooks.push(HookReport {
            hook: hook.target.to_owned(),
            rung,
            state,
            without: hook.without,
        });
    }
}

const BPF_NOEXIST: u64 = 1;

impl std::fmt::Debug for KernelSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KernelSource").field("report", &self.report).finish_non_exhaustive()
    }
}

/// A descriptor of an array of our own.
fn descriptor(ebpf: &Ebpf, name: &'static str) -> Result<OwnedFd, KernelError> {
    let Some(Map::Array(map)) = ebpf.map(name) else { return Err(KernelError::Stub) };
    map.fd().as_fd().try_clone_to_owned().map_err(|error| used(name, &error))
}

fn map<T, E: std::error::Error>(
    ebpf: &mut Ebpf,
    name: &'static str,
    convert: impl FnOnce(Map) -> Result<T, E>,
) -> Result<T, KernelError> {
    let map = ebpf.take_map(name).ok_or(KernelError::Stub)?;
    convert(map).map_err(|error| used(name, &error))
}

pub(super) fn used(map: &'static str, error: &dyn std::error::Error) -> KernelError {
    KernelError::Map { map, reason: chain(error) }
}

fn is(error: &std::io::Error, errno: i32) -> bool {
    error.raw_os_error() == Some(errno)
}

pub(super) fn ignore_missing(outcome: Result<(), aya::maps::MapError>) -> Result<(), aya::maps::MapError> {
    match outcome {
        Err(aya::maps::MapError::KeyNotFound | aya::maps::MapError::ElementNotFound) => Ok(()),
        Err(aya::maps::MapError::SyscallError(error)) if is(&error.io_error, libc::ENOENT) => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Needs root and BPF; says so when it has neither.
    #[test]
    fn the_programs_load_and_pass_their_self_test() {
        match KernelSource::start(&Settings::default()) {
            Ok(source) => {
                let report = source.report();
                assert!(report.rung.is_some(), "{report:?}");
                let refused: Vec<_> =
                    report.hooks.iter().filter(|hook| hook.state != HookState::Attached).collect();
                println!("{report:?}");
                assert!(refused.iter().all(|hook| hook.without.is_some()), "{refused:?}");
            }
            Err(error @ (KernelError::Permission(_) | KernelError::Stub)) => eprintln!("SKIPPED: {error}"),
            Err(error) => panic!("{error}"),
        }
    }
}
