//! Limits of what is known of processes and files.

use wirespan::process::{
    attributes::MAX_ATTRIBUTES,
    listeners::MAX_LISTENING,
    proc_root::{MAX_COMMAND_LINE, MAX_DESCRIPTORS, MAX_ENVIRONMENT, MAX_MAPS},
    rules::MAX_PATTERN,
    table,
};

use super::{Limit, Section};
use crate::{
    source::constant,
    text::{bytes, count},
};

pub(super) fn sections() -> Vec<Section> {
    vec![
        Section { title: "Processes", limits: processes() },
        Section { title: "What is read of a process", limits: facts() },
        Section { title: "Configuration", limits: configuration() },
    ]
}

fn processes() -> Vec<Limit> {
    let table::Limits { known, selected } = table::Limits::default();
    let cut: &[&str] = &["wirespan_process_decisions_total{result=\"search_limit\"}"];
    vec![
        Limit::fixed(
            "selected processes",
            count(selected as u64),
            "not traced",
            &["wirespan_process_decisions_total{result=\"over_limit\"}"],
        ),
        Limit::fixed(
            "processes whose decision is remembered",
            count(known as u64),
            "each scan decides again",
            &["wirespan_process_decisions_total{result=\"not_remembered\"}"],
        ),
        Limit::fixed(
            "descriptors of a process that are searched for listening sockets",
            count(MAX_DESCRIPTORS as u64),
            "a `port` rule may miss the process",
            cut,
        ),
        Limit::fixed(
            "listening sockets of a network namespace",
            count(MAX_LISTENING as u64),
            "a `port` rule may miss a process",
            cut,
        ),
    ]
}

fn facts() -> Vec<Limit> {
    let argument = |name| constant("process/arguments", name);
    vec![
        Limit::fixed(
            "exported command line: arguments; bytes of one; of all",
            format!(
                "{}; {}; {}",
                count(argument("MAX_ARGUMENTS")),
                bytes(argument("MAX_ARGUMENT")),
                bytes(argument("MAX_TOTAL"))
            ),
            "a last argument `…`",
            &[],
        ),
        Limit::fixed(
            "command line that is read; environment; memory map",
            format!("{}; {}; {}", bytes(MAX_COMMAND_LINE), bytes(MAX_ENVIRONMENT), bytes(MAX_MAPS)),
            "the rest is not read",
            &[],
        ),
        Limit::fixed(
            "attributes of a process's OTEL_RESOURCE_ATTRIBUTES",
            count(MAX_ATTRIBUTES as u64),
            "left out",
            &[],
        ),
        Limit::fixed(
            "files with uprobes",
            count(constant("kernel/uprobe", "FILES")),
            "a warning; followed by their threads",
            &[],
        ),
        Limit::fixed(
            "Go programs remembered; CPython programs",
            format!(
                "{}; {}",
                count(constant("runtime/go/mod", "FILES")),
                count(constant("runtime/cpython/mod", "FILES"))
            ),
            "read again",
            &[],
        ),
    ]
}

fn configuration() -> Vec<Limit> {
    vec![
        Limit::fixed("size of the file", bytes(wirespan::config::MAX_FILE), "refused", &[]),
        Limit::fixed("bytes of a pattern", bytes(MAX_PATTERN as u64), "refused", &[]),
    ]
}
