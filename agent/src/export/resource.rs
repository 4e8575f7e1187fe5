//! The OTLP resource of a traced process: what the process is, on which host.
//!
//! One resource per process. Precedence for a key, highest first: what the kernel and the agent know for certain
//! (`service.name` as decided by the process layer, `process.*`, `container.id`, `telemetry.distro.*`); what the process says in
//! its own OTEL_RESOURCE_ATTRIBUTES; what the agent's OTEL_RESOURCE_ATTRIBUTES says of the host; what is detected
//! (`host.*`, `os.type`, `service.instance.id`). The agent's own `service.*` and `process.*` never apply to others.

use std::{fs, hash::Hasher, path::Path, sync::Arc};

use rustc_hash::FxHashMap;
use serde::{Deserialize, Serialize};
use siphasher::sip128::{Hasher128, SipHasher13};

use crate::{
    event::ProcessFacts,
    process::attributes,
    trace::span::{Span, SpanEvent},
};

/// Resources of processes kept ready by each exporter; beyond that all are made anew.
const MAX_CACHED: usize = 1_024;

/// What all resources of this agent have in common. Event logs hold it under these names.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct HostResource {
    /// `host.name`
    pub name: Option<String>,
    /// `host.id`: /etc/machine-id
    pub id: Option<String>,
    /// From the agent's own OTEL_RESOURCE_ATTRIBUTES, in its order.
    pub attributes: Vec<(String, String)>,
}

impl HostResource {
    /// Asks this host; `env` gives the agent's environment variables.
    #[must_use]
    pub fn detect(env: impl Fn(&str) -> Option<String>) -> Self {
        let name = nix::unistd::gethostname().ok().and_then(|name| name.into_string().ok());
        let id = ["/etc/machine-id", "/var/lib/dbus/machine-id"].iter().find_map(|path| {
            let id = fs::read_to_string(path).ok()?;
            let id = id.trim();
            (!id.is_empty()).then(|| id.to_owned())
        });
        let attributes =
            env("OTEL_RESOURCE_ATTRIBUTES").map(|list| own_attributes(&list)).unwrap_or_default();
        Self { name, id, attributes }
    }
}

/// The agent's own OTEL_RESOURCE_ATTRIBUTES; a malformed list counts as none, as the specification says.
fn own_attributes(list: &str) -> Vec<(String, String)> {
    attributes::parse(list)
        .inspect_err(|error| tracing::warn!("OTEL_RESOURCE_ATTRIBUTES is ignored: {error}"))
        .unwrap_or_default()
}

/// The value of a resource attribute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Value {
    Text(String),
    Integer(i64),
    Texts(Vec<String>),
}

/// A resource attribute.
pub(crate) type Attribute = (String, Value);

/// The attributes of the resource of `facts`, each key once, sorted by key.
pub(crate) fn attributes(facts: &ProcessFacts, host: &HostResource) -> Vec<Attribute> {
    let mut all = vec![];
    // Lowest precedence first: a later one replaces an earlier one.
    if !facts.is_virtual() {
        detected(facts, host, &mut all);
    }
    for (key, value) in &host.attributes {
        if !key.starts_with("service.instance.") && key != "service.name" {
            put(&mut all, key, Value::Text(value.clone()));
        }
    }
    for (key, value) in &facts.resource_attributes {
        put(&mut all, key, Value::Text(value.clone()));
    }
    all.retain(|(key, _)| !key.starts_with("process.") && !key.starts_with("telemetry."));
    certain(facts, &mut all);
    all.sort_by(|(left, _), (right, _)| left.cmp(right));
    all
}

fn detected(facts: &ProcessFacts, host: &HostResource, all: &mut Vec<Attribute>) {
    put(all, "host.arch", Value::Text("amd64".to_owned()));
    if let Some(name) = &host.name {
        put(all, "host.name", Value::Text(name.clone()));
    }
    if let Some(id) = &host.id {
        put(all, "host.id", Value::Text(id.clone()));
    }
    put(all, "os.type", Value::Text("linux".to_owned()));
    // Without its start a process is not told from another one that had its pid.
    if facts.start_time != 0 {
        put(all, "service.instance.id", Value::Text(instance_id(facts, host)));
    }
}

