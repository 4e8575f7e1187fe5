//! The loaded programs: chooses the best attach mode that passes its self-test, attaches every
//! other hook, and writes the maps.

use std::{
    fs::File,
    os::fd::{AsFd, OwnedFd},
    process,
};

use agent_common::{COUNTERS, Control, Counter, ExeKey, Process, Runtime, switch};
use aya::{
    Ebpf,
    maps::{Array, HashMap, Map, MapData, PerCpuArray, PerCpuValues, RingBuf},
    programs::{CgroupAttachMode, SockOps},
};
use nix::sys::resource::{RLIM_INFINITY, Resource, setrlimit};

use rustc_hash::FxHashSet;

use super::{
    AttachError, KernelError,
    attach::{attach_fexit, attach_raw, attach_typed, program},
    attach_mode::{self, AttachMode, AttachReport, Hook, HookReport, HookState, SHARED},
    btf::Btf,
    cgroup::{CgroupRoot, cgroup_root},
    control::control,
    memory,
    object::{self, Logger},
    pids,
    pod::Plain,
    receives::Receives,
    ring_size, selftest,
    switches::{self, Switches},
    uprobe::Probes,
};
use crate::{
    causes::with_causes,
    event::{ConnectionId, DEFAULT_CONNECTIONS, Feedback},
};

/// How often the self-test is tried before an attach mode is given up.
const SELF_TESTS: usize = 3;

/// What the kernel source gets at start.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Only this attach mode; `None`: the best that works.
    pub attach_mode: Option<AttachMode>,
    /// Size of the ring in bytes: a power of two, at least a page. `None`: by the host
    /// (`ring_size`).
    pub ring_bytes: Option<u32>,
    /// Nice value for the thread that reads the ring. The owner of the thread sets it.
    pub nice: i32,
    /// Most bytes copied from the start of a system call, at most 4096.
    pub capture_bytes: u32,
    /// Heads of messages are captured up to so many bytes, in pieces.
    pub head_bytes: u32,
    /// Most connections traced at a time.
    pub connections: u32,
    /// Some rule selects by port.
    pub report_listen: bool,
    /// Some rule excludes by port.
    pub excludes_listeners: bool,
    /// Some rule selects programs that are executed from now on.
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
            attach_mode: None,
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

/// The attached programs. Dropping this value detaches and frees everything, as does the death of
/// the process.
pub struct KernelSource {
    pub(super) ring: RingBuf<MapData>,
    pub(super) switches: Switches,
    pub(super) logger: Option<Logger>,
    pub(super) quiet_rounds: u32,
    pub(super) undecodable: u64,
    /// Runs that the kernel skipped, by program.
    pub(super) misses: Vec<(String, u64)>,
    /// Bytes read since the ring was last empty, and the most that this was since the last
    /// question.
    pub(super) round_bytes: u64,
    pub(super) most_bytes: u64,
    pub(super) connections: HashMap<MapData, u64, Plain<agent_common::Connection>>,
    processes: HashMap<MapData, u32, Plain<Process>>,
    /// The map `PIDS`.
    pids: OwnedFd,
    runtimes: HashMap<MapData, u32, Plain<Runtime>>,
    controls: HashMap<MapData, u64, Plain<Control>>,
    exes: HashMap<MapData, Plain<ExeKey>, u32>,
    pub(super) receives: Receives,
    pub(super) probes: Probes,
    counters: PerCpuArray<MapData, [u64; COUNTERS as usize]>,
    /// Connections for which the agent asked for something, and whose end it has not read yet.
    posted: FxHashSet<u64>,
    ring_bytes: u32,
    pub(super) report: AttachReport,
    /// Holds programs and links; dropped last.
    pub(super) ebpf: Ebpf,
}

impl KernelSource {
    /// Loads and attaches. Needs root or the capabilities that the error names.
    pub fn start(settings: &Settings) -> Result<Self, KernelError> {
        if object::is_stub() {
            return Err(KernelError::Stub);
        }
        // Before 5.11 map memory counts against RLIMIT_MEMLOCK. A refusal to raise it shows as a
        // clear error below.
        let _refused = setrlimit(Resource::RLIMIT_MEMLOCK, RLIM_INFINITY, RLIM_INFINITY);
        let btf = Btf::of_kernel()?;
        let root = cgroup_root()?;
        let candidates = attach_mode::candidates(&btf, settings.attach_mode)?;
        let ring_bytes = settings.ring_bytes.unwrap_or_else(|| ring_size::of_host(&root));
        let mut ebpf = object::load(&btf, &root, settings, ring_bytes)?;
        let mut source = Self {
            ring: map(&mut ebpf, "EVENTS", RingBuf::try_from)?,
            switches: Switches::of(map(&mut ebpf, switches::SECTION, Array::try_from)?),
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
            receives: Receives {
                slots: descriptor(&ebpf, "THREAD_SLOTS")?,
                threads: map(&mut ebpf, "THREADS", HashMap::try_from)?,
                goroutines: map(&mut ebpf, "GOROUTINES", HashMap::try_from)?,
                handoffs: map(&mut ebpf, "HANDOFFS", HashMap::try_from)?,
                evicted: FxHashSet::default(),
            },
            probes: Probes::default(),
            counters: map(&mut ebpf, "COUNTERS", PerCpuArray::try_from)?,
            posted: FxHashSet::default(),
            ring_bytes,
            report: AttachReport { rejected: candidates.rejected, ..AttachReport::default() },
            ebpf,
        };
        source.attach_cookies(&root)?;
        source.select_mode(&candidates.modes)?;
        for hook in SHARED {
            source.attach_shared(hook)?;
        }
        source.prepare_probes();
        source.look_for_misses();
        drop(btf);
        memory::give_back();
        Ok(source)
    }

