//! What the recipe promises: spans from a recorded event log, and no more lines outside the folder than it names.

use std::{fs, path::Path, sync::Arc};

use super::HELLO;
use crate::{
    event::{
        ConnectionId, Direction, Earlier, Endpoint, Event, LastReceive, Layer, Mark, Opened, ProcessFacts,
        Thread, Timestamp, Transfer,
    },
    pipeline::{Engine, Settings, redact::Masker},
    source::log::{LogReader, Output, Recorder, RecorderSettings},
    trace::span::{Evidence, Span, SpanEvent, SpanKind, Status},
};

const PID: u32 = 9;
const THREAD: Thread = Thread { pid: PID, tid: PID };

/// A service that answers each line after it has asked another service.
fn conversation() -> Vec<Event<'static>> {
    use Direction::{In, Out};
    let facts = ProcessFacts { pid: PID, start_time: 1, ..ProcessFacts::default() };
    let at = Timestamp(1_000_000_000);
    let mut events = vec![
        Event::Clock { at, unix_offset: 0 },
        Event::RunKey([7; 16]),
        Event::Process { at, facts: Box::new(facts) },
        open(1),
        open(2),
    ];
    let mut positions = [[0; 2]; 2];
    let mut now = at.0;
    let mut say = |id: u64, direction: Direction, cause: Option<(u64, u64)>, text: &'static [u8]| {
        let position = &mut positions[id as usize - 1][direction.index()];
        now += 1_000_000;
        let last_receive = cause.map(|(connection, position)| LastReceive {
            connection: ConnectionId(connection),
            layer: Layer::Wire,
            position: position - 1,
            mark: Mark::default(),
        });
        events.push(Event::Transfer(Transfer {
            at: Timestamp(now),
            connection: ConnectionId(id),
            layer: Layer::Wire,
            direction,
            position: *position,
            length: text.len() as u32,
            thread: THREAD,
            head: text,
            tail: &[],
            not_captured: None,
            last_receive,
            task: None,
            dropped: 0,
            process_drops: 0,
        }));
        *position += text.len() as u64;
        *position
    };
    say(1, In, None, HELLO);
    say(2, Out, None, HELLO);
    for _ in 0..3 {
        say(1, In, None, b"ASK pri");
        let asked = say(1, In, None, b"ce\n");
        say(2, Out, Some((1, asked)), b"ASK row\n");
        let answered = say(2, In, None, b"NO such row\n");
        say(1, Out, Some((2, answered)), b"OK 7\n");
    }
    events.push(Event::Shutdown { at: Timestamp(now + 1) });
    events
}

fn open(id: u64) -> Event<'static> {
    Event::Opened(Opened {
        at: Timestamp(1_000_000_000),
        connection: ConnectionId(id),
        thread: THREAD,
        local: Endpoint::Inet("10.0.0.1:1000".parse().unwrap()),
        peer: Endpoint::Inet("10.0.0.2:2000".parse().unwrap()),
        network_namespace: 1,
        first_sequence: [id as u32 * 1_000_000, id as u32 * 2_000_000],
        first_position: 0,
        earlier: [Earlier::Nothing; 2],
    })
}

/// Records the events into a log, and feeds what is read of it to a pipeline.
fn replayed(events: &[Event<'_>], redact: bool) -> Vec<Span> {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("log");
    let settings = RecorderSettings { output: Output::File(path.clone()), max_bytes: u64::MAX, redact };
    let mut recorder = Recorder::start(&settings, "{}", Arc::default()).unwrap();
    let mut masker = redact.then(Masker::default);
    events.iter().for_each(|event| match &mut masker {
        Some(masker) => recorder.record(&masker.mask(event)),
        None => recorder.record(event),
    });
    assert_eq!(recorder.finish().events, events.len() as u64);
    let mut reader = LogReader::open(fs::File::open(path).unwrap()).unwrap();
    let mut engine = Engine::new(Settings::default());
    let mut spans = vec![];
    while let Some(event) = reader.next_event().unwrap() {
        engine.feed(&event);
        spans.extend(engine.drain().filter_map(|event| match event {
            SpanEvent::Span(span) => Some(*span),
            SpanEvent::Open(_) => None,
        }));
    }
    spans
}

#[test]
fn a_recorded_run_has_the_spans_of_its_lines() {
    let spans = replayed(&conversation(), false);
    assert_eq!(spans.len(), 6);
    let kinds = |kind| spans.iter().filter(move |span| span.kind == kind);
    for (call, request) in kinds(SpanKind::Client).zip(kinds(SpanKind::Server)) {
        let parent = call.parent.unwrap();
        assert_eq!((parent.span, parent.evidence), (request.id, Evidence::BothSides));
        assert_eq!((call.status, request.status), (Status::Error, Status::Unset));
        assert_eq!((&*call.name, &*request.name), ("ASK row", "ASK price"));
        let status = |span: &Span| span.operation.as_ref().and_then(|operation| operation.status.clone());
        assert_eq!((status(call).as_deref(), status(request).as_deref()), (Some("NO"), Some("OK")));
        assert_eq!((call.error.as_deref(), &request.error), (Some("NO"), &None));
        assert_eq!((call.first_response_byte, &call.http), (None, &None));
        assert!(request.start < call.start && call.end < request.end);
    }
}

/// It says nothing about what `--redact` may keep.
#[test]
fn a_redacted_log_has_nothing_of_a_protocol_without_a_mask() {
    assert!(replayed(&conversation(), true).is_empty());
}

/// The lines outside this folder that name the protocol are those that the recipe in CONTRIBUTING.md shows, with what puts them
/// into test builds: six at most.
#[test]
fn the_recipe_names_every_line_outside_the_folder() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let contributing = fs::read_to_string(root.join("../CONTRIBUTING.md")).unwrap();
    let (_, recipe) = contributing.split_once("## Recipe: add a protocol").unwrap();
    let (_, block) = recipe.split_once("```rust\n").unwrap();
    let (block, _) = block.split_once("```").unwrap();
    let mut named = vec![];
    let mut file = "";
    for line in block.lines().map(str::trim) {
        match line.strip_prefix("// ") {
            Some(path) => file = path,
            None => named.push(format!("{file}: {line}")),
        }
    }
    let mut found = vec![];
    lines_that_name_it(&root.join("src"), &mut found);
    named.sort();
    found.sort();
    assert_eq!(found, named);
    assert!(found.len() <= 6, "{found:?}");
}

/// Adds the lines of all files below `directory`, but for this folder, that name the protocol, and the attribute before each.
fn lines_that_name_it(directory: &Path, found: &mut Vec<String>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            if !path.ends_with("protocol/toy") {
                lines_that_name_it(&path, found);
            }
            continue;
        }
        let text = fs::read_to_string(&path).unwrap_or_default();
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let file = path.strip_prefix(root).unwrap().display().to_string();
        let mut before = "";
        for line in text.lines().map(str::trim) {
            let words = line.split(|letter: char| !letter.is_alphanumeric() && letter != '_');
            if words.clone().any(|word| word.eq_ignore_ascii_case("toy")) {
                let attribute = Some(before).filter(|before| before.starts_with("#["));
                found.extend(attribute.into_iter().chain([line]).map(|line| format!("{file}: {line}")));
            }
            before = line;
        }
    }
}
