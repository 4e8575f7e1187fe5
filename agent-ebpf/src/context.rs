//! The current thread: its process, its last receive, and whether its saved registers describe the
//! system call.

use agent_common::{Counter, LastReceive, MISSING, Process, not_captured, pid_flags};
use aya_ebpf::helpers::{
    bpf_get_current_pid_tgid,
    generated::{bpf_get_current_task, bpf_get_current_task_btf, bpf_task_pt_regs},
};

use crate::{
    kernel::{field, is_set, read},
    maps::{PROCESSES, offset, tunable},
    syscalls::{
        CONNECT, PREADV2, PWRITEV2, READ, READV, RECVMMSG, RECVMSG, SENDFILE, SENDMMSG, SENDTO, SPLICE,
        WRITE, WRITEV,
    },
    threads,
};

/// PF_IO_WORKER, PF_USER_WORKER, PF_KTHREAD
/// (<https://github.com/torvalds/linux/blob/v6.12/include/linux/sched.h>): threads without user
/// registers of their own.
const WORKER_FLAGS: u32 = 0x10 | 0x4000 | 0x0020_0000;
/// TS_COMPAT (<https://github.com/torvalds/linux/blob/v6.12/arch/x86/include/asm/thread_info.h>):
/// the task is inside a 32-bit system call.
const TS_COMPAT: u32 = 0x2;
/// `__USER_CS`; 32-bit code runs under 0x23.
const USER_CS: u64 = 0x33;
/// The result of a system call that has not ended: -ENOSYS.
const ENOSYS: u64 = -38_i64 as u64;
/// Bit of the system call number of the x32 ABI.
const X32: u64 = 0x4000_0000;

/// The current thread.
#[derive(Clone, Copy)]
pub(crate) struct Actor {
    pub pid: u32,
    pub tid: u32,
}

impl Actor {
    #[inline(always)]
    pub(crate) fn current() -> Self {
        let both = bpf_get_current_pid_tgid();
        Self { pid: (both >> 32) as u32, tid: both as u32 }
    }

    /// The process's entry, if it is selected.
    #[inline(always)]
    pub(crate) fn process(self) -> Option<*mut Process> {
        PROCESSES.get_ptr_mut(self.pid)
    }

    /// The last receive of this thread.
    #[inline(always)]
    pub(crate) fn last_receive(self) -> LastReceive {
        threads::last_receive(self.tid)
    }

    /// Remembers a receive of this thread.
    #[inline(always)]
    pub(crate) fn set_last_receive(self, receive: LastReceive) {
        threads::set_last_receive(self.tid, receive);
    }
}

/// Whether the thread's saved registers describe the current system call: `not_captured::NONE`, or
/// why they do not. In a worker or through io_uring the registers belong to something else, and the
/// thread has no last receive.
#[inline(always)]
pub(crate) fn distrust() -> Result<u8, Counter> {
    let (io_uring, flags, status) = if tunable!(has_task_pt_regs) != 0 { known_task() } else { task()? };
    if flags & WORKER_FLAGS != 0 || io_uring && !Syscall::current()?.is_of_sockets()? {
        return Ok(not_captured::IO_URING);
    }
    Ok(if status & TS_COMPAT != 0 { not_captured::TASK_32 } else { not_captured::NONE })
}

/// The last receive of the current thread, unless its process moves bytes of sockets through
/// io_uring: then receives happen wherever the ring's work happens to run. `process`: bits of
/// `pid_flags`.
#[inline(always)]
pub(crate) fn meaningful_receive(process: u8, receive: LastReceive) -> LastReceive {
    if process & pid_flags::RINGS != 0 { LastReceive::NONE } else { receive }
}

/// Whether the current task has an io_uring, its `flags` and `thread_info.status`, by plain loads.
#[inline(always)]
fn known_task() -> (bool, u32, u32) {
    // SAFETY: the helper exists (probed); takes no argument.
    let task = unsafe { bpf_get_current_task_btf() } as u64;
    let io_uring = offset!(task_io_uring) != MISSING && is_set(task, offset!(task_io_uring));
    (io_uring, field(task, offset!(task_flags)), field(task, offset!(task_status)))
}

/// The same before 5.15.
#[inline(always)]
fn task() -> Result<(bool, u32, u32), Counter> {
    // SAFETY: takes no argument.
    let task = unsafe { bpf_get_current_task() };
    let io_uring = offset!(task_io_uring) != MISSING && read::<u64>(task, offset!(task_io_uring))? != 0;
    Ok((io_uring, read(task, offset!(task_flags))?, read(task, offset!(task_status))?))
}

/// The part of `struct pt_regs` (x86-64) from dx to cs.
#[repr(C)]
#[derive(Clone, Copy)]
struct SavedRegisters {
    dx: u64,
    si: u64,
    di: u64,
    orig_ax: u64,
    ip: u64,
    cs: u64,
}

impl SavedRegisters {
    const NONE: Self = Self { dx: 0, si: 0, di: 0, orig_ax: 0, ip: 0, cs: 0 };
}

// Offsets in `struct pt_regs` (x86-64,
// <https://github.com/torvalds/linux/blob/v6.12/arch/x86/include/asm/ptrace.h>).
const R14: u32 = 8;
const R10: u32 = 7 * 8;
const AX: u32 = 10 * 8;
const DX: u32 = 12 * 8;
const SI: u32 = 13 * 8;
const ORIG_AX: u32 = 15 * 8;
const CS: u32 = 17 * 8;
/// sizeof(struct pt_regs) without FRED's larger frame.
const PT_REGS: u64 = 21 * 8;

