//! What the end-to-end tests are made of: it starts standard servers and clients and the agent,
//! each under a guard that leaves nothing behind, and reads back the spans. `cargo xtask demo` and
//! `bench` use it too.

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