fn certain(facts: &ProcessFacts, all: &mut Vec<Attribute>) {
    put(all, "service.name", Value::Text(facts.service_name.to_string()));
    put(all, "telemetry.distro.name", Value::Text("wirespan".to_owned()));
    put(all, "telemetry.distro.version", Value::Text(env!("CARGO_PKG_VERSION").to_owned()));
    if facts.is_virtual() {
        return;
    }
    put(all, "process.pid", Value::Integer(facts.pid.into()));
    if let Some(parent) = facts.parent_pid {
        put(all, "process.parent_pid", Value::Integer(parent.into()));
    }
    if let Some(user) = facts.user_id {
        put(all, "process.user.id", Value::Integer(user.into()));
    }
    if !facts.executable.is_empty() {
        put(all, "process.executable.path", Value::Text(facts.executable.to_string()));
    }
    if let Some(name) = Path::new(&*facts.executable).file_name() {
        put(all, "process.executable.name", Value::Text(name.to_string_lossy().into_owned()));
    }
    if !facts.command_args.is_empty() {
        put(all, "process.command_args", Value::Texts(facts.command_args.clone()));
    }
    if let Some(container) = &facts.container_id {
        put(all, "container.id", Value::Text(container.to_string()));
    }
}

fn put(all: &mut Vec<Attribute>, key: &str, value: Value) {
    match all.iter_mut().find(|(present, _)| present == key) {
        Some((_, present)) => *present = value,
        None => all.push((key.to_owned(), value)),
    }
}

/// `service.instance.id`: the same for one process whenever and however often the agent is started, another for every
/// other process. A UUID of version 8 (RFC 9562, section 5.8): SipHash-1-3-128 of host id, pid and start time.
pub(crate) fn instance_id(facts: &ProcessFacts, host: &HostResource) -> String {
    // The key is a name space, as that of a version 5 UUID; it is no secret.
    let mut hasher = SipHasher13::new_with_key(b"wirespan.process");
    let host_id = host.id.as_deref().or(host.name.as_deref()).unwrap_or_default();
    hasher.write(host_id.as_bytes());
    hasher.write_u8(0xff);
    hasher.write(&facts.pid.to_le_bytes());
    hasher.write(&facts.start_time.to_le_bytes());
    let mut bits = hasher.finish128().as_u128();
    bits = bits & !(0xf << 76) | 8 << 76;
    bits = bits & !(0b11 << 62) | 0b10 << 62;
    let hex = format!("{bits:032x}");
    [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-")
}

/// Something made of a process's resource, made once per process.
#[derive(Debug)]
pub(crate) struct Cache<T> {
    /// By address of the facts, which the entry keeps alive, so that no other facts can have it.
    entries: FxHashMap<usize, (Arc<ProcessFacts>, T)>,
}

impl<T> Default for Cache<T> {
    fn default() -> Self {
        Self { entries: FxHashMap::default() }
    }
}

impl<T> Cache<T> {
    /// What `make` makes of these facts.
    pub(crate) fn get(&mut self, facts: &Arc<ProcessFacts>, make: impl FnOnce(&ProcessFacts) -> T) -> &T {
        if self.entries.len() >= MAX_CACHED && !self.entries.contains_key(&address(facts)) {
            self.entries.clear();
        }
        &self.entries.entry(address(facts)).or_insert_with(|| (Arc::clone(facts), make(facts))).1
    }
}

/// The finished spans among `entries` by process, processes and spans in the order of their first appearance.
pub(crate) fn by_process<'a>(
    entries: impl Iterator<Item = &'a SpanEvent>,
) -> Vec<(&'a Arc<ProcessFacts>, Vec<&'a Span>)> {
    let mut groups: Vec<(&Arc<ProcessFacts>, Vec<&Span>)> = vec![];
    let mut index = FxHashMap::default();
    for entry in entries {
        let SpanEvent::Span(span) = entry else { continue };
        let group = *index.entry(address(&span.process)).or_insert_with(|| {
            groups.push((&span.process, vec![]));
            groups.len() - 1
        });
        groups[group].1.push(span);
    }
    groups
}

