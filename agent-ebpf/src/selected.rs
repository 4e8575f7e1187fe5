//! Which processes are selected: `PROCESSES` has the state of each, `PIDS` a byte for the programs
//! that run most often. Reading that byte needs neither a hash nor a helper, and those programs run
//! for every process of the host.
//!
//! What runs rarely is a global function (`no_mangle`, numbers only): the verifier checks each
//! once. Inlined or static functions doubled the paths behind them.

use agent_common::{PIDS_PER_ENTRY, Process, pid_flags};

use crate::maps::{PIDS, PROCESSES};

/// Bits of `pid_flags`, as `PIDS` has them; 0: the process is not selected.
#[inline(always)]
pub(crate) fn flags(pid: u32) -> u8 {
    match byte_of(pid) {
        // SAFETY: a byte of an array's entry, which is never freed.
        Some(byte) => unsafe { *byte },
        // There is a byte for every pid that the kernel gives out.
        None => 0,
    }
}

#[inline(always)]
fn byte_of(pid: u32) -> Option<*mut u8> {
    let entry = PIDS.get_ptr_mut(pid / PIDS_PER_ENTRY)?;
    // SAFETY: within the entry's bytes.
    Some(unsafe { entry.cast::<u8>().add((pid % PIDS_PER_ENTRY) as usize) })
}

#[inline(always)]
fn mark(pid: u32, flags: u8) {
    if let Some(byte) = byte_of(pid) {
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
    // The agent may have removed the process meanwhile, and have cleared the byte before it was set
    // here.
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

/// Notes that the process moves bytes of a socket through io_uring (1), or that only its last
/// program did (0).
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn set_rings(pid: u32, rings: u32) -> u32 {
    let Some(process) = PROCESSES.get_ptr_mut(pid) else { return 0 };
    // SAFETY: as for `flags_of`; every writer stores the same value.
    unsafe { (*process).rings = rings };
    mark(pid, flags_of(process));
    0
}

/// Records of the process lost so far; used only where some were.
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
pub(crate) extern "C" fn count_lost_records(pid: u32, records: u32) -> u32 {
    let Some(process) = PROCESSES.get_ptr_mut(pid) else { return 0 };
    // SAFETY: as for `flags_of`.
    crate::connection::atomic_add(unsafe { &raw mut (*process).drops }, u64::from(records));
    mark(pid, flags_of(process));
    0
}
