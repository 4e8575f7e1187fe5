//! The traced processes as spans see them: their facts, what was lost, and the confidence in each.

use std::{collections::VecDeque, sync::Arc};

use super::{
    causality::{Confidence, Tasks},
    exchange::Key,
    instrumented::Otlp,
    table::Table,
};
use crate::{
    event::{ProcessFacts, Timestamp, UNKNOWN_SERVICE},
    protocol::Origin,
};

/// Processes whose tasks are tracked.
const WITH_TASKS: usize = 256;
/// Requests of a process whose contents are kept before it is known whether they are needed.
/// Without these, a proxy that is busy from its start would lose its first calls: all requests that
/// were open when contents became needed would have to be answered first.
const AT_FIRST: u32 = 200;

/// Whether the contents of a process's requests and calls are needed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Contents {
    /// It has received no request. A process that receives nothing forwards nothing.
    #[default]
    Useless,
    /// Not known yet, for so many more requests.
    AtFirst(u32),
    /// Something else has explained all of its calls, if it has made any.
    NotNeeded,
    /// It has calls that nothing else may explain.
    Needed,
}

impl Contents {
    const fn are_kept(self) -> bool {
        matches!(self, Self::AtFirst(_) | Self::Needed)
    }

    const fn after_request(self) -> Self {
        match self {
            Self::Useless => Self::AtFirst(AT_FIRST - 1),
            Self::AtFirst(0) => Self::NotNeeded,
            Self::AtFirst(left) => Self::AtFirst(left - 1),
            Self::NotNeeded | Self::Needed => self,
        }
    }
}

#[derive(Debug)]
pub(super) struct Process {
    pub(super) facts: Arc<ProcessFacts>,
    pub(super) confidence: Confidence,
    /// Set once one of its calls named a task.
    pub(super) tasks: Option<Box<Tasks>>,
    /// Rises with every loss of events and with exec. What began in an earlier epoch is not linked
    /// to what came after.
    pub(super) epoch: u32,
    /// How many of its calls have a parent, and how many have none.
    pub(super) linked: u64,
    pub(super) unlinked: u64,
    pub(super) otlp: Otlp,
    /// Calls whose sides agree and that wait for the process to be trusted, each since when.
    pub(super) unproven: VecDeque<(Key, Timestamp)>,
    contents: Contents,
    /// How many open requests have an unknown content. A call may forward any of them.
    pub(super) unknown_contents: u64,
    /// The ones among them whose head was read before contents were kept, or was truncated.
    pub(super) without_content: Vec<Key>,
    /// The last `process_drops` seen.
    drops: Option<u64>,
    exited: bool,
}

impl Process {
    fn new(facts: Arc<ProcessFacts>) -> Self {
        Self {
            facts,
            confidence: Confidence::default(),
            tasks: None,
            epoch: 0,
            linked: 0,
            unlinked: 0,
            otlp: Otlp::default(),
            unproven: VecDeque::new(),
            contents: Contents::Useless,
            unknown_contents: 0,
            without_content: Vec::new(),
            drops: None,
            exited: false,
        }
    }
}

impl Process {
    /// Whether the contents of its requests and calls are needed.
    pub(super) const fn keeps_contents(&self) -> bool {
        self.contents.are_kept()
    }
}

/// The processes by pid (initial pid namespace). Their number is bounded.
#[derive(Debug)]
pub(super) struct Processes {
    by_pid: Table<u32, Process>,
    limit: usize,
    /// How many of them have tasks.
    with_tasks: usize,
    /// How many of them keep contents.
    with_contents: usize,
    /// Some process was seen to send traces over OTLP. While none was, nobody needs to ask which.
    pub(super) any_exports: bool,
}

impl Processes {
    pub(super) fn new(limit: usize) -> Self {
        Self { by_pid: Table::new(), limit, with_tasks: 0, with_contents: 0, any_exports: false }
    }

