//! Which processes are traced, kept in the kernel: fork inherits, exec and cgroup moves re-evaluate, exit forgets.

use agent_common::{
    CGROUP_RULES, Counter, ExeKey, MISSING, PORT_RULES, Process, ProcessRecord, kind, verdict,
};
use aya_ebpf::helpers::generated::{bpf_get_current_ancestor_cgroup_id, bpf_get_current_task};

use crate::{
    context::{self, Caller},
    kernel::read,
    maps::{EXES, PROCESSES, THREADS, offset, tunable},
    ring, task,
};

/// `sched_process_fork(parent, child)`, in the parent's context, before the child runs.
#[inline(always)]
pub fn try_fork(child: u64) -> Result<(), Counter> {
    let caller = Caller::current();
    if caller.process().is_none() {
        return Ok(());
    }
    let pid: u32 = read(child, offset!(task_tgid))?;
    let tid: u32 = read(child, offset!(task_pid))?;
    let last = caller.last_input();
    if last.cookie != 0 && THREADS.insert(tid, last, 0).is_err() {
        crate::count::add(Counter::ThreadsFull, 1);
    }
    if pid == caller.pid {
        return Ok(());
    }
    if PROCESSES.insert(pid, Process::SELECTED, 0).is_err() {
        return Err(Counter::ProcessesFull);
    }
    task::inherit(caller.pid, pid);
    report(kind::FORK, caller.pid, pid)
}

/// `sched_process_exec(task, old_pid, bprm)`, in the context of the process, which has one thread now.
#[inline(always)]
pub fn try_exec(bprm: u64) -> Result<(), Counter> {
    let caller = Caller::current();
    if caller.pid == tunable!(agent_pid) {
        return Ok(());
    }
    let _gone = THREADS.remove(caller.tid);
    let verdict = if in_selected_cgroup() { verdict::SELECT } else { file_verdict(bprm) };
    if let Some(process) = caller.process() {
        context::forget_rings(process);
        task::forget(caller.pid);
        return report(kind::EXEC, caller.pid, u32::from(verdict == verdict::SELECT));
    }
    if verdict == verdict::SELECT {
        if PROCESSES.insert(caller.pid, Process::SELECTED, 0).is_err() {
            return Err(Counter::ProcessesFull);
        }
        return report(kind::EXEC, caller.pid, 1);
    }
    if verdict == verdict::IGNORE || tunable!(report_exec) == 0 {
        return Ok(());
    }
    report(kind::EXEC, caller.pid, 0)
}

/// What user space has decided about the executed file; 0 nothing yet.
#[inline(always)]
fn file_verdict(bprm: u64) -> u32 {
    let Ok(key) = file_key(bprm) else { return 0 };
    // SAFETY: values are plain numbers.
    unsafe { EXES.get(key) }.copied().unwrap_or(0)
}

#[inline(always)]
fn file_key(bprm: u64) -> Result<ExeKey, Counter> {
    let file: u64 = read(bprm, offset!(binprm_file))?;
    let inode: u64 = read(file, offset!(file_inode))?;
    let number: u64 = read(inode, offset!(inode_ino))?;
    let superblock: u64 = read(inode, offset!(inode_sb))?;
    let device: u32 = read(superblock, offset!(sb_dev))?;
    Ok(ExeKey { inode: number, device: u64::from(device) })
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

/// Id of the current process's cgroup at a depth below the root; 0: it is not that deep. Tracing programs may ask the helper
/// since 5.16; before 6.1 the ids stand in the cgroup itself (kernel/cgroup/cgroup.c, `ancestor_ids`).
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
    // SAFETY: takes no argument.
    let task = unsafe { bpf_get_current_task() };
    let set: u64 = read(task, offset!(task_cgroups))?;
    let cgroup: u64 = read(set, offset!(css_set_cgroup))?;
    let depth: u32 = read(cgroup, offset!(cgroup_level))?;
    if level > depth {
        return Ok(0);
    }
    read(cgroup + u64::from(level) * 8, offset!(cgroup_ancestor_ids))
}

/// A process starts to listen on a port that a rule names and that nothing else decides about: from its first connection
/// on it is traced.
#[inline(always)]
pub fn select_listener(caller: Caller, port: u32) {
    let ports = tunable!(ports);
    let mut index = 0;
    while index < PORT_RULES {
        if ports[index] == port {
            if PROCESSES.insert(caller.pid, Process::SELECTED, 0).is_err() {
                crate::count::add(Counter::ProcessesFull, 1);
            }
            return;
        }
        index += 1;
    }
}

/// `sched_process_exit(task)`, in the context of the thread that ends.
#[inline(always)]
pub fn try_exit() -> Result<(), Counter> {
    let caller = Caller::current();
    // Also of a process that is not selected any more.
    let _gone = THREADS.remove(caller.tid);
    if caller.process().is_none() {
        return Ok(());
    }
    // SAFETY: takes no argument.
    let task = unsafe { bpf_get_current_task() };
    let signal: u64 = read(task, offset!(task_signal))?;
    let live: u32 = read(signal, offset!(signal_live))?;
    if live != 0 {
        return Ok(());
    }
    let _gone = PROCESSES.remove(caller.pid);
    task::forget(caller.pid);
    report(kind::EXIT, caller.pid, 0)
}

/// `cgroup_attach_task(dst_cgrp, path, task, threadgroup)`: user space looks where the process is now.
#[inline(always)]
pub fn try_cgroup(task: u64) -> Result<(), Counter> {
    let pid: u32 = read(task, offset!(task_tgid))?;
    let tid: u32 = read(task, offset!(task_pid))?;
    if pid != tid || pid == tunable!(agent_pid) {
        return Ok(());
    }
    report(kind::CGROUP, pid, 0)
}

#[inline(always)]
fn report(kind: u8, pid: u32, other: u32) -> Result<(), Counter> {
    let record = ProcessRecord { header: ring::header(kind, 0, 0), pid, other };
    if ring::put(&record) { Ok(()) } else { Err(Counter::DropProcess) }
}