    /// The attach mode in use, what became of each hook, and why.
    #[must_use]
    pub const fn report(&self) -> &AttachReport {
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
        // The process may have ended meanwhile, and have cleared the byte before it was set here.
        if self.processes.get(&pid, 0).is_err() { self.mark(pid, false) } else { Ok(()) }
    }

    /// Whether the process is traced.
    pub fn is_selected(&self, pid: u32) -> bool {
        self.processes.get(&pid, 0).is_ok() && pids::is_set(&self.pids, pid).unwrap_or(false)
    }

    /// The byte that the programs read first.
    fn mark(&self, pid: u32, selected: bool) -> Result<(), KernelError> {
        pids::set(&self.pids, pid, selected).map_err(|error| used("PIDS", &error))
    }

    /// From now on the process is not traced.
    pub fn deselect(&mut self, pid: u32) -> Result<(), KernelError> {
        ignore_missing(self.processes.remove(&pid)).map_err(|error| used("PROCESSES", &error))?;
        // The entry goes first: what the programs add between the two steps is found by the next
        // scan of all processes.
        self.mark(pid, false)?;
        self.set_runtime(pid, None)
    }

    /// The same, unless the kernel has asked about the process again since its question `trial`.
    pub fn deselect_unless_asked(&mut self, pid: u32, trial: u32) -> Result<bool, KernelError> {
        match self.processes.get(&pid, 0) {
            Ok(Plain(process)) if process.trials != trial => Ok(false),
            _ => self.deselect(pid).map(|()| true),
        }
    }

    /// How the programs find the goroutine or context of a process; `None`: they do not.
    pub fn set_runtime(&mut self, pid: u32, runtime: Option<Runtime>) -> Result<(), KernelError> {
        let Some(runtime) = runtime else {
            self.unprobe(pid);
            return ignore_missing(self.runtimes.remove(&pid)).map_err(|error| used("RUNTIMES", &error));
        };
        self.runtimes.insert(pid, Plain(runtime), 0).map_err(|error| used("RUNTIMES", &error))?;
        // From now on the programs look there.
        self.switches.set(switch::RUNTIMES_POSTED, switch::ON).map_err(|error| used("SWITCHES", &error))
    }

    /// Remembers, for every later exec of this file, whether it selects the process.
    pub fn decide_exe(&mut self, key: ExeKey, verdict: u32) -> Result<(), KernelError> {
        self.exes.insert(Plain(key), verdict, 0).map_err(|error| used("EXES", &error))
    }

    /// Passes a request of the pipeline to the kernel.
    pub fn apply(&mut self, feedback: &Feedback) -> Result<(), KernelError> {
        let (stream, directions) = match feedback {
            Feedback::Forget { connection } => return self.release(*connection),
            Feedback::Capture { stream, directions } => (stream, directions),
        };
        let cookie = stream.connection.0;
        let control = control(cookie, directions);
        self.controls.insert(cookie, Plain(control), 0).map_err(|error| used("CONTROLS", &error))?;
        if self.posted.is_empty() {
            // From now on the programs look there.
            self.switches
                .set(switch::CONTROLS_POSTED, switch::ON)
                .map_err(|error| used("SWITCHES", &error))?;
        }
        self.posted.insert(cookie);
        Ok(())
    }

    /// Keeps nothing of an evicted connection, so that others find room. Its next system call opens
    /// it anew.
    fn release(&mut self, connection: ConnectionId) -> Result<(), KernelError> {
        self.forget(connection);
        self.receives.evicted.insert(connection.0);
        ignore_missing(self.connections.remove(&connection.0)).map_err(|error| used("CONNECTIONS", &error))
    }

    /// The agent has read the end of a connection. What it asked for the connection goes, also when
    /// the kernel had ended the connection before the agent asked.
    pub fn forget(&mut self, ConnectionId(cookie): ConnectionId) {
        if self.posted.remove(&cookie) {
            // Usually the programs have removed it at the close.
            drop(self.controls.remove(&cookie));
        }
    }

