//! The table of known processes: who is selected, as processes fork, execute, listen and exit.
//!
//! The rules decide about a process when it executes a program and, for rules with a port, when it
//! listens; a fork inherits. What the kernel reported at that moment stands in for /proc where the
//! process is gone or another program by now. [`Table::scan`] finds the processes that lived before
//! the agent and, repeated, those whose event was lost. A process that a selected one forked, and
//! that has executed nothing since, counts as selected also when a scan finds it: pids and ports
//! then name a server with all its workers.
//!
//! Bounded: [`Limits`]. A process without room is not traced, and is counted.

use std::{
    collections::VecDeque,
    hash::{BuildHasher, BuildHasherDefault},
    sync::Arc,
};

use agent_common::ExeKey;
use rustc_hash::{FxHashMap, FxHasher};

pub use counters::Counters;

use super::{
    Candidate, Decision, ProcError, ProcRoot, Selection, Undecided, facts, files::Files,
    listeners::ListeningSockets, proc_root::Life,
};
use crate::event::{KernelFacts, ProcessFacts};

/// How much the table holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Processes whose decision is remembered, selected or not; about 64 bytes each.
    pub known: usize,
    /// Selected processes; each holds its facts, at most about 10 KiB and typically 500 bytes.
    pub selected: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { known: 65_536, selected: 8192 }
    }
}

/// What happens to a process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// It is traced from now on.
    Select { facts: Box<ProcessFacts> },
    /// It stays traced and is somebody else now: it has executed another program, or a rule gave it
    /// another name.
    Refresh { facts: Box<ProcessFacts> },
    /// It is not traced any more, or gone.
    Deselect { pid: u32 },
    /// It was gone before the rules could read what they need.
    Unjudged { pid: u32 },
}

#[derive(Debug)]
struct Known {
    life: Life,
    /// Hash of the cgroups at the decision; 0 when no rule asks for them.
    cgroups: u64,
    state: State,
}

#[derive(Debug)]
enum State {
    Unselected,
    Excluded,
    Selected(Box<Selected>),
}

#[derive(Debug)]
struct Selected {
    facts: ProcessFacts,
    /// Given by a rule, inherited by forks.
    service: Option<Arc<str>>,
    /// Selected whatever the rules say, as are its descendants.
    pinned: bool,
    /// A fork of which nothing was read yet: by its first connection its user and its title may
    /// differ from its parent's.
    fresh: bool,
}

/// Why the rules look at a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Occasion {
    /// A program was executed, or the process is new to the table.
    Exec,
    /// A socket began to listen.
    Listen,
    /// It was found in the list of processes.
    Scan,
}

/// The table of known processes.
#[derive(Debug)]
pub struct Table {
    proc: ProcRoot,
    selection: Selection,
    own_pid: u32,
    limits: Limits,
    known: FxHashMap<u32, Known>,
    selected: usize,
    counters: Counters,
    last_error: Option<ProcError>,
    files: Files,
    /// Executables that were examined since [`Table::take_files`], as the kernel names them and as
    /// the rules see them.
    looked_at: Vec<(ExeKey, String)>,
}

impl Table {
    /// An empty table; [`Table::scan`] fills it. `own_pid` is the agent's and never selected.
    #[must_use]
    pub fn new(mut selection: Selection, proc: ProcRoot, own_pid: u32, limits: Limits) -> Self {
        if selection.needs_cgroup() {
            selection.resolve_cgroups(&proc.cgroup_mounts());
        }
        Self {
            proc,
            selection,
            own_pid,
            limits,
            known: FxHashMap::default(),
            selected: 0,
            counters: Counters::default(),
            last_error: None,
            files: Files::default(),
            looked_at: Vec::new(),
        }
    }

    #[must_use]
    pub fn selection(&self) -> &Selection {
        &self.selection
    }

    /// The /proc that it reads.
    #[must_use]
    pub const fn proc_root(&self) -> &ProcRoot {
        &self.proc
    }

    #[must_use]
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// The latest reason of [`Counters::unreadable`], once.
    pub fn take_error(&mut self) -> Option<ProcError> {
        self.last_error.take()
    }