    /// A process was selected or executed a program. Returns `false` if there is no room.
    pub(super) fn facts(&mut self, facts: &ProcessFacts) -> bool {
        let facts = Arc::new(facts.clone());
        match self.by_pid.get_mut(facts.pid) {
            Some(known) => {
                let same_program =
                    known.facts.executable == facts.executable && known.facts.key() == facts.key();
                let first_facts = known.facts.executable.is_empty();
                if !same_program && !first_facts {
                    known.confidence = Confidence::default();
                    self.with_contents -= usize::from(std::mem::take(&mut known.contents).are_kept());
                    known.otlp = Otlp::default();
                    self.with_tasks -= usize::from(known.tasks.take().is_some());
                    known.epoch += 1;
                }
                if known.facts.start_time != facts.start_time {
                    known.drops = None;
                }
                known.facts = facts;
                known.exited = false;
                true
            }
            None => self.insert(Process::new(facts)),
        }
    }

    /// The child runs its parent's program, but earns its own confidence. Returns `false` if there
    /// is no room.
    pub(super) fn fork(&mut self, parent: u32, child: u32) -> bool {
        let facts = match self.by_pid.get(parent) {
            // The child's start time is not known here. The child's own facts, if they follow, have
            // it.
            Some(known) => ProcessFacts {
                pid: child,
                parent_pid: Some(parent),
                start_time: 0,
                ..known.facts.as_ref().clone()
            },
            None => ProcessFacts { parent_pid: Some(parent), ..placeholder(child) },
        };
        self.remove(child);
        self.insert(Process::new(Arc::new(facts)))
    }

    /// The process is gone. It stays known until [`Processes::forget`].
    pub(super) fn exit(&mut self, pid: u32) {
        if let Some(process) = self.by_pid.get_mut(pid) {
            process.exited = true;
        }
    }

    /// Forgets a process that has exited, unless its pid is in use again.
    pub(super) fn forget(&mut self, pid: u32) {
        if self.by_pid.get(pid).is_some_and(|process| process.exited) {
            self.remove(pid);
        }
    }

    /// Notes the running count of lost events. Returns `true` if it has risen.
    pub(super) fn drops(&mut self, pid: u32, drops: u64) -> bool {
        let Some(process) = self.by_pid.get_mut(pid) else { return false };
        let risen = process.drops.is_some_and(|before| drops > before);
        process.drops = Some(drops);
        process.epoch += u32::from(risen);
        risen
    }

    /// The facts of a process, or placeholders if it is not known, and its epoch. The last value is
    /// `false` if there is no room for it.
    pub(super) fn facts_of(&mut self, pid: u32) -> (Arc<ProcessFacts>, u32, bool) {
        if let Some(process) = self.by_pid.get(pid) {
            return (Arc::clone(&process.facts), process.epoch, true);
        }
        let facts = Arc::new(placeholder(pid));
        let kept = self.insert(Process::new(Arc::clone(&facts)));
        (facts, 0, kept)
    }

