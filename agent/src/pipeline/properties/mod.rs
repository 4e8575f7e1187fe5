//! What holds for the whole engine, events in and spans out, whatever becomes of the events on their way: cut anyhow, lost,
//! merged, joined late, evicted. What is true is known from how the conversation was made, never from the code under test.
//!
//! Two things no observer can tell apart are left out of what is asked: see `late` and `removal`.

mod chunking;
mod eviction;
mod host;
mod interleaving;
mod late;
mod multiplexed;
mod parents;
mod plan;
mod removal;
mod script;
mod timeline;
mod truth;