fn address(facts: &Arc<ProcessFacts>) -> usize {
    Arc::as_ptr(facts).addr()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::samples;

    fn host() -> HostResource {
        HostResource {
            name: Some("node-1".into()),
            id: Some("8f0e".into()),
            attributes: vec![
                ("k8s.cluster.name".into(), "blue".into()),
                ("service.name".into(), "agent".into()),
                ("service.instance.id".into(), "agent-1".into()),
                ("deployment.environment.name".into(), "test".into()),
                ("process.pid".into(), "1".into()),
            ],
        }
    }

    fn find<'a>(all: &'a [Attribute], key: &str) -> Option<&'a Value> {
        let mut found = all.iter().filter(|(present, _)| present == key);
        let first = found.next().map(|(_, value)| value);
        assert!(found.next().is_none(), "{key} stands there twice");
        first
    }

    fn text(value: &str) -> Option<Value> {
        Some(Value::Text(value.into()))
    }

    #[test]
    fn precedence_is_certain_then_process_then_agent_then_detected() {
        let mut facts = samples::facts();
        facts.resource_attributes = vec![
            ("deployment.environment.name".into(), "production".into()),
            ("host.name".into(), "said-by-process".into()),
            ("service.name".into(), "not-decided-here".into()),
            ("telemetry.distro.name".into(), "other".into()),
            ("team".into(), "first".into()),
            ("team".into(), "second".into()),
        ];
        let all = attributes(&facts, &host());
        for (key, expected) in [
            ("service.name", text("shop")),
            ("deployment.environment.name", text("production")),
            ("host.name", text("said-by-process")),
            ("k8s.cluster.name", text("blue")),
            ("telemetry.distro.name", text("wirespan")),
            ("team", text("second")),
            ("process.pid", Some(Value::Integer(4711))),
            ("process.executable.name", text("shop-server")),
            ("process.command_args", Some(Value::Texts(vec!["shop-server".into(), "--port".into()]))),
            ("service.instance.id", text(&instance_id(&facts, &host()))),
            ("container.id", facts.container_id.as_deref().map(|id| Value::Text(id.into()))),
        ] {
            assert_eq!(find(&all, key), expected.as_ref(), "{key}");
        }
        assert!(all.is_sorted_by(|left, right| left.0 < right.0));
    }

    #[test]
    fn what_is_not_known_of_a_process_is_not_said() {
        let facts =
            ProcessFacts { pid: 7, service_name: "unknown_service".into(), ..ProcessFacts::default() };
        let all = attributes(&facts, &host());
        for key in [
            "process.user.id",
            "process.parent_pid",
            "process.executable.path",
            "process.executable.name",
            "process.command_args",
            "service.instance.id",
        ] {
            assert_eq!(find(&all, key), None, "{key}");
        }
        assert_eq!(find(&all, "process.pid"), Some(&Value::Integer(7)));
    }

    #[test]
    fn of_no_process_and_no_host_nothing_is_said() {
        let facts = ProcessFacts {
            pid: crate::event::FIRST_VIRTUAL_PID,
            service_name: "unknown_service".into(),
            ..ProcessFacts::default()
        };
        let host = HostResource { attributes: vec![], ..host() };
        let keys: Vec<_> = attributes(&facts, &host).into_iter().map(|(key, _)| key).collect();
        assert_eq!(keys, ["service.name", "telemetry.distro.name", "telemetry.distro.version"]);
    }

    #[test]
    fn the_instance_id_is_stable_and_a_uuid_and_differs_by_process_and_host() {
        let facts = samples::facts();
        let id = instance_id(&facts, &host());
        assert_eq!(id, instance_id(&facts.clone(), &host()));
        assert_eq!(id.len(), 36);
        assert_eq!(&id[14..15], "8", "version");
        assert!(matches!(&id[19..20], "8" | "9" | "a" | "b"), "variant of {id}");
        let later = ProcessFacts { start_time: facts.start_time + 1, ..facts.clone() };
        let elsewhere = HostResource { id: Some("other".into()), ..host() };
        assert_ne!(id, instance_id(&later, &host()));
        assert_ne!(id, instance_id(&facts, &elsewhere));
    }

    #[test]
    fn the_cache_is_bounded_and_never_mixes_processes_up() {
        let mut cache = Cache::default();
        for pid in 0..3 * MAX_CACHED as u32 {
            let facts = Arc::new(ProcessFacts { pid, ..ProcessFacts::default() });
            assert_eq!(*cache.get(&facts, |facts| facts.pid), pid);
            assert_eq!(*cache.get(&facts, |_| unreachable!("made twice")), pid);
            assert!(cache.entries.len() <= MAX_CACHED);
        }
    }
}
