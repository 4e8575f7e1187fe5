//! Decides about one process: by /proc while it lives, by what the kernel reported once it is gone
//! or another program.

use super::{
    Candidate, Change, Decision, KernelFacts, Known, Life, ListeningSockets, Occasion, ProcError, Selected,
    State, Table, Undecided, facts,
};

impl Table {
    /// The decision of the rules about a process.
    pub(super) fn judge(
        &mut self,
        pid: u32,
        occasion: Occasion,
        sockets: &ListeningSockets,
        reported: &KernelFacts,
        changes: &mut Vec<Change>,
    ) -> Result<(), ProcError> {
        if pid == self.own_pid {
            return Ok(());
        }
        let life = self.proc.life(pid)?.filter(|life| life.is_of(reported));
        let Some(life) = life else { return self.judge_gone(pid, occasion, sockets, reported, changes) };
        match self.judge_living(pid, life, occasion, sockets, reported, changes) {
            Ok(true) => Ok(()),
            // Facts that were read of a process that ended meanwhile mean nothing, nor does a
            // refusal to read it.
            Ok(false) => self.judge_gone(pid, occasion, sockets, reported, changes),
            Err(error) if self.is_there(pid, &life)? => Err(error),
            Err(_) => self.judge_gone(pid, occasion, sockets, reported, changes),
        }
    }

    fn is_there(&self, pid: u32, life: &Life) -> Result<bool, ProcError> {
        Ok(self.proc.life(pid)?.is_some_and(|now| now.is_same_program(life)))
    }

    /// `false`: the process ended, or executed another program, while it was read.
    fn judge_living(
        &mut self,
        pid: u32,
        life: Life,
        occasion: Occasion,
        sockets: &ListeningSockets,
        reported: &KernelFacts,
        changes: &mut Vec<Change>,
    ) -> Result<bool, ProcError> {
        if self.known.get(&pid).is_some_and(|known| known.life.start_time != life.start_time) {
            self.forget(pid, changes);
        }
        let before = self.selected_entry(pid);
        if let Some(Selected { pinned: true, service, .. }) = before {
            if occasion == Occasion::Listen {
                return Ok(true);
            }
            let decision = Decision::Selected { service: service.clone() };
            self.settle(pid, life, decision, true, reported, changes)?;
            return Ok(true);
        }
        let decision = match self.selection.decide(&Candidate::new(&self.proc, sockets, pid)) {
            Ok(decision) => decision,
            Err(Undecided::Proc(error)) => return Err(error),
            Err(Undecided::Gone) => Decision::No,
        };
        if !self.is_there(pid, &life)? {
            return Ok(false);
        }
        if let Some(key) = reported.file
            && let Some(path) = self.proc.executable(pid)?
        {
            self.files.learn(key, &path, &self.proc.file(pid, "exe"));
            self.looked_at.push((key, path));
        }
        let before = self.selected_entry(pid);
        if let (Occasion::Listen, Some(before)) = (occasion, before) {
            // Listening never takes away what was inherited, and changes nothing of who the process
            // is but its name.
            let stays = match &decision {
                Decision::Excluded => false,
                Decision::No => true,
                Decision::Selected { service } => *service == before.service,
            };
            if stays {
                return Ok(true);
            }
        }
        self.settle(pid, life, decision, false, reported, changes)?;
        Ok(true)
    }

    /// The process is gone or another program by now: the rules decide by what the kernel reported.
    fn judge_gone(
        &mut self,
        pid: u32,
        occasion: Occasion,
        sockets: &ListeningSockets,
        reported: &KernelFacts,
        changes: &mut Vec<Change>,
    ) -> Result<(), ProcError> {
        if occasion == Occasion::Scan {
            return Ok(());
        }
        let Some(start_time) = reported.start_time else {
            changes.push(Change::Unjudged { pid });
            return Ok(());
        };
        if self.known.get(&pid).is_some_and(|known| known.life.start_time != start_time) {
            self.forget(pid, changes);
        }
        let before = self.selected_entry(pid).map(|before| (before.pinned, before.service.clone()));
        if occasion == Occasion::Listen && before.is_some() {
            return Ok(());
        }
        let path = reported.file.and_then(|key| self.files.path(key, reported.name.as_deref()));
        let executable = path.as_ref().map(ToString::to_string);
        let candidate =
            Candidate::new(&self.proc, sockets, pid).gone(executable, reported.arguments.as_deref());
        let (decision, pinned) = match before {
            Some((true, service)) => (Decision::Selected { service }, true),
            _ => match self.selection.decide(&candidate) {
                Ok(decision) => (decision, false),
                Err(Undecided::Proc(error)) => return Err(error),
                Err(Undecided::Gone) if reported.decided => {
                    (Decision::Selected { service: self.selection.service_of(&candidate) }, false)
                }
                Err(Undecided::Gone) => {
                    self.forget(pid, changes);
                    changes.push(Change::Unjudged { pid });
                    return Ok(());
                }
            },
        };
        let life = Life {
            parent: reported.parent.unwrap_or(0),
            start_time,
            image: reported.image.unwrap_or_default(),
        };
        let state = match decision {
            Decision::No => State::Unselected,
            Decision::Excluded => State::Excluded,
            Decision::Selected { service } => {
                let facts = facts::of_gone(pid, reported, path.as_deref(), service.as_deref());
                State::Selected(Box::new(Selected { facts, service, pinned, fresh: false }))
            }
        };
        self.remember(pid, Known { life, cgroups: 0, state }, changes);
        Ok(())
    }

    /// Writes the decision into the table.
    pub(super) fn settle(
        &mut self,
        pid: u32,
        life: Life,
        decision: Decision,
        pinned: bool,
        reported: &KernelFacts,
        changes: &mut Vec<Change>,
    ) -> Result<(), ProcError> {
        let state = match decision {
            Decision::No => State::Unselected,
            Decision::Excluded => State::Excluded,
            Decision::Selected { service } => {
                let facts = match facts::read(&self.proc, pid, service.as_deref())? {
                    Some(facts) if facts.start_time == life.start_time => facts,
                    _ if reported.start_time.is_some() => {
                        let path =
                            reported.file.and_then(|key| self.files.path(key, reported.name.as_deref()));
                        facts::of_gone(pid, reported, path.as_deref(), service.as_deref())
                    }
                    _ => {
                        self.counters.vanished += u64::from(self.proc.executable(pid)?.is_none());
                        return Ok(());
                    }
                };
                State::Selected(Box::new(Selected { facts, service, pinned, fresh: false }))
            }
        };
        let cgroups = self.cgroup_hash(pid)?;
        self.remember(pid, Known { life, cgroups, state }, changes);
        Ok(())
    }
}