/// Registers that the current thread's code keeps its own state in.
#[derive(Clone, Copy)]
pub(crate) struct Registers {
    pub r14: u64,
    /// The base of its thread-local memory.
    pub fs_base: u64,
}

impl Registers {
    /// In a system call. Needs the field `task_fsbase`.
    #[inline(always)]
    pub(crate) fn current() -> Result<Self, Counter> {
        if tunable!(has_task_pt_regs) == 0 {
            return Self::saved();
        }
        // SAFETY: the helper exists (probed); takes no argument.
        let task = unsafe { bpf_get_current_task_btf() };
        // SAFETY: the helper exists (probed) and takes what the other returns.
        let registers = unsafe { bpf_task_pt_regs(task.cast()) } as u64;
        Ok(Self { r14: field(registers, R14), fs_base: fs_base()? })
    }

    /// Before 5.15: from the top of the kernel stack.
    #[inline(always)]
    fn saved() -> Result<Self, Counter> {
        // SAFETY: takes no argument.
        let task = unsafe { bpf_get_current_task() };
        let stack: u64 = read(task, offset!(task_stack))?;
        let registers = stack + u64::from(tunable!(stack_size)) - PT_REGS;
        Ok(Self { r14: read(registers, R14)?, fs_base: fs_base()? })
    }
}

/// The base of the thread-local memory, as the kernel keeps it. Needs the field `task_fsbase`.
#[inline(always)]
pub(crate) fn fs_base() -> Result<u64, Counter> {
    if tunable!(has_task_pt_regs) != 0 {
        // SAFETY: the helper exists where the other one does (probed); takes no argument.
        return Ok(field(unsafe { bpf_get_current_task_btf() } as u64, offset!(task_fsbase)));
    }
    // SAFETY: takes no argument.
    read(unsafe { bpf_get_current_task() }, offset!(task_fsbase))
}

/// The system call that the current thread is in. Each plain load of a register takes the kernel's
/// check of its address, so only those are loaded that are asked for.
#[derive(Clone, Copy)]
pub(crate) struct Syscall {
    pub number: u64,
    /// Address of the saved registers.
    registers: u64,
    /// Before 5.15.
    saved: SavedRegisters,
}

impl Syscall {
    #[inline(always)]
    pub(crate) fn current() -> Result<Self, Counter> {
        if tunable!(has_task_pt_regs) != 0 { Ok(Self::known()) } else { Self::saved() }
    }

    #[inline(always)]
    fn known() -> Self {
        // SAFETY: both helpers exist (probed), the second takes what the first returns.
        let registers = unsafe { bpf_task_pt_regs(bpf_get_current_task_btf().cast()) } as u64;
        Self { number: field(registers, ORIG_AX), registers, saved: SavedRegisters::NONE }
    }

    /// Before 5.15: from the top of the kernel stack.
    #[inline(always)]
    fn saved() -> Result<Self, Counter> {
        // SAFETY: takes no argument.
        let task = unsafe { bpf_get_current_task() };
        let stack: u64 = read(task, offset!(task_stack))?;
        let registers = stack + u64::from(tunable!(stack_size)) - PT_REGS;
        let saved: SavedRegisters = read(registers, DX)?;
        Ok(Self { number: saved.orig_ax, registers, saved })
    }

    #[inline(always)]
    pub(crate) fn second(&self) -> u64 {
        if tunable!(has_task_pt_regs) != 0 { field(self.registers, SI) } else { self.saved.si }
    }

    #[inline(always)]
    pub(crate) fn third(&self) -> u64 {
        if tunable!(has_task_pt_regs) != 0 { field(self.registers, DX) } else { self.saved.dx }
    }

    #[inline(always)]
    pub(crate) fn fourth(&self) -> Result<u64, Counter> {
        self.other(R10)
    }

    /// A register that is not among those of [`SavedRegisters`].
    #[inline(always)]
    fn other(&self, offset: u32) -> Result<u64, Counter> {
        if tunable!(has_task_pt_regs) != 0 {
            Ok(field(self.registers, offset))
        } else {
            read(self.registers, offset)
        }
    }

    /// Whether the thread is inside a system call that moves bytes of a socket, or connects it. The
    /// work of an io_uring runs inside `io_uring_enter`, or on the way out of whatever system call
    /// it interrupted. That system call has its result by then; at the entry the result is -ENOSYS
    /// (`PUSH_AND_CLEAR_REGS rax=$-ENOSYS`,
    /// <https://github.com/torvalds/linux/blob/v6.12/arch/x86/entry/entry_64.S>).
    #[inline(always)]
    fn is_of_sockets(&self) -> Result<bool, Counter> {
        // SENDTO to RECVMSG includes RECVFROM and SENDMSG.
        let known = matches!(
            self.number,
            READ | WRITE | READV | WRITEV | SENDFILE | CONNECT | SENDTO
                ..=RECVMSG | SPLICE | RECVMMSG | SENDMMSG | PREADV2 | PWRITEV2
        );
        Ok(known && self.other(AX)? == ENOSYS)
    }

    /// Whether it is a 32-bit or x32 system call: its arguments mean something else. With FRED `cs`
    /// is a union, of which only the low 16 bits may be read.
    #[inline(always)]
    pub(crate) fn is_32_bit(&self) -> bool {
        let code_segment = if tunable!(has_task_pt_regs) != 0 {
            u64::from(field::<u16>(self.registers, CS))
        } else {
            self.saved.cs & 0xffff
        };
        code_segment != USER_CS || self.number & X32 != 0
    }
}
