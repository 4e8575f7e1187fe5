use std::{fs, io::Write, path::PathBuf};

use proptest::prelude::*;

use super::*;
use crate::{
    export::{
        console::ConsoleFormat,
        otlp::settings::{Compression, Endpoint, Protocol},
    },
    process::{Glob, Rule},
    trace::{self, CausalityRules, Instrumented},
};

const MINIMAL: &str = "select: [ { port: 80 } ]\nexport: { console: {} }\n";

fn parsed(text: &str) -> Config {
    Config::parse("c.yaml", text).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

fn error(text: &str) -> String {
    Config::parse("c.yaml", text).map(|config| panic!("{config:?}")).unwrap_err().to_string()
}

#[test]
fn the_contract() {
    let config = parsed(
        r#"
select:            # a process is traced when a rule matches; all fields of one rule must match
  - exe: "/usr/sbin/nginx"     # glob on the executable's path
  - port: 8080                 # listens on it
  - pid: 4711
  - cmdline: "*orders.jar*"    # glob on the whole command line (ten Java services share one exe)
  - cgroup: "/system.slice/legacy.service"   # and everything below
    service: legacy            # optional service.name
exclude: [ { exe: "*/sshd" } ]       # an empty select is an error for now
export:
  otlp: { endpoint: "http://127.0.0.1:4317", protocol: grpc }   # or http/protobuf
  file: { path: "/tmp/spans.jsonl" }
  console: {}
metrics: { listen: "127.0.0.1:9464" }
"#,
    );
    let glob = |pattern| Some(Glob::new(pattern).unwrap());
    assert_eq!(
        config.selection,
        Selection {
            select: vec![
                Rule { exe: glob("/usr/sbin/nginx"), ..Rule::default() },
                Rule { port: Some(8080), ..Rule::default() },
                Rule { pid: Some(4711), ..Rule::default() },
                Rule { cmdline: glob("*orders.jar*"), ..Rule::default() },
                Rule {
                    cgroup: Some("/system.slice/legacy.service".to_owned()),
                    service: Some("legacy".into()),
                    ..Rule::default()
                },
            ],
            exclude: vec![Rule { exe: glob("*/sshd"), ..Rule::default() }],
        }
    );
    let otlp = config.export.otlp.unwrap();
    assert_eq!(otlp.endpoint, Some(Endpoint::Base("http://127.0.0.1:4317".to_owned())));
    assert_eq!(otlp.protocol, Some(Protocol::Grpc));
    assert_eq!(config.export.file.unwrap().path, PathBuf::from("/tmp/spans.jsonl"));
    assert_eq!(config.export.console.unwrap().format, ConsoleFormat::Tree);
    assert_eq!(config.metrics, Some("127.0.0.1:9464".parse().unwrap()));
    assert_eq!((config.capture, config.limits), (Capture::default(), Limits::default()));
}

#[test]
fn everything_else() {
    let config = parsed(
        r#"
select: [ { exe: "*" } ]
export:
  otlp:
    endpoint: https://c:4318/otlp
    headers: { api-key: "a b", x: "1" }
    compression: none
    timeout: 500ms
    certificate: /ca.pem
    client_certificate: /client.pem
    client_key: /client.key
  console: { format: json, color: false }
capture: { bytes: 256, head_bytes: 8192, ring_bytes: 1MiB, nice: 0 }
limits: { connections: 10, buffered_bytes: 2MiB, idle: 2h, waiting_spans: 20, parent_wait: 2m, queue_spans: 40 }
causality: { request_side: false, task: false, across_threads: true, goroutine: false }
instrumented: join
correlation_headers: [ X-Trace, x-request-id ]
redaction: { query_parameters: [ Ticket ] }
resource: { deployment.environment.name: prod, tier: "1", service.namespace: shop }
log: debug
"#,
    );
    let otlp = config.export.otlp.as_ref().unwrap();
    let headers: Vec<_> = otlp.headers.iter().flatten().map(|h| (&*h.name, &*h.value)).collect();
    assert_eq!(headers, [("api-key", "a b"), ("x", "1")]);
    assert_eq!(otlp.compression, Some(Compression::None));
    assert_eq!(otlp.timeout, Some(Duration::from_millis(500)));
    assert_eq!(otlp.client_key, Some(PathBuf::from("/client.key")));
    assert_eq!(otlp.queue_entries, 40);
    assert_eq!(otlp.target().unwrap().to_string(), "https://c:4318/otlp/v1/traces");
    let console = config.export.console.unwrap();
    assert_eq!(
        (console.format, console.color, console.queue_entries),
        (ConsoleFormat::Json, Some(false), 40)
    );
    assert_eq!(config.capture, Capture { bytes: 256, head_bytes: 8192, ring_bytes: Some(1 << 20), nice: 0 });
    assert_eq!(
        config.limits,
        Limits {
            connections: 10,
            buffered_bytes: 2 << 20,
            idle: Duration::from_secs(7_200),
            waiting_spans: 20,
            parent_wait: Duration::from_secs(120),
            queue_spans: 40,
        }
    );
    let causality = CausalityRules {
        request_side: false,
        task: false,
        across_threads: true,
        goroutine: false,
        ..CausalityRules::default()
    };
    assert_eq!(config.causality, causality);
    assert_eq!(config.log, Some(LogLevel::Debug));
    assert_eq!(config.query_parameters, ["Ticket"]);
    assert_eq!(config.instrumented, Instrumented::Join);
    assert_eq!(config.correlation_headers, ["x-trace", "x-request-id"]);

    let environment = |name: &str| {
        (name == "OTEL_RESOURCE_ATTRIBUTES").then(|| "tier=0,deployment.environment.name=dev,a=b".to_owned())
    };
    let attributes = config.host_resource(environment).attributes;
    let attributes: Vec<_> = attributes.iter().map(|(key, value)| (&**key, &**value)).collect();
    assert_eq!(
        attributes,
        [("a", "b"), ("deployment.environment.name", "prod"), ("tier", "1"), ("service.namespace", "shop")]
    );
}

#[test]
fn the_environment_fills_in_what_the_file_leaves_out() {
    let environment = |name: &str| {
        let value = match name {
            "OTEL_EXPORTER_OTLP_ENDPOINT" => "http://env:1",
            "OTEL_EXPORTER_OTLP_PROTOCOL" => "grpc",
            "OTEL_EXPORTER_OTLP_TIMEOUT" => "soon",
            _ => return None,
        };
        Some(value.to_owned())
    };
    for (otlp, expected) in [
        ("{}", "http://env:1/"),
        ("", "http://env:1/"),
        ("{ endpoint: http://file:2 }", "http://file:2/"),
        ("{ protocol: http/protobuf }", "http://env:1/v1/traces"),
    ] {
        let mut config = parsed(&format!("select: [ {{ port: 80 }} ]\nexport:\n  otlp: {otlp}\n"));
        let ignored = config.apply_environment(environment);
        assert_eq!(ignored.len(), 1, "{ignored:?}");
        assert_eq!(config.export.otlp.unwrap().target().unwrap().to_string(), expected);
    }
    // The file names the exporters.
    let mut config = parsed(MINIMAL);
    assert_eq!(config.apply_environment(environment), []);
    assert_eq!(config.export.otlp, None);
}

#[test]
fn the_example_is_valid_and_shows_the_defaults() {
    let config = parsed(Config::example());
    assert_eq!((config.capture, config.limits), (Capture::default(), Limits::default()));
    let trace = trace::Settings::default();
    assert_eq!(config.causality, trace.causality);
    assert_eq!(config.instrumented, trace.instrumented);
    assert_eq!(config.correlation_headers, trace.correlation_headers);
    assert_eq!(config.forwarded, trace.forwarded);
    // What stands in comments is valid too.
    let uncommented: String = Config::example()
        .lines()
        .map(|line| {
            let bare = line.trim_start().strip_prefix("# ").unwrap_or_default();
            let is_yaml = line.starts_with("  ") && bare.contains(':');
            format!("{}\n", if is_yaml { line.replacen("# ", "", 1) } else { line.to_owned() })
        })
        .collect();
    let uncommented = uncommented
        .replace("resource: {}\n#  deploy", "resource:\n  deploy")
        .replace("  - exe: \"/usr/sbin/nginx\"", "  - exe: \"*\"");
    let config = parsed(&uncommented);
    assert_eq!(config.selection.select.len(), 5);
    assert!(config.export.otlp.is_some() && config.export.file.is_some() && config.export.console.is_some());
    assert_eq!(config.resource.len(), 1);
}

#[test]
fn errors_of_the_whole_file() {
    for (text, expected) in [
        ("", "1:1: the file is empty; `wirespan config default` prints one to start from"),
        ("# nothing\n", "2:1: the file is empty; `wirespan config default` prints one to start from"),
        (
            "- a\n",
            "1:1: expected a mapping with select, exclude, export, metrics, capture, limits, causality, instrumented, correlation_headers, forwarded, redaction, resource, log, found a list",
        ),
        (
            "export: { console: {} }\n",
            "1:1: nothing is selected; add a rule, for example `select: [ { exe: \"*/nginx\" } ]`",
        ),
        ("select: [ { port: 80 } ]\n", "1:1: no export; add one, for example `export: { console: {} }`"),
        ("a: 1\n---\nb: 1\n", "3:1: a second document begins here; keep one"),
        ("select:\n  - port: 1\n    port: 2\n", "3:5: port is given twice; keep one"),
        ("select:\n\t- port: 1\n", "2:2: tabs disallowed within this context (block indentation)"),
        ("select: [ { port: 1 }\n", "1:9: unclosed bracket '['"),
        (
            "select:\n  - exe: */nginx\n",
            "2:10: reference to unknown value; a text that begins with * must stand in double quotes",
        ),
        ("select: &all [ { <<: 1 } ]\n", "1:18: merge key not allowed here"),
    ] {
        assert_eq!(error(text), format!("c.yaml:{expected}"), "{text}");
    }
}

/// Each text replaces its section in a valid file; lines are counted from the first line of the
/// section.
#[test]
fn errors_of_values() {
    const SELECT_HINT: &str =
        "nothing is selected; add a rule, for example `select: [ { exe: \"*/nginx\" } ]`";
    let mut wrong = Vec::new();
    for (section, expected) in [
        (
            "sellect: []",
            "1:1: unknown key sellect; did you mean select? (known here: select, exclude, export, metrics, capture, limits, causality, instrumented, correlation_headers, forwarded, redaction, resource, log)",
        ),
        (
            "zzzzzz: []",
            "1:1: unknown key zzzzzz (known here: select, exclude, export, metrics, capture, limits, causality, instrumented, correlation_headers, forwarded, redaction, resource, log)",
        ),
        ("select: []", &format!("1:9: select: {SELECT_HINT}")),
        ("select:", "1:7: select: expected a list of rules, found nothing"),
        ("select: { port: 80 }", "1:9: select: expected a list of rules, found a mapping"),
        (
            "select:\n  - nginx",
            "2:5: select: expected a mapping with exe, cmdline, port, pid, cgroup, service, found \"nginx\"",
        ),
        ("select:\n  - {}", "2:5: select: a rule needs at least one of exe, cmdline, port, pid, cgroup"),
        (
            "select:\n  - service: x",
            "2:5: select: a rule needs at least one of exe, cmdline, port, pid, cgroup",
        ),
        (
            "select:\n  - port: 80\n    exse: x",
            "3:5: unknown key exse; did you mean exe? (known here: exe, cmdline, port, pid, cgroup, service)",
        ),
        ("select:\n  - port: 0", "2:11: port: expected a number from 1 to 65535, found 0"),
        ("select:\n  - port: 65536", "2:11: port: expected a number from 1 to 65535, found 65536"),
        ("select:\n  - port: -1", "2:11: port: expected a number from 1 to 65535, found -1"),
        ("select:\n  - port: http", "2:11: port: expected a number from 1 to 65535, found \"http\""),
        ("select:\n  - port: 80.5", "2:11: port: expected a number from 1 to 65535, found 80.5"),
        ("select:\n  - port:", "2:9: port: expected a number from 1 to 65535, found nothing"),
        ("select:\n  - pid: 0", "2:10: pid: expected a number from 1 to 4194304, found 0"),
        (
            "select:\n  - exe: \"[a\"",
            "2:10: exe: \"[a\" is not a glob: unclosed character class; missing ']'; put a backslash before * ? [ { that mean themselves",
        ),
        ("select:\n  - exe: \"\"", "2:10: exe: expected a glob on the executable's path, found \"\""),
        (
            "select:\n  - exe: 7",
            "2:10: exe: expected a glob on the executable's path in double quotes, found 7",
        ),
        ("select:\n  - exe: [ a ]", "2:10: exe: expected a glob on the executable's path, found a list"),
        (
            "select:\n  - cgroup: a.service",
            "2:13: cgroup: expected a cgroup path that begins with /, as in /proc/PID/cgroup, found \"a.service\"",
        ),
        (
            "select:\n  - port: 80\n    service: true",
            "3:14: service: expected a service name in double quotes, found true",
        ),
        (
            "exclude:\n  - exe: a\n    service: x",
            "3:5: unknown key service (known here: exe, cmdline, port, pid, cgroup)",
        ),
        ("exclude: 5", "1:10: exclude: expected a list of rules, found 5"),
        ("export: {}", "1:9: export: no exporter; give at least one of otlp, file, console"),
        (
            "export: { oltp: {} }",
            "1:11: unknown key oltp; did you mean otlp? (known here: otlp, file, console)",
        ),
        (
            "export:\n  otlp: { endpoint: 127.0.0.1:4317 }",
            "2:21: endpoint: expected a URL that begins with http:// or https://, found \"127.0.0.1:4317\"",
        ),
        (
            "export:\n  otlp: { endpoint: http://c/x, protocol: grpc }",
            "2:21: endpoint: expected a URL without a path, as the protocol is grpc, found \"http://c/x\"",
        ),
        (
            "export:\n  otlp: { endpoint: \"http://joe:pw@c:1\" }",
            "2:21: endpoint: expected a URL without user and password; credentials go into headers",
        ),
        (
            "export:\n  otlp: { headers: { api-key: 123 } }",
            "2:31: api-key: expected a header value in double quotes",
        ),
        (
            "export:\n  otlp: { protocol: http/json }",
            "2:21: protocol: expected grpc or http/protobuf, found \"http/json\"",
        ),
        (
            "export:\n  otlp: { compression: zstd }",
            "2:24: compression: expected gzip or none, found \"zstd\"",
        ),
        (
            "export:\n  otlp: { timeout: 10 }",
            "2:20: timeout: expected a duration like 500ms, 10s, 2m or 1h, at most 600 s, found 10",
        ),
        ("export:\n  otlp: { timeout: 0s }", "2:20: timeout: expected a timeout above 0, found \"0s\""),
        (
            "export:\n  otlp: { headers: { \"a b\": c } }",
            "2:29: a b: this is no header name; use letters, digits and -",
        ),
        (
            "export:\n  otlp: { headers: { a: \"s\\n\" } }",
            "2:25: a: a header value may hold printable ASCII only",
        ),
        (
            "export:\n  otlp: { client_key: /k }",
            "2:23: client_key: client_certificate and client_key go together; give both",
        ),
        ("export:\n  file: {}", "2:9: file: path is missing; say where spans are written"),
        ("export:\n  file:", "2:7: file: expected a mapping with path, found nothing"),
        ("export:\n  file: /tmp/x", "2:9: file: expected a mapping with path, found \"/tmp/x\""),
        ("export:\n  console: { color: yes }", "2:21: color: expected true or false, found \"yes\""),
        ("export:\n  console: { format: xml }", "2:22: format: expected tree or json, found \"xml\""),
        ("metrics: {}", "1:10: metrics: listen is missing; give an address and port like 127.0.0.1:9464"),
        (
            "metrics: { listen: 9464 }",
            "1:20: listen: expected an address and port like 127.0.0.1:9464, found 9464",
        ),
        (
            "metrics: { listen: localhost:9464 }",
            "1:20: listen: expected an address and port like 127.0.0.1:9464, found \"localhost:9464\"",
        ),
        (
            "metrics: { listen: \"127.0.0.1:0\" }",
            "1:20: listen: expected an address and port like 127.0.0.1:9464, found \"127.0.0.1:0\"",
        ),
        ("capture: { bytes: 255 }", "1:19: bytes: expected a number from 256 to 4096, found 255"),
        ("capture: { bytes: 5000 }", "1:19: bytes: expected a number from 256 to 4096, found 5000"),
        (
            "capture: { ring_bytes: 3MiB }",
            "1:24: ring_bytes: expected auto, or a power of two from 4KiB to 1GiB, like 8MiB, found \"3MiB\"",
        ),
        (
            "capture: { ring_bytes: 1000000 }",
            "1:24: ring_bytes: expected auto, or a power of two from 4KiB to 1GiB, like 8MiB, found 1000000",
        ),
        (
            "capture: { ring_bytes: 2048 }",
            "1:24: ring_bytes: expected auto, or a power of two from 4KiB to 1GiB, like 8MiB, found 2048",
        ),
        ("capture: { nice: -21 }", "1:18: nice: expected a nice value from -20 to 19, found -21"),
        ("limits: { connections: 0 }", "1:24: connections: expected a number from 1 to 1048576, found 0"),
        (
            "limits: { parent_wait: 11m }",
            "1:24: parent_wait: expected a duration like 500ms, 10s, 2m or 1h, at most 600 s, found \"11m\"",
        ),
        (
            "limits: { waiting_spans: 99999999999999999999999999999999999999999 }",
            "1:26: waiting_spans: expected a number from 1 to 1000000, found 100000000000000000000000000000000000000000",
        ),
        (
            "redaction: { query_parameters: token }",
            "1:32: query_parameters: expected a list of names of query parameters, found \"token\"",
        ),
        (
            "correlation_headers: [ \"a b\" ]",
            "1:24: correlation_headers: expected the name of a request header, like x-request-id, found \"a b\"",
        ),
        (
            "correlation_headers: [ Cookie ]",
            "1:24: correlation_headers: this header carries credentials, which spans must not hold",
        ),
        ("instrumented: off", "1:15: instrumented: expected skip or join, found \"off\""),
        ("resource: [ a ]", "1:11: resource: expected a mapping of attribute names to values, found a list"),
        (
            "resource: { service.name: x }",
            "1:27: service.name: each process has its own service name; give `service` in a rule",
        ),
        ("resource: { process.pid: x }", "1:26: process.pid: each process has its own; leave it out"),
        ("resource: { tier: 1 }", "1:19: tier: expected a text in double quotes, found 1"),
        ("log: loud", "1:6: log: expected error, warn, info, debug or trace, found \"loud\""),
    ] {
        // The sections that the text does not have follow it.
        let mut text = format!("{section}\n");
        for line in MINIMAL.lines() {
            let key = line.split(':').next().unwrap();
            if !section.starts_with(key) {
                text += &format!("{line}\n");
            }
        }
        let found = error(&text);
        if found != format!("c.yaml:{expected}") {
            wrong.push(format!("{section}\n  expected {expected}\n  found    {found}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn files() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("c.yaml");
    let message = |path: &Path| Config::from_file(path).unwrap_err().to_string();
    let name = path.display();

    assert_eq!(
        message(&path),
        format!("{name} does not exist; `wirespan config default` prints a file to start from")
    );
    assert!(message(directory.path()).contains("cannot be read: "), "{}", message(directory.path()));
    fs::write(&path, MINIMAL).unwrap();
    assert!(Config::from_file(&path).is_ok());
    fs::write(&path, format!("\u{feff}{MINIMAL}")).unwrap();
    assert!(Config::from_file(&path).is_ok());
    fs::write(&path, b"select:\n  - exe: \"\xff\"\n").unwrap();
    assert_eq!(message(&path), format!("{name}:2: not UTF-8; save the file in that encoding"));

    let mut large = File::create(&path).unwrap();
    large.write_all(MINIMAL.as_bytes()).unwrap();
    let padding = usize::try_from(MAX_FILE).unwrap() - MINIMAL.len() - 1;
    large.write_all(format!("#{}", "x".repeat(padding)).as_bytes()).unwrap();
    assert!(Config::from_file(&path).is_ok());
    large.write_all(b"x").unwrap();
    assert_eq!(
        message(&path),
        format!("{name} is larger than 1048576 bytes; a configuration is a few lines")
    );
}

#[test]
fn a_deep_or_repeating_file_is_refused() {
    assert!(error(&"[".repeat(100_000)).starts_with("c.yaml:1:"));
    let mut bomb = "a0: &a0 [x]\n".to_owned();
    for level in 1..20 {
        let before = format!("*a{}, ", level - 1).repeat(20);
        bomb += &format!("a{level}: &a{level} [{before}]\n");
    }
    assert!(error(&bomb).starts_with("c.yaml:"));
}

proptest! {
    #[test]
    fn any_text_is_answered(text in ".{0,200}") {
        let _ = Config::parse("c.yaml", &text);
    }

    #[test]
    fn any_change_of_a_valid_file_is_answered(at in 0_usize..3000, new in any::<char>()) {
        let changed: String = Config::example()
            .chars()
            .enumerate()
            .map(|(index, old)| if index == at { new } else { old })
            .collect();
        let _ = Config::parse("c.yaml", &changed);
    }
}

#[test]
fn whose_word_is_believed() {
    let trust = |text: &str| parsed(&format!("{MINIMAL}forwarded: {{ trust: {text} }}\n")).forwarded;
    assert_eq!(parsed(MINIMAL).forwarded, Forwarded::default());
    assert_eq!(trust("private"), Forwarded::default());
    assert_eq!(trust("none"), Forwarded::none());
    assert_eq!(trust("[]"), Forwarded::none());
    assert_eq!(
        trust("[ private, 203.0.113.0/24 ]"),
        Forwarded::parse(["private", "203.0.113.0/24"]).unwrap()
    );
    assert_eq!(trust("\"::/0\""), Forwarded::parse(["::/0"]).unwrap());
    for (text, part) in
        [("{}", "trust is missing"), ("{ trust: 10/8 }", "10/8"), ("{ trust: true }", "private")]
    {
        let error = error(&format!("{MINIMAL}forwarded: {text}\n"));
        assert!(error.starts_with("c.yaml:3:") && error.contains(part), "{error}");
    }
}