    /// The executables of the processes about which the rules decided since the last time.
    pub fn take_files(&mut self) -> Vec<(ExeKey, String)> {
        std::mem::take(&mut self.looked_at)
    }

    #[must_use]
    pub fn is_selected(&self, pid: u32) -> bool {
        self.selected_entry(pid).is_some()
    }

    /// The facts of all selected processes, in no order.
    pub fn selected(&self) -> impl Iterator<Item = &ProcessFacts> {
        self.known.values().filter_map(|known| match &known.state {
            State::Selected(selected) => Some(&selected.facts),
            _ => None,
        })
    }

    #[must_use]
    pub fn selected_count(&self) -> usize {
        self.selected
    }

    /// Traces `pid` and whatever it forks and executes, whatever the rules say: the command of
    /// `wirespan trace -- CMD`.
    pub fn pin(&mut self, pid: u32) -> Vec<Change> {
        let mut changes = Vec::new();
        if pid == self.own_pid {
            return changes;
        }
        self.guarded(|table| {
            let Some(life) = table.proc.life(pid)? else { return Ok(()) };
            let decision = Decision::Selected { service: None };
            table.settle(pid, life, decision, true, &KernelFacts::default(), &mut changes)
        });
        changes
    }

    /// `pid` executed a program: the rules decide anew.
    pub fn on_exec(&mut self, pid: u32, reported: &KernelFacts) -> Vec<Change> {
        let mut changes = Vec::new();
        let sockets = ListeningSockets::default();
        self.guarded(|table| table.judge(pid, Occasion::Exec, &sockets, reported, &mut changes));
        self.counters.cut += sockets.cut();
        changes
    }

    /// A socket of `pid` begins to listen on `port`. Its forks are selected along with it.
    pub fn on_listen(&mut self, pid: u32, port: u16, reported: &KernelFacts) -> Vec<Change> {
        let mut changes = Vec::new();
        if !self.selection.needs_listen() {
            return changes;
        }
        let sockets = ListeningSockets::reported(pid, port);
        self.guarded(|table| table.judge(pid, Occasion::Listen, &sockets, reported, &mut changes));
        self.select_forks(&sockets, &mut changes);
        self.counters.cut += sockets.cut();
        changes
    }

    /// `parent` forked the process `child`, which inherits.
    pub fn on_fork(&mut self, parent: u32, child: u32, reported: &KernelFacts) -> Vec<Change> {
        let mut changes = Vec::new();
        if child != self.own_pid && self.is_selected(parent) {
            self.guarded(|table| {
                let image = table.known.get(&parent).map(|parent| parent.life.image);
                let life = match (reported.start_time, reported.image.or(image)) {
                    (Some(start_time), Some(image)) => {
                        Life { parent: reported.parent.unwrap_or(0), start_time, image }
                    }
                    _ => match table.proc.life(child)? {
                        Some(life) => life,
                        None => return Ok(()),
                    },
                };
                table.inherit(parent, child, life, reported.user, &mut changes)
            });
        }
        changes
    }

    /// A selected process has its first connection, a connection of this user, or its end. A fork
    /// may have another user and a title of its own by then; any process may have another user.
    pub fn on_user(&mut self, pid: u32, user: Option<u32>) -> Vec<Change> {
        let mut changes = Vec::new();
        let Some(Known { life, state: State::Selected(selected), .. }) = self.known.get_mut(&pid) else {
            return changes;
        };
        let before = &selected.facts;
        let is_other = user.is_some() && user != before.user_id;
        if !std::mem::take(&mut selected.fresh) && !is_other {
            return changes;
        }
        let reported = KernelFacts {
            start_time: Some(life.start_time),
            image: Some(life.image),
            ..KernelFacts::default()
        };
        let is_there = matches!(self.proc.life(pid), Ok(Some(now)) if now.is_of(&reported));
        let read = is_there.then(|| facts::read(&self.proc, pid, selected.service.as_deref()));
        let now = match read {
            Some(Ok(Some(facts))) if facts.start_time == before.start_time => facts,
            _ => ProcessFacts { user_id: user.or(before.user_id), ..before.clone() },
        };
        if now != *before {
            selected.facts = now;
            changes.push(Change::Refresh { facts: Box::new(selected.facts.clone()) });
        }
        changes
    }

