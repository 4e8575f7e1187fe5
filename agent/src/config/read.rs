//! The tree of a configuration file becomes a [`Config`]: one function per section, each naming the
//! keys it knows.

use std::{net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use super::{
    BUFFERED_BYTES, CAPTURE_BYTES, CONNECTIONS, Capture, Config, HEAD_BYTES, Limits, LogLevel, MAX_IDLE,
    MAX_PARENT_WAIT, MAX_TIMEOUT, NICE, QUEUE_SPANS, RING_BYTES, WAITING_SPANS, endpoint,
    error::Problem,
    quantity,
    yaml::{Entry, Fields, Node},
};
use crate::{
    export::{
        self,
        console::{ConsoleFormat, ConsoleSettings},
        file::FileSettings,
        otlp::settings::{Compression, Endpoint, Header, OtlpSettings, Protocol},
    },
    process::{Glob, Rule, Selection},
    trace::{self, CausalityRules, Forwarded, Instrumented},
};

/// Most names in `correlation_headers`.
const CORRELATION_HEADERS: usize = 16;
/// What a block of YAML (`|`, `>`) leaves at its end.
const LINE_BREAK: [char; 2] = ['\n', '\r'];
/// Headers that are never shown.
const CREDENTIALS: [&str; 5] =
    ["authorization", "proxy-authorization", "cookie", "x-api-key", "x-auth-token"];

pub(super) fn config(root: &Node) -> Result<Config, Problem> {
    let root = Entry::new("", root);
    if root.is_nothing() {
        return Err(root.problem("the file is empty; `wirespan config default` prints one to start from"));
    }
    let sections = root.fields(&[
        "select",
        "exclude",
        "export",
        "metrics",
        "capture",
        "limits",
        "causality",
        "instrumented",
        "correlation_headers",
        "forwarded",
        "redaction",
        "resource",
        "log",
    ])?;
    let selection = selection(&root, &sections)?;
    let limits = sections.read("limits", limits)?.unwrap_or_default();
    let no_export = || root.problem("no export; add one, for example `export: { console: {} }`");
    let export = export(sections.get("export").ok_or_else(no_export)?, &limits)?;
    Ok(Config {
        selection,
        export,
        resource: sections.read("resource", resource)?.unwrap_or_default(),
        metrics: sections.read("metrics", metrics)?,
        capture: sections.read("capture", capture)?.unwrap_or_default(),
        limits,
        causality: sections.read("causality", causality)?.unwrap_or_default(),
        instrumented: sections.read("instrumented", instrumented)?.unwrap_or_default(),
        correlation_headers: sections
            .read("correlation_headers", correlation_headers)?
            .unwrap_or_else(|| trace::Settings::default().correlation_headers),
        forwarded: sections.read("forwarded", forwarded)?.unwrap_or_default(),
        query_parameters: sections.read("redaction", query_parameters)?.unwrap_or_default(),
        log: sections.read("log", log_level)?,
        doubts: Vec::new(),
    })
}

fn selection(root: &Entry<'_>, sections: &Fields<'_>) -> Result<Selection, Problem> {
    const NONE: &str = "nothing is selected; add a rule, for example `select: [ { exe: \"*/nginx\" } ]`";
    let section = sections.get("select").ok_or_else(|| root.problem(NONE))?;
    let select = rules(section, true)?;
    if select.is_empty() {
        return Err(section.problem(NONE));
    }
    let exclude = sections.read("exclude", |section| rules(section, false))?.unwrap_or_default();
    Ok(Selection { select, exclude })
}

fn rules(section: Entry<'_>, may_name: bool) -> Result<Vec<Rule>, Problem> {
    section.list("a list of rules")?.map(|item| rule(item, may_name)).collect()
}

fn rule(item: Entry<'_>, may_name: bool) -> Result<Rule, Problem> {
    let known = ["exe", "cmdline", "port", "pid", "cgroup", "service"];
    // An excluded process has no service to name.
    let known = if may_name { &known[..] } else { &known[..5] };
    let fields = item.fields(known)?;
    let rule = Rule {
        exe: fields.read("exe", executable)?,
        cmdline: fields.read("cmdline", |entry| glob(entry, "a glob on the command line"))?,
        port: fields.read("port", |entry| narrow(entry, 1..=u64::from(u16::MAX)))?,
        pid: fields.read("pid", |entry| narrow(entry, 1..=4_194_304))?,
        cgroup: fields.read("cgroup", cgroup)?,
        service: fields.read("service", |entry| Ok(Arc::from(entry.text("a service name")?)))?,
    };
    rule.check().map_err(|error| item.problem(error))?;
    Ok(rule)
}

/// A bare name means the same as in `trace --exe`: the program in any directory.
fn executable(entry: Entry<'_>) -> Result<Glob, Problem> {
    let text = entry.text("a glob on the executable's path")?.trim_end_matches(LINE_BREAK);
    let bare = !text.is_empty() && !text.contains('/') && !text.starts_with('*');
    let glob = Glob::new(text).and_then(|glob| if bare { Glob::new(&format!("*/{text}")) } else { Ok(glob) });
    glob.map_err(|error| entry.problem(error))
}

fn glob(entry: Entry<'_>, expected: &str) -> Result<Glob, Problem> {
    let text = entry.text(expected)?.trim_end_matches(LINE_BREAK);
    Glob::new(text).map_err(|error| entry.problem(error))
}

fn cgroup(entry: Entry<'_>) -> Result<String, Problem> {
    let expected = "a cgroup path that begins with /, as in /proc/PID/cgroup";
    let path = entry.text(expected)?;
    if path.starts_with('/') { Ok(path.to_owned()) } else { Err(entry.expected(expected)) }
}

fn export(section: Entry<'_>, limits: &Limits) -> Result<export::Settings, Problem> {
    let fields = section.fields(&["otlp", "file", "console"])?;
    let settings = export::Settings {
        otlp: fields.read("otlp", |entry| otlp(entry, limits))?,
        file: fields.read("file", |entry| file(entry, limits))?,
        console: fields.read("console", |entry| console(entry, limits))?,
    };
    if settings == export::Settings::default() {
        return Err(section.problem("no exporter; give at least one of otlp, file, console"));
    }
    Ok(settings)
}

fn otlp(section: Entry<'_>, limits: &Limits) -> Result<OtlpSettings, Problem> {
    let mut settings = OtlpSettings { queue_entries: limits.queue_spans, ..OtlpSettings::default() };
    if section.is_nothing() {
        return Ok(settings);
    }
    let fields = section.fields(&[
        "endpoint",
        "protocol",
        "headers",
        "compression",
        "timeout",
        "certificate",
        "client_certificate",
        "client_key",
    ])?;
    settings.protocol =
        fields.read("protocol", |entry| choice(entry, "grpc or http/protobuf", Protocol::parse))?;
    let grpc = settings.protocol == Some(Protocol::Grpc);
    settings.endpoint = fields.read("endpoint", |entry| {
        let text = entry.word("a URL like http://127.0.0.1:4317")?;
        // A text with @ may hold a password.
        let found = if text.contains('@') { String::new() } else { format!(", found {text:?}") };
        endpoint::check(text, grpc)
            .map_err(|expected| entry.problem(format_args!("expected {expected}{found}")))?;
        Ok(Endpoint::Base(text.to_owned()))
    })?;
    settings.headers = fields.read("headers", headers)?;
    settings.compression =
        fields.read("compression", |entry| choice(entry, "gzip or none", Compression::parse))?;
    settings.timeout = fields.read("timeout", |entry| {
        let timeout = duration(entry, MAX_TIMEOUT)?;
        if timeout.is_zero() { Err(entry.expected("a timeout above 0")) } else { Ok(timeout) }
    })?;
    settings.certificate = fields.read("certificate", |entry| path(entry, "the path of a PEM file"))?;
    let certificate = fields.get("client_certificate");
    let key = fields.get("client_key");
    if let (Some(alone), None) | (None, Some(alone)) = (certificate, key) {
        return Err(alone.problem("client_certificate and client_key go together; give both"));
    }
    settings.client_certificate =
        certificate.map(|entry| path(entry, "the path of a PEM file")).transpose()?;
    settings.client_key = key.map(|entry| path(entry, "the path of a PEM file")).transpose()?;
    Ok(settings)
}

/// Header names are tokens, values visible ASCII with spaces between (RFC 9110 section 5.5, 5.6.2).
fn headers(section: Entry<'_>) -> Result<Vec<Header>, Problem> {
    let pairs = section.pairs("a mapping of header names to values")?;
    pairs
        .map(|entry| {
            let name = entry.name();
            let is_token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
            if name.is_empty() || !name.bytes().all(is_token) {
                return Err(entry.problem("this is no header name; use letters, digits and -"));
            }
            // The value may be a secret, so no message shows it.
            let value =
                entry.text("").map_err(|_| entry.problem("expected a header value in double quotes"))?;
            if value.bytes().any(|b| !b.is_ascii_graphic() && b != b' ') {
                return Err(entry.problem("a header value may hold printable ASCII only"));
            }
            Ok(Header { name: name.to_owned(), value: value.to_owned() })
        })
        .collect()
}

fn file(section: Entry<'_>, limits: &Limits) -> Result<FileSettings, Problem> {
    let fields = section.fields(&["path"])?;
    let entry =
        fields.get("path").ok_or_else(|| section.problem("path is missing; say where spans are written"))?;
    let path = path(entry, "the path of a file")?;
    Ok(FileSettings { queue_entries: limits.queue_spans, ..FileSettings::new(path) })
}

fn console(section: Entry<'_>, limits: &Limits) -> Result<ConsoleSettings, Problem> {
    let mut settings = ConsoleSettings { queue_entries: limits.queue_spans, ..ConsoleSettings::default() };
    if section.is_nothing() {
        return Ok(settings);
    }
    let fields = section.fields(&["format", "color"])?;
    let format = |name: &str| match name {
        "tree" => Some(ConsoleFormat::Tree),
        "json" => Some(ConsoleFormat::Json),
        _ => None,
    };
    if let Some(format) = fields.read("format", |entry| choice(entry, "tree or json", format))? {
        settings.format = format;
    }
    settings.color = fields.read("color", |entry| entry.flag())?;
    Ok(settings)
}

fn metrics(section: Entry<'_>) -> Result<SocketAddr, Problem> {
    const EXPECTED: &str = "an address and port like 127.0.0.1:9464";
    let fields = section.fields(&["listen"])?;
    let entry = fields
        .get("listen")
        .ok_or_else(|| section.problem(format_args!("listen is missing; give {EXPECTED}")))?;
    let address = entry.word(EXPECTED)?.parse::<SocketAddr>().ok().filter(|address| address.port() != 0);
    address.ok_or_else(|| entry.expected(EXPECTED))
}

fn capture(section: Entry<'_>) -> Result<Capture, Problem> {
    let fields = section.fields(&["bytes", "head_bytes", "ring_bytes", "nice"])?;
    let default = Capture::default();
    Ok(Capture {
        bytes: fields.read("bytes", |entry| narrow(entry, CAPTURE_BYTES))?.unwrap_or(default.bytes),
        head_bytes: fields
            .read("head_bytes", |entry| narrow(entry, HEAD_BYTES))?
            .unwrap_or(default.head_bytes),
        ring_bytes: fields.read("ring_bytes", ring_bytes)?.unwrap_or(default.ring_bytes),
        nice: fields.read("nice", nice)?.unwrap_or(default.nice),
    })
}

/// The kernel's ring buffer map accepts powers of two only (kernel/bpf/ringbuf.c:
/// ringbuf_map_alloc).
fn ring_bytes(entry: Entry<'_>) -> Result<Option<u32>, Problem> {
    const EXPECTED: &str = "auto, or a power of two from 4KiB to 1GiB, like 8MiB";
    if entry.as_integer().is_none() && entry.text(EXPECTED)? == "auto" {
        return Ok(None);
    }
    let given = match entry.as_integer() {
        Some(number) => u64::try_from(number).ok(),
        None => quantity::bytes(entry.text(EXPECTED)?),
    };
    let fits = given.filter(|bytes| RING_BYTES.contains(bytes) && bytes.is_power_of_two());
    fits.and_then(|bytes| u32::try_from(bytes).ok()).map(Some).ok_or_else(|| entry.expected(EXPECTED))
}

fn nice(entry: Entry<'_>) -> Result<i32, Problem> {
    let given = entry.as_integer().and_then(|number| i32::try_from(number).ok());
    given.filter(|value| NICE.contains(value)).ok_or_else(|| entry.expected("a nice value from -20 to 19"))
}

fn limits(section: Entry<'_>) -> Result<Limits, Problem> {
    const KEYS: [&str; 6] =
        ["connections", "buffered_bytes", "idle", "waiting_spans", "parent_wait", "queue_spans"];
    let fields = section.fields(&KEYS)?;
    let default = Limits::default();
    let connections = fields.read("connections", |entry| narrow(entry, CONNECTIONS))?;
    let buffered_bytes = fields.read("buffered_bytes", buffered_bytes)?;
    let idle = fields.read("idle", idle)?;
    let waiting_spans = fields.read("waiting_spans", |entry| narrow(entry, WAITING_SPANS))?;
    let parent_wait = fields.read("parent_wait", |entry| duration(entry, MAX_PARENT_WAIT))?;
    let queue_spans = fields.read("queue_spans", |entry| narrow(entry, QUEUE_SPANS))?;
    Ok(Limits {
        connections: connections.unwrap_or(default.connections),
        buffered_bytes: buffered_bytes.unwrap_or(default.buffered_bytes),
        idle: idle.unwrap_or(default.idle),
        waiting_spans: waiting_spans.unwrap_or(default.waiting_spans),
        parent_wait: parent_wait.unwrap_or(default.parent_wait),
        queue_spans: queue_spans.unwrap_or(default.queue_spans),
    })
}

fn causality(section: Entry<'_>) -> Result<CausalityRules, Problem> {
    let fields = section.fields(&[
        "both_sides",
        "request_side",
        "response_side",
        "task",
        "across_threads",
        "content",
        "goroutine",
    ])?;
    let default = CausalityRules::default();
    let flag = |name: &'static str, otherwise: bool| -> Result<bool, Problem> {
        Ok(fields.read(name, |entry| entry.flag())?.unwrap_or(otherwise))
    };
    Ok(CausalityRules {
        both_sides: flag("both_sides", default.both_sides)?,
        request_side: flag("request_side", default.request_side)?,
        response_side: flag("response_side", default.response_side)?,
        task: flag("task", default.task)?,
        across_threads: flag("across_threads", default.across_threads)?,
        content: flag("content", default.content)?,
        goroutine: flag("goroutine", default.goroutine)?,
    })
}

