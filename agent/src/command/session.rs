//! A tracing session: kernel source, process table and engine in one thread, spans out to the exporters. `run` and
//! `trace` differ only in what they select and where the spans go.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use anyhow::{Context as _, Result};
use nix::time::{ClockId, clock_gettime};
use rustc_hash::FxHashSet;

use super::{
    cookies::Cookies,
    exe_cache::ExeCache,
    funnel::Funnel,
    judging::{PolicyChange, announce, policy_change, process},
    recording::{Recording, Run},
    refused::{Fate, Refused},
    telemetry::{Late, Telemetry},
};
use crate::{
    event::{ConnectionId, Event, Feedback, Timestamp},
    export::Sender,
    pipeline,
    process::{
        Change, ProcRoot, Selection, Table, key_of,
        runtime::{ProbeSite, Runtimes, Wanted},
        table,
    },
    source::kernel::{self, KernelError, KernelSource, Notice, ProcessNotice},
};

/// Event time is told to the pipeline this often (DESIGN: a tick is an event).
const TICK: u64 = 100_000_000;

/// The clock's offset to wall time is told anew this often: NTP moves it by parts of a millisecond.
const CLOCK: u64 = 10_000_000_000;

/// An offset that differs by this from what was told is a step of the wall clock, and is told at once: ten times what a
/// reading of both clocks is off by at most.
const STEP: u64 = 1_000_000;
/// Both clocks are read anew when more time than this passes between them, at most so often.
const CLOCK_SPAN: u64 = 100_000;
const CLOCK_READINGS: usize = 5;

/// All processes are looked at again this often: a safety net for lost process events.
const SCAN: u64 = 5_000_000_000;

/// Numbers for the metrics are published this often.
const PUBLISH: u64 = 200_000_000;

/// Most times that the start looks for processes that were forked while it selected their parents.
const START_SCANS: usize = 4;

/// Most rounds of the ring that the end takes: 524,288 records, several times what the default ring holds.
const LAST_ROUNDS: usize = 64;

/// What a session is told.
#[derive(Debug, Clone, Default)]
pub(super) struct Options {
    pub(super) selection: Selection,
    pub(super) kernel: kernel::Settings,
    pub(super) engine: pipeline::Settings,
    pub(super) recording: Option<Recording>,
}

/// See the module.
pub(super) struct Session {
    source: KernelSource,
    table: Table,
    funnel: Funnel,
    recording: Option<Recording>,
    cookies: Cookies,
    exes: ExeCache,
    refused: Refused,
    /// Processes that the repeated look at all processes has found and no event has told of.
    late: u64,
    runtimes: Runtimes,
    telemetry: Arc<Telemetry>,
    /// Changes of the kernel's process map that wait until the ring is not borrowed.
    pending: Vec<PolicyChange>,
    /// Connections whose end was read in this round.
    ended: Vec<ConnectionId>,
    /// The command that was started for the trace, and what it has started itself.
    lineage: FxHashSet<u32>,
    /// The last offset of wall time that the pipeline was told.
    unix_offset: u64,
    due: Due,
    unreported_closes: u64,
}

/// When what is due next.
#[derive(Debug, Default)]
struct Due {
    tick: u64,
    clock: u64,
    scan: u64,
    publish: u64,
}

