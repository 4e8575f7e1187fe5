//! One span as one line of text. All text that came from outside is escaped: a path must not move the reader's cursor.

use std::fmt::Write;

use super::tree::{Place, Row};
use crate::{
    event::{Endpoint, UNKNOWN_SERVICE},
    export::attributes::plain,
    trace::{
        http::{Http, Text},
        span::{Span, SpanKind, Status},
    },
};

/// Bodies of at least this many bytes are worth a word.
const LARGE_BODY: u64 = 64 * 1_024;
/// A path is never cut to less than this many characters, however narrow the terminal.
const MIN_PATH: usize = 12;

/// How lines look.
#[derive(Debug, Clone, Copy)]
pub(super) struct Style {
    pub(super) color: bool,
    /// Columns of the terminal; `None`: no limit.
    pub(super) width: Option<usize>,
}

#[derive(Clone, Copy)]
enum Color {
    Plain,
    Bold,
    Dim,
    Red,
    Green,
    Yellow,
}

impl Color {
    /// SGR parameters (ECMA-48, 8.3.117).
    const fn code(self) -> &'static str {
        match self {
            Self::Plain => "",
            Self::Bold => "1",
            Self::Dim => "2",
            Self::Red => "31",
            Self::Green => "32",
            Self::Yellow => "33",
        }
    }
}

/// Appends the line of `row`, without a line feed. Times are UTC.
pub(super) fn render(row: &Row, style: Style, out: &mut String) {
    let span = &row.span;
    let mut parts = vec![
        (Color::Dim, time_of_day(span.start)),
        (Color::Plain, " ".to_owned()),
        (Color::Dim, row.branches.clone()),
        (Color::Bold, actor(span)),
        (Color::Dim, if span.kind == SpanKind::Server { " ← " } else { " → " }.to_owned()),
        (Color::Plain, method(span)),
    ];
    let target_at = parts.len();
    parts.push((Color::Plain, target(span)));
    outcome(row, &mut parts);
    sizes(span, &mut parts);
    remarks(row, &mut parts);
    fit(&mut parts, target_at, style.width);
    for (color, text) in parts {
        paint(color, &text, style.color, out);
    }
}

/// Who acted: the service; in a packet capture, which knows none, the address.
fn actor(span: &Span) -> String {
    match span.local.as_ref().and_then(Endpoint::inet) {
        Some(local) if span.process.is_virtual() && &*span.process.service_name == UNKNOWN_SERVICE => {
            plain(local.ip()).to_string()
        }
        _ => escaped(&span.process.service_name),
    }
}

fn method(span: &Span) -> String {
    let original = span.http.as_ref().and_then(|http| http.text(Text::MethodOriginal));
    match (original, &span.http) {
        (Some(original), _) => escaped(original),
        (None, Some(http)) if !http.method.is_empty() => http.method.to_owned(),
        (None, _) => escaped(&span.name),
    }
}

/// What was asked for: the path, on client spans with the server before it.
fn target(span: &Span) -> String {
    if span.operation.is_some() && span.kind == SpanKind::Server {
        return String::new();
    }
    let Some(http) = &span.http else {
        return match &span.peer {
            Endpoint::Inet(peer) => format!(" {}:{}", plain(peer.ip()), peer.port()),
            Endpoint::Unix(peer) => format!(" {}", escaped(&peer.name().unwrap_or_default())),
        };
    };
    let mut text = String::from(" ");
    if span.kind == SpanKind::Client {
        server(http, &mut text);
        if span.peer.is_unix() && text.len() > 1 {
            // Otherwise two paths would be one.
            text.push(':');
        }
    }
    text.push_str(&escaped(http.path().unwrap_or("?")));
    if let Some(query) = http.query() {
        text.push('?');
        text.push_str(&escaped(query));
    }
    text
}

fn server(http: &Http, out: &mut String) {
    out.push_str(&escaped(http.text(Text::ServerAddress).unwrap_or_default()));
    if let Some(port) = http.server_port.filter(|port| *port != 80) {
        // Writing to a string cannot fail.
        let _ = write!(out, ":{port}");
    }
}

