//! A simulated run, recorded beside a live export: every replay must give the same bytes.

use proptest::prelude::*;

use super::{
    simulated::{Run, SECRET},
    *,
};
use crate::{
    export::{Exporters, HostResource},
    pipeline,
    pipeline::EventSink,
    session::recording::{Header, Recording, Run as About},
    source::log::{
        Output, RecorderSettings,
        samples::{self, Owned},
    },
};

fn events(exchanges: usize) -> Vec<Owned> {
    let mut run = Run::new();
    (0..exchanges).for_each(|number| run.exchange(number));
    run.end()
}

fn host() -> HostResource {
    HostResource {
        name: Some("recorded-host".into()),
        id: Some("id".into()),
        attributes: vec![("k8s.cluster.name".into(), "blue".into())],
    }
}

fn to_file(path: PathBuf) -> export::Settings {
    export::Settings { file: Some(FileSettings::new(path)), ..export::Settings::default() }
}

/// What a session does, without a kernel: records and exports. Returns the exported bytes and the
/// log's path.
pub(super) fn live(directory: &Path, events: &[Owned], redact: bool) -> (Vec<u8>, PathBuf) {
    let (log, spans) = (directory.join("log"), directory.join("live.jsonl"));
    let settings = RecorderSettings { output: Output::File(log.clone()), max_bytes: u64::MAX, redact };
    let pipeline = pipeline::Settings::default();
    let recorder = Recording::new(settings, host()).start(About::default(), pipeline.clone()).unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let exporters = Exporters::start(&to_file(spans.clone()), &host(), runtime.handle()).unwrap();
    let sender = exporters.sender();
    let mut sink = EventSink::new(pipeline, move |batch| sender.send(&batch)).recorded_by(Some(recorder));
    events.iter().for_each(|event| sink.feed(&event.event()));
    let recorded = sink.close().unwrap();
    assert_eq!((recorded.events, recorded.dropped), (events.len() as u64, 0));
    runtime.block_on(exporters.shutdown(Duration::from_secs(60)));
    (std::fs::read(spans).unwrap(), log)
}

pub(super) fn replayed(directory: &Path, log: &Path, name: &str) -> (Vec<u8>, Outcome) {
    let spans = directory.join(name);
    let outcome = replay_file(log, &to_file(spans.clone()), &plain(), false).unwrap();
    (std::fs::read(spans).unwrap(), outcome)
}

/// Method, status, sizes, parent's evidence of every span, in the order of the file.
fn shapes(lines: &[u8]) -> Vec<Vec<String>> {
    let text = std::str::from_utf8(lines).unwrap();
    let mut shapes = vec![];
    for line in text.lines() {
        let value: serde_json::Value = serde_json::from_str(line).unwrap();
        for resource in value["resourceSpans"].as_array().unwrap() {
            for span in resource["scopeSpans"][0]["spans"].as_array().unwrap() {
                let attributes = span["attributes"].as_array().unwrap();
                let named = |name: &str| {
                    let found = attributes.iter().find(|attribute| attribute["key"] == name);
                    found.map_or_else(String::new, |attribute| attribute["value"].to_string())
                };
                let mut shape: Vec<String> = [
                    "http.request.method",
                    "http.response.status_code",
                    "http.request.body.size",
                    "http.response.body.size",
                    "server.port",
                    "wirespan.parent.evidence",
                    "wirespan.incomplete",
                ]
                .map(named)
                .to_vec();
                for key in ["traceId", "spanId", "parentSpanId", "startTimeUnixNano", "endTimeUnixNano"] {
                    shape.push(span[key].to_string());
                }
                shapes.push(shape);
            }
        }
    }
    shapes
}

#[test]
fn a_replay_gives_the_bytes_of_the_live_run_every_time() {
    let directory = tempfile::tempdir().unwrap();
    let (live, log) = live(directory.path(), &events(400), false);
    let spans = shapes(&live);
    assert_eq!(spans.len(), 1_200);
    let inferred =
        |shape: &&Vec<String>| ["both_sides", "request_side"].iter().any(|by| shape[5].contains(by));
    let inferred = spans.iter().filter(inferred).count();
    assert!(inferred > 300, "the run has trees: {inferred}");
    for name in ["first", "second"] {
        let (bytes, outcome) = replayed(directory.path(), &log, name);
        assert_eq!(outcome, Outcome::Whole);
        assert!(bytes == live, "{name} replay differs");
    }
    assert!(String::from_utf8(live).unwrap().contains("recorded-host"));
}

#[test]
fn a_redacted_log_has_no_secret_and_gives_the_same_exchanges() {
    let directory = tempfile::tempdir().unwrap();
    let (live, log) = live(directory.path(), &events(50), true);
    let bytes = std::fs::read(&log).unwrap();
    assert!(!bytes.windows(SECRET.len()).any(|window| window == SECRET.as_bytes()));
    let (replayed, outcome) = replayed(directory.path(), &log, "replay");
    assert_eq!(outcome, Outcome::Whole);
    assert_eq!(shapes(&replayed), shapes(&live));
    assert!(String::from_utf8(replayed).unwrap().contains("token=REDACTED"));
}

