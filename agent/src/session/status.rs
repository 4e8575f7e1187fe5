//! The status page: JSON that a running agent serves for `wirespan doctor`.
//!
//! A doctor of another version than the agent's may read it. A reader ignores fields that it does
//! not know. A change that would mislead an older reader raises [`FORMAT`].

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::sample::{NOT_CAPTURED, Sample};
use crate::{
    pipeline::NotCapturedKey,
    trace::{Figures, ProcessConfidence, TrustLevel},
};

/// By this name a doctor recognizes an agent.
pub(crate) const AGENT: &str = "wirespan";

/// Raised when an older reader would misunderstand the page.
pub(crate) const FORMAT: u32 = 1;

/// Metrics that count what could not be read or was not traced.
const UNREADABLE: [&str; 4] = [
    NOT_CAPTURED,
    "wirespan_bpf_untraced_syscalls_total",
    "wirespan_ring_dropped_records_total",
    "wirespan_bpf_redirected_syscalls_total",
];

/// What parsers do not read, by a label of this metric: connections whose protocol is known.
const UNREAD_PROTOCOLS: (&str, [&str; 1]) = ("wirespan_protocol_events_total", ["connections_not_http1"]);

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Status {
    pub(crate) agent: String,
    pub(crate) version: String,
    pub(crate) format: u32,
    /// What could not be read or was not traced; only counters above 0.
    pub(crate) unreadable: Vec<Count>,
    /// The processes with most calls, and those whose bytes were not captured.
    pub(crate) processes: Vec<Process>,
}

/// A counter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Count {
    pub(crate) metric: String,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) value: u64,
}

/// What is known of a process.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Process {
    pub(crate) pid: u32,
    /// `None`: it has made no calls, or others have made more.
    pub(crate) confidence: Option<Confidence>,
    /// System calls whose bytes were not captured, by reason.
    pub(crate) not_captured: BTreeMap<String, u64>,
}

/// How far the links of its calls are trusted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Confidence {
    pub(crate) service: String,
    pub(crate) level: String,
    pub(crate) figures: BTreeMap<String, u64>,
}

impl Status {
    /// Makes the page of the last publication.
    pub(super) fn new(
        samples: &[Sample],
        standings: &[ProcessConfidence],
        not_captured: &[(NotCapturedKey, u64)],
    ) -> Self {
        let mut processes: BTreeMap<u32, Process> = BTreeMap::new();
        for standing in standings {
            process(&mut processes, standing.pid).confidence = Some(standing.into());
        }
        for (key, value) in not_captured {
            let counts = &mut process(&mut processes, key.pid).not_captured;
            *counts.entry(key.reason.name().to_owned()).or_default() += value;
        }
        Self {
            agent: AGENT.to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            format: FORMAT,
            unreadable: samples.iter().filter(|sample| is_unreadable(sample)).map(Count::from).collect(),
            processes: processes.into_values().collect(),
        }
    }
}

fn process(processes: &mut BTreeMap<u32, Process>, pid: u32) -> &mut Process {
    processes.entry(pid).or_insert_with(|| Process { pid, ..Process::default() })
}

fn is_unreadable(sample: &Sample) -> bool {
    let (parsers, protocols) = UNREAD_PROTOCOLS;
    let is_protocol = || sample.labels.iter().any(|(_, value)| protocols.contains(&value.as_str()));
    sample.value > 0 && (UNREADABLE.contains(&sample.name) || sample.name == parsers && is_protocol())
}

impl From<&Sample> for Count {
    fn from(sample: &Sample) -> Self {
        let labels = sample.labels.iter().map(|(name, value)| ((*name).to_owned(), value.clone()));
        Self { metric: sample.name.to_owned(), labels: labels.collect(), value: sample.value }
    }
}

impl From<&ProcessConfidence> for Confidence {
    fn from(standing: &ProcessConfidence) -> Self {
        let figures = standing.figures.list().into_iter().map(|(name, value)| (name.to_owned(), value));
        Self {
            service: standing.service.to_string(),
            level: standing.level.name().to_owned(),
            figures: figures.collect(),
        }
    }
}

impl Process {
    /// How far the links of its calls are trusted, for people. `None` also when an agent of another
    /// version says what this one does not know.
    pub(crate) fn standing(&self) -> Option<ProcessConfidence> {
        let Confidence { service, level, figures: counts } = self.confidence.as_ref()?;
        let standing = TrustLevel::ALL.into_iter().find(|standing| standing.name() == level)?;
        let mut figures = Figures::default();
        for (name, value) in counts {
            figures.set(name, *value);
        }
        Some(ProcessConfidence { pid: self.pid, service: service.as_str().into(), level: standing, figures })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::NotCaptured;

    fn standing() -> ProcessConfidence {
        let figures = Figures { parents: 90, unlinked: 10, ..Figures::default() };
        ProcessConfidence { pid: 7, service: "a \"shop\"".into(), level: TrustLevel::RequestSide, figures }
    }

    #[test]
    fn the_page_is_read_as_it_was_written() {
        let key = |pid| NotCapturedKey { reason: NotCaptured::IoUring, pid };
        let status = Status::new(&[], &[standing()], &[(key(7), 3), (key(8), 1)]);
        let text = serde_json::to_string(&status).unwrap();
        let read: Status = serde_json::from_str(&text).unwrap();
        assert_eq!(read, status);
        assert_eq!(read.processes[0].standing(), Some(standing()));
        assert_eq!(read.processes[0].not_captured["io_uring"], 3);
        assert_eq!((read.processes[1].pid, read.processes[1].standing()), (8, None));
    }

    #[test]
    fn only_what_was_counted_is_unreadable() {
        let sample = |name, value| Sample { name, labels: vec![("reason", "x".into())], value };
        let samples = [sample(UNREADABLE[1], 3), sample(UNREADABLE[2], 0), sample("wirespan_spans_total", 9)];
        let unreadable = Status::new(&samples, &[], &[]).unreadable;
        assert_eq!(unreadable.len(), 1);
        assert_eq!((&*unreadable[0].metric, unreadable[0].value), (UNREADABLE[1], 3));
        let parsers = |event: &str| Sample {
            name: UNREAD_PROTOCOLS.0,
            labels: vec![("event", event.into())],
            value: 2,
        };
        let samples = [parsers("connections_not_http1"), parsers("connections_upgraded")];
        let unreadable = Status::new(&samples, &[], &[]).unreadable;
        assert_eq!((unreadable.len(), &*unreadable[0].labels["event"]), (1, "connections_not_http1"));
    }

    #[test]
    fn every_metric_of_the_page_exists() {
        let known: Vec<_> = agent_common::Counter::ALL.iter().map(|counter| counter.metric()).collect();
        for metric in &UNREADABLE[1..] {
            assert!(known.contains(metric), "{metric}");
        }
        let parsers: Vec<_> = crate::protocol::Counters::default().samples().collect();
        let (metric, protocols) = UNREAD_PROTOCOLS;
        let is_known = |event| {
            parsers.iter().any(|sample| (sample.name, sample.label) == (metric, Some(("event", event))))
        };
        assert!(protocols.into_iter().all(is_known));
    }
}
