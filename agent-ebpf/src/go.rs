//! Goroutines: which one runs, its last receive, and the requests that `net/http` hands from one to
//! another.
//!
//! A handler's goroutine gives its request to the goroutine that writes the connection
//! (`writeLoop`), over a channel, which the kernel cannot see. Two probes see it, because both
//! functions know the request: `(*persistConn).roundTrip` hands it over, and `(*Request).write`
//! begins to write it. The address of the request names the handoff, so that the probes need not
//! know which connection it is, or what wraps the connection. A handoff that nobody takes does no
//! harm: before its memory is another request, the `roundTrip` of that request runs.

use core::ptr::{read_volatile, write_volatile};

use agent_common::{Counter, GoKey, GoReceive, LastReceive, MISSING, OUT, runtime};
use aya_ebpf::{helpers::bpf_probe_read_user, programs::ProbeContext};

use crate::{
    context::{Actor, Registers},
    count::add,
    maps::{GOROUTINES, HANDOFFS, RUNTIMES, SCRATCH, offset},
};

/// CF and ZF. The probes lie on the jump (`jbe`) that asks for more stack. When it is taken, the
/// function begins once more.
const BELOW_OR_EQUAL: u64 = 0x41;

/// Names a goroutine.
#[derive(Clone, Copy)]
pub(crate) struct Goroutine {
    pub pid: u32,
    pub run: u32,
    pub id: u64,
}

impl Goroutine {
    #[inline(always)]
    fn key(self) -> GoKey {
        GoKey { pid: self.pid, run: self.run, id: self.id }
    }

    /// The last receive of the goroutine, or the one that came with the request that it writes.
    #[inline(always)]
    pub(crate) fn receive(self) -> GoReceive {
        match GOROUTINES.get_ptr(self.key()) {
            // SAFETY: only this goroutine writes its entry, and it runs on one thread at a time.
            Some(entry) => unsafe { *entry },
            None => GoReceive::NONE,
        }
    }

    /// Remembers a receive. While the goroutine writes the request of another one, its own receives
    /// mean nothing.
    #[inline(always)]
    pub(crate) fn set_last_receive(self, receive: LastReceive) {
        if let Some(entry) = GOROUTINES.get_ptr_mut(self.key()) {
            // SAFETY: as above.
            if unsafe { (*entry).handoff_from } == 0 {
                // SAFETY: as above.
                unsafe { (*entry).last = receive };
            }
        } else if receive.cookie != 0 {
            self.put(&GoReceive { last: receive, handoff_from: 0 });
        }
    }

    /// By reference, from map to map: a copy would cost stack, of which a program of a uprobe may
    /// have 48 bytes only (`source::kernel::frames`).
    #[inline(always)]
    fn put(self, receive: &GoReceive) {
        if let Some(entry) = GOROUTINES.get_ptr_mut(self.key()) {
            // SAFETY: as above.
            unsafe { *entry = *receive };
        } else if GOROUTINES.insert(self.key(), receive, 0).is_err() {
            add(Counter::GoroutinesFull, 1);
        }
    }
}

// Sends and receives use the following through global functions (`no_mangle`, numbers only). The
// verifier checks each once, and each has a stack frame of its own: that of a send is full.

/// The last receive of a goroutine, or the one that came with the request that it writes.
#[inline(always)]
pub(crate) fn receive_of(pid: u32, run: u32, id: u64) -> GoReceive {
    let found = goroutine_receive(pid, run, id);
    let Some(scratch) = SCRATCH.get_ptr(OUT as u32) else { return GoReceive::NONE };
    // SAFETY: the per-CPU scratch of sends; nothing else writes it until this program ends.
    if found == 0 { GoReceive::NONE } else { unsafe { read_volatile(&raw const (*scratch).receive) } }
}

/// Puts it into the scratch of sends; 0: there is none.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn goroutine_receive(pid: u32, run: u32, id: u64) -> u64 {
    let Some(scratch) = SCRATCH.get_ptr_mut(OUT as u32) else { return 0 };
    let receive = Goroutine { pid, run, id }.receive();
    // SAFETY: as above.
    unsafe { write_volatile(&raw mut (*scratch).receive, receive) };
    u64::from(receive.last.cookie != 0 || receive.handoff_from != 0)
}

/// A goroutine has received this.
#[inline(always)]
pub(crate) fn set_receive_of(pid: u32, run: u32, id: u64, cookie: u64, position: u64) {
    let _always = goroutine_received(pid, run, id, cookie, position);
}

