//! Gives cookies to the sockets of connections that are older than the agent, so that the kernel
//! side can name them. A sock_diag dump does it, one in each network namespace of a selected
//! process. New sockets get their cookies from sock_ops.

use rustc_hash::FxHashSet;

use crate::source::kernel::sock_diag;

/// Most network namespaces that are remembered; further ones are dumped again for each process.
const NAMESPACES: usize = 4096;

/// Which network namespaces have been dumped.
#[derive(Debug, Default)]
pub(super) struct Cookies {
    done: FxHashSet<u64>,
}

impl Cookies {
    /// Makes cookies for the sockets in the network namespace of `pid`, once per namespace.
    pub(super) fn assign(&mut self, pid: u32) {
        use std::os::unix::fs::MetadataExt as _;
        // A process that is already gone needs none.
        let Ok(namespace) = std::fs::metadata(format!("/proc/{pid}/ns/net")) else { return };
        if self.done.contains(&namespace.ino()) {
            return;
        }
        match sock_diag::dump(pid) {
            Ok(sockets) => {
                tracing::debug!(
                    pid,
                    sockets = sockets.sockets.len(),
                    "gave cookies to the sockets of a network namespace"
                );
                if self.done.len() < NAMESPACES {
                    self.done.insert(namespace.ino());
                }
            }
            Err(error) => tracing::warn!(pid, "connections older than the agent are not traced: {error}"),
        }
    }
}
