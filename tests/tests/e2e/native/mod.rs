//! Tests for which no guest has room: guests have 2 GiB of memory.

mod crowd;