#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn goroutine_received(pid: u32, run: u32, id: u64, cookie: u64, position: u64) -> u64 {
    Goroutine { pid, run, id }.set_last_receive(LastReceive { cookie, position });
    0
}

/// The goroutine that makes the current system call; 0: none, or not known. Go's own code keeps its
/// `g` in r14 and in its thread-local memory. In C code (cgo), and on a thread that Go has not
/// made, the two differ, or they are a `g` that only schedules and has no number.
#[inline(always)]
pub(crate) fn current(offset: u32) -> u64 {
    goroutine_now(offset)
}

#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn goroutine_now(offset: u32) -> u64 {
    if offset!(task_fsbase) == MISSING {
        return 0;
    }
    let Ok(registers) = Registers::current() else { return 0 };
    match user(registers.fs_base.wrapping_sub(8)) {
        Ok(g) if g == registers.r14 => number(offset, g),
        _ => 0,
    }
}

#[inline(always)]
fn number(offset: u32, g: u64) -> u64 {
    user(g.wrapping_add(u64::from(offset))).unwrap_or(0)
}

#[inline(always)]
fn user(address: u64) -> Result<u64, i32> {
    // SAFETY: the helper checks the address and fails instead of faulting.
    unsafe { bpf_probe_read_user(address as *const u64) }
}

/// The goroutine that runs into a probe; `id` 0: not known.
#[inline(always)]
fn actor(ctx: &ProbeContext) -> Option<Goroutine> {
    // SAFETY: the registers are the program's context.
    let (flags, g) = unsafe { ((*ctx.regs).eflags, (*ctx.regs).r14) };
    if flags & BELOW_OR_EQUAL != 0 {
        return None;
    }
    let pid = Actor::current().pid;
    let found = RUNTIMES.get_ptr(pid)?;
    // SAFETY: an entry stays readable for the run of the program; whose it is, `Task::current`
    // says.
    let runtime = unsafe { &*found };
    if runtime.kind != runtime::GO {
        return None;
    }
    Some(Goroutine { pid, run: runtime.key as u32, id: number(runtime.offset, g) })
}

/// `func (pc *persistConn) roundTrip(req *transportRequest)`: this goroutine is about to hand over
/// a request. A `transportRequest` begins with the address of its `Request`.
#[inline(always)]
pub(crate) fn try_round_trip(ctx: &ProbeContext) -> Result<(), Counter> {
    let Some(goroutine) = actor(ctx) else { return Ok(()) };
    // SAFETY: the registers are the program's context.
    let request = user(unsafe { (*ctx.regs).rbx }).map_err(|_| Counter::ReadFailed)?;
    let own = goroutine.receive();
    // The writer reads the body of the request. What the body itself requests is caused by the same
    // request.
    let receive =
        if own.handoff_from != 0 { own } else { GoReceive { last: own.last, handoff_from: goroutine.id } };
    // An unknown goroutine is written, too: an older handoff at this address must not be taken for
    // this one.
    let receive = if goroutine.id == 0 { GoReceive::NONE } else { receive };
    let key = Goroutine { id: request, ..goroutine }.key();
    HANDOFFS.insert(key, receive, 0).map_err(|_| Counter::HandoffsFull)
}

/// `func (r *Request) write(…)`: this goroutine begins to write a request, its own or one that was
/// handed over.
#[inline(always)]
pub(crate) fn try_request_write(ctx: &ProbeContext) -> Result<(), Counter> {
    let Some(goroutine) = actor(ctx) else { return Ok(()) };
    if goroutine.id == 0 {
        return Ok(());
    }
    // SAFETY: the registers are the program's context.
    let key = Goroutine { id: unsafe { (*ctx.regs).rax }, ..goroutine }.key();
    if let Some(handoff) = HANDOFFS.get_ptr(key) {
        // SAFETY: an entry stays readable for the run of the program.
        goroutine.put(unsafe { &*handoff });
        let _gone = HANDOFFS.remove(key);
        return Ok(());
    }
    if let Some(own) = GOROUTINES.get_ptr_mut(goroutine.key()) {
        // SAFETY: only this goroutine writes its entry, and it runs on one thread at a time.
        unsafe {
            if (*own).handoff_from != 0 {
                *own = GoReceive::NONE;
            }
        }
    }
    Ok(())
}
