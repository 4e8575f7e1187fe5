//! Tests of the span file: whole lines whatever happens, exact accounts, clear errors.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    process::Command,
    sync::{Arc, Mutex},
};

use super::*;
use crate::{
    pipeline::{queue::Batch, samples},
    trace::span::Traced,
};

fn spans(count: usize) -> Batch {
    samples::batch((0..count).map(|_| Traced::Span(Box::new(samples::server_span()))).collect())
}

fn feed() -> Arc<Feed> {
    Arc::new(Feed::new("file", 100_000))
}

fn export(path: &Path, feed: &Arc<Feed>, batches: impl IntoIterator<Item = Batch>) {
    let settings = FileSettings::new(path.into());
    let exporter = LineExporter::open(&settings, HostResource::default(), Arc::clone(feed)).unwrap();
    for batch in batches {
        feed.queue.push(batch);
    }
    feed.queue.close();
    exporter.run();
}

fn spans_in(path: &Path) -> usize {
    fs::read_to_string(path)
        .unwrap()
        .lines()
        .map(|line| {
            let value: serde_json::Value = serde_json::from_str(line).unwrap();
            let resources = value["resourceSpans"].as_array().unwrap();
            resources.iter().map(|one| one["scopeSpans"][0]["spans"].as_array().unwrap().len()).sum::<usize>()
        })
        .sum()
}

#[test]
fn every_span_is_in_the_file_which_is_appended_to() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("spans.jsonl");
    for round in 1..=2 {
        let feed = feed();
        export(&path, &feed, [spans(3), spans(2_000), spans(1)]);
        assert_eq!(spans_in(&path), 2_004 * round);
        assert_eq!((feed.exported(), feed.summary().dropped_total()), (2_004, 0));
    }
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o007, 0, "not for others");
}

#[test]
fn a_full_disk_is_counted() {
    let feed = feed();
    export(Path::new("/dev/full"), &feed, [spans(7)]);
    assert_eq!((feed.exported(), feed.dropped(DropReason::Write)), (0, 7));
    feed.settle();
    assert_eq!(feed.dropped(DropReason::Shutdown), 0);
}

/// A file size limit makes the kernel write a part and then fail, as a disk that fills up does. Limits are per process,
/// so the writing is done by a child: this test program again, with the limit and without the signal that comes with it.
#[test]
fn a_failed_write_leaves_no_torn_line_and_later_ones_go_on() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("spans.jsonl");
    let child = Command::new("sh")
        .args(["-c", r#"trap "" XFSZ; ulimit -f 1; exec "$0" --exact "$1" --ignored"#])
        .arg(std::env::current_exe().unwrap())
        .arg("export::file::tests::write_into_a_file_of_at_most_512_bytes")
        .env("SPAN_FILE", &path)
        .output()
        .unwrap();
    assert!(child.status.success(), "{}", String::from_utf8_lossy(&child.stdout));
    let expected = [line(100), line(200), line(50)].concat();
    assert_eq!(fs::read(&path).unwrap(), expected);
}

/// `length` bytes with the line feed.
fn line(length: usize) -> Vec<u8> {
    [vec![b'x'; length - 1], vec![b'\n']].concat()
}

#[test]
#[ignore = "the child of the test above"]
fn write_into_a_file_of_at_most_512_bytes() {
    let path = std::env::var_os("SPAN_FILE").expect("set by the test above");
    let mut file = SpanFile::open(Path::new(&path)).unwrap();
    file.append(&line(100)).unwrap();
    file.append(&line(200)).unwrap();
    assert_eq!(file.append(&[line(110), line(300)].concat()).unwrap_err().kind(), ErrorKind::FileTooLarge);
    file.append(&line(50)).unwrap();
}

#[test]
fn a_line_torn_by_an_earlier_run_is_ended() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("spans.jsonl");
    fs::write(&path, "{\"torn").unwrap();
    let mut file = SpanFile::open(&path).unwrap();
    file.append(b"{}\n").unwrap();
    file.append(b"{}\n").unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), "{\"torn\n{}\n{}\n");
}

#[test]
fn copytruncate_by_others_does_no_harm() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("spans.jsonl");
    let mut file = SpanFile::open(&path).unwrap();
    file.append(b"{\"first\":1}\n").unwrap();
    fs::write(&path, "").unwrap();
    file.append(b"{}\n").unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), "{}\n");
}

#[test]
fn errors_say_what_to_do() {
    let directory = tempfile::tempdir().unwrap();
    let missing = directory.path().join("no/such/spans.jsonl");
    let error = SpanFile::open(&missing).unwrap_err();
    assert!(matches!(error, FileError::NoDirectory { .. }));
    assert!(error.to_string().contains("create "), "{error}");
    let error = SpanFile::open(directory.path()).unwrap_err();
    assert!(matches!(error, FileError::IsDirectory { .. }), "{error}");
}

/// A destination that fails as told.
#[derive(Clone, Default)]
struct Flaky {
    failing: Arc<Mutex<bool>>,
    lines: Arc<Mutex<Vec<u8>>>,
}

impl Lines for Flaky {
    fn append(&mut self, lines: &[u8]) -> io::Result<()> {
        if *self.failing.lock().unwrap() {
            return Err(ErrorKind::StorageFull.into());
        }
        self.lines.lock().unwrap().extend_from_slice(lines);
        Ok(())
    }
}

#[test]
fn writing_is_tried_again_after_a_failure() {
    let (feed, destination) = (feed(), Flaky::default());
    let mut exporter = LineExporter::new(
        destination.clone(),
        "test".into(),
        Duration::ZERO,
        HostResource::default(),
        Arc::clone(&feed),
    );
    for (failing, count) in [(false, 1), (true, 2), (true, 4), (false, 8)] {
        *destination.failing.lock().unwrap() = failing;
        feed.queue.push(spans(count));
        let Next::Piece(piece) = feed.queue.try_next(100) else { panic!("just pushed") };
        exporter.take(&piece);
        assert_eq!(exporter.failing.is_some(), failing);
    }
    assert_eq!((feed.exported(), feed.dropped(DropReason::Write)), (9, 6));
    assert_eq!(destination.lines.lock().unwrap().iter().filter(|byte| **byte == b'\n').count(), 2);
}
