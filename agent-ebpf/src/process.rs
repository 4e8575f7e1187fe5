//! Which processes are traced, kept in the kernel: a fork inherits, an exec, a listen and a move
//! between cgroups decide anew, an exit forgets.
//!
//! Where the rules need more than the kernel knows, the kernel traces a process from its exec or
//! listen on and asks the agent. The agent decides when it reads that record. Everything the
//! process does stands behind the record in the ring, so that nothing has to be held back.

use agent_common::{
    CGROUP_RULES, Counter, MISSING, PORT_RULES, Process, kind, process_flags, report_listen, verdict,
};
use aya_ebpf::helpers::generated::bpf_get_current_ancestor_cgroup_id;

use crate::{
    context::Actor,
    facts,
    kernel::read,
    maps::{EXES, offset, tunable},
    ring, selected, task, threads,
};

/// `sched_process_fork(parent, child)`, in the parent's context, before the child runs.
#[inline(always)]
pub(crate) fn try_fork(child: u64) -> Result<(), Counter> {
    let actor = Actor::current();
    let Some(parent) = actor.process() else { return Ok(()) };
    let pid: u32 = read(child, offset!(task_tgid))?;
    let tid: u32 = read(child, offset!(task_pid))?;
    let last = actor.last_receive();
    if last.cookie != 0 {
        threads::set_last_receive(tid, last);
    }
    if pid == actor.pid {
        return Ok(());
    }
    // SAFETY: an entry of PROCESSES stays readable for the run of the program.
    let trials = unsafe { (*parent).trials };
    if !selected::add(pid, Process { drops: 0, rings: 0, trials }) {
        return Err(Counter::ProcessesFull);
    }
    task::inherit(actor.pid, pid);
    let mut record = facts::record(kind::FORK, 0, child, actor.pid, pid);
    record.header.length = trials;
    put(&record)
}

/// `sched_process_exec(task, old_pid, bprm)`, in the context of the process, which has one thread
/// now.
#[inline(always)]
pub(crate) fn try_exec(bprm: u64) -> Result<(), Counter> {
    let actor = Actor::current();
    if actor.pid == tunable!(agent_pid) {
        return Ok(());
    }
    threads::forget(actor.tid);
    let verdict = executed_verdict(bprm);
    let decided = verdict == verdict::SELECT || may_decide(verdict) && in_selected_cgroup();
    let flags = if decided { process_flags::DECIDED } else { 0 };
    if let Some(process) = actor.process() {
        // The kernel has cancelled what the last program had in its rings (`io_uring_task_cancel`
        // in `begin_new_exec`, <https://github.com/torvalds/linux/blob/v6.12/fs/exec.c>).
        selected::set_rings(actor.pid, 0);
        task::forget(actor.pid);
        return facts::executed(bprm, flags, actor.pid, next_trial(process));
    }
    if !decided && (verdict == verdict::IGNORE || tunable!(report_exec) == 0) {
        return Ok(());
    }
    if !selected::add(actor.pid, Process::ON_TRIAL) {
        return Err(Counter::ProcessesFull);
    }
    let reported = facts::executed(bprm, flags, actor.pid, Process::ON_TRIAL.trials);
    if reported.is_err() && !decided {
        // The agent would never decide about it.
        selected::remove(actor.pid);
    }
    reported
}

/// Number of the next record that asks about a process; a decision about an earlier one does not
/// count any more.
#[inline(always)]
fn next_trial(process: *mut Process) -> u32 {
    // SAFETY: an entry of PROCESSES stays readable for the run of the program. Two threads that
    // listen at once may get the same number: the agent decides about both records before it reads
    // what came after them.
    unsafe {
        (*process).trials = (*process).trials.wrapping_add(1);
        (*process).trials
    }
}

/// The agent's verdict on the executed file; `OPEN`: there is none yet.
#[inline(always)]
fn executed_verdict(bprm: u64) -> u32 {
    let Ok(file) = read(bprm, offset!(binprm_file)) else { return verdict::OPEN };
    let Ok(key) = facts::key(file) else { return verdict::OPEN };
    // SAFETY: values are plain numbers.
    unsafe { EXES.get(key) }.copied().unwrap_or(verdict::OPEN)
}

/// Whether no rule can exclude a process that executes a file of this verdict.
#[inline(always)]
fn may_decide(verdict: u32) -> bool {
    verdict == verdict::ALLOW || verdict == verdict::OPEN && tunable!(no_exclude) != 0
}

