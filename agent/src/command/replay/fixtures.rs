//! Recorded runs of real servers: `tests/fixtures/log`, whose README.md says how they were made.
//! Each must replay to the bytes that are kept beside it, and to what the clients reported, which
//! no code of the agent has seen.
//!
//! `WIRESPAN_BLESS=1` writes the bytes anew instead of comparing them.

use std::{env, fs};

use super::{redacted::described_of, tests::replayed, *};
use crate::pipeline::redact::Masker;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/log")
}

/// A span as `NAME.expected` has one: kind, method, path with query, status, sizes of the bodies.
type Reported = [String; 5];

struct Expected {
    /// Whether something was lost or cut off: then spans may be missing or incomplete.
    partly: bool,
    /// Whether the log is cut.
    cut: bool,
    reported: Vec<Reported>,
}

impl Expected {
    fn read(path: &Path) -> Self {
        let text = fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let (notes, lines): (Vec<_>, Vec<_>) = text.lines().partition(|line| line.starts_with('#'));
        let reported = lines.iter().map(|line| {
            let words: Vec<_> = line.split(' ').map(str::to_owned).collect();
            Reported::try_from(words).unwrap_or_else(|_| panic!("{}: {line:?}", path.display()))
        });
        let noted = |note| notes.contains(&note);
        Self { partly: noted("# partly"), cut: noted("# cut"), reported: reported.collect() }
    }
}

/// What the exported lines report, and which of the spans are marked as incomplete.
fn reported(lines: &[u8]) -> Vec<(Reported, bool)> {
    let text = std::str::from_utf8(lines).unwrap();
    let mut found = vec![];
    for line in text.lines() {
        let value: serde_json::Value = serde_json::from_str(line).unwrap();
        for resource in value["resourceSpans"].as_array().unwrap() {
            for span in resource["scopeSpans"][0]["spans"].as_array().unwrap() {
                let attributes = span["attributes"].as_array().unwrap();
                let named = |name: &str| {
                    let value = &attributes.iter().find(|attribute| attribute["key"] == name)?["value"];
                    let text = value["stringValue"].as_str().or_else(|| value["intValue"].as_str());
                    Some(text.expect("a text or a number").to_owned())
                };
                let kind = match span["kind"].as_u64() {
                    Some(2) => "server",
                    Some(3) => "client",
                    other => panic!("kind {other:?}"),
                };
                let query = named("url.query").map(|query| format!("?{query}")).unwrap_or_default();
                let size = |name| named(name).unwrap_or_else(|| "0".to_owned());
                found.push((
                    [
                        kind.to_owned(),
                        named("http.request.method").unwrap_or_default(),
                        named("url.path").unwrap_or_default() + &query,
                        named("http.response.status_code").unwrap_or_default(),
                        format!("{}/{}", size("http.request.body.size"), size("http.response.body.size")),
                    ],
                    attributes.iter().any(|attribute| attribute["key"] == "wirespan.incomplete"),
                ));
            }
        }
    }
    found
}

/// None twice, none invented; none missing and none incomplete, unless that is what the fixture is
/// for.
fn compare(name: &str, found: Vec<(Reported, bool)>, expected: Expected) {
    let mut left = expected.reported;
    let all = left.len();
    let incomplete = found.iter().filter(|(_, incomplete)| *incomplete).count();
    for (reported, incomplete) in found {
        let same = |other: &Reported| {
            // What was lost is not reported, but what is reported is true.
            let known = |at: usize| reported[at] == other[at] || incomplete && reported[at].is_empty();
            reported[..3] == other[..3] && known(3) && (incomplete || reported[4] == other[4])
        };
        let place = left.iter().position(same);
        let place = place.unwrap_or_else(|| panic!("{name}: nobody made {reported:?}, or not so often"));
        left.swap_remove(place);
    }
    if expected.partly {
        assert!(
            left.len() < all && incomplete > 0,
            "{name}: of {all}, {} missing, {incomplete} incomplete",
            left.len()
        );
    } else {
        assert!(left.is_empty() && incomplete == 0, "{name}: {incomplete} incomplete, missing: {left:?}");
    }
}

