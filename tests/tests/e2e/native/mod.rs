//! Tests for which no guest has room (guests have 2 GiB of memory), or whose programs no guest has.

mod crowd;
mod http2;