impl Session {
    /// Loads the programs, finds the processes that match and their connections; after this they are traced.
    pub(super) fn start(mut options: Options, sender: Sender, telemetry: Arc<Telemetry>) -> Result<Self> {
        options.kernel.report_listen = options.selection.needs_listen();
        options.kernel.excludes_listeners = options.selection.excludes_listeners();
        options.kernel.report_exec = options.selection.needs_exec();
        options.kernel.no_exclude = options.selection.exclude.is_empty();
        options.kernel.cgroups = options.selection.plain_cgroups().map(str::to_owned).collect();
        options.kernel.ports = options.selection.plain_ports().collect();
        let source = KernelSource::start(&options.kernel)?;
        let run = Run {
            attach_mode: source.report().mode.unwrap_or("none"),
            select: options.selection.select.iter().map(ToString::to_string).collect(),
            capture_bytes: options.kernel.capture_bytes,
        };
        let recorder = match &options.recording {
            Some(recording) => Some(recording.start(run, options.engine.clone())?),
            None => None,
        };
        let causality = options.engine.trace.causality;
        let wanted = Wanted { goroutines: causality.goroutine, contexts: causality.task };
        let table =
            Table::new(options.selection, ProcRoot::default(), std::process::id(), table::Limits::default());
        let mut session = Self {
            source,
            table,
            funnel: Funnel::new(options.engine, sender, recorder),
            recording: options.recording,
            cookies: Cookies::default(),
            exes: ExeCache::default(),
            refused: Refused::default(),
            late: 0,
            runtimes: Runtimes::new(wanted),
            telemetry,
            pending: Vec::new(),
            ended: Vec::new(),
            lineage: FxHashSet::default(),
            unix_offset: 0,
            due: Due { scan: now()?.0 + SCAN, ..Due::default() },
            unreported_closes: 0,
        };
        session.follow_clock(true)?;
        session.funnel.feed(&Event::RunKey(run_key()?));
        session.exes.prefill(session.table.selection(), &mut session.source);
        for _ in 0..START_SCANS {
            if session.scan()? == 0 {
                break;
            }
        }
        Ok(session)
    }