/// Checks every fixture of a folder; returns their number.
fn check(folder: &Path, bless: bool) -> usize {
    let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut logs: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    logs.retain(|path| path.extension().is_some_and(|extension| extension == "wslog"));
    logs.sort();
    assert!(!logs.is_empty(), "{} has no event log", folder.display());
    let directory = tempfile::tempdir().unwrap();
    for log in &logs {
        let name = log.file_stem().unwrap().to_str().unwrap();
        let (bytes, outcome) = replayed(directory.path(), log, &format!("{name}.1"));
        let (again, _) = replayed(directory.path(), log, &format!("{name}.2"));
        assert!(bytes == again, "{name}: two replays differ");
        let expected = Expected::read(&log.with_extension("expected"));
        assert_eq!(outcome, if expected.cut { Outcome::Partly } else { Outcome::Whole }, "{name}");
        compare(name, reported(&bytes), expected);
        let golden = log.with_extension("otlp.jsonl");
        if bless {
            fs::write(&golden, &bytes).unwrap();
        }
        let kept = fs::read(&golden).unwrap_or_else(|error| panic!("{}: {error}", golden.display()));
        if kept == bytes {
            continue;
        }
        let (kept, bytes) = (String::from_utf8_lossy(&kept), String::from_utf8_lossy(&bytes));
        let differs = kept.lines().zip(bytes.lines()).position(|(kept, now)| kept != now);
        panic!(
            "{name}: the spans are others than those in {}, from line {} on; if they should be, WIRESPAN_BLESS=1 accepts them",
            golden.display(),
            differs.map_or(kept.lines().count().min(bytes.lines().count()), |line| line) + 1
        );
    }
    logs.len()
}

/// Whatever was lost or cut, a redacted log has the spans of the log.
#[test]
fn every_recorded_run_has_its_spans_when_it_is_redacted() {
    let mut runs = 0;
    for entry in fs::read_dir(folder()).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "wslog") {
            continue;
        }
        let spans = |mut masker: Option<Masker>| {
            let mut reader = LogReader::open(File::open(&path).unwrap()).unwrap();
            described_of(|feed| {
                while let Ok(Some(event)) = reader.next_event() {
                    match &mut masker {
                        Some(masker) => feed(&masker.mask(&event)),
                        None => feed(&event),
                    }
                }
            })
        };
        let plain = spans(None);
        assert!(!plain.is_empty());
        let name = path.display();
        for (found, expected) in spans(Some(Masker::default())).iter().zip(&plain) {
            assert_eq!(found, expected, "{name}");
        }
        assert_eq!(spans(Some(Masker::default())).len(), plain.len(), "{name}");
        runs += 1;
    }
    assert!(runs > 5, "{runs}");
}

#[test]
fn recorded_runs_of_real_servers_replay_to_what_is_kept() {
    assert!(check(&folder(), env::var_os("WIRESPAN_BLESS").is_some()) >= 10);
}

#[test]
#[should_panic(expected = "has no event log")]
fn a_folder_without_logs_is_no_success() {
    check(tempfile::tempdir().unwrap().path(), false);
}

#[test]
#[should_panic(expected = "the spans are others than those in")]
fn other_spans_than_those_that_are_kept_are_found() {
    let directory = tempfile::tempdir().unwrap();
    for kind in ["wslog", "expected", "otlp.jsonl"] {
        let name = format!("nginx.{kind}");
        fs::copy(folder().join(&name), directory.path().join(&name)).unwrap();
    }
    let golden = directory.path().join("nginx.otlp.jsonl");
    let text = fs::read_to_string(&golden).unwrap();
    fs::write(&golden, text.replacen(r#""kind":2"#, r#""kind":3"#, 1)).unwrap();
    check(directory.path(), false);
}

fn line(line: &str) -> Reported {
    line.split(' ').map(str::to_owned).collect::<Vec<_>>().try_into().unwrap()
}

#[test]
fn spans_that_are_missing_twice_or_invented_are_found() {
    let (one, other) = (line("server GET /a 200 0/1"), line("client GET /a 200 0/1"));
    let expected = |partly| Expected { partly, cut: false, reported: vec![one.clone(), other.clone()] };
    let fails = |found: Vec<(Reported, bool)>, partly| {
        std::panic::catch_unwind(|| compare("x", found, expected(partly))).is_err()
    };
    let whole = |reported: &Reported| (reported.clone(), false);
    assert!(!fails(vec![whole(&other), whole(&one)], false));
    assert!(fails(vec![whole(&one)], false), "one is missing");
    assert!(fails(vec![whole(&one), whole(&one)], false), "one is there twice");
    assert!(fails(vec![whole(&one), whole(&other), whole(&one)], false), "there is one more");
    assert!(fails(vec![whole(&one), (other.clone(), true)], false), "one is incomplete");
    assert!(!fails(vec![(line("server GET /a  0/0"), true)], true));
    assert!(fails(vec![(line("server GET /a 404 0/0"), true)], true), "another status");
    assert!(fails(vec![whole(&line("server GET /b 200 0/1"))], true), "another path");
    assert!(fails(vec![], true), "nothing at all");
}
