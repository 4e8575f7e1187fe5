//! Which processes are selected: `PROCESSES` has what is known of each, `PIDS` the answer for the programs that run most often.
//! A byte for each pid costs no hash and no call of a helper, and programs that nobody selected run it as often as the others.
//!
//! What is rare are global functions (`no_mangle`, numbers only): the verifier looks at each once, and after a call at one way
//! only, where inlined or static ones doubled what follows them.

use agent_common::{PIDS_PER_ENTRY, Process, pid_flags};

use crate::maps::{PIDS, PROCESSES};

/// What `PIDS` says of a process, bits of `pid_flags`; 0: it is not selected.
#[inline(always)]
pub(crate) fn flags(pid: u32) -> u8 {
    match place(pid) {
        // SAFETY: a byte of an array's entry, which is never freed.
        Some(byte) => unsafe { *byte },
        // There is a byte for every pid that the kernel gives.
        None => 0,
    }
}

#[inline(always)]
fn place(pid: u32) -> Option<*mut u8> {
    let entry = PIDS.get_ptr_mut(pid / PIDS_PER_ENTRY)?;
    // SAFETY: within the entry's bytes.
    Some(unsafe { entry.cast::<u8>().add((pid % PIDS_PER_ENTRY) as usize) })
}

#[inline(always)]
fn mark(pid: u32, flags: u8) {
    if let Some(byte) = place(pid) {
        // SAFETY: as for `flags`; a single byte is written at once.
        unsafe { *byte = flags };
    }
}

#[inline(always)]
fn flags_of(process: *const Process) -> u8 {
    // SAFETY: an entry of PROCESSES stays readable for the run of the program.
    let (rings, drops) = unsafe { ((*process).rings, (*process).drops) };
    let rings = if rings != 0 { pid_flags::RINGS } else { 0 };
    let lost = if drops != 0 { pid_flags::LOST } else { 0 };
    pid_flags::SELECTED | rings | lost
}

/// From now on the process is traced; false: there is no room.
#[inline(always)]
pub(crate) fn add(pid: u32, process: Process) -> bool {
    if PROCESSES.insert(pid, process, 0).is_err() {
        return false;
    }
    mark(pid, pid_flags::SELECTED);
    // User space may have removed it meanwhile, and has cleared the byte before it was set.
    if PROCESSES.get_ptr(pid).is_none() {
        mark(pid, 0);
    }
    true
}

/// From now on the process is not traced.
#[inline(always)]
pub(crate) fn remove(pid: u32) {
    let _none = PROCESSES.remove(pid);
    mark(pid, 0);
}

/// The process moves bytes of a socket through io_uring (1), or what ran in it before did (0).
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn set_rings(pid: u32, rings: u32) -> u32 {
    let Some(process) = PROCESSES.get_ptr_mut(pid) else { return 0 };
    // SAFETY: as for `flags_of`; whoever stores stores the same.
    unsafe { (*process).rings = rings };
    mark(pid, flags_of(process));
    0
}

/// Records of the process that were lost so far; asked only where some were.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn process_drops(pid: u32) -> u64 {
    match PROCESSES.get_ptr(pid) {
        // SAFETY: as for `flags_of`.
        Some(process) => unsafe { (*process).drops },
        None => 0,
    }
}

/// Records of the process found no room.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn lose_records(pid: u32, records: u32) -> u32 {
    let Some(process) = PROCESSES.get_ptr_mut(pid) else { return 0 };
    // SAFETY: as for `flags_of`.
    crate::connection::atomic_add(unsafe { &raw mut (*process).drops }, u64::from(records));
    mark(pid, flags_of(process));
    0
}
