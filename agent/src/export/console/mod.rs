//! The console exporter: what people see. A thread of its own prints trees of spans, or OTLP JSON lines, to stdout.
//!
//! What is printed in which order depends on event time alone, which comes with the batches: a replay prints the trees
//! that the live run printed.

mod line;
mod tree;

use std::{
    env,
    io::{self, ErrorKind, IsTerminal, Write},
    sync::Arc,
    time::Duration,
};

use tokio::sync::Notify;

use self::{line::Style, tree::Forest};
use super::{
    feed::{DropReason, Feed},
    file::{LineExporter, Lines},
    resource::HostResource,
};
use crate::{
    event::Timestamp,
    pipeline::queue::{DEFAULT_CAPACITY, Next},
    trace::span::SpanEvent,
};

/// How often event time is looked at while no span comes, and how long JSON lines may wait.
const TICK: Duration = Duration::from_millis(50);
/// Entries taken from the queue at once.
const MAX_ENTRIES: usize = 512;

/// What is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ConsoleFormat {
    /// A tree per trace, one line per span.
    #[default]
    Tree,
    /// OTLP JSON, one object per line, as in the span file.
    Json,
}

/// Settings of the console exporter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConsoleSettings {
    pub format: ConsoleFormat,
    /// Colours; `None`: when stdout is a terminal and NO_COLOR is unset or empty.
    pub color: Option<bool>,
    /// Traces held while their root is awaited or remembered for late spans; the oldest is printed as it is.
    pub max_traces: usize,
    /// Entries that may wait for the terminal.
    pub queue_entries: usize,
}

impl Default for ConsoleSettings {
    fn default() -> Self {
        Self { format: ConsoleFormat::Tree, color: None, max_traces: 1_000, queue_entries: DEFAULT_CAPACITY }
    }
}

/// Runs the console until its queue is closed and empty, or nobody reads stdout any more; then tells `closed`.
pub(crate) fn run(settings: ConsoleSettings, host: HostResource, feed: Arc<Feed>, closed: Arc<Notify>) {
    let stdout = Stdout { closed: false, notify: closed };
    match settings.format {
        ConsoleFormat::Json => LineExporter::new(stdout, "stdout".to_owned(), TICK, host, feed).run(),
        ConsoleFormat::Tree => TreeConsole::new(settings, feed, stdout).run(),
    }
}

/// Standard output. A reader that is gone (`wirespan trace | head`) ends the console.
#[derive(Debug)]
struct Stdout {
    closed: bool,
    notify: Arc<Notify>,
}

impl Lines for Stdout {
    fn append(&mut self, lines: &[u8]) -> io::Result<()> {
        let mut stdout = io::stdout().lock();
        let result = stdout.write_all(lines).and_then(|()| stdout.flush());
        if result.as_ref().is_err_and(|error| error.kind() == ErrorKind::BrokenPipe) {
            self.closed = true;
            self.notify.notify_one();
        }
        result
    }

    fn closed(&self) -> bool {
        self.closed
    }
}

/// Trees of spans as text: what the console prints, without a terminal.
#[derive(Debug)]
pub struct Trees(Forest);

impl Trees {
    /// At most `max_traces` are held while their root is awaited or remembered for late spans.
    #[must_use]
    pub fn new(max_traces: usize) -> Self {
        Self(Forest::new(max_traces))
    }

    /// Takes what was ready at `at`.
    pub fn add(&mut self, entries: &[SpanEvent], at: Timestamp) {
        self.0.tick(at);
        for entry in entries {
            match entry {
                SpanEvent::Span(span) => self.0.add(span, at),
                SpanEvent::Open(span) => self.0.open(span),
            }
        }
    }

    /// The lines that are due, and how many of them tell of finished spans.
    pub fn text(&mut self, color: bool, width: Option<usize>) -> (String, u64) {
        let rows = self.0.take_rows();
        let mut text = String::new();
        for row in &rows {
            line::render(row, Style { color, width }, &mut text);
            text.push('\n');
        }
        let spans = rows.iter().filter(|row| row.is_finished()).count() as u64;
        (text, spans)
    }
}

#[derive(Debug)]
struct TreeConsole<L> {
    feed: Arc<Feed>,
    trees: Trees,
    color: bool,
    destination: L,
    failing: bool,
}

impl<L: Lines> TreeConsole<L> {
    fn new(settings: ConsoleSettings, feed: Arc<Feed>, destination: L) -> Self {
        let wanted =
            || io::stdout().is_terminal() && env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        Self {
            feed,
            trees: Trees::new(settings.max_traces),
            color: settings.color.unwrap_or_else(wanted),
            destination,
            failing: false,
        }
    }

    fn run(mut self) {
        loop {
            match self.feed.queue.next_within(MAX_ENTRIES, TICK) {
                Next::Piece(piece) => self.trees.add(piece.entries(), piece.at()),
                Next::Idle => self.trees.0.tick(self.feed.queue.now()),
                Next::Closed => {
                    self.trees.0.tick(self.feed.queue.now());
                    self.trees.0.finish();
                    return self.print();
                }
            }
            self.print();
            if self.destination.closed() {
                return;
            }
        }
    }

    fn print(&mut self) {
        self.feed.add_early_traces(self.trees.0.take_early());
        // Asked for every time, since windows are resized; there is no width when stdout is not a terminal.
        let width = terminal_size::terminal_size_of(io::stdout()).map(|(width, _)| usize::from(width.0));
        let (text, spans) = self.trees.text(self.color, width);
        if text.is_empty() {
            return;
        }
        match self.destination.append(text.as_bytes()) {
            Ok(()) => {
                self.feed.add_exported(spans);
                self.failing = false;
            }
            Err(error) => {
                self.feed.add_failed_attempt();
                self.feed.add_dropped(DropReason::Write, spans);
                if !self.failing && !self.destination.closed() {
                    tracing::warn!(%error, "cannot write to stdout: spans are dropped and counted");
                }
                self.failing = true;
            }
        }
    }
}

#[cfg(test)]
mod tests;
