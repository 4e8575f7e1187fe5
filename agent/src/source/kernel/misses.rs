//! Runs that the kernel skipped: it does not run a program on a processor that is running the same
//! program. The bytes of a skipped run show as unseen; only the kernel counts the reason.

use std::{
    fs,
    os::fd::{AsFd as _, AsRawFd as _},
};

use super::KernelSource;

impl KernelSource {
    /// Asks the kernel, at the cost of a file for each program.
    pub fn look_for_misses(&mut self) {
        self.misses.clear();
        for (name, program) in self.ebpf.programs() {
            let Ok(fd) = program.fd() else { continue };
            let path = format!("/proc/self/fdinfo/{}", fd.as_fd().as_raw_fd());
            let shown = fs::read_to_string(path).ok().and_then(|text| misses(&text));
            self.misses.extend(shown.map(|count| (name.to_owned(), count)));
        }
    }

    /// Each loaded program with its skipped runs, as of the last question. Programs for which the
    /// kernel has no count (before 5.12) are left out.
    #[must_use]
    pub fn recursion_misses(&self) -> &[(String, u64)] {
        &self.misses
    }
}

/// `recursion_misses` of a program's fdinfo (`bpf_prog_show_fdinfo`,
/// <https://github.com/torvalds/linux/blob/v6.12/kernel/bpf/syscall.c>).
fn misses(fdinfo: &str) -> Option<u64> {
    fdinfo.lines().find_map(|line| line.strip_prefix("recursion_misses:")?.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::misses;

    #[test]
    fn the_count_of_fdinfo_is_read() {
        let since_5_12 = "pos:\t0\nprog_type:\t26\nprog_id:\t53\nrun_time_ns:\t0\nrun_cnt:\t7\nrecursion_misses:\t12\nverified_insns:\t900\n";
        assert_eq!(misses(since_5_12), Some(12));
        assert_eq!(misses("pos:\t0\nprog_type:\t26\nrun_cnt:\t7\n"), None);
        assert_eq!(misses(""), None);
    }
}