/// Zero would forget every connection at once.
fn idle(entry: Entry<'_>) -> Result<Duration, Problem> {
    let given = duration(entry, MAX_IDLE)?;
    if given.is_zero() { Err(entry.expected("more than 0 s, like 1h")) } else { Ok(given) }
}

fn buffered_bytes(entry: Entry<'_>) -> Result<usize, Problem> {
    let given = match entry.as_integer() {
        Some(number) => u64::try_from(number).ok(),
        None => quantity::bytes(entry.text(quantity::SIZE)?),
    };
    given
        .filter(|bytes| BUFFERED_BYTES.contains(bytes))
        .and_then(|bytes| usize::try_from(bytes).ok())
        .ok_or_else(|| entry.expected("from 1MiB to 64GiB, like 128MiB"))
}

fn query_parameters(section: Entry<'_>) -> Result<Vec<String>, Problem> {
    let fields = section.fields(&["query_parameters"])?;
    let names = fields.read("query_parameters", |entry| {
        let items = entry.list("a list of names of query parameters")?;
        items.map(|item| Ok(item.text("the name of a query parameter")?.to_owned())).collect()
    })?;
    Ok(names.unwrap_or_default())
}

/// `trust: private`, `all`, `none`, or a list of networks, which may include `private`.
fn forwarded(section: Entry<'_>) -> Result<Forwarded, Problem> {
    const EXPECTED: &str = "private, all, none, or a list of networks like [ private, 203.0.113.0/24 ]";
    let fields = section.fields(&["trust"])?;
    let entry = fields
        .get("trust")
        .ok_or_else(|| section.problem("trust is missing; say which peers are believed"))?;
    let texts = match entry.list("") {
        Ok(items) => items.map(|item| item.text(EXPECTED)).collect::<Result<Vec<_>, _>>()?,
        Err(_) => vec![entry.text(EXPECTED)?],
    };
    Forwarded::parse(texts).map_err(|text| entry.problem(format_args!("expected {EXPECTED}, found {text:?}")))
}

