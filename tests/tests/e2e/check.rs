//! Comparing spans with what the clients report.

use wirespan_tests::{
    clients::Exchange,
    span::{Kind, SpanRow},
};

/// The spans of one kind as exchanges, sorted.
pub(crate) fn exchanges(rows: &[SpanRow], kind: Kind) -> Vec<Exchange> {
    let of_kind = rows.iter().filter(|row| row.kind == kind);
    let mut list: Vec<_> = of_kind
        .map(|row| {
            let (sent, received) = row.sizes();
            let query = row.attribute("url.query");
            let path =
                if query.is_empty() { row.path().to_owned() } else { format!("{}?{query}", row.path()) };
            Exchange { method: row.method().to_owned(), path, status: row.status_code(), sent, received }
        })
        .collect();
    list.sort();
    list
}

/// Exactly these exchanges, each once, none invented.
#[track_caller]
pub(crate) fn assert_exactly(rows: &[SpanRow], kind: Kind, expected: &[Exchange]) {
    let mut expected = expected.to_vec();
    expected.sort();
    let found = exchanges(rows, kind);
    let missing: Vec<_> = difference(&expected, &found);
    let invented: Vec<_> = difference(&found, &expected);
    assert!(
        missing.is_empty() && invented.is_empty(),
        "{kind:?}: {} expected, {} found\nmissing:{}\ninvented:{}\nspans:{}",
        expected.len(),
        found.len(),
        lines(&missing),
        lines(&invented),
        brief(rows)
    );
}

/// Some exchanges as lines, for messages.
fn lines(exchanges: &[Exchange]) -> String {
    let line =
        |e: &Exchange| format!("\n  {} {} {} ({}, {})", e.method, e.path, e.status, e.sent, e.received);
    let more = exchanges.len().saturating_sub(10);
    let shown: String = exchanges.iter().take(10).map(line).collect();
    if more > 0 { format!("{shown}\n  … and {more} more") } else { shown }
}

/// The elements of sorted `a` that are not in sorted `b`, counting repetitions.
fn difference(a: &[Exchange], b: &[Exchange]) -> Vec<Exchange> {
    let mut rest = b.iter().peekable();
    let mut left = Vec::new();
    for item in a {
        while rest.next_if(|other| *other < item).is_some() {}
        if rest.next_if(|other| *other == item).is_none() {
            left.push(item.clone());
        }
    }
    left
}

/// The rows as short lines, for messages.
pub(crate) fn brief(rows: &[SpanRow]) -> String {
    let lines = rows.iter().take(30).map(|row| {
        format!(
            "\n  {:?} {} {} {} {:?} parent {} evidence {:?} error {:?} incomplete {:?} pid {}",
            row.kind,
            row.method(),
            row.path(),
            row.status_code(),
            row.sizes(),
            row.parent.as_deref().unwrap_or("-"),
            row.attribute("wirespan.parent.evidence"),
            row.attribute("error.type"),
            row.attribute("wirespan.incomplete"),
            row.pid(),
        )
    });
    lines.collect()
}

/// The only span of this kind with this path.
#[track_caller]
pub(crate) fn the<'a>(rows: &'a [SpanRow], kind: Kind, path: &str) -> &'a SpanRow {
    let found: Vec<_> = rows.iter().filter(|row| row.kind == kind && row.path() == path).collect();
    assert_eq!(found.len(), 1, "{kind:?} {path}: {}", brief(rows));
    found[0]
}

/// A span that is whole: nothing was missing when it was made.
#[track_caller]
pub(crate) fn assert_complete(rows: &[SpanRow]) {
    let incomplete: Vec<_> =
        rows.iter().filter(|row| !row.attribute("wirespan.incomplete").is_empty()).cloned().collect();
    assert!(incomplete.is_empty(), "incomplete: {}", brief(&incomplete));
}
