//! The page of the configuration: each key with its default, its range and its meaning. Defaults
//! and ranges are those of the code, meanings the comments of the file that `wirespan config
//! default` prints.

use std::{ops::RangeInclusive, time::Duration};

use wirespan::{
    config::{
        BUFFERED_BYTES, CAPTURE_BYTES, CONNECTIONS, Capture, Config, HEAD_BYTES, Limits, MAX_IDLE,
        MAX_PARENT_WAIT, MAX_TIMEOUT, NICE, QUEUE_SPANS, RING_BYTES, WAITING_SPANS,
    },
    export::otlp::settings::OtlpSettings,
    trace::{CausalityRules, Settings},
};

use crate::{
    Page,
    source::constant,
    text::{bytes, count, heading, range, table, time},
};

/// A key, without its section.
struct Key {
    name: &'static str,
    default: String,
    range: String,
}

fn key(name: &'static str, default: impl Into<String>, range: impl Into<String>) -> Key {
    Key { name, default: default.into(), range: range.into() }
}

/// Keys that stand together, by the name of their section; one that has no keys below it is its
/// own.
fn sections() -> Vec<(&'static str, Vec<Key>)> {
    vec![
        ("select", rules(true)),
        ("exclude", rules(false)),
        ("export.otlp", otlp()),
        ("export.file", vec![key("path", "", "a path")]),
        (
            "export.console",
            vec![
                key("format", "tree", "tree, json"),
                key("color", "when stdout is a terminal", "true, false"),
            ],
        ),
        ("metrics", vec![key("listen", "not served", "an address and port")]),
        ("capture", capture()),
        ("limits", limits()),
        ("causality", causality()),
        ("instrumented", vec![key("instrumented", "skip", "skip, join")]),
        ("correlation_headers", correlation_headers()),
        ("forwarded", vec![key("trust", "private", "private, all, none, a list of networks")]),
        ("redaction", vec![key("query_parameters", "none", "a list of names")]),
        ("resource", vec![key("resource", "none", "attributes with texts")]),
        ("log", vec![key("log", "by the command line", "error, warn, info, debug, trace")]),
    ]
}

fn rules(select: bool) -> Vec<Key> {
    let mut keys = vec![
        key("exe", "", "a glob"),
        key("port", "", "1 to 65,535"),
        key("pid", "", format!("1 to {}", count(4_194_304_u64))),
        key("cmdline", "", "a glob"),
        key("cgroup", "", "a path that begins with /"),
    ];
    if select {
        keys.push(key("service", "detected", "a text"));
    }
    keys
}

fn otlp() -> Vec<Key> {
    vec![
        key("endpoint", "http://localhost:4317 (grpc), :4318 (http/protobuf)", "a URL"),
        key("protocol", "http/protobuf", "grpc, http/protobuf"),
        key("headers", "none", "names with texts"),
        key("compression", "gzip (http/protobuf), none (grpc)", "gzip, none"),
        key("timeout", time(OtlpSettings::default().timeout()), at_most(MAX_TIMEOUT)),
        key("certificate", "those of the system", "a PEM file"),
        key("client_certificate", "none", "a PEM file"),
        key("client_key", "none", "a PEM file"),
    ]
}

fn capture() -> Vec<Key> {
    let Capture { bytes: captured, head_bytes, ring_bytes, nice } = Capture::default();
    let ring_bytes = ring_bytes.map_or_else(|| "auto".to_owned(), bytes);
    vec![
        key("bytes", bytes(captured), range(&CAPTURE_BYTES, bytes)),
        key("head_bytes", bytes(head_bytes), range(&HEAD_BYTES, bytes)),
        key("ring_bytes", ring_bytes, format!("auto, or a power of two, {}", range(&RING_BYTES, bytes))),
        key("nice", nice.to_string(), range(&NICE, |nice: i32| nice.to_string())),
    ]
}

fn limits() -> Vec<Key> {
    let Limits { connections, buffered_bytes, idle, waiting_spans, parent_wait, queue_spans } =
        Limits::default();
    let number = |allowed: &RangeInclusive<u64>| range(allowed, count);
    vec![
        key("connections", count(connections), number(&CONNECTIONS)),
        key("buffered_bytes", bytes(buffered_bytes as u64), range(&BUFFERED_BYTES, bytes)),
        key("idle", time(idle), at_most(MAX_IDLE)),
        key("waiting_spans", count(waiting_spans as u64), number(&WAITING_SPANS)),
        key("parent_wait", time(parent_wait), at_most(MAX_PARENT_WAIT)),
        key("queue_spans", count(queue_spans as u64), number(&QUEUE_SPANS)),
    ]
}

