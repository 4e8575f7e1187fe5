//! Which spans are printed when, and under which: traces are held until their root is there and its children had time to come.
//!
//! A root is a span without a parent in this agent's sight. A span that comes after its parent was printed is *late*: it
//! gets a line of its own that names the parent. A span whose parent never comes is printed as an *orphan* after a while.
//! Time is event time, as the caller tells it; how often it is told changes nothing.

use std::{collections::VecDeque, mem};

use rustc_hash::{FxHashMap, FxHashSet};

use crate::{
    event::Timestamp,
    trace::span::{Span, SpanId, TraceId},
};

/// From the arrival of a root (or late span) to its printing, in nanoseconds.
const GRACE: u64 = 200_000_000;
/// How long a span without a root is held, and a printed trace is remembered, in nanoseconds.
const PATIENCE: u64 = 60_000_000_000;
/// Spans held by all traces together.
const MAX_HELD: usize = 20_000;
/// Printed spans of one trace that late spans can name.
const MAX_REMEMBERED: usize = 200;
/// Levels of indentation; what is deeper stands under the last one.
const MAX_DEPTH: usize = 24;

/// A line to be printed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) span: Span,
    /// The branches that lead to this span.
    pub(super) branches: String,
    pub(super) place: Place,
}

/// Where a line stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Place {
    /// At the root or under the line of its parent.
    Tree,
    /// On its own: the parent was printed before. What the parent was.
    Late(String),
    /// On its own: the parent did not come.
    Orphan(SpanId),
    /// The request is still open; its span will come.
    Open,
}

impl Row {
    /// Whether the line tells of a finished span.
    pub(super) fn is_finished(&self) -> bool {
        self.place != Place::Open
    }
}

/// All traces that are held or remembered.
#[derive(Debug)]
pub(super) struct Forest {
    traces: FxHashMap<TraceId, Trace>,
    /// The traces by age.
    order: VecDeque<TraceId>,
    held: usize,
    max_traces: usize,
    rows: Vec<Row>,
    early: u64,
}

#[derive(Debug, Default)]
struct Trace {
    held: Vec<Span>,
    /// When the held spans that can be printed are to be printed.
    due: Option<Timestamp>,
    /// When something last came.
    touched: Timestamp,
    /// What was printed, for late spans; the newest last.
    printed: VecDeque<(SpanId, String)>,
}

/// Something to be done with a trace at a time.
#[derive(Debug, Clone, Copy)]
struct Due {
    at: Timestamp,
    /// Place among the traces by age.
    age: usize,
    what: What,
    id: TraceId,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum What {
    /// Roots and late spans are printed.
    Heads,
    /// Everything is printed, and the trace forgotten.
    All,
}

impl Forest {
    pub(super) fn new(max_traces: usize) -> Self {
        Self {
            traces: FxHashMap::default(),
            order: VecDeque::new(),
            held: 0,
            max_traces: max_traces.max(1),
            rows: vec![],
            early: 0,
        }
    }

    /// A finished span has come.
    pub(super) fn add(&mut self, span: &Span, now: Timestamp) {
        let trace = self.traces.entry(span.trace).or_insert_with(|| {
            self.order.push_back(span.trace);
            Trace::default()
        });
        trace.touched = now;
        if trace.head(span).is_some() {
            trace.due.get_or_insert(now.plus(GRACE));
        }
        trace.held.push(span.clone());
        self.held += 1;
        while self.traces.len() > self.max_traces || self.held > MAX_HELD {
            self.evict();
        }
    }

    /// A request is open for long: shown at once.
    pub(super) fn open(&mut self, span: &Span) {
        self.rows.push(Row { span: span.clone(), branches: String::new(), place: Place::Open });
    }

    /// Time has passed: prints what is due, in the order in which it became so.
    pub(super) fn tick(&mut self, now: Timestamp) {
        let mut over = false;
        for Due { id, what, .. } in self.due(now) {
            let Some(trace) = self.traces.get_mut(&id) else { continue };
            let before = trace.held.len();
            match what {
                What::Heads => trace.print_heads(&mut self.rows),
                What::All => trace.print_all(&mut self.rows),
            }
            self.held -= before - trace.held.len();
            if what == What::All {
                self.traces.remove(&id);
                over = true;
            }
        }
        if over {
            self.order.retain(|id| self.traces.contains_key(id));
        }
    }

    /// What is to be done by `now`, the earliest first; of what is due together the oldest trace first.
    fn due(&self, now: Timestamp) -> Vec<Due> {
        let mut all = vec![];
        for (age, id) in self.order.iter().enumerate() {
            let Some(trace) = self.traces.get(id) else { continue };
            let heads = trace.due.map(|at| (at, What::Heads));
            let end = Some((trace.touched.plus(PATIENCE), What::All));
            let due = [heads, end].into_iter().flatten().filter(|(at, _)| *at <= now);
            all.extend(due.map(|(at, what)| Due { at, age, what, id: *id }));
        }
        all.sort_unstable_by_key(|due| (due.at, due.age, due.what));
        all
    }

    /// Prints everything that is held.
    pub(super) fn finish(&mut self) {
        for id in mem::take(&mut self.order) {
            if let Some(mut trace) = self.traces.remove(&id) {
                trace.print_all(&mut self.rows);
            }
        }
        self.held = 0;
    }