    /// The last thread of `pid` is gone. Ignored when the pid is already another, living process's.
    pub fn on_exit(&mut self, pid: u32, reported: &KernelFacts) -> Vec<Change> {
        let mut changes = Vec::new();
        let Some(known) = self.known.get(&pid) else { return changes };
        let start_time = known.life.start_time;
        // The process may still look alive: the kernel reports the exit before it has completed it.
        let is_reported = reported.start_time == Some(start_time);
        let lives_on = || matches!(self.proc.life(pid), Ok(Some(now)) if now.start_time == start_time);
        if is_reported || !lives_on() {
            self.forget(pid, &mut changes);
        }
        changes
    }

    /// Looks at all processes: at start, and repeated as a safety net. A process that is known and
    /// has neither executed a program nor (with cgroup rules) moved costs one or two small reads.
    ///
    /// # Errors
    /// When the list of processes cannot be read. A single process that cannot be is counted.
    pub fn scan(&mut self) -> Result<Vec<Change>, ProcError> {
        let mut changes = Vec::new();
        let pids = self.proc.pids()?;
        let gone: Vec<u32> =
            self.known.keys().copied().filter(|pid| pids.binary_search(pid).is_err()).collect();
        for pid in gone {
            self.forget(pid, &mut changes);
        }
        let sockets = ListeningSockets::default();
        for pid in pids {
            self.guarded(|table| {
                if table.is_undecided(pid, &mut changes)? {
                    return table.judge(pid, Occasion::Scan, &sockets, &KernelFacts::default(), &mut changes);
                }
                if table.is_selected(pid) {
                    let user = table.proc.user(pid)?;
                    changes.extend(table.on_user(pid, user));
                }
                Ok(())
            });
        }
        self.select_forks(&sockets, &mut changes);
        self.counters.cut += sockets.cut();
        Ok(changes)
    }

    /// Whether the rules have to look at `pid`; forgets it when it is not the process that was
    /// known.
    fn is_undecided(&mut self, pid: u32, changes: &mut Vec<Change>) -> Result<bool, ProcError> {
        if pid == self.own_pid {
            return Ok(false);
        }
        let Some(life) = self.proc.life(pid)? else {
            self.forget(pid, changes);
            return Ok(false);
        };
        let cgroups = self.cgroup_hash(pid)?;
        let Some(known) = self.known.get(&pid) else { return Ok(true) };
        if known.life.start_time != life.start_time {
            self.forget(pid, changes);
            return Ok(true);
        }
        Ok(known.life.image != life.image || known.cgroups != cgroups)
    }

    /// The child of a selected process is like its parent, but for its own identity.
    fn inherit(
        &mut self,
        parent: u32,
        child: u32,
        life: Life,
        user: Option<u32>,
        changes: &mut Vec<Change>,
    ) -> Result<(), ProcError> {
        let Some(of_parent) = self.selected_entry(parent) else { return Ok(()) };
        if let Some(known) = self.known.get(&child)
            && known.life.start_time == life.start_time
        {
            let parent_image = self.known.get(&parent).map(|parent| parent.life.image);
            let stays = match known.state {
                State::Selected(_) => true,
                // The rules have decided before the fork was reported: about another program than
                // the parent's. That holds.
                State::Excluded | State::Unselected => {
                    !of_parent.pinned && parent_image != Some(known.life.image)
                }
            };
            if stays {
                return Ok(());
            }
        }
        let facts = ProcessFacts {
            pid: child,
            start_time: life.start_time,
            parent_pid: Some(life.parent).filter(|pid| *pid != 0),
            user_id: user.or(of_parent.facts.user_id),
            ..of_parent.facts.clone()
        };
        let selected =
            Selected { facts, service: of_parent.service.clone(), pinned: of_parent.pinned, fresh: true };
        let cgroups = self.cgroup_hash(child)?;
        self.remember(child, Known { life, cgroups, state: State::Selected(Box::new(selected)) }, changes);
        Ok(())
    }