    /// The attach_mode in use.
    pub(super) fn attach_mode(&self) -> &'static str {
        self.source.report().mode.unwrap_or("none")
    }

    /// Processes selected now.
    pub(super) fn selected(&self) -> usize {
        self.table.selected_count()
    }

    /// Traces `pid` and all that it forks and executes.
    pub(super) fn pin(&mut self, pid: u32) -> Result<()> {
        let at = now()?;
        let changes = self.table.pin(pid);
        for change in &changes {
            announce(&mut self.funnel, at, change);
        }
        self.cookies.assign(pid);
        self.source.select(pid)?;
        self.tell_runtime(pid)?;
        self.lineage.insert(pid);
        Ok(())
    }

    /// Reads events until `stop` is set, then finishes: everything that waits goes out as it stands.
    pub(super) fn run(&mut self, stop: &AtomicBool) -> Result<()> {
        let outcome = self.rounds(stop).and_then(|()| self.finish());
        if let (Some(recording), Some(summary)) = (&self.recording, self.funnel.close()) {
            recording.ended(summary);
        }
        outcome
    }

    fn rounds(&mut self, stop: &AtomicBool) -> Result<()> {
        while !stop.load(Ordering::Relaxed) {
            self.round()?;
            self.source.wait(Duration::from_nanos(TICK));
        }
        Ok(())
    }

    fn round(&mut self) -> Result<()> {
        let before = now()?;
        let caught_up = self.drain();
        self.apply_pending();
        if caught_up {
            self.refused.read_up_to(before);
        }
        let at = if caught_up { before } else { now()? };
        let told_long_ago = at.0 >= self.due.clock;
        if told_long_ago {
            self.due.clock = at.0 + CLOCK;
        }
        self.follow_clock(told_long_ago)?;
        if caught_up && before.0 >= self.due.tick {
            self.due.tick = before.0 + TICK;
            self.funnel.feed(&Event::Tick { at: before });
        }
        if at.0 >= self.due.scan {
            self.due.scan = at.0 + SCAN;
            self.source.look_for_misses();
            self.late += self.scan()? as u64;
        }
        if at.0 >= self.due.publish {
            self.due.publish = at.0 + PUBLISH;
            self.publish();
        }
        Ok(())
    }

    /// Tells the pipeline the offset of wall time, if it is time for it or the clock was set.
    fn follow_clock(&mut self, due: bool) -> Result<()> {
        let (at, unix_offset) = clock()?;
        if due || unix_offset.abs_diff(self.unix_offset) >= STEP {
            self.unix_offset = unix_offset;
            self.funnel.feed(&Event::Clock { at, unix_offset });
        }
        Ok(())
    }

    /// Takes a round of events from the ring; true when it was emptied.
    fn drain(&mut self) -> bool {
        let Self { source, table, funnel, pending, ended, exes, refused, runtimes, lineage, .. } = self;
        let batch = source.drain(&mut |notice| {
            let fate = match &notice {
                Notice::Event(event) | Notice::Last(event, _) | Notice::Opened { event, .. } => {
                    refused.judge(event)
                }
                Notice::Process { .. } => Fate::Pass,
            };
            match fate {
                Fate::Pass => {}
                Fate::Drop => return,
                Fate::Release(connection) => return pending.push(PolicyChange::Release { connection }),
            }
            match notice {
                Notice::Event(event) => {
                    if let Event::Closed(closed) = &event {
                        ended.push(closed.connection);
                    }
                    funnel.feed(&event);
                }
                Notice::Opened { event, user } => {
                    if let Event::Opened(opened) = &event {
                        let pid = opened.thread.pid;
                        for change in table.on_user(pid, user) {
                            announce(funnel, opened.at, &change);
                        }
                        if runtimes.connected(pid) {
                            pending.push(PolicyChange::Refresh { pid });
                        }
                    }
                    funnel.feed(&event);
                }
                Notice::Last(event, end) => {
                    funnel.feed(&event);
                    funnel.feed(&end);
                }
                Notice::Process { at, notice } => {
                    descend(lineage, &notice);
                    process(table, funnel, refused, pending, at, notice);
                }
            }
        });
        for (key, path) in table.take_files() {
            exes.learn(table.selection(), key, &path);
        }
        self.telemetry.set_descendants(self.lineage.len());
        batch.caught_up
    }

    /// Carries out what could not be done while the ring was borrowed.
    fn apply_pending(&mut self) {
        for change in std::mem::take(&mut self.pending) {
            let outcome = match change {
                PolicyChange::Select { pid } => {
                    self.cookies.assign(pid);
                    self.source.select(pid).and_then(|()| self.tell_runtime(pid))
                }
                PolicyChange::Welcome { pid } => {
                    self.cookies.assign(pid);
                    // The process may have executed this just while the kernel was told to leave alone what it was before.
                    let left_alone = !self.source.is_selected(pid) && self.table.proc_root().is_alive(pid);
                    let selected = if left_alone { self.source.select(pid) } else { Ok(()) };
                    selected.and_then(|()| self.tell_runtime(pid))
                }
                PolicyChange::Release { connection } => {
                    let outcome = self.source.apply(&Feedback::Forget { connection });
                    if let Ok(at) = now() {
                        self.refused.released(connection, at);
                    }
                    outcome
                }
                PolicyChange::Execute { pid } => {
                    self.runtimes.forget(pid);
                    Ok(())
                }
                PolicyChange::Refresh { pid } => self.tell_runtime(pid),
                PolicyChange::Deselect { pid } => {
                    self.runtimes.forget(pid);
                    self.source.deselect(pid)
                }
                PolicyChange::Refuse { pid, trial } => {
                    self.runtimes.forget(pid);
                    let outcome = self.source.deselect_unless_asked(pid, trial);
                    if let (Ok(true), Ok(at)) = (&outcome, now()) {
                        self.refused.told(pid, at);
                    }
                    outcome.map(drop)
                }
            };
            if let Err(error) = outcome {
                tracing::warn!("a change of the selection was not carried out: {error}");
            }
        }
        for feedback in self.funnel.engine().drain_feedback() {
            if let Err(error) = self.source.apply(&feedback) {
                tracing::debug!("the kernel did not take a request to skip: {error}");
                self.telemetry.count_refused_feedback();
            }
        }
        if let Err(error) = self.source.forget_receives() {
            tracing::warn!("last inputs of evicted connections were not forgotten: {error}");
        }
        for connection in self.ended.drain(..) {
            self.source.forget(connection);
        }
        self.exes.flush(&mut self.source);
    }

    /// Tells the kernel side how to find the tasks of a process.
    fn tell_runtime(&mut self, pid: u32) -> Result<(), KernelError> {
        let mut found = self.runtimes.detect(self.table.proc_root(), pid);
        if let Some(ProbeSite { file, path, at }) = found.as_ref().and_then(|found| found.probe_site.as_ref())
            && let Err(reason) = self.source.probe(pid, *file, path, *at)
        {
            tracing::warn!("process {pid} is followed by its threads and not by its goroutines: {reason}");
            found = None;
        }
        self.source.set_runtime(pid, found.map(|found| found.runtime))
    }

    /// Looks at all processes; how many it has selected.
    fn scan(&mut self) -> Result<usize> {
        let at = now()?;
        let changes = self.table.scan().context("cannot list processes")?;
        let mut selected = 0;
        for change in &changes {
            announce(&mut self.funnel, at, change);
            if let Change::Select { facts } = change {
                selected += 1;
                self.refused.accept(facts.pid);
                // The kernel may hold another verdict on this inode, from a file that is gone.
                let link = format!("/proc/{}/exe", facts.pid);
                if let Some(key) = key_of(Path::new(&link)) {
                    self.exes.learn(self.table.selection(), key, &facts.executable);
                }
            }
            self.pending.extend(policy_change(change));
        }
        // The exit of one may be among lost events.
        self.lineage.retain(|pid| self.table.is_selected(*pid));
        if let Some(error) = self.table.take_error() {
            tracing::debug!("a process could not be judged: {error}");
        }
        self.apply_pending();
        Ok(selected)
    }

    fn publish(&mut self) {
        let counters = self.source.counters();
        let unreported =
            counters.iter().find(|(c, _)| *c == agent_common::Counter::DropClosed).map_or(0, |(_, n)| *n);
        if unreported > self.unreported_closes {
            self.unreported_closes = unreported;
            if let Ok(at) = now() {
                for event in self.source.sweep_closed(at) {
                    if let Event::Closed(closed) = &event {
                        self.ended.push(closed.connection);
                    }
                    self.funnel.feed(&event);
                }
            }
        }
        let (processes, connections) = self.refused.unjudged();
        let late = Late { found: self.late, processes, connections };
        self.telemetry.publish(
            &counters,
            &mut self.source,
            &mut self.funnel,
            &self.table,
            &self.runtimes,
            late,
        );
    }

    fn finish(&mut self) -> Result<()> {
        // Under load the ring may never be empty; what comes after the stop is not waited for.
        for _ in 0..LAST_ROUNDS {
            if self.drain() {
                break;
            }
        }
        self.apply_pending();
        self.source.look_for_misses();
        self.publish();
        self.funnel.feed(&Event::Shutdown { at: now()? });
        self.publish();
        Ok(())
    }
}

