//! What the kernel knows of a process at fork, exec, exit and listen. A process that has ended
//! before the agent looks has its facts from here. A field that the running kernel lacks, or that
//! cannot be read, stays unknown.

use agent_common::{
    Counter, EXEC_ARGUMENTS, EXEC_NAME, ExeKey, ExecRecord, MISSING, ProcessRecord, TaskFacts, UNKNOWN_USER,
    kind,
};
use aya_ebpf::helpers::generated::{bpf_get_current_task, bpf_probe_read_kernel_str, bpf_probe_read_user};

use crate::{
    kernel::read,
    maps::{EXECUTED, offset},
    ring,
};

const NO_FILE: ExeKey = ExeKey { inode: 0, device: 0 };

/// Address of the current thread's `struct task_struct`.
#[inline(always)]
pub(crate) fn current() -> u64 {
    // SAFETY: takes no argument.
    unsafe { bpf_get_current_task() }
}

/// A record about the process of `task`.
#[inline(always)]
pub(crate) fn record(kind: u8, flags: u8, task: u64, pid: u32, other: u32) -> ProcessRecord {
    let mut header = ring::header(kind, 0, 0);
    header.flags = flags;
    ProcessRecord { header, pid, other, facts: of(task) }
}

#[inline(always)]
fn of(task: u64) -> TaskFacts {
    let memory = pointer(task, offset!(task_mm));
    TaskFacts {
        user: user(task),
        parent: number(pointer(task, offset!(task_real_parent)), offset!(task_tgid)),
        start_time: long(pointer(task, offset!(task_group_leader)), offset!(task_start_boottime)),
        image: [long(memory, offset!(mm_start_code)), long(memory, offset!(mm_start_stack))],
        exe: file(memory),
    }
}

/// The effective user of a task.
#[inline(always)]
pub(crate) fn user(task: u64) -> u32 {
    let credentials = pointer(task, offset!(task_real_cred));
    if credentials == 0 || offset!(cred_euid) == MISSING {
        return UNKNOWN_USER;
    }
    read(credentials, offset!(cred_euid)).unwrap_or(UNKNOWN_USER)
}

/// The executable of the current process.
#[inline(always)]
pub(crate) fn executable() -> ExeKey {
    file(pointer(current(), offset!(task_mm)))
}

#[inline(always)]
fn file(memory: u64) -> ExeKey {
    let file = pointer(memory, offset!(mm_exe_file));
    if file == 0 { NO_FILE } else { key(file).unwrap_or(NO_FILE) }
}

/// Inode and device of a `struct file *`.
#[inline(always)]
pub(crate) fn key(file: u64) -> Result<ExeKey, Counter> {
    let inode: u64 = read(file, offset!(file_inode))?;
    let number: u64 = read(inode, offset!(inode_ino))?;
    let superblock: u64 = read(inode, offset!(inode_sb))?;
    let device: u32 = read(superblock, offset!(sb_dev))?;
    Ok(ExeKey { inode: number, device: u64::from(device) })
}

/// A pointer in a structure at `base`; 0: there is none.
#[inline(always)]
fn pointer(base: u64, offset: u32) -> u64 {
    long(base, offset)
}

#[inline(always)]
fn long(base: u64, offset: u32) -> u64 {
    if base == 0 || offset == MISSING {
        return 0;
    }
    read(base, offset).unwrap_or(0)
}

#[inline(always)]
fn number(base: u64, offset: u32) -> u32 {
    if base == 0 || offset == MISSING {
        return 0;
    }
    read(base, offset).unwrap_or(0)
}

/// Reports an exec by the current process: facts, the name of the file as it was given, the start
/// of the arguments.
#[inline(always)]
pub(crate) fn executed(bprm: u64, flags: u8, pid: u32, trial: u32) -> Result<(), Counter> {
    let slot: *mut ExecRecord = EXECUTED.get_ptr_mut(0).ok_or(Counter::ReadFailed)?;
    let task = current();
    // SAFETY: this CPU's only slot, and the programs of tracepoints do not migrate; an exec does
    // not interrupt another one.
    unsafe {
        (*slot).process = record(kind::EXEC, flags, task, pid, 0);
        (*slot).process.header.length = trial;
        (*slot).name_length = name(bprm, &raw mut (*slot).name);
        (*slot).arguments_length = arguments(task, &raw mut (*slot).arguments);
        if ring::put(&*slot) { Ok(()) } else { Err(Counter::DropProcess) }
    }
}

#[inline(always)]
fn name(bprm: u64, to: *mut [u8; EXEC_NAME]) -> u32 {
    let address = pointer(bprm, offset!(binprm_filename));
    if address == 0 {
        return 0;
    }
    // SAFETY: the helper checks the address and writes at most so many bytes.
    let length = unsafe { bpf_probe_read_kernel_str(to.cast(), EXEC_NAME as u32, address as *const _) };
    if length > 0 { length as u32 } else { 0 }
}

/// The kernel has just written the arguments onto the new program's stack, so that they are in
/// memory.
#[inline(always)]
fn arguments(task: u64, to: *mut [u8; EXEC_ARGUMENTS]) -> u32 {
    let memory = pointer(task, offset!(task_mm));
    let start = long(memory, offset!(mm_arg_start));
    let end = long(memory, offset!(mm_arg_end));
    if start == 0 || end <= start {
        return 0;
    }
    let length = end.wrapping_sub(start);
    let mut size = length as u32;
    if length > EXEC_ARGUMENTS as u64 {
        size = EXEC_ARGUMENTS as u32;
    }
    // The verifier of 5.10 loses the bound when the compiler compares another copy of the value.
    let size = crate::capture::bounded::<{ EXEC_ARGUMENTS as u32 }>(size);
    // SAFETY: the helper checks the address; `size` is at most the array's.
    let failed = unsafe { bpf_probe_read_user(to.cast(), size, start as *const _) };
    if failed != 0 {
        return 0;
    }
    if length > u64::from(u32::MAX) { u32::MAX } else { length as u32 }
}
