//! Events from the running kernel.

pub mod sock_diag;
