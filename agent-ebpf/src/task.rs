//! What the runtime of a program runs on the calling thread: a goroutine, which takes the thread's place, or a CPython
//! context. Only in processes about which user space knows how (`RUNTIMES`); the others pay one look at a switch.

use agent_common::{LastInput, Runtime, runtime, transfer_flags};

use crate::{
    context::Caller,
    maps::{RUNTIMES, SWITCHES},
    python,
};

/// Slot of `SWITCHES`: something was posted to `RUNTIMES`.
const RUNTIMES_POSTED: u32 = 2;

/// Plain numbers: before 5.12 the verifier refuses the copy of a payload that is not there.
#[derive(Clone, Copy)]
pub struct Task {
    pub id: u64,
    /// What `id` is, in bits of `transfer_flags`; 0: not known.
    pub flags: u8,
}

impl Task {
    pub const NONE: Self = Self { id: 0, flags: 0 };

    /// Of the calling thread, whose registers describe its call.
    #[inline(always)]
    pub fn current(caller: Caller) -> Self {
        let Some(posted) = SWITCHES.get(RUNTIMES_POSTED) else { return Self::NONE };
        if *posted == 0 {
            return Self::NONE;
        }
        let Some(found) = RUNTIMES.get_ptr(caller.pid) else { return Self::NONE };
        // SAFETY: only user space writes values, whole, and an entry stays readable for the run of the program.
        let runtime = unsafe { &*found };
        match runtime.kind {
            runtime::GO => goroutine(runtime),
            // Looked up only for what is captured: see `of_send`.
            runtime::CPYTHON => Self { id: 0, flags: transfer_flags::CONTEXT },
            _ => Self::NONE,
        }
    }

    /// The same for a send whose bytes are captured.
    #[inline(always)]
    pub fn of_send(self, caller: Caller) -> Self {
        if self.flags == transfer_flags::CONTEXT { python::current(caller) } else { self }
    }

    /// The same for a receive: a loop reads for all its tasks.
    #[inline(always)]
    pub fn of_receive(self) -> Self {
        if self.flags == transfer_flags::CONTEXT { Self::NONE } else { self }
    }

    /// What this task, or else the thread, took in last.
    #[inline(always)]
    pub fn last_input(self, caller: Caller) -> LastInput {
        caller.last_input()
    }

    /// Remembers what it took in.
    #[inline(always)]
    pub fn set_last_input(self, caller: Caller, input: LastInput) {
        caller.set_last_input(input);
    }
}

#[inline(always)]
fn goroutine(_runtime: &Runtime) -> Task {
    let _kind = transfer_flags::GOROUTINE;
    Task::NONE
}

/// A process has forked: the child has the same runtime at the same addresses.
#[inline(always)]
pub fn inherit(parent: u32, child: u32) {
    if let Some(runtime) = RUNTIMES.get_ptr(parent) {
        // SAFETY: as above.
        let _full = RUNTIMES.insert(child, unsafe { *runtime }, 0);
    }
}

/// A process is gone, or runs another program.
#[inline(always)]
pub fn forget(pid: u32) {
    let _none = RUNTIMES.remove(pid);
}
