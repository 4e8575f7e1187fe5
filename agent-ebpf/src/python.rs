//! The CPython context on the current thread. Every task of asyncio has a context of its own, whose
//! address names the task while it lives. A later context may have the same address; the agent
//! decides what that means.
//!
//! The context is looked up only for sends whose bytes are captured: thread-local storage →
//! `PyThreadState` → `context`. Where a step cannot be read, or is not what it should be, there is
//! no context.

use agent_common::{Counter, MISSING, Runtime, runtime};
use aya_ebpf::helpers::bpf_probe_read_user;

use crate::{
    context::{Actor, fs_base},
    count::add,
    maps::{RUNTIMES, offset},
    task::Task,
};

/// Keys whose values stand in the thread-local memory (PTHREAD_KEY_2NDLEVEL_SIZE, glibc). CPython
/// takes its key at start.
const NEAR_KEYS: u32 = 32;

/// The context of the current thread, in a process with an entry in `RUNTIMES`.
#[inline(always)]
pub(crate) fn current(actor: Actor) -> Task {
    let id = python_context(actor.pid);
    if id == 0 { Task::NONE } else { Task::context(id) }
}

/// The address of the context; 0: none. A global function: the verifier checks it alone, and its
/// stack frame exists only for a moment.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn python_context(pid: u32) -> u64 {
    let Some(found) = RUNTIMES.get_ptr(pid) else { return 0 };
    // SAFETY: an entry stays readable for the run of the program; whose it is, `Task::current`
    // says.
    let found = unsafe { &*found };
    if found.kind != runtime::CPYTHON || offset!(task_fsbase) == MISSING {
        return 0;
    }
    match context(found) {
        Ok(0) | Err(_) => {
            add(Counter::ContextsNone, 1);
            0
        }
        Ok(id) => {
            add(Counter::ContextsRead, 1);
            id
        }
    }
}

/// The address of the context; 0: there is none, or nothing entered it. Nothing enters the context
/// in which a whole event loop runs (`ctx_entered`), and a loop that defers all its writes (uvloop)
/// makes them there.
#[inline(always)]
fn context(runtime: &Runtime) -> Result<u64, Counter> {
    // `Py_tss_t`: `_is_initialized`, `_key`.
    let [initialized, key]: [u32; 2] = read_user(runtime.key)?;
    if initialized == 0 || key >= NEAR_KEYS {
        return Ok(0);
    }
    // `struct pthread_key_data`: `seq`, `data`.
    let slot = fs_base()? + u64::from(runtime.specific) + u64::from(key) * 16;
    let [_sequence, state]: [u64; 2] = read_user(slot)?;
    if state == 0 {
        return Ok(0);
    }
    let context: u64 = read_user(state + u64::from(runtime.offset))?;
    if context == 0 {
        return Ok(0);
    }
    // `PyContext`: `ob_refcnt`, `ob_type`, `ctx_prev`, `ctx_vars`, `ctx_weakreflist`,
    // `ctx_entered`.
    let [_count, kind, _previous, _variables, _weak, entered]: [u64; 6] = read_user(context)?;
    Ok(if kind == runtime.context_type && entered as u32 == 1 { context } else { 0 })
}

#[inline(always)]
fn read_user<T>(address: u64) -> Result<T, Counter> {
    // SAFETY: the helper checks the address and fails instead of faulting.
    unsafe { bpf_probe_read_user(address as *const T) }.map_err(|_| Counter::ReadFailed)
}