    /// All processes, in no particular order.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Process> {
        self.by_pid.values()
    }

    pub(super) fn get(&self, pid: u32) -> Option<&Process> {
        self.by_pid.get(pid)
    }

    pub(super) fn get_mut(&mut self, pid: u32) -> Option<&mut Process> {
        self.by_pid.get_mut(pid)
    }

    /// The tasks of a process, made when it names the first one. `None` if it is not known, or too
    /// many processes have tasks.
    pub(super) fn tasks(&mut self, pid: u32, make: impl FnOnce(&Process) -> Tasks) -> Option<&mut Tasks> {
        let process = self.by_pid.get_mut(pid)?;
        if process.tasks.is_none() {
            if self.with_tasks >= WITH_TASKS {
                return None;
            }
            self.with_tasks += 1;
            process.tasks = Some(Box::new(make(process)));
        }
        process.tasks.as_deref_mut()
    }

    /// A process received a request.
    pub(super) fn request(&mut self, pid: u32, origin: &Origin) {
        let Some(process) = self.by_pid.get_mut(pid) else { return };
        process.confidence.request_opened(origin);
        process.unknown_contents += 1;
        let contents = process.contents.after_request();
        if contents != process.contents {
            self.set_contents(pid, contents);
        }
    }

    /// A process has a call that nothing but its content may explain. `open` are the requests that
    /// it has read and not answered. Returns `false` if the content cannot explain it either.
    pub(super) fn need_contents(&mut self, pid: u32, open: impl FnOnce() -> Vec<Key>) -> bool {
        let Some(process) = self.by_pid.get_mut(pid) else { return false };
        match process.contents {
            Contents::Useless => return false,
            Contents::Needed => return true,
            Contents::AtFirst(_) => {}
            Contents::NotNeeded => process.without_content = open(),
        }
        self.set_contents(pid, Contents::Needed);
        true
    }

    /// Whether any process needs contents.
    pub(super) const fn keep_contents(&self) -> bool {
        self.with_contents > 0
    }

    fn set_contents(&mut self, pid: u32, contents: Contents) {
        let Some(process) = self.by_pid.get_mut(pid) else { return };
        let before = std::mem::replace(&mut process.contents, contents);
        self.with_contents += usize::from(contents.are_kept());
        self.with_contents -= usize::from(before.are_kept());
    }

    fn remove(&mut self, pid: u32) {
        let Some(process) = self.by_pid.remove(pid) else { return };
        self.with_tasks -= usize::from(process.tasks.is_some());
        self.with_contents -= usize::from(process.contents.are_kept());
    }

    fn insert(&mut self, process: Process) -> bool {
        if self.by_pid.len() >= self.limit {
            return false;
        }
        self.by_pid.insert(process.facts.pid, process);
        true
    }
}

fn placeholder(pid: u32) -> ProcessFacts {
    ProcessFacts { pid, service_name: UNKNOWN_SERVICE.into(), ..ProcessFacts::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(pid: u32, start_time: u64, executable: &str) -> ProcessFacts {
        ProcessFacts { pid, start_time, executable: executable.into(), ..ProcessFacts::default() }
    }

    #[test]
    fn drops_count_when_they_rise() {
        let mut processes = Processes::new(10);
        assert!(!processes.drops(1, 5), "unknown");
        processes.facts(&facts(1, 7, "/a"));
        assert!(!processes.drops(1, 5), "the first number is the base");
        assert!(!processes.drops(1, 5));
        assert!(processes.drops(1, 6));
        assert_eq!(processes.get(1).unwrap().epoch, 1);
    }

    #[test]
    fn exec_resets_confidence_and_epoch_but_refined_facts_do_not() {
        let mut processes = Processes::new(10);
        processes.facts(&facts(1, 7, "/a"));
        processes.facts(&facts(1, 7, "/a"));
        assert_eq!(processes.get(1).unwrap().epoch, 0);
        processes.facts(&facts(1, 7, "/b"));
        assert_eq!(processes.get(1).unwrap().epoch, 1);
    }

    #[test]
    fn a_forked_child_inherits_its_parents_facts() {
        let mut processes = Processes::new(10);
        processes.facts(&facts(1, 7, "/a"));
        processes.fork(1, 2);
        let child = &processes.get(2).unwrap().facts;
        assert_eq!((child.pid, child.parent_pid, &*child.executable), (2, Some(1), "/a"));
    }

    #[test]
    fn a_pid_in_use_again_is_not_forgotten() {
        let mut processes = Processes::new(10);
        processes.facts(&facts(1, 7, "/a"));
        processes.exit(1);
        processes.facts(&facts(1, 9, "/a"));
        processes.forget(1);
        assert_eq!(processes.get(1).unwrap().facts.start_time, 9);
        processes.exit(1);
        processes.forget(1);
        assert!(processes.get(1).is_none());
    }

    #[test]
    fn unknown_processes_get_placeholders_within_the_bound() {
        let mut processes = Processes::new(1);
        let (facts, _, kept) = processes.facts_of(5);
        assert!(kept);
        assert_eq!((&*facts.service_name, facts.pid), ("unknown_service", 5));
        let (facts, _, kept) = processes.facts_of(6);
        assert!(!kept);
        assert_eq!(facts.pid, 6);
        assert!(processes.get(6).is_none());
    }
}
