//! Forgets last receives on an evicted connection. When the connection is met again, its positions
//! begin anew, and an old last receive would name another message.

use std::os::fd::OwnedFd;

use aya::maps::{HashMap, MapData, MapError};
use rustc_hash::FxHashSet;

use agent_common::{GoKey, GoReceive, LastReceive};

use super::{
    KernelError, KernelSource,
    load::{ignore_missing, used},
    pod::Plain,
    thread_slots,
};

/// The last receives of threads and goroutines.
pub(super) struct Receives {
    /// The map `THREAD_SLOTS`.
    pub(super) slots: OwnedFd,
    pub(super) threads: HashMap<MapData, u32, Plain<LastReceive>>,
    pub(super) goroutines: HashMap<MapData, Plain<GoKey>, Plain<GoReceive>>,
    pub(super) handoffs: HashMap<MapData, Plain<GoKey>, Plain<GoReceive>>,
    /// Evicted connections that last receives may still name.
    pub(super) evicted: FxHashSet<u64>,
}

impl KernelSource {
    /// To be used after requests to forget connections.
    pub fn forget_receives(&mut self) -> Result<(), KernelError> {
        let receives = &mut self.receives;
        if receives.evicted.is_empty() {
            return Ok(());
        }
        let evicted = std::mem::take(&mut receives.evicted);
        thread_slots::forget(&receives.slots, |cookie| evicted.contains(&cookie))
            .map_err(|error| used("THREAD_SLOTS", &error))?;
        forget(&mut receives.threads, |receive| evicted.contains(&receive.0.cookie))
            .map_err(|e| used("THREADS", &e))?;
        let stale = |receive: &Plain<GoReceive>| evicted.contains(&receive.0.last.cookie);
        forget(&mut receives.goroutines, stale).map_err(|error| used("GOROUTINES", &error))?;
        forget(&mut receives.handoffs, stale).map_err(|error| used("HANDOFFS", &error))
    }
}

fn forget<K: aya::Pod, V: aya::Pod>(
    map: &mut HashMap<MapData, K, V>,
    stale: impl Fn(&V) -> bool,
) -> Result<(), MapError> {
    let entries = map.iter().filter_map(Result::ok).filter(|(_, value)| stale(value));
    let keys: Vec<K> = entries.map(|(key, _)| key).collect();
    keys.iter().try_for_each(|key| ignore_missing(map.remove(key)))
}
