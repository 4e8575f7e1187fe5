//! The running agent. A session is the kernel source, the process table and the pipeline in one
//! thread; its spans go to the exporters. `run` and `trace` differ only in what they select and in
//! where the spans go.
//!
//! Nothing here prints or parses arguments: that is `command`.

mod clock;
mod cookies;
mod exe_cache;
pub(crate) mod gate;
mod judging;
mod priority;
pub(crate) mod recording;
mod refused;
pub(crate) mod replay;
pub(crate) mod runtime;
mod sample;
pub(crate) mod status;
mod summary;
pub(crate) mod telemetry;

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use anyhow::{Context as _, Result};
use rustc_hash::FxHashSet;

use self::{
    clock::{now, with_offset},
    cookies::Cookies,
    exe_cache::ExeCache,
    judging::{PolicyChange, announce, policy_change, process},
    recording::{Recording, Run},
    refused::{Fate, Refused},
    telemetry::{Late, Telemetry},
};
use crate::{
    event::{ConnectionId, Event, Feedback},
    export::Sender,
    pipeline::{self, EventSink},
    process::{
        Change, ProcRoot, Selection, Table, key_of,
        runtime::{Runtimes, Wanted},
        table,
    },
    source::kernel::{self, KernelError, KernelSource, Notice, ProcessNotice},
};

/// The pipeline gets the event time this often, as a tick.
const TICK: u64 = 100_000_000;

/// The pipeline gets the offset of wall time this often: NTP moves it by parts of a millisecond.
const CLOCK: u64 = 10_000_000_000;

/// An offset that differs by this from the last one is a step of the wall clock and goes to the
/// pipeline at once. It is ten times the largest error of a reading of both clocks.
const STEP: u64 = 1_000_000;

/// All processes are scanned this often, in case process events were lost.
const SCAN: u64 = 5_000_000_000;

/// The counters are published this often, for the metrics.
const PUBLISH: u64 = 200_000_000;

/// Most scans at the start. Each finds the processes that were forked while the one before selected
/// their parents.
const START_SCANS: usize = 4;

/// Most rounds of reading the ring at the end: 524,288 records, several times what the default ring
/// holds.
const LAST_ROUNDS: usize = 64;

/// What a session is started with.
#[derive(Debug, Clone, Default)]
pub(crate) struct Options {
    pub(crate) selection: Selection,
    pub(crate) kernel: kernel::Settings,
    pub(crate) engine: pipeline::Settings,
    pub(crate) recording: Option<Recording>,
}

/// See the module.
pub(crate) struct Session {
    source: KernelSource,
    table: Table,
    sink: EventSink,
    recording: Option<Recording>,
    cookies: Cookies,
    exes: ExeCache,
    refused: Refused,
    /// Processes that a scan has found and no event had reported.
    late: u64,
    runtimes: Runtimes,
    telemetry: Arc<Telemetry>,
    /// Changes of the kernel's maps that wait until the ring is not borrowed any more.
    pending: Vec<PolicyChange>,
    /// Connections whose end was read in this round.
    ended: Vec<ConnectionId>,
    /// The command that was started for the trace, and its descendants.
    lineage: FxHashSet<u32>,
    /// The last offset of wall time that the pipeline got.
    unix_offset: u64,
    due: Due,
    unreported_closes: u64,
}

/// When each repeated task is due next.
#[derive(Debug, Default)]
struct Due {
    tick: u64,
    clock: u64,
    scan: u64,
    publish: u64,
}

impl Session {
    /// Loads the programs and selects the processes that match, with their connections. They are
    /// traced from then on.
    pub(crate) fn start(mut options: Options, sender: Sender, telemetry: Arc<Telemetry>) -> Result<Self> {
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
            sink: EventSink::new(options.engine, move |batch| sender.send(&batch)).recorded_by(recorder),
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
        session.sink.feed(&Event::RunKey(run_key()?));
        session.exes.prefill(session.table.selection(), &mut session.source);
        for _ in 0..START_SCANS {
            if session.scan()? == 0 {
                break;
            }
        }
        Ok(session)
    }

