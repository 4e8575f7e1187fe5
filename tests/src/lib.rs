//! The bench of the end-to-end tests: starts standard servers and clients and the agent itself, each under a guard that
//! leaves nothing behind, and reads back the spans. `cargo xtask demo` and `bench` stand on it too.

pub mod agent;
pub mod cgroup;
pub mod clients;
pub mod machine;
pub mod nginx;
pub mod process;
pub mod programs;
pub mod span;
pub mod stage;
pub mod wait;
