//! The priority of the thread that reads the ring: on a host whose CPUs are all taken it must still run before the ring is full.
//!
//! A nice value, not a real-time class: it takes a larger share, and whoever else wants to run still does.

use std::{fs, io};

use nix::unistd::{Pid, getpid, getsid};
use rustix::process::setpriority_process;

/// Gives the calling thread this nice value. Without the right to (CAP_SYS_NICE for values below 0) it goes on as it was.
pub(super) fn set(nice: i32) {
    // Linux takes 0 for the calling thread, not for its process (setpriority(2)).
    if let Err(error) = setpriority_process(None, nice) {
        tracing::warn!(
            "cannot set the nice value of the thread that reads the ring to {nice}: {error}: give the agent CAP_SYS_NICE, or set \
             capture.nice to 0; on a host whose CPUs are all taken records may be lost (wirespan_kernel_drops_total)"
        );
        return;
    }
    if let Err(error) = set_group(nice) {
        tracing::debug!("cannot set the nice value of the agent's scheduler group: {error}");
    }
}

/// Where the kernel groups threads by terminal session (CONFIG_SCHED_AUTOGROUP), nice values compare threads of one group
/// alone, and the group has its own (sched(7)). As a service the agent is alone in its session; at a shell the group is the
/// shell's, too, and is left as it is.
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