    /// The attach mode in use.
    pub(crate) fn attach_mode(&self) -> &'static str {
        self.source.report().mode.unwrap_or("none")
    }

    /// Processes selected now.
    pub(crate) fn selected(&self) -> usize {
        self.table.selected_count()
    }

    /// Traces `pid` and all that it forks and executes.
    pub(crate) fn pin(&mut self, pid: u32) -> Result<()> {
        let at = now()?;
        let changes = self.table.pin(pid);
        for change in &changes {
            announce(&mut self.sink, at, change);
        }
        self.cookies.assign(pid);
        self.source.select(pid)?;
        self.tell_runtime(pid)?;
        self.lineage.insert(pid);
        Ok(())
    }

    /// Reads events until `stop` is set. Then everything that waits goes out as it is.
    pub(crate) fn run(&mut self, stop: &AtomicBool) -> Result<()> {
        let outcome = self.rounds(stop).and_then(|()| self.finish());
        if let (Some(recording), Some(summary)) = (&self.recording, self.sink.close()) {
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
        let clock_is_due = at.0 >= self.due.clock;
        if clock_is_due {
            self.due.clock = at.0 + CLOCK;
        }
        self.follow_clock(clock_is_due)?;
        if caught_up && before.0 >= self.due.tick {
            self.due.tick = before.0 + TICK;
            self.sink.feed(&Event::Tick { at: before });
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

    /// Gives the offset of wall time to the pipeline, when it is due or the clock was set.
    fn follow_clock(&mut self, due: bool) -> Result<()> {
        let (at, unix_offset) = with_offset()?;
        if due || unix_offset.abs_diff(self.unix_offset) >= STEP {
            self.unix_offset = unix_offset;
            self.sink.feed(&Event::Clock { at, unix_offset });
        }
        Ok(())
    }

    /// Reads one round of events from the ring; true when the ring is empty now.
    fn drain(&mut self) -> bool {
        let Self { source, table, sink, pending, ended, exes, refused, runtimes, lineage, .. } = self;
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
                    sink.feed(&event);
                }
                Notice::Opened { event, user } => {
                    if let Event::Opened(opened) = &event {
                        let pid = opened.thread.pid;
                        for change in table.on_user(pid, user) {
                            announce(sink, opened.at, &change);
                        }
                        if runtimes.connected(pid) {
                            pending.push(PolicyChange::Refresh { pid });
                        }
                    }
                    sink.feed(&event);
                }
                Notice::Last(event, end) => {
                    sink.feed(&event);
                    sink.feed(&end);
                }
                Notice::Process { at, notice } => {
                    descend(lineage, &notice);
                    process(table, sink, refused, pending, at, notice);
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
                    // The process may have executed this program while the kernel was asked not to
                    // trace the previous one.
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
                        self.refused.announced(pid, at);
                    }
                    outcome.map(drop)
                }
            };
            if let Err(error) = outcome {
                tracing::warn!("a change of the selection was not carried out: {error}");
            }
        }
        self.apply_feedback();
        if let Err(error) = self.source.forget_receives() {
            tracing::warn!("last inputs of evicted connections were not forgotten: {error}");
        }
        for connection in self.ended.drain(..) {
            self.source.forget(connection);
        }
        self.exes.flush(&mut self.source);
    }

    /// Asks the kernel for what the pipeline asks for. What the kernel has taken is an event, so that
    /// a replay knows it.
    fn apply_feedback(&mut self) {
        let at = self.sink.now();
        let requests: Vec<Feedback> = self.sink.drain_feedback().collect();
        for feedback in requests {
            match self.source.apply(&feedback) {
                Ok(()) => {
                    if let Some(asked) = feedback.taken(at) {
                        self.sink.feed(&Event::Asked(asked));
                    }
                }
                Err(error) => {
                    tracing::debug!("the kernel did not take a request to skip: {error}");
                    self.telemetry.count_refused_feedback();
                }
            }
        }
    }

    /// Gives the kernel side what it needs to find the tasks of a process.
    fn tell_runtime(&mut self, pid: u32) -> Result<(), KernelError> {
        let mut found = self.runtimes.detect(self.table.proc_root(), pid);
        if let Some(sites) = found.as_ref().map(|found| &found.probe_sites)
            && let Err(reason) = self.source.probe(pid, sites)
        {
            tracing::warn!("process {pid} is followed by its threads and not by its goroutines: {reason}");
            found = None;
        }
        self.source.set_runtime(pid, found.map(|found| found.runtime))
    }

    /// Scans all processes; returns how many it has selected.
    fn scan(&mut self) -> Result<usize> {
        let at = now()?;
        let changes = self.table.scan().context("cannot list processes")?;
        let mut selected = 0;
        for change in &changes {
            announce(&mut self.sink, at, change);
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
        // The event of an exit may have been lost.
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
                    self.sink.feed(&event);
                }
            }
        }
        let (processes, connections) = self.refused.unjudged();
        let late = Late { found: self.late, processes, connections };
        self.telemetry.publish(
            &counters,
            &mut self.source,
            &mut self.sink,
            &self.table,
            &self.runtimes,
            late,
        );
    }

    fn finish(&mut self) -> Result<()> {
        // Under load the ring may never be empty. Events from after the stop are not waited for.
        for _ in 0..LAST_ROUNDS {
            if self.drain() {
                break;
            }
        }
        self.apply_pending();
        self.source.look_for_misses();
        self.publish();
        self.sink.feed(&Event::Shutdown { at: now()? });
        self.publish();
        Ok(())
    }
}

/// Keeps track of the command's descendants: the kernel reports the forks of selected processes.
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

/// Random for each run, so that the ids of different runs differ.
fn run_key() -> Result<[u8; 16]> {
    let mut key = [0; 16];
    getrandom::fill(&mut key).context("the kernel gives no random numbers for the run's key")?;
    Ok(key)
}