fn causality() -> Vec<Key> {
    let CausalityRules { both_sides, request_side, response_side, task, across_threads, content, goroutine } =
        CausalityRules::default();
    let flag = |name, default: bool| key(name, default.to_string(), "true, false");
    vec![
        flag("both_sides", both_sides),
        flag("request_side", request_side),
        flag("response_side", response_side),
        flag("task", task),
        flag("across_threads", across_threads),
        flag("content", content),
        flag("goroutine", goroutine),
    ]
}

fn correlation_headers() -> Vec<Key> {
    let most = count(constant("config/read", "CORRELATION_HEADERS"));
    let default = Settings::default().correlation_headers.join(", ");
    vec![key("correlation_headers", default, format!("at most {most} names"))]
}

fn at_most(duration: Duration) -> String {
    format!("at most {}", time(duration))
}

pub(crate) fn page() -> Page {
    let about = "Keys of the file that `wirespan run --config FILE` reads. `wirespan config default` prints a file with all of them,\n\
                 `wirespan config check FILE` checks one. Durations: `500ms`, `30s`, `2m`, `1h`. Sizes: `65536`, `64KiB`, `8MiB`.";
    let mut text = heading("Configuration", about, "agent/src/config/default.yaml and the code");
    for (section, keys) in sections() {
        text.push_str(&format!("\n## `{section}`\n"));
        if let Some(about) = about_section(section) {
            text.push_str(&format!("\n{about}\n"));
        }
        text.push('\n');
        let rows = keys.iter().map(|key| {
            [format!("`{}`", key.name), key.default.clone(), key.range.clone(), meaning(section, key.name)]
        });
        text.push_str(&table(["key", "default", "range", "meaning"], rows));
    }
    Page { file: "configuration.md".to_owned(), text }
}

/// The lines of the example that belong to a top-level section, the comment above it included.
fn lines(section: &str) -> Vec<&'static str> {
    let mut found = vec![];
    for block in Config::example().split("\n\n") {
        let top = section.split('.').next().unwrap_or_default();
        if block.lines().any(|line| line.starts_with(&format!("{top}:"))) {
            found.extend(block.lines());
        }
    }
    found
}

/// The comment above a section; only once for those with several parts.
fn about_section(section: &str) -> Option<String> {
    if section.contains('.') && section != "export.otlp" {
        return None;
    }
    let above = lines(section).into_iter().map_while(|line| line.strip_prefix("# "));
    let text = above.collect::<Vec<_>>().join("\n");
    (!text.is_empty()).then_some(text)
}

/// The comment behind a key, and the lines that continue it.
fn meaning(section: &str, name: &str) -> String {
    let all = lines(section);
    let of_key = |line: &&str| {
        let bare = line.trim_start().trim_start_matches("#").trim_start().trim_start_matches("- ");
        bare.strip_prefix(name).is_some_and(|rest| rest.starts_with(':')) && line.starts_with("  ")
    };
    let Some(at) = all.iter().position(of_key) else { return String::new() };
    let Some((_, comment)) = all[at].trim_start().trim_start_matches("# ").split_once(" # ") else {
        return String::new();
    };
    let continued =
        all[at + 1..].iter().map_while(|line| line.strip_prefix("        ")?.trim_start().strip_prefix("# "));
    [comment.trim()].into_iter().chain(continued).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, fs};

    use super::*;
    use crate::source::root;

    /// The reader names the keys that it knows in lists like `fields(&["bytes", …])`.
    #[test]
    fn the_page_has_the_keys_that_the_reader_knows() {
        let text = fs::read_to_string(root().join("agent/src/config/read.rs")).unwrap();
        let mut known = BTreeSet::new();
        for list in ["fields(&[", "let known = [", "const KEYS: [&str; 6] =\n        ["] {
            for after in text.split(list).skip(1) {
                let names = after.split(']').next().unwrap().split('"').skip(1).step_by(2);
                known.extend(names.map(str::to_owned));
            }
        }
        let listed = sections();
        let parts = listed.iter().flat_map(|(section, _)| section.split('.'));
        let page: BTreeSet<String> = parts
            .chain(listed.iter().flat_map(|(_, keys)| keys.iter().map(|key| key.name)))
            .map(str::to_owned)
            .collect();
        assert_eq!(page, known);
    }

    #[test]
    fn most_keys_have_a_meaning() {
        for (section, keys) in sections() {
            for key in keys {
                let alone = ["export.file", "export.console", "exclude"].contains(&section)
                    || about_section(section).is_some();
                assert!(alone || !meaning(section, key.name).is_empty(), "{section}.{}", key.name);
            }
        }
    }
}