    /// Selects the living forks (and theirs) of what `changes` selects: forked before the parent
    /// was selected, and no program executed since. An `exclude` rule that matches one keeps it
    /// out.
    fn select_forks(&mut self, sockets: &ListeningSockets, changes: &mut Vec<Change>) {
        let mut parents: VecDeque<u32> = changes.iter().filter_map(Change::selected_pid).collect();
        if parents.is_empty() {
            return;
        }
        let children = self.children();
        while let Some(parent) = parents.pop_front() {
            let Some(image) = self.known.get(&parent).map(|known| known.life.image) else { continue };
            for &(child, life) in children.get(&parent).map_or(&[][..], Vec::as_slice) {
                if life.image != image || child == self.own_pid || self.is_selected(child) {
                    continue;
                }
                self.guarded(|table| {
                    let candidate = Candidate::new(&table.proc, sockets, child);
                    match table.selection.decide(&candidate) {
                        Err(Undecided::Proc(error)) => return Err(error),
                        Ok(Decision::Excluded) => return Ok(()),
                        _ => {}
                    }
                    table.known.remove(&child);
                    let user = table.proc.user(child)?;
                    table.inherit(parent, child, life, user, changes)?;
                    parents.push_back(child);
                    Ok(())
                });
            }
        }
    }

    fn children(&mut self) -> FxHashMap<u32, Vec<(u32, Life)>> {
        let mut children: FxHashMap<u32, Vec<(u32, Life)>> = FxHashMap::default();
        self.guarded(|table| {
            for pid in table.proc.pids()? {
                if let Ok(Some(life)) = table.proc.life(pid) {
                    children.entry(life.parent).or_default().push((pid, life));
                }
            }
            Ok(())
        });
        children
    }

    /// Stores the entry, within the limits, and returns what changed by it.
    fn remember(&mut self, pid: u32, known: Known, changes: &mut Vec<Change>) {
        let was_selected = self.is_selected(pid);
        let facts = match &known.state {
            State::Selected(selected) => Some(Box::new(selected.facts.clone())),
            _ => None,
        };
        if facts.is_some() && !was_selected && self.selected >= self.limits.selected {
            self.counters.over_limit += 1;
            return;
        }
        if self.known.len() >= self.limits.known && !self.known.contains_key(&pid) {
            if facts.is_some() {
                self.counters.over_limit += 1;
            } else {
                self.counters.forgotten += 1;
            }
            return;
        }
        self.known.insert(pid, known);
        match (was_selected, facts) {
            (false, Some(facts)) => {
                self.selected += 1;
                self.counters.selected += 1;
                changes.push(Change::Select { facts });
            }
            (true, Some(facts)) => changes.push(Change::Refresh { facts }),
            (true, None) => self.count_deselected(pid, changes),
            (false, None) => {}
        }
    }

    fn forget(&mut self, pid: u32, changes: &mut Vec<Change>) {
        if let Some(Known { state: State::Selected(_), .. }) = self.known.remove(&pid) {
            self.count_deselected(pid, changes);
        }
    }

    fn count_deselected(&mut self, pid: u32, changes: &mut Vec<Change>) {
        self.selected -= 1;
        self.counters.deselected += 1;
        changes.push(Change::Deselect { pid });
    }

    fn selected_entry(&self, pid: u32) -> Option<&Selected> {
        match &self.known.get(&pid)?.state {
            State::Selected(selected) => Some(selected),
            _ => None,
        }
    }

    fn cgroup_hash(&self, pid: u32) -> Result<u64, ProcError> {
        if !self.selection.needs_cgroup() {
            return Ok(0);
        }
        Ok(BuildHasherDefault::<FxHasher>::default().hash_one(self.proc.cgroups(pid)?))
    }

    /// One process that cannot be read must not hide the others.
    fn guarded(&mut self, work: impl FnOnce(&mut Self) -> Result<(), ProcError>) {
        if let Err(error) = work(self) {
            self.counters.unreadable += 1;
            self.last_error = Some(error);
        }
    }
}

impl Change {
    fn selected_pid(&self) -> Option<u32> {
        match self {
            Self::Select { facts } => Some(facts.pid),
            _ => None,
        }
    }
}

mod counters;
mod judge;

#[cfg(test)]
mod tests;
