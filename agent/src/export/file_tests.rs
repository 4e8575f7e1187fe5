//! Tests of the span file: whole lines whatever happens, exact accounts, clear errors.

use std::{
    fs,
    io::{ErrorKind, Read as _},
    os::unix::fs::{OpenOptionsExt as _, PermissionsExt},
    path::Path,
    process::Command,
    sync::{Arc, Mutex},
    thread,
};

use nix::{sys::stat::Mode, unistd::mkfifo};

use super::*;
use crate::{
    pipeline::{queue::Batch, samples},
    trace::span::SpanEvent,
};

fn spans(count: usize) -> Batch {
    samples::batch((0..count).map(|_| SpanEvent::Span(Box::new(samples::server_span()))).collect())
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

/// As the exporter does it: looks where the path leads, then writes.
fn write(file: &mut SpanFile, line: &str) -> io::Result<Option<Change>> {
    let change = file.follow()?;
    file.append(line.as_bytes())?;
    Ok(change)
}

#[test]
fn a_file_that_others_move_delete_or_truncate_is_made_anew() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("spans.jsonl");
    let aside = directory.path().join("spans.jsonl.1");
    let mut file = SpanFile::open(&path).unwrap();
    assert_eq!(write(&mut file, "1\n").unwrap(), None);
    assert_eq!(write(&mut file, "2\n").unwrap(), None);
    fs::remove_file(&path).unwrap();
    assert_eq!(write(&mut file, "3\n").unwrap(), Some(Change::Moved));
    fs::rename(&path, &aside).unwrap();
    assert_eq!(write(&mut file, "4\n").unwrap(), Some(Change::Moved));
    assert_eq!(fs::read_to_string(&aside).unwrap(), "3\n");
    // Rotation that makes the new file itself.
    fs::rename(&path, &aside).unwrap();
    fs::write(&path, "").unwrap();
    assert_eq!(write(&mut file, "5\n").unwrap(), Some(Change::Moved));
    assert_eq!(fs::read_to_string(&path).unwrap(), "5\n");
    fs::write(&path, "").unwrap();
    assert_eq!(write(&mut file, "6\n").unwrap(), Some(Change::Truncated));
    assert_eq!(write(&mut file, "7\n").unwrap(), None);
    assert_eq!(fs::read_to_string(&path).unwrap(), "6\n7\n");
}

#[test]
fn a_directory_that_is_gone_for_a_while_costs_what_came_meanwhile() {
    let directory = tempfile::tempdir().unwrap();
    let (parent, path) = (directory.path().join("logs"), directory.path().join("logs/spans.jsonl"));
    fs::create_dir(&parent).unwrap();
    let feed = feed();
    let settings = FileSettings::new(path.clone());
    let mut exporter = LineExporter::open(&settings, HostResource::default(), Arc::clone(&feed)).unwrap();
    exporter.flush_after = Duration::ZERO;
    let mut give = |count: usize| {
        feed.queue.push(spans(count));
        let Next::Piece(piece) = feed.queue.try_next(100) else { panic!("just pushed") };
        exporter.take(&piece);
    };
    give(1);
    fs::remove_dir_all(&parent).unwrap();
    give(2);
    give(4);
    assert_eq!((feed.exported(), feed.dropped(DropReason::Write)), (1, 6));
    fs::create_dir(&parent).unwrap();
    give(8);
    assert_eq!((feed.exported(), feed.dropped(DropReason::Write)), (9, 6));
    assert_eq!(spans_in(&path), 8);
}

#[test]
fn a_file_is_opened_anew_when_asked_also_without_spans() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("spans.jsonl");
    let feed = feed();
    let settings = FileSettings::new(path.clone());
    let exporter = LineExporter::open(&settings, HostResource::default(), Arc::clone(&feed)).unwrap();
    fs::rename(&path, directory.path().join("old")).unwrap();
    feed.ask_reopen();
    let running = thread::spawn(move || exporter.run());
    while !path.exists() {
        thread::sleep(Duration::from_millis(2));
    }
    feed.queue.close();
    running.join().unwrap();
    let mut metrics = crate::export::metrics::MetricsText::default();
    feed.collect(&mut metrics);
    assert!(metrics.finish().contains("wirespan_export_file_reopens_total{reason=\"signal\"} 1\n"));
}

#[test]
fn a_pipe_takes_spans_while_it_is_read() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("pipe");
    mkfifo(&path, Mode::S_IRWXU).unwrap();
    let mut file = SpanFile::open(&path).unwrap();
    let unread = write(&mut file, "1\n").unwrap_err();
    assert!(unread.to_string().contains("nobody reads"), "{unread}");
    let reader = || fs::OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(&path).unwrap();
    let mut first = reader();
    assert_eq!(write(&mut file, "2\n").unwrap(), None);
    let mut text = [0; 2];
    first.read_exact(&mut text).unwrap();
    assert_eq!(&text, b"2\n");
    // More than a pipe holds, and its reader sleeps: the exporter must not.
    let much = "x".repeat(1 << 20) + "\n";
    assert_eq!(write(&mut file, &much).unwrap_err().kind(), ErrorKind::WouldBlock);
    drop(first);
    assert_eq!(write(&mut file, "3\n").unwrap_err().kind(), ErrorKind::BrokenPipe);
    let mut second = reader();
    write(&mut file, "4\n").unwrap();
    drop(file);
    let mut text = String::new();
    second.read_to_string(&mut text).unwrap();
    assert_eq!(text, "4\n");
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
    let socket = directory.path().join("socket");
    let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    let error = SpanFile::open(&socket).unwrap_err();
    assert!(matches!(error, FileError::IsSocket { .. }), "{error}");
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
