//! Recorded traffic: `tests/fixtures/pcap`, and any other folder of captures by hand.

use std::{
    fs,
    path::{Path, PathBuf},
};

use super::{View, options, run};
use crate::source::pcap::is_capture;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/pcap")
}

/// `expected.txt`: sections `# file view`, then a line for each span, sorted.
#[test]
fn recorded_captures_give_what_their_clients_reported() {
    let expected = fs::read_to_string(folder().join("expected.txt")).unwrap();
    let mut sections = 0;
    for section in expected.split("# ").skip(1) {
        let (title, lines) = section.split_once('\n').unwrap();
        let (file, view) = title.split_once(' ').unwrap();
        let outcome = run(&fs::read(folder().join(file)).unwrap(), &options(view.parse().unwrap()));
        let lines: Vec<&str> = lines.lines().filter(|line| !line.is_empty()).collect();
        assert_eq!(outcome.lines(), lines, "{title}: {}", outcome.report);
        assert_eq!(outcome.violations, 0, "{title}");
        assert!(outcome.report.damage.is_none(), "{title}");
        sections += 1;
    }
    assert!(sections >= 8);
}

/// Reads every capture below `WIRESPAN_CAPTURES` in every view and prints what came of it.
#[test]
#[ignore = "reads captures that are not part of the project"]
fn any_folder_of_captures() {
    let mut files = Vec::new();
    collect(Path::new(&std::env::var("WIRESPAN_CAPTURES").unwrap()), &mut files);
    files.sort();
    let mut spans = 0;
    for file in &files {
        let bytes = fs::read(file).unwrap();
        if !is_capture(&bytes) {
            println!("{}: no capture", file.display());
            continue;
        }
        for view in [View::Client, View::Server, View::Both] {
            let mut count = 0;
            let outcome = std::panic::catch_unwind(|| {
                let mut engine = crate::pipeline::Engine::new(crate::pipeline::Settings::default());
                let read = super::read(&bytes[..], &options(view), &mut |event| engine.feed(event));
                (
                    read,
                    engine.tally().ledger,
                    engine
                        .drain()
                        .filter_map(|traced| match traced {
                            crate::trace::span::SpanEvent::Span(span) => Some(super::line(&span)),
                            crate::trace::span::SpanEvent::Open(_) => None,
                        })
                        .collect::<Vec<_>>(),
                )
            });
            let Ok((report, ledger, lines)) = outcome else {
                println!("{}: PANIC", file.display());
                continue;
            };
            count += lines.len();
            assert_eq!(ledger.violations, 0, "{}", file.display());
            if view == View::Client {
                spans += count;
                match report {
                    Ok(report) => {
                        let damage =
                            report.damage.as_ref().map_or(String::new(), |damage| format!("; {damage}"));
                        println!("{}: {report}{damage}; {count} spans", file.display());
                    }
                    Err(error) => println!("{}: {error}", file.display()),
                }
                for line in &lines {
                    println!("    {line}");
                }
            }
        }
    }
    println!("{} files, {spans} spans", files.len());
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, files);
        } else {
            files.push(path);
        }
    }
}