fn instrumented(entry: Entry<'_>) -> Result<Instrumented, Problem> {
    let expected = "skip or join";
    match entry.text(expected)? {
        "skip" => Ok(Instrumented::Skip),
        "join" => Ok(Instrumented::Join),
        _ => Err(entry.expected(expected)),
    }
}

/// Names of header fields, in lower case. Those that carry credentials are refused: they do not
/// belong into spans.
fn correlation_headers(section: Entry<'_>) -> Result<Vec<String>, Problem> {
    const EXPECTED: &str = "a list of at most 16 names of request headers, like x-request-id";
    let items: Vec<_> = section.list(EXPECTED)?.collect();
    if items.len() > CORRELATION_HEADERS {
        return Err(section.expected(EXPECTED));
    }
    items.into_iter().map(correlation_header).collect()
}

fn correlation_header(item: Entry<'_>) -> Result<String, Problem> {
    let expected = "the name of a request header, like x-request-id";
    let name = item.text(expected)?.to_ascii_lowercase();
    let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    if name.is_empty() || !name.bytes().all(token) {
        return Err(item.expected(expected));
    }
    if CREDENTIALS.contains(&name.as_str()) {
        return Err(item.problem("this header carries credentials, which spans must not hold"));
    }
    Ok(name)
}

/// Attributes that each process has for itself are refused, since they would never be used.
fn resource(section: Entry<'_>) -> Result<Vec<(String, String)>, Problem> {
    let pairs = section.pairs("a mapping of attribute names to values")?;
    pairs
        .map(|entry| {
            let name = entry.name();
            if name.is_empty() {
                return Err(entry.problem("an attribute needs a name"));
            }
            if name == "service.name" {
                return Err(entry.problem("each process has its own service name; give `service` in a rule"));
            }
            if ["service.instance.", "process.", "telemetry."].iter().any(|own| name.starts_with(own)) {
                return Err(entry.problem("each process has its own; leave it out"));
            }
            Ok((name.to_owned(), entry.text("a text")?.to_owned()))
        })
        .collect()
}

