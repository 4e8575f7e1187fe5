//! What the runtime of a program runs on the current thread: a goroutine, which takes the thread's
//! place, or a CPython context. The agent says for which processes and how (`RUNTIMES`); for all
//! others it costs one look at a switch.

use agent_common::{By, LastReceive, Runtime, not_captured, runtime, switch, transfer_flags};

use crate::{
    context::{Actor, distrust},
    go,
    maps::{RUNTIMES, SWITCHES},
    python,
};

/// Plain numbers: before 5.12 the verifier refuses to copy the payload of a variant that is not
/// set.
#[derive(Clone, Copy)]
pub(crate) struct Task {
    pub id: u64,
    /// What `id` is, in bits of `transfer_flags`; 0: unknown.
    pub flags: u8,
    /// Go: the run of the program.
    run: u32,
}

impl Task {
    pub(crate) const NONE: Self = Self { id: 0, flags: 0, run: 0 };

    /// Of the current thread, whose registers describe its system call.
    #[inline(always)]
    pub(crate) fn current(actor: Actor) -> Self {
        if !SWITCHES.is_on(switch::RUNTIMES_POSTED) {
            return Self::NONE;
        }
        let Some(found) = RUNTIMES.get_ptr(actor.pid) else { return Self::NONE };
        // If the entry becomes another process's while it is read (`socket::control`), it leads to
        // no context, and to no goroutine that received anything.
        //
        // SAFETY: an entry stays readable for the run of the program.
        let runtime = unsafe { &*found };
        match runtime.kind {
            runtime::GO => goroutine(runtime),
            // Looked up only for captured bytes: see `of_send`.
            runtime::CPYTHON => Self::context(0),
            _ => Self::NONE,
        }
    }

    /// The CPython context at this address; 0: not looked up yet.
    #[inline(always)]
    pub(crate) fn context(id: u64) -> Self {
        Self { id, flags: transfer_flags::CONTEXT, run: 0 }
    }

    /// The same for a send whose bytes are captured.
    #[inline(always)]
    pub(crate) fn of_send(self, actor: Actor) -> Self {
        if self.flags == transfer_flags::CONTEXT { python::current(actor) } else { self }
    }

    /// The same for a receive: an event loop reads for all its tasks.
    #[inline(always)]
    pub(crate) fn of_receive(self) -> Self {
        if self.flags == transfer_flags::CONTEXT { Self::NONE } else { self }
    }

    /// The last receive of this task or, without one, of the thread. A goroutine that writes for
    /// another one has the receive of that other, which is the task from then on.
    #[inline(always)]
    pub(crate) fn last_receive(&mut self, actor: Actor) -> LastReceive {
        if self.flags & transfer_flags::GOROUTINE == 0 {
            return actor.last_receive();
        }
        let receive = go::receive_of(actor.pid, self.run, self.id);
        if receive.handoff_from != 0 {
            self.id = receive.handoff_from;
            self.flags = transfer_flags::HANDOFF;
        }
        receive.last
    }

    /// Remembers a receive.
    #[inline(always)]
    pub(crate) fn set_last_receive(self, actor: Actor, receive: LastReceive) {
        if self.flags & transfer_flags::GOROUTINE == 0 {
            return actor.set_last_receive(receive);
        }
        go::set_receive_of(actor.pid, self.run, self.id, receive.cookie, receive.position);
    }
}

impl Task {
    /// The goroutine that started this one, which has received nothing itself.
    #[inline(always)]
    pub(crate) fn creator(self, actor: Actor) -> Self {
        if self.flags & transfer_flags::GOROUTINE == 0 {
            return self;
        }
        let Some(found) = RUNTIMES.get_ptr(actor.pid) else { return self };
        // SAFETY: an entry stays readable for the run of the program; see `Task::current`.
        let offset = unsafe { (*found).specific };
        let id = if offset == 0 { 0 } else { go::current(offset) };
        if id == 0 { self } else { Self { id, flags: transfer_flags::HANDOFF, run: self.run } }
    }

    /// The last receive of the goroutine that started another one.
    #[inline(always)]
    pub(crate) fn last_receive_of_creator(self, actor: Actor) -> LastReceive {
        let receive = go::receive_of(actor.pid, self.run, self.id);
        if receive.handoff_from == 0 { receive.last } else { LastReceive::NONE }
    }
}

/// Fills in the current thread with its last receive; returns the bits that say what the task is.
/// Not inlined: ends are rare, and the stack would count in every program that reports one.
#[inline(never)]
pub(crate) fn by_into(by: &mut By) -> u64 {
    let actor = Actor::current();
    let trusted = matches!(distrust(), Ok(reason) if reason != not_captured::IO_URING);
    let mut task = if trusted { Task::current(actor) } else { Task::NONE };
    let last = if trusted { task.last_receive(actor) } else { LastReceive::NONE };
    let task = task.of_send(actor);
    by.last_cookie = last.cookie;
    by.last_position = last.position;
    by.task = task.id;
    by.pid = actor.pid;
    by.tid = actor.tid;
    u64::from(task.flags)
}

#[inline(always)]
fn goroutine(runtime: &Runtime) -> Task {
    let id = go::current(runtime.offset);
    if id == 0 { Task::NONE } else { Task { id, flags: transfer_flags::GOROUTINE, run: runtime.key as u32 } }
}

/// A process has forked: the child has the same runtime at the same addresses.
#[inline(always)]
pub(crate) fn inherit(parent: u32, child: u32) {
    if let Some(runtime) = RUNTIMES.get_ptr(parent) {
        // SAFETY: as above.
        let _full = RUNTIMES.insert(child, unsafe { *runtime }, 0);
    }
}

/// A process is gone, or runs another program.
#[inline(always)]
pub(crate) fn forget(pid: u32) {
    let _none = RUNTIMES.remove(pid);
}
