//! The priority of the thread that reads the ring. On a host whose CPUs are all busy, this thread
//! must still run before the ring is full.
//!
//! The thread gets a nice value and not a real-time class: it takes a larger share of a CPU, and
//! other threads still run.

use std::{fs, io};

use nix::unistd::{Pid, getpid, getsid};
use rustix::process::setpriority_process;

/// Gives the calling thread this nice value. Without CAP_SYS_NICE, which values below 0 need, the
/// thread keeps the value that it has.
pub(super) fn set(nice: i32) {
    // Linux takes 0 for the calling thread, not for its process (setpriority(2)).
    if let Err(error) = setpriority_process(None, nice) {
        tracing::warn!(
            "cannot set the nice value of the thread that reads the ring to {nice}: {error}: give the agent CAP_SYS_NICE, or set \
             capture.nice to 0; on a host whose CPUs are all taken records may be lost (wirespan_ring_dropped_records_total)"
        );
        return;
    }
    if let Err(error) = set_group(nice) {
        tracing::debug!("cannot set the nice value of the agent's scheduler group: {error}");
    }
}

/// With CONFIG_SCHED_AUTOGROUP the kernel groups threads by terminal session. Nice values then
/// compare the threads of one group only, and the group has a nice value of its own (sched(7)). An
/// agent that runs as a service is alone in its group. At a shell the group is also the shell's, so
/// it is left as it is.
fn set_group(nice: i32) -> io::Result<()> {
    if getsid(None)? != getpid() || getpid() == Pid::from_raw(1) {
        return Ok(());
    }
    match fs::write("/proc/self/autogroup", nice.to_string()) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        written => written,
    }
}

#[cfg(test)]
mod tests {
    use rustix::process::getpriority_process;

    use super::*;

    #[test]
    fn only_the_calling_thread_gets_it() {
        let before = getpriority_process(None).unwrap();
        // Upwards, so that no right is needed; the thread ends with the test.
        let inside = std::thread::spawn(|| {
            set(7);
            getpriority_process(None).unwrap()
        });
        assert_eq!(inside.join().unwrap(), 7);
        assert_eq!(getpriority_process(None).unwrap(), before);
    }
}