fn log_level(entry: Entry<'_>) -> Result<LogLevel, Problem> {
    choice(entry, "error, warn, info, debug or trace", |name| {
        LogLevel::ALL.into_iter().find(|level| level.name() == name)
    })
}

fn choice<T>(entry: Entry<'_>, expected: &str, parse: impl Fn(&str) -> Option<T>) -> Result<T, Problem> {
    parse(entry.word(expected)?).ok_or_else(|| entry.expected(expected))
}

fn path(entry: Entry<'_>, expected: &str) -> Result<PathBuf, Problem> {
    Ok(PathBuf::from(entry.text(expected)?))
}

fn duration(entry: Entry<'_>, most: Duration) -> Result<Duration, Problem> {
    let expected = format!("{}, at most {} s", quantity::DURATION, most.as_secs());
    let given = quantity::duration(entry.word(&expected)?).filter(|duration| *duration <= most);
    given.ok_or_else(|| entry.expected(expected))
}

/// A number in `range`, in a type that holds the whole range.
fn narrow<T: TryFrom<u64>>(entry: Entry<'_>, range: std::ops::RangeInclusive<u64>) -> Result<T, Problem> {
    let number = entry.integer(&range)?;
    T::try_from(number).map_err(|_| entry.expected(format_args!("a number up to {}", range.end())))
}