    /// The programs' counters, summed over CPUs.
    pub fn counters(&self) -> Vec<(Counter, u64)> {
        let cpus = self.counters.get(&0, 0).ok();
        let sum = |counter: Counter| {
            cpus.iter().flat_map(|cpus| cpus.iter()).map(|counters| counters[counter as usize]).sum()
        };
        Counter::ALL.iter().map(|&counter| (counter, sum(counter))).collect()
    }

    /// Size of the ring in bytes.
    #[must_use]
    pub const fn ring_bytes(&self) -> u32 {
        self.ring_bytes
    }

    /// sock_ops at the root of the cgroup hierarchy: a cookie for every new socket.
    fn attach_cookies(&mut self, root: &CgroupRoot) -> Result<(), KernelError> {
        const HOOK: &str = "sock_cookie";
        let cgroup = File::open(&root.0)
            .map_err(|source| KernelError::Io { path: root.0.display().to_string(), source })?;
        attach_sock_ops(&mut self.ebpf, HOOK, cgroup)
            .map_err(|reason| KernelError::Hook { hook: HOOK, reason })?;
        self.report.hooks.push(HookReport {
            hook: "sock_ops (socket cookies)".to_owned(),
            kind: "sock_ops",
            state: HookState::Attached,
            without: None,
        });
        Ok(())
    }

    /// Takes the first attach mode whose hooks attach and whose self-test passes.
    fn select_mode(&mut self, modes: &[AttachMode]) -> Result<(), KernelError> {
        for &mode in modes {
            match self.try_mode(mode) {
                Ok(()) => {
                    self.report.mode = Some(mode.name());
                    return Ok(());
                }
                Err(reason) => {
                    self.detach(mode);
                    self.report.rejected.push((mode.name(), reason.to_string()));
                }
            }
        }
        let reasons: Vec<String> =
            self.report.rejected.iter().map(|(mode, why)| format!("{mode}: {why}")).collect();
        Err(KernelError::NoAttachMode(reasons.join("; ")))
    }

    fn try_mode(&mut self, mode: AttachMode) -> Result<(), AttachError> {
        self.report.hooks.retain(|hook| hook.kind == "sock_ops");
        for hook in mode.hooks() {
            let outcome = match mode {
                AttachMode::RawTracepoint => attach_typed(&mut self.ebpf, hook),
                AttachMode::Fexit => attach_fexit(&mut self.ebpf, hook),
            };
            self.note(hook, mode.name(), &outcome);
            if let (Err(reason), None) = (outcome, hook.without) {
                return Err(AttachError::Hook { hook: hook.target, reason: Box::new(reason) });
            }
        }
        self.selftest()
    }

    /// Traces an exchange of the agent with itself, by every system call that must be seen. It runs
    /// again if it fails: a program cannot read a page that the kernel is moving just then
    /// (khugepaged, compaction), although the system call can.
    fn selftest(&mut self) -> Result<(), AttachError> {
        let me = process::id();
        self.select(me)?;
        let mut outcome = selftest::run(self);
        for _ in 1..SELF_TESTS {
            if outcome.is_ok() {
                break;
            }
            outcome = selftest::run(self);
        }
        let cleaned = self.deselect(me).map_err(AttachError::from);
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
        if let Ok(zeros) = PerCpuValues::try_from(vec![[0; COUNTERS as usize]; cpus]) {
            drop(self.counters.set(0, zeros, 0));
        }
    }

    /// Detaches and unloads the programs of an attach mode that failed.
    fn detach(&mut self, mode: AttachMode) {
        for hook in mode.hooks() {
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

    fn note(&mut self, hook: &Hook, kind: &'static str, outcome: &Result<(), AttachError>) {
        let state = match outcome {
            Ok(()) => HookState::Attached,
            Err(reason) => HookState::Refused(reason.to_string()),
        };
        self.report.hooks.push(HookReport {
            hook: hook.target.to_owned(),
            kind,
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

fn attach_sock_ops(ebpf: &mut Ebpf, name: &str, cgroup: File) -> Result<(), AttachError> {
    let program: &mut SockOps = program(ebpf, name)?;
    program.load()?;
    program.attach(cgroup, CgroupAttachMode::Single)?;
    Ok(())
}

/// A descriptor of one of the programs' arrays.
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
    KernelError::Map { map, reason: with_causes(error) }
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
    use crate::skipped::{Machine, skip};

    /// Needs root and BPF; lists itself as skipped without them.
    #[test]
    fn the_programs_load_and_pass_their_self_test() {
        match KernelSource::start(&Settings::default()) {
            Ok(source) => {
                let report = source.report();
                assert!(report.mode.is_some(), "{report:?}");
                let refused: Vec<_> =
                    report.hooks.iter().filter(|hook| hook.state != HookState::Attached).collect();
                println!("{report:?}");
                assert!(refused.iter().all(|hook| hook.without.is_some()), "{refused:?}");
            }
            Err(error @ (KernelError::Permission(_) | KernelError::Stub)) => {
                skip(Machine::MayTrace, &error.to_string());
            }
            Err(error) => panic!("{error}"),
        }
    }
}
