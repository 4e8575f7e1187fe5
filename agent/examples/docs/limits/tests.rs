//! The limits name metrics and keys that exist, and no constant that is a limit is missing.

use std::fs;

use wirespan::{config::Config, metrics};

use super::*;
use crate::source::{files, root};

/// Constants whose documentation begins with "Most" and that are no limit of what the agent keeps.
const NO_LIMITS: [&str; 17] = [
    "LIMIT",           // doctor: of a response that it reads
    "NAP",             // replay: a pause
    "START_SCANS",     // session: rounds at the start
    "LAST_ROUNDS",     // session: rounds at the end
    "SUMMARIZED",      // lines of the summary
    "SHOWN_ADDRESSES", // lines of a list of processes
    "FILES",           // of several modules; those that cost something are listed
    "MOST_FIELDS",     // header fields that a parser can look for
    "SYMBOLS",         // of an ELF file that is read
    "MAX_NAME",        // of a service's name
    "MAX_TABLE",       // bytes of a file in /proc/net
    "MAX_POSITION",    // plausible positions
    "MOST",            // stack of a BPF program
    "ROUND",           // records in one round
    "MAX_RECORD",      // follows from a block's size
    "MAX_TIME",        // plausible times of an event log
    "MAX_COUNT",       // plausible counts of an event log
];

fn limits() -> Vec<Limit> {
    let sections = [capture::sections(), spans::sections(), trace::sections(), process::sections()];
    sections.concat_sections().into_iter().flat_map(|section| section.limits).collect()
}

#[test]
fn each_counter_exists() {
    for counted in limits().iter().flat_map(|limit| limit.counted) {
        let (name, label) = counted.split_once('{').unwrap_or((counted, ""));
        let metric = metrics::all().find(|metric| metric.name == name);
        let metric = metric.unwrap_or_else(|| panic!("there is no metric {name}"));
        if let Some((label, value)) = label.trim_end_matches('}').split_once('=') {
            let known = metric.labels.iter().find(|known| known.name == label);
            let known = known.unwrap_or_else(|| panic!("{name} has no label {label}"));
            let value = value.trim_matches('"');
            assert!(known.values.iter().any(|(known, _)| *known == value), "{counted}");
        }
    }
}

#[test]
fn each_key_exists() {
    for key in limits().iter().filter_map(|limit| limit.set).filter(|key| !key.starts_with("--")) {
        let name = key.rsplit('.').next().unwrap();
        assert!(Config::example().contains(&format!("{name}:")), "{key}");
    }
}

#[test]
fn no_limit_is_missing() {
    let mut listed = String::new();
    for file in ["capture", "spans", "trace", "process"] {
        let path = root().join(format!("agent/examples/docs/limits/{file}.rs"));
        listed.push_str(&fs::read_to_string(path).unwrap());
    }
    listed.push_str(include_str!("../configuration.rs"));
    let mut missing = vec![];
    files(&root().join("agent/src"), &mut |path, text| {
        for (documentation, definition) in text.lines().zip(text.lines().skip(1)) {
            let is_limit = ["/// Most ", "/// At most ", "/// Least and most "];
            let name = definition.trim_start().trim_start_matches("pub(super) ").trim_start_matches("pub ");
            if let Some((name, _)) = name.strip_prefix("const ").and_then(|rest| rest.split_once(':'))
                && is_limit.iter().any(|begin| documentation.trim_start().starts_with(begin))
                && !listed.contains(name)
                && !NO_LIMITS.contains(&name)
            {
                missing.push(format!("{path}: {name}"));
            }
        }
    });
    assert!(missing.is_empty(), "limits that no page has: {missing:#?}");
}
