//! What no guest has room for: their memory is 2 GiB.

mod crowd;
