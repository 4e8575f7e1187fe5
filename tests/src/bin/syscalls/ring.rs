//! An io_uring of one thread, which does something else while the ring works: the ring's receive
//! then runs inside or at the end of an unrelated `read`, whose registers name another buffer.

use std::{
    fs::File,
    io::{Error, Read as _, Result},
};

use io_uring::{IoUring, squeue};

pub(crate) struct Ring {
    ring: IoUring,
    zeros: File,
}

impl Ring {
    pub(crate) fn new() -> Result<Self> {
        Ok(Self { ring: IoUring::new(4)?, zeros: File::open("/dev/zero")? })
    }

    /// Submits one operation and reads zeros until it is done.
    pub(crate) fn carry_out(&mut self, operation: &squeue::Entry) -> Result<usize> {
        // SAFETY: the operation's buffer outlives this call, which waits for the end of the
        // operation.
        unsafe { self.ring.submission().push(operation) }.map_err(Error::other)?;
        self.ring.submit()?;
        let mut zeros = vec![0; 16_384];
        loop {
            if let Some(done) = self.ring.completion().next() {
                let result = done.result();
                return usize::try_from(result).map_err(|_| Error::from_raw_os_error(-result));
            }
            self.zeros.read_exact(&mut zeros)?;
        }
    }
}