    /// The lines to be printed now.
    pub(super) fn take_rows(&mut self) -> Vec<Row> {
        mem::take(&mut self.rows)
    }

    /// How many traces were printed before their time since the last call.
    pub(super) fn take_early(&mut self) -> u64 {
        mem::take(&mut self.early)
    }

    fn evict(&mut self) {
        let Some(mut trace) = self.order.pop_front().and_then(|id| self.traces.remove(&id)) else { return };
        if !trace.held.is_empty() {
            self.early += 1;
            self.held -= trace.held.len();
            trace.print_all(&mut self.rows);
        }
    }
}

impl Trace {
    /// Where `span` would stand if it starts a printed tree.
    fn head(&self, span: &Span) -> Option<Place> {
        match span.parent {
            None => Some(Place::Tree),
            Some(parent) if parent.remote => Some(Place::Tree),
            Some(parent) => self.late(parent.span),
        }
    }

    fn late(&self, parent: SpanId) -> Option<Place> {
        let (_, label) = self.printed.iter().rev().find(|(id, _)| *id == parent)?;
        Some(Place::Late(label.clone()))
    }

    /// Prints roots and late spans with all that is under them; the rest stays.
    fn print_heads(&mut self, rows: &mut Vec<Row>) {
        self.due = None;
        let heads = self.held.iter().filter_map(|span| Some((span.id, self.head(span)?))).collect();
        self.print(heads, rows);
    }

    /// Prints everything that is held, first what has a root, then orphans.
    fn print_all(&mut self, rows: &mut Vec<Row>) {
        self.print_heads(rows);
        let ids: FxHashSet<_> = self.held.iter().map(|span| span.id).collect();
        let orphans = self.held.iter().filter_map(|span| {
            let parent = span.parent?.span;
            (!ids.contains(&parent)).then_some((span.id, Place::Orphan(parent)))
        });
        let orphans = orphans.collect();
        self.print(orphans, rows);
        // What is still there has parents in a circle, which only a broken or hostile sender can make.
        let rest = self.held.iter().map(|span| (span.id, Place::Tree)).collect();
        self.print(rest, rows);
    }

    /// Prints the trees under `heads`, oldest first, and takes them out of what is held.
    fn print(&mut self, mut heads: Vec<(SpanId, Place)>, rows: &mut Vec<Row>) {
        if heads.is_empty() {
            return;
        }
        let mut held = mem::take(&mut self.held);
        // Ties are broken by end, so that of two spans that start together the longer, outer one comes first.
        held.sort_by_key(|span| (span.start, u64::MAX - span.end));
        let position: FxHashMap<_, _> = held.iter().enumerate().map(|(at, span)| (span.id, at)).collect();
        let mut children: FxHashMap<SpanId, Vec<usize>> = FxHashMap::default();
        for (at, span) in held.iter().enumerate() {
            if let Some(parent) = span.parent.filter(|parent| !parent.remote) {
                children.entry(parent.span).or_default().push(at);
            }
        }
        let mut held: Vec<_> = held.into_iter().map(Some).collect();
        heads.sort_by_key(|(id, _)| position.get(id).copied());
        for (id, place) in heads {
            let Some(at) = position.get(&id).copied() else { continue };
            self.print_tree(at, place, &mut held, &children, rows);
        }
        self.held = held.into_iter().flatten().collect();
    }

    /// Prints the tree under one head. Each span is taken when printed, so no circle goes round twice.
    fn print_tree(
        &mut self,
        head: usize,
        place: Place,
        held: &mut [Option<Span>],
        children: &FxHashMap<SpanId, Vec<usize>>,
        rows: &mut Vec<Row>,
    ) {
        struct Step {
            at: usize,
            depth: usize,
            /// What stands before the branches of this span's children.
            stem: String,
            branches: String,
            place: Place,
        }
        let mut steps =
            vec![Step { at: head, depth: 0, stem: String::new(), branches: String::new(), place }];
        while let Some(Step { at, depth, stem, branches, place }) = steps.pop() {
            let Some(span) = held[at].take() else { continue };
            let below = children.get(&span.id).map_or(&[][..], Vec::as_slice);
            // The last child is pushed first, so that the first is printed first.
            for (nth, child) in below.iter().enumerate().rev() {
                let last = nth + 1 == below.len();
                let branch = if last { "└─ " } else { "├─ " };
                let deeper = if last { "   " } else { "│  " };
                let flat = depth + 1 >= MAX_DEPTH;
                steps.push(Step {
                    at: *child,
                    depth: depth + 1,
                    stem: if flat { stem.clone() } else { format!("{stem}{deeper}") },
                    branches: format!("{stem}{branch}"),
                    place: Place::Tree,
                });
            }
            self.remember(&span);
            rows.push(Row { span, branches, place });
        }
    }

    fn remember(&mut self, span: &Span) {
        if self.printed.len() >= MAX_REMEMBERED {
            self.printed.pop_front();
        }
        let path = span.http.as_ref().and_then(|http| http.path()).unwrap_or_default();
        self.printed.push_back((span.id, format!("{} {} {path}", span.process.service_name, span.name)));
    }
}