/// Status or error, and the duration.
fn outcome(row: &Row, parts: &mut Vec<(Color, String)>) {
    let span = &row.span;
    let lasted = duration(span.end.saturating_sub(span.start));
    if row.place == Place::Open {
        return parts.push((Color::Yellow, format!("  … open {lasted}")));
    }
    let status = span.http.as_ref().and_then(|http| http.status);
    let named = span.operation.as_ref().and_then(|operation| operation.status.as_deref());
    let color = match (span.status, status) {
        (Status::Error, _) => Color::Red,
        (Status::Unset, Some(400..)) => Color::Yellow,
        (Status::Unset, Some(_)) => Color::Green,
        (Status::Unset, None) if named.is_some() => Color::Green,
        (Status::Unset, None) => Color::Dim,
    };
    let status_text = status.map(|status| status.to_string()).or_else(|| named.map(escaped));
    match &status_text {
        Some(status) => parts.push((color, format!("  {status}"))),
        None if span.error.is_none() => parts.push((color, "  no status".to_owned())),
        None => {}
    }
    if let Some(error) = span.error.as_ref().filter(|error| Some(*error) != status_text.as_ref()) {
        parts.push((Color::Red, format!("  {}", escaped(error))));
    }
    parts.push((Color::Plain, format!("  {lasted}")));
}

fn sizes(span: &Span, parts: &mut Vec<(Color, String)>) {
    let Some(http) = &span.http else { return };
    for (arrow, size) in [("↑", http.request_body_size), ("↓", http.response_body_size)] {
        if let Some(size) = size.filter(|size| *size >= LARGE_BODY) {
            parts.push((Color::Plain, format!("  {arrow}{}", bytes(size))));
        }
    }
}

/// How the parent is known, and what is wrong with the span.
fn remarks(row: &Row, parts: &mut Vec<(Color, String)>) {
    let span = &row.span;
    if let Some(parent) = &span.parent {
        parts.push((Color::Dim, format!("  {}", parent.evidence.name())));
    }
    match &row.place {
        Place::Late(parent) => parts.push((Color::Yellow, format!("  late, under {}", escaped(parent)))),
        Place::Orphan(parent) => {
            let id = u64::from_be_bytes(parent.0);
            parts.push((Color::Yellow, format!("  parent {id:016x} not seen")));
        }
        Place::Tree | Place::Open => {}
    }
    if span.parent_unknown {
        parts.push((Color::Yellow, "  parent unknown".to_owned()));
    }
    if !span.incomplete.is_empty() {
        parts.push((Color::Yellow, format!("  incomplete: {}", span.incomplete.join(", "))));
    }
}

/// Shortens the part at `target` so that the line fits into `width` columns.
fn fit(parts: &mut [(Color, String)], target: usize, width: Option<usize>) {
    let Some(width) = width else { return };
    let all: usize = parts.iter().map(|(_, text)| text.chars().count()).sum();
    let length = parts[target].1.chars().count();
    if all <= width || length <= MIN_PATH {
        return;
    }
    let keep = length.saturating_sub(all - width).max(MIN_PATH);
    let mut short: String = parts[target].1.chars().take(keep - 1).collect();
    short.push('…');
    parts[target].1 = short;
}

fn paint(color: Color, text: &str, colors: bool, out: &mut String) {
    let code = color.code();
    if colors && !code.is_empty() && !text.is_empty() {
        let _ = write!(out, "\x1b[{code}m{text}\x1b[0m");
    } else {
        out.push_str(text);
    }
}

/// Hours, minutes, seconds, milliseconds of the day in UTC.
fn time_of_day(unix_nanos: u64) -> String {
    let millis = unix_nanos / 1_000_000;
    let seconds = millis / 1_000;
    let (hour, minute, second) = (seconds / 3_600 % 24, seconds / 60 % 60, seconds % 60);
    format!("{hour:02}:{minute:02}:{second:02}.{:03}Z", millis % 1_000)
}

/// Three significant figures, with a unit.
fn duration(nanos: u64) -> String {
    let (value, unit) = match nanos {
        0..1_000_000 => (nanos as f64 / 1e3, "µs"),
        1_000_000..1_000_000_000 => (nanos as f64 / 1e6, "ms"),
        _ => (nanos as f64 / 1e9, "s"),
    };
    scaled(value, unit)
}

fn bytes(size: u64) -> String {
    let (value, unit) = match size {
        0..1_000_000 => (size as f64 / 1e3, "kB"),
        1_000_000..1_000_000_000 => (size as f64 / 1e6, "MB"),
        _ => (size as f64 / 1e9, "GB"),
    };
    scaled(value, unit)
}

fn scaled(value: f64, unit: &str) -> String {
    if value < 99.95 { format!("{value:.1} {unit}") } else { format!("{value:.0} {unit}") }
}

/// Control characters, and format characters that reorder or hide text, become visible escapes.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        if character.is_control() || hides_text(character) {
            out.extend(character.escape_unicode());
        } else {
            out.push(character);
        }
    }
    out
}

/// Zero-width, line and paragraph separators, bidirectional controls, byte order mark, tags.
const fn hides_text(character: char) -> bool {
    matches!(character,
        '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}
