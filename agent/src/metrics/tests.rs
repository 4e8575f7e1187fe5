//! The list of metrics is whole, says what the code counts, and keeps to its conventions.

use std::{collections::BTreeSet, fs, path::Path};

use super::*;
use crate::{
    event::NotCaptured,
    export::DropReason,
    pipeline::Eviction,
    trace::{Figures, TrustLevel},
};

/// What a counter may count: the word before `_total`.
const UNITS: [&str; 23] = [
    "attempts",
    "attributes",
    "bytes",
    "conflicts",
    "connections",
    "connects",
    "contents",
    "decisions",
    "entries",
    "events",
    "headers",
    "joins",
    "lookups",
    "losses",
    "misses",
    "notices",
    "parents",
    "processes",
    "records",
    "refusals",
    "requests",
    "reopens",
    "responses",
];
const MORE_UNITS: [&str; 11] = [
    "parts",
    "roots",
    "runs",
    "seconds",
    "spans",
    "syscalls",
    "threads",
    "traces",
    "transfers",
    "urls",
    "violations",
];

fn metric(name: &str) -> &'static Metric {
    all().find(|metric| metric.name == name).unwrap_or_else(|| panic!("there is no {name}"))
}

/// The values of a label, in their order.
fn values(name: &str, label: &str) -> Vec<&'static str> {
    let label = metric(name).labels.iter().find(|known| known.name == label);
    label.unwrap().values.iter().map(|(value, _)| *value).collect()
}

#[test]
fn names_and_labels_keep_to_the_conventions() {
    let mut names = BTreeSet::new();
    for metric in all() {
        let name = metric.name;
        assert!(names.insert(name), "{name} is listed twice");
        assert!(
            metric.help.starts_with(char::is_uppercase) && metric.help.ends_with('.'),
            "{name}: {}",
            metric.help
        );
        if let Some(counted) = name.strip_suffix("_total") {
            let unit = counted.rsplit('_').next().unwrap();
            assert!(UNITS.contains(&unit) || MORE_UNITS.contains(&unit), "{name}: {unit} is no unit");
        }
        let by_reason = metric.labels.iter().any(|label| label.name == "reason");
        // The ring buffer drops a record for one reason only: it is full.
        let for_one = name == "wirespan_ring_dropped_records_total";
        assert!(!name.contains("dropped") || by_reason || for_one, "{name} is a drop without a reason");
        for label in &metric.labels {
            assert_ne!(label.name, "what", "{name}");
            assert!(label.values.iter().all(|(_, meaning)| !meaning.ends_with('.')), "{name}");
        }
    }
}

#[test]
fn the_values_of_labels_are_those_of_the_code() {
    let reasons = NotCaptured::ALL.map(NotCaptured::name);
    assert_eq!(values("wirespan_uncaptured_syscalls_total", "reason"), reasons);
    let reasons = DropReason::ALL.map(DropReason::name);
    assert_eq!(values("wirespan_export_dropped_spans_total", "reason"), reasons);
    assert_eq!(values("wirespan_evicted_connections_total", "reason"), Eviction::ALL.map(Eviction::name));
    assert_eq!(values("wirespan_process_confidence", "level"), TrustLevel::ALL.map(TrustLevel::name));
    for (name, result, _) in Figures::default().metrics() {
        let Some(result) = result else { continue };
        assert!(values(name, "result").contains(&result), "{name} has no {result}");
    }
}

/// Every text in the code that looks like a metric is one, and every metric is in the code that
/// counts it.
#[test]
fn the_list_is_whole() {
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let counters = Path::new(env!("CARGO_MANIFEST_DIR")).join("../agent-common/src/counter.rs");
    let mut found = BTreeSet::new();
    names_in(&fs::read_to_string(counters).unwrap(), &mut found);
    walk(&sources, &mut found);
    let listed: BTreeSet<String> = all().map(|metric| metric.name.to_owned()).collect();
    let unlisted: Vec<_> = found.difference(&listed).collect();
    let uncounted: Vec<_> = listed.difference(&found).collect();
    assert!(
        unlisted.is_empty() && uncounted.is_empty(),
        "not in the list {unlisted:?}, not in the code {uncounted:?}"
    );
}

fn walk(directory: &Path, found: &mut BTreeSet<String>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() && path != Path::new(env!("CARGO_MANIFEST_DIR")).join("src/metrics") {
            walk(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            names_in(&fs::read_to_string(&path).unwrap(), found);
        }
    }
}

/// Texts that are the name of a metric, outside of tests at the end of a file.
fn names_in(text: &str, found: &mut BTreeSet<String>) {
    let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
    for quoted in code.split('"').skip(1) {
        let is_name = |c: char| c.is_ascii_lowercase() || c == '_';
        // Those of every process have the names that Prometheus's clients give them.
        let of_process = quoted.starts_with("process_") && quoted.contains("_memory_")
            || quoted.starts_with("process_cpu_");
        if (quoted.starts_with("wirespan_") || of_process) && quoted.chars().all(is_name) {
            found.insert(quoted.to_owned());
        }
    }
}
