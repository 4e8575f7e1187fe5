//! All counters of the pipeline at one moment, so that whoever shows them needs no access to the
//! engine.

use std::{collections::BTreeMap, sync::Arc};

use super::{Engine, ServiceConfidence, Tally};
use crate::{event::NotCaptured, protocol::Counters as ProtocolCounters, stream, trace};

/// See the module.
pub(crate) struct Snapshot {
    /// Events, bytes and the ledger's totals.
    pub(crate) tally: Tally,
    /// Connections open now, and bytes that they buffer.
    pub(crate) connections: usize,
    pub(crate) buffered_bytes: usize,
    pub(crate) protocol: ProtocolCounters,
    pub(crate) stream: stream::Counters,
    pub(crate) trace: trace::Counters,
    /// System calls whose bytes were not captured, by reason and service.
    pub(crate) not_captured: BTreeMap<(NotCaptured, Arc<str>), u64>,
    /// Those with most calls first.
    pub(crate) processes: Vec<trace::ProcessConfidence>,
    /// How many processes have made calls.
    pub(crate) calling_processes: usize,
    /// The sums over `processes`.
    pub(crate) services: Vec<ServiceConfidence>,
}

impl Snapshot {
    /// Reads the counters, with at most `limit` processes.
    pub(super) fn of(engine: &mut Engine, limit: usize) -> Self {
        let not_captured = engine.withheld_by_service();
        let (processes, calling_processes) = engine.standings(limit);
        Self {
            not_captured,
            services: engine.service_confidence(&processes),
            processes,
            calling_processes,
            tally: engine.tally().clone(),
            connections: engine.connections(),
            buffered_bytes: engine.buffered(),
            protocol: *engine.protocol_counters(),
            stream: *engine.stream_counters(),
            trace: engine.trace_counters(),
        }
    }
}