/// Keeps the descendants of the command: selected processes report what they fork.
fn descend(lineage: &mut FxHashSet<u32>, notice: &ProcessNotice) {
    match notice {
        ProcessNotice::Fork { parent, child, .. } if lineage.contains(parent) => {
            lineage.insert(*child);
        }
        ProcessNotice::Exit { pid, .. } => {
            lineage.remove(pid);
        }
        _ => {}
    }
}

/// CLOCK_MONOTONIC, which is what bpf_ktime_get_ns reads.
pub(super) fn now() -> Result<Timestamp> {
    nanoseconds(ClockId::CLOCK_MONOTONIC).map(Timestamp)
}

fn nanoseconds(clock: ClockId) -> Result<u64> {
    let time = clock_gettime(clock).context("cannot read the clock")?;
    let seconds = u64::try_from(time.tv_sec()).unwrap_or(0);
    Ok(seconds * 1_000_000_000 + u64::try_from(time.tv_nsec()).unwrap_or(0))
}

/// The time, and what wall time is ahead of it: the wall clock is read between two readings of the other, once more if the
/// thread was interrupted there.
fn clock() -> Result<(Timestamp, u64)> {
    let mut closest = u64::MAX;
    let (mut at, mut unix_offset) = (Timestamp::default(), 0);
    for _ in 0..CLOCK_READINGS {
        let before = now()?;
        let unix = nanoseconds(ClockId::CLOCK_REALTIME)?;
        at = now()?;
        let span = at.since(before);
        if span < closest {
            closest = span;
            unix_offset = unix.saturating_sub(before.0 + span / 2);
        }
        if span <= CLOCK_SPAN {
            break;
        }
    }
    Ok((at, unix_offset))
}

/// Random at start, so that ids of different runs differ.
fn run_key() -> Result<[u8; 16]> {
    use std::io::Read as _;
    let mut key = [0; 16];
    let mut random =
        std::fs::File::open("/dev/urandom").context("cannot open /dev/urandom for the run's key")?;
    random.read_exact(&mut key).context("cannot read /dev/urandom for the run's key")?;
    Ok(key)
}