/// Whether the current process is in a cgroup of the rules or below one.
#[inline(always)]
fn in_selected_cgroup() -> bool {
    let rules = tunable!(cgroup_rules);
    let levels = tunable!(cgroup_levels);
    let ids = tunable!(cgroup_ids);
    let mut index = 0;
    while index < CGROUP_RULES {
        if index as u32 >= rules {
            return false;
        }
        let id = ancestor(levels[index]);
        if id != 0 && id == ids[index] {
            return true;
        }
        index += 1;
    }
    false
}

/// Id of the current process's cgroup at a depth below the root; 0: it is not that deep. Tracing
/// programs may use the helper since 5.16. Before 6.1 the ids stand in the cgroup itself
/// (`ancestor_ids`, <https://github.com/torvalds/linux/blob/v5.10/include/linux/cgroup-defs.h>).
#[inline(always)]
fn ancestor(level: u32) -> u64 {
    if offset!(cgroup_ancestor_ids) == MISSING {
        // SAFETY: the helper takes a number.
        return unsafe { bpf_get_current_ancestor_cgroup_id(level as i32) };
    }
    ancestor_in_memory(level).unwrap_or(0)
}

#[inline(always)]
fn ancestor_in_memory(level: u32) -> Result<u64, Counter> {
    let set: u64 = read(facts::current(), offset!(task_cgroups))?;
    let cgroup: u64 = read(set, offset!(css_set_cgroup))?;
    let depth: u32 = read(cgroup, offset!(cgroup_level))?;
    if level > depth {
        return Ok(0);
    }
    read(cgroup + u64::from(level) * 8, offset!(cgroup_ancestor_ids))
}

/// A process begins to listen. It is traced from its first connection on, unless no rule selects
/// its file.
#[inline(always)]
pub(crate) fn try_listen(actor: Actor, port: u32) -> Result<(), Counter> {
    if actor.pid == tunable!(agent_pid) {
        return Ok(());
    }
    let known = actor.process();
    if let Some(process) = known
        && tunable!(report_listen) != report_listen::ALL
    {
        // SAFETY: as above.
        if unsafe { (*process).trials } == 0 {
            return Ok(());
        }
    }
    let key = facts::executable();
    // SAFETY: values are plain numbers.
    let verdict = unsafe { EXES.get(key) }.copied().unwrap_or(verdict::OPEN);
    if known.is_none() && verdict == verdict::IGNORE {
        return Ok(());
    }
    let decided = may_decide(verdict) && is_selected_port(port);
    let flags = if decided { process_flags::DECIDED } else { 0 };
    let trial = match known {
        Some(process) => next_trial(process),
        None if !selected::add(actor.pid, Process::ON_TRIAL) => {
            return Err(Counter::ProcessesFull);
        }
        None => Process::ON_TRIAL.trials,
    };
    let mut record = facts::record(kind::LISTEN, flags, facts::current(), actor.pid, port);
    record.header.length = trial;
    let reported = put(&record);
    if reported.is_err() && known.is_none() && !decided {
        // The agent would never decide about it.
        selected::remove(actor.pid);
    }
    reported
}

/// Whether some rule selects a process that listens on this port.
#[inline(always)]
fn is_selected_port(port: u32) -> bool {
    let ports = tunable!(ports);
    let mut index = 0;
    while index < PORT_RULES {
        if ports[index] == port {
            return true;
        }
        index += 1;
    }
    false
}

/// `sched_process_exit(task)`, in the context of the thread that ends.
#[inline(always)]
pub(crate) fn try_exit() -> Result<(), Counter> {
    let actor = Actor::current();
    // Also where the process is not selected any more.
    threads::forget(actor.tid);
    if actor.process().is_none() {
        return Ok(());
    }
    let task = facts::current();
    let signal: u64 = read(task, offset!(task_signal))?;
    let live: u32 = read(signal, offset!(signal_live))?;
    if live != 0 {
        return Ok(());
    }
    selected::remove(actor.pid);
    task::forget(actor.pid);
    put(&facts::record(kind::EXIT, 0, task, actor.pid, 0))
}

/// `cgroup_attach_task(dst_cgrp, path, task, threadgroup)`: the agent looks where the process is
/// now.
#[inline(always)]
pub(crate) fn try_cgroup(task: u64) -> Result<(), Counter> {
    let pid: u32 = read(task, offset!(task_tgid))?;
    let tid: u32 = read(task, offset!(task_pid))?;
    if pid != tid || pid == tunable!(agent_pid) {
        return Ok(());
    }
    put(&facts::record(kind::CGROUP, 0, task, pid, 0))
}

#[inline(always)]
fn put(record: &agent_common::ProcessRecord) -> Result<(), Counter> {
    if ring::put(record) { Ok(()) } else { Err(Counter::DropProcess) }
}