#[test]
fn a_log_that_was_cut_anywhere_is_replayed_up_to_there() {
    let directory = tempfile::tempdir().unwrap();
    let (_, log) = live(directory.path(), &events(6), false);
    let bytes = std::fs::read(&log).unwrap();
    let cut = directory.path().join("cut");
    let mut most = 0;
    for length in (0..bytes.len()).step_by(97) {
        std::fs::write(&cut, &bytes[..length]).unwrap();
        let spans = directory.path().join(format!("spans-{length}"));
        match replay_file(&cut, &to_file(spans.clone()), &plain(), false) {
            Ok(outcome) => assert_eq!(outcome, Outcome::Partly, "{length}"),
            Err(error) => assert!(most == 0, "{length}: {error:#}"),
        }
        let spans = std::fs::read(spans).map_or(0, |spans| shapes(&spans).len());
        assert!(spans >= most, "a longer log has no fewer spans");
        most = spans;
    }
    assert!(most > 6, "{most}");
}

/// What `wirespan replay FILE` asks for.
fn plain() -> ReplayArgs {
    ReplayArgs {
        files: vec![],
        format: None,
        export: None,
        protocol: None,
        realtime: false,
        view: View::default(),
    }
}

/// Captures of real servers (tests/fixtures/pcap) by the command, from each view.
#[test]
fn captures_are_replayed_by_the_same_command() {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/pcap");
    let directory = tempfile::tempdir().unwrap();
    for (view, kinds) in [("client", [0, 8]), ("server", [8, 0]), ("both", [8, 8])] {
        let spans = directory.path().join(view);
        let args = ReplayArgs { view: view.parse().unwrap(), ..plain() };
        let outcome =
            replay_file(&fixtures.join("mixed.pcap.gz"), &to_file(spans.clone()), &args, false).unwrap();
        assert_eq!(outcome, Outcome::Whole);
        let text = std::fs::read_to_string(spans).unwrap();
        let count = |kind: &str| text.matches(kind).count();
        assert_eq!([count(r#""kind":2"#), count(r#""kind":3"#)], kinds, "{view}: {text}");
    }
}

#[test]
fn other_files_are_named() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("file");
    for (bytes, expected) in [
        (&b"\xd4\xc3\xb2\xa1\x02\0\x04\0"[..], "capture"),
        (b"hello, world", "is neither an event log"),
        (b"", "is neither an event log"),
    ] {
        std::fs::write(&path, bytes).unwrap();
        let error =
            format!("{:#}", replay_file(&path, &export::Settings::default(), &plain(), false).unwrap_err());
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn where_spans_go() {
    let arguments = |export: Option<&str>, format| ReplayArgs {
        files: vec![],
        format,
        export: export.map(str::to_owned),
        protocol: None,
        realtime: false,
        view: View::default(),
    };
    let settings = arguments(None, None).exporters().unwrap();
    assert!(settings.console.is_some() && settings.file.is_none() && settings.otlp.is_none());
    let settings = arguments(Some("spans.jsonl"), None).exporters().unwrap();
    assert!(settings.console.is_none() && settings.file.is_some());
    let settings = arguments(Some("http://collector:4317"), Some(Format::Json)).exporters().unwrap();
    assert_eq!(settings.otlp.unwrap().protocol, Some(Protocol::Grpc));
    assert!(settings.console.is_some());
    let settings = arguments(Some("https://collector:4318/otlp"), None).exporters().unwrap();
    assert_eq!(settings.otlp.unwrap().concurrent_requests, 1);
    assert!(arguments(Some("ftp://collector"), None).exporters().is_err());
}

#[test]
fn a_header_of_the_defaults_is_complete() {
    let text = serde_json::to_string(&Header::default()).unwrap();
    for key in ["hold_nanos", "calls_per_request", "user_agent", "access_token"] {
        assert!(text.contains(key), "{text}");
    }
}

/// Every number becomes this one (of a duration, the seconds).
fn replace_numbers(value: &mut serde_json::Value, number: u32) {
    match value {
        serde_json::Value::Number(old) => *old = number.into(),
        serde_json::Value::Array(values) => {
            values.iter_mut().for_each(|value| replace_numbers(value, number));
        }
        serde_json::Value::Object(fields) => {
            for (_, value) in fields.iter_mut().filter(|(key, _)| *key != "nanos") {
                replace_numbers(value, number);
            }
        }
        _ => {}
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// A log can hold anything. Whatever its header says, the pipeline must not crash.
    #[test]
    fn any_events_do_no_harm(
        events in prop::collection::vec(samples::event(), 0..80),
        number in prop_oneof![Just(None), Just(Some(0)), Just(Some(1)), Just(Some(u32::MAX))],
    ) {
        let mut header = serde_json::to_value(Header::default()).unwrap();
        if let Some(number) = number {
            replace_numbers(&mut header, number);
        }
        let (header, _) = Header::parse(&header.to_string()).unwrap();
        let mut sink = EventSink::new(header.pipeline, drop);
        for event in &events {
            sink.feed(&event.event());
            drop(sink.drain_feedback());
        }
    }
}
