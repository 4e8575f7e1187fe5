//! Who calls: process, thread, its last input, and whether its saved registers describe the call.

use agent_common::{Counter, LastInput, MISSING, Process};
use aya_ebpf::helpers::{
    bpf_get_current_pid_tgid,
    generated::{bpf_get_current_task, bpf_get_current_task_btf, bpf_task_pt_regs},
};

use crate::{
    count::add,
    kernel::read,
    maps::{PROCESSES, THREADS, offset, tunable},
};

const NONE: LastInput = LastInput { cookie: 0, position: 0 };

/// PF_IO_WORKER, PF_USER_WORKER, PF_KTHREAD (include/linux/sched.h): no user registers of their own.
const WORKER_FLAGS: u32 = 0x10 | 0x4000 | 0x0020_0000;
/// TS_COMPAT (arch/x86/include/asm/thread_info.h): the task is inside a 32-bit system call.
const TS_COMPAT: u32 = 0x2;
/// `__USER_CS`; 32-bit code runs under 0x23.
const USER_CS: u64 = 0x33;
/// Bit of the system call number of the x32 ABI.
const X32: u64 = 0x4000_0000;

/// The calling thread.
#[derive(Clone, Copy)]
pub struct Caller {
    pub pid: u32,
    pub tid: u32,
}

impl Caller {
    #[inline(always)]
    pub fn current() -> Self {
        let both = bpf_get_current_pid_tgid();
        Self { pid: (both >> 32) as u32, tid: both as u32 }
    }

    /// The process's entry, if it is selected.
    #[inline(always)]
    pub fn process(self) -> Option<*mut Process> {
        PROCESSES.get_ptr_mut(self.pid)
    }

    /// What this thread took in last.
    #[inline(always)]
    pub fn last_input(self) -> LastInput {
        match THREADS.get_ptr(self.tid) {
            // SAFETY: only this thread writes its entry while it lives.
            Some(entry) => unsafe { *entry },
            None => NONE,
        }
    }

    /// Remembers what this thread took in.
    #[inline(always)]
    pub fn set_last_input(self, input: LastInput) {
        if let Some(entry) = THREADS.get_ptr_mut(self.tid) {
            // SAFETY: only this thread writes its entry while it lives.
            unsafe { *entry = input };
            return;
        }
        if input.cookie != 0 && THREADS.insert(self.tid, input, 0).is_err() {
            add(Counter::ThreadsFull, 1);
        }
    }
}

/// Whether the thread's saved registers can be trusted to describe the current socket call.
pub enum Trust {
    Yes(Task),
    /// io_uring or a worker: what would be copied is fiction, and the thread has no last input.
    IoUring,
    Compat,
}

/// `struct task_struct *` of the current thread.
#[derive(Clone, Copy)]
pub struct Task(u64);

/// Stands where no registers may be read.
pub const NO_TASK: Task = Task(0);

/// Looks at the current task.
#[inline(always)]
pub fn trust() -> Result<Trust, Counter> {
    // SAFETY: takes no argument.
    let task = unsafe { bpf_get_current_task() };
    if offset!(task_io_uring) != MISSING {
        let io_uring: u64 = read(task, offset!(task_io_uring))?;
        if io_uring != 0 {
            return Ok(Trust::IoUring);
        }
    }
    let flags: u32 = read(task, offset!(task_flags))?;
    if flags & WORKER_FLAGS != 0 {
        return Ok(Trust::IoUring);
    }
    let status: u32 = read(task, offset!(task_status))?;
    if status & TS_COMPAT != 0 {
        return Ok(Trust::Compat);
    }
    Ok(Trust::Yes(Task(task)))
}

/// The part of `struct pt_regs` (x86-64) from r10 to cs that tells the system call.
#[repr(C)]
#[derive(Clone, Copy)]
struct SavedRegisters {
    r10: u64,
    r9: u64,
    r8: u64,
    ax: u64,
    cx: u64,
    dx: u64,
    si: u64,
    di: u64,
    orig_ax: u64,
    ip: u64,
    cs: u64,
}

/// r15, r14, r13, r12, bp, bx, r11 come before r10.
const R10: u64 = 7 * 8;
/// sizeof(struct pt_regs) without FRED's larger frame.
const PT_REGS: u64 = 21 * 8;

/// A system call's number and arguments.
#[derive(Clone, Copy)]
pub struct Syscall {
    pub number: u64,
    pub second: u64,
    pub third: u64,
    pub fourth: u64,
}

/// The system call that the current thread is in; `None` when it is a 32-bit or x32 one.
#[inline(always)]
pub fn syscall(task: Task) -> Result<Option<Syscall>, Counter> {
    let registers = if tunable!(has_task_pt_regs) != 0 {
        // SAFETY: both helpers exist (probed), the second takes what the first returns.
        unsafe { bpf_task_pt_regs(bpf_get_current_task_btf().cast()) as u64 }
    } else {
        let stack: u64 = read(task.0, offset!(task_stack))?;
        stack + u64::from(tunable!(stack_size)) - PT_REGS
    };
    let saved: SavedRegisters = read(registers + R10, 0)?;
    if saved.cs & 0xffff != USER_CS || saved.orig_ax & X32 != 0 {
        return Ok(None);
    }
    Ok(Some(Syscall { number: saved.orig_ax, second: saved.si, third: saved.dx, fourth: saved.r10 }))
}
