//! Judges the links of the agent's spans by the numbers in the paths, which are the truth.
//!
//! `/in/ID` is a request; `/out/ID`, `/out/ID.2`, `/big/ID` … are calls that it caused;
//! `/batch/ID,ID` is caused by each of these; `/poll/…` by none. A refused connect to `127.0.1.N`
//! was caused by the request whose ID ends in N. Where all requests are the same (`/in/same`), each
//! response has a length of its own, which is then the number. Three links are *wrong*: a parent
//! that is no cause of the call, a parent of a call without a cause, and a parent of an inbound
//! request, since its client is not traced.

use std::collections::{BTreeMap, HashMap};

use wirespan_tests::span::{Kind, SpanRow};

use super::failure::Failure;

/// The first calls of a run are not counted: a process must first show that its links can be
/// trusted.
const UNCOUNTED: usize = 30;
/// Most wrong links that are shown.
const EXAMPLES: usize = 5;

/// What the path has in place of a number.
const SAME: &str = "same";
const SIZE: &str = "http.response.body.size";
/// The addresses at which an application is refused.
const REFUSING: &str = "127.0.1.";

/// The result of one run, or of several.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Verdict {
    /// Calls seen that have a cause, the first [`UNCOUNTED`] included.
    pub(super) calls: u64,
    /// Counted calls with a response: linked to their cause, or unlinked.
    pub(super) right: u64,
    pub(super) orphans: u64,
    /// The same for calls without a response.
    pub(super) failed_right: u64,
    pub(super) failed_orphans: u64,
    /// Wrong parents of all spans.
    pub(super) wrong: u64,
    /// Calls without a cause, which must have no parent.
    pub(super) causeless: u64,
    /// The evidence of the parents.
    pub(super) evidence: BTreeMap<String, u64>,
    /// Which call was the first with its parent, counted from 1.
    pub(super) first_link: Option<usize>,
    pub(super) examples: Vec<String>,
}

impl Verdict {
    /// Percent of the counted calls that have their parent.
    pub(super) fn right_percent(&self) -> f64 {
        percent(self.right, self.right + self.orphans + self.wrong)
    }

    pub(super) fn orphan_percent(&self) -> f64 {
        percent(self.orphans, self.right + self.orphans + self.wrong)
    }

    /// Percent of the counted calls without a response that have their parent; `None` where there
    /// are none.
    pub(super) fn failed_right_percent(&self) -> Option<f64> {
        let all = self.failed_right + self.failed_orphans;
        (all > 0).then(|| percent(self.failed_right, all))
    }

    /// Adds the numbers of another run.
    pub(super) fn add(&mut self, other: &Self) {
        self.calls += other.calls;
        self.right += other.right;
        self.orphans += other.orphans;
        self.failed_right += other.failed_right;
        self.failed_orphans += other.failed_orphans;
        self.wrong += other.wrong;
        self.causeless += other.causeless;
        for (evidence, count) in &other.evidence {
            *self.evidence.entry(evidence.clone()).or_default() += count;
        }
        let room = EXAMPLES.saturating_sub(self.examples.len());
        self.examples.extend(other.examples.iter().take(room).cloned());
    }

    fn wrong(&mut self, example: impl FnOnce() -> String) {
        self.wrong += 1;
        if self.examples.len() < EXAMPLES {
            self.examples.push(example());
        }
    }
}

/// Percent, 0 of nothing.
#[expect(clippy::cast_precision_loss, reason = "counts of a bench are small")]
pub(super) fn percent(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { 100.0 * part as f64 / whole as f64 }
}

/// Judges the spans of one run.
pub(super) fn judge(spans: &[SpanRow]) -> Verdict {
    let known: HashMap<&str, &SpanRow> = spans.iter().map(|span| (span.id.as_str(), span)).collect();
    let mut calls: Vec<_> = spans.iter().filter(|span| span.kind == Kind::Client).collect();
    calls.sort_by_key(|span| span.start);
    let mut verdict = Verdict::default();
    let mut ordinal = 0;
    for span in calls {
        let causes = causes(span);
        let parent = span.parent.as_deref().map(|id| known.get(id).copied());
        if causes.is_none() {
            verdict.causeless += 1;
            if parent.is_some() {
                verdict.wrong(|| shown(span, parent));
            }
            continue;
        }
        verdict.calls += 1;
        ordinal += 1;
        let is_counted = u64::from(ordinal > UNCOUNTED);
        let (right, orphans) = match causes.have_failed() {
            false => (&mut verdict.right, &mut verdict.orphans),
            true => (&mut verdict.failed_right, &mut verdict.failed_orphans),
        };
        match parent {
            None => *orphans += is_counted,
            Some(Some(request)) if is_cause(request, span, &causes) => {
                *right += is_counted;
                verdict.first_link.get_or_insert(ordinal);
            }
            Some(_) => verdict.wrong(|| shown(span, parent)),
        }
        if parent.is_some() {
            let evidence = span.attribute("wirespan.parent.evidence").to_owned();
            *verdict.evidence.entry(evidence).or_default() += 1;
        }
    }
    for span in spans.iter().filter(|span| span.kind == Kind::Server) {
        if let Some(parent) = &span.parent {
            verdict.wrong(|| shown(span, Some(known.get(parent.as_str()).copied())));
        }
    }
    verdict
}

/// The requests that caused a call.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Causes<'a> {
    /// None of them.
    Nothing,
    /// Those with these IDs. `failed`: the call was not answered.
    Ids { ids: Vec<&'a str>, failed: bool },
    /// A request that was open, whose ID ends in these two digits and whose call was to be refused.
    Refused(u64),
}

impl Causes<'_> {
    const fn is_none(&self) -> bool {
        matches!(self, Self::Nothing)
    }

    const fn have_failed(&self) -> bool {
        matches!(self, Self::Refused(_) | Self::Ids { failed: true, .. })
    }
}

fn causes(call: &SpanRow) -> Causes<'_> {
    let path = call.path();
    if path.is_empty() {
        let peer = call.attribute("network.peer.address");
        let digits = peer.strip_prefix(REFUSING).and_then(|digits| digits.parse().ok());
        return digits.map_or(Causes::Nothing, Causes::Refused);
    }
    let mut parts = path.split('/').skip(1);
    let (Some(kind), Some(tail)) = (parts.next(), parts.next()) else { return Causes::Nothing };
    if kind == "poll" {
        return Causes::Nothing;
    }
    if tail == SAME {
        return Causes::Ids { ids: vec![call.attribute(SIZE)], failed: false };
    }
    let ids = tail.split('.').next().unwrap_or_default();
    let ids: Vec<_> = ids.split(',').filter(|id| !id.is_empty()).collect();
    if ids.is_empty() {
        return Causes::Nothing;
    }
    let failed = Failure::of_call(path).is_some_and(|failure| failure != Failure::Error);
    Causes::Ids { ids, failed }
}

fn is_cause(request: &SpanRow, call: &SpanRow, causes: &Causes<'_>) -> bool {
    let mut id = request.path().strip_prefix("/in/").unwrap_or_default();
    if id == SAME {
        id = request.attribute(SIZE);
    }
    let caused = match causes {
        Causes::Nothing => false,
        Causes::Ids { ids, .. } => ids.contains(&id),
        Causes::Refused(digits) => {
            let number = id.strip_suffix(Failure::Refused.letter()).and_then(|id| id.parse::<u64>().ok());
            let open = (request.start..=request.end).contains(&call.start);
            open && number.is_some_and(|number| number % 100 == *digits)
        }
    };
    request.kind == Kind::Server && request.trace == call.trace && caused
}

fn shown(span: &SpanRow, parent: Option<Option<&SpanRow>>) -> String {
    let parent = match parent {
        Some(Some(parent)) => parent.path(),
        Some(None) => "a span that was not exported",
        None => "nothing",
    };
    format!("{} below {parent} ({})", span.path(), span.attribute("wirespan.parent.evidence"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(kind: Kind, id: &str, parent: Option<&str>, path: &str, start: u64) -> SpanRow {
        let attribute = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        SpanRow {
            kind,
            name: "GET".to_owned(),
            trace: "t".to_owned(),
            id: id.to_owned(),
            parent: parent.map(str::to_owned),
            start,
            end: start + 1,
            status: 0,
            trace_state: String::new(),
            flags: 0,
            attributes: BTreeMap::from([
                attribute("url.path", path),
                attribute("wirespan.parent.evidence", "both_sides"),
            ]),
            resource: BTreeMap::new(),
        }
    }

    /// Requests 1 to 40, each with one call, whose parent is that of `parent`.
    fn run(parent: impl Fn(u64) -> Option<u64>) -> Vec<SpanRow> {
        let mut spans = Vec::new();
        for n in 1..=40 {
            spans.push(span(Kind::Server, &format!("s{n}"), None, &format!("/in/{n}"), n * 10));
            let parent = parent(n).map(|id| format!("s{id}"));
            spans.push(span(
                Kind::Client,
                &format!("c{n}"),
                parent.as_deref(),
                &format!("/out/{n}"),
                n * 10 + 1,
            ));
        }
        spans
    }

    #[test]
    fn the_first_calls_count_only_where_they_are_wrong() {
        let verdict = judge(&run(|n| (n > 2).then_some(n)));
        assert_eq!((verdict.calls, verdict.right, verdict.orphans, verdict.wrong), (40, 10, 0, 0));
        assert_eq!((verdict.first_link, verdict.evidence["both_sides"]), (Some(3), 38));
        let verdict = judge(&run(|n| Some(if n == 7 { 8 } else { n })));
        assert_eq!((verdict.right, verdict.wrong), (10, 1));
        assert_eq!(verdict.examples, ["/out/7 below /in/8 (both_sides)"]);
    }

    #[test]
    fn an_orphan_is_not_wrong() {
        let verdict = judge(&run(|n| (n != 35).then_some(n)));
        assert_eq!((verdict.right, verdict.orphans, verdict.wrong), (9, 1, 0));
    }

    #[test]
    fn what_has_no_cause_must_have_no_parent() {
        let mut spans = run(Some);
        spans.push(span(Kind::Client, "p1", None, "/poll/1", 5));
        spans.push(span(Kind::Client, "p2", Some("s3"), "/poll/2", 35));
        spans.push(span(Kind::Client, "p3", Some("s3"), "", 36));
        spans.push(span(Kind::Server, "s99", Some("c1"), "/in/99", 37));
        let verdict = judge(&spans);
        assert_eq!((verdict.calls, verdict.causeless, verdict.wrong), (40, 3, 3));
    }

    #[test]
    fn a_parent_that_nobody_has_seen_is_wrong_and_so_is_one_of_another_trace() {
        let mut spans = run(|n| Some(if n == 40 { 77 } else { n }));
        spans[0].trace = "other".to_owned();
        assert_eq!(judge(&spans).wrong, 2);
    }

    #[test]
    fn each_merged_request_is_a_cause() {
        let call = |path| span(Kind::Client, "c", None, path, 0);
        let ids = |ids: &[&'static str], failed| Causes::Ids { ids: ids.to_vec(), failed };
        assert_eq!(causes(&call("/batch/4,5,6")), ids(&["4", "5", "6"], false));
        assert_eq!(causes(&call("/out/12.3")), ids(&["12"], false));
        assert_eq!(causes(&call("/out/12h")), ids(&["12h"], true));
        assert_eq!(causes(&call("/out/12e")), ids(&["12e"], false), "answered");
        assert_eq!(causes(&call("/out/12t.2")), ids(&["12t"], false), "the call after the one that failed");
        for path in ["/poll/7", "/", ""] {
            assert!(causes(&call(path)).is_none(), "{path}");
        }
    }

    #[test]
    fn calls_that_fail_count_apart() {
        let mut spans = run(Some);
        for request in [33, 36, 39] {
            for span in &mut spans[2 * request..2 * request + 2] {
                let path = span.attributes.get_mut("url.path").unwrap();
                path.push('h');
            }
        }
        spans[73].parent = None;
        let verdict = judge(&spans);
        assert_eq!(
            (verdict.right, verdict.failed_right, verdict.failed_orphans, verdict.wrong),
            (7, 2, 1, 0)
        );
        assert!((verdict.failed_right_percent().unwrap() - 66.66).abs() < 0.1);
    }

    #[test]
    fn a_refused_connect_belongs_to_an_open_request_that_was_to_be_refused() {
        let judged = |path: &str, peer: &str, at| {
            let mut spans = run(Some);
            spans.push(span(Kind::Server, "r", None, path, 1_000));
            spans.push(span(Kind::Client, "c", Some("r"), "", at));
            spans.last_mut().unwrap().attributes.insert("network.peer.address".to_owned(), peer.to_owned());
            let verdict = judge(&spans);
            (verdict.failed_right, verdict.wrong)
        };
        assert_eq!(judged("/in/1000107c", "127.0.1.7", 1_001), (1, 0));
        assert_eq!(judged("/in/1000108c", "127.0.1.7", 1_001), (0, 1));
        assert_eq!(judged("/in/1000107", "127.0.1.7", 1_001), (0, 1));
        assert_eq!(judged("/in/1000107c", "127.0.1.7", 1_002), (0, 1), "it was over");
    }

    #[test]
    fn requests_that_are_all_the_same_are_told_by_the_length_of_their_answers() {
        let mut spans = run(Some);
        for (number, span) in spans.iter_mut().enumerate() {
            let number = number / 2;
            // The two ends of one exchange see the same response; those of the last two are
            // swapped.
            let is_late = span.kind == Kind::Client && number >= 38;
            let size = if is_late { 77 - number } else { number };
            span.attributes.insert(SIZE.to_owned(), size.to_string());
            let side = if span.kind == Kind::Client { "out" } else { "in" };
            span.attributes.insert("url.path".to_owned(), format!("/{side}/same"));
        }
        let verdict = judge(&spans);
        assert_eq!((verdict.right, verdict.wrong), (8, 2));
    }

    #[test]
    fn runs_add_up() {
        let mut all = judge(&run(Some));
        all.add(&judge(&run(|_| None)));
        assert_eq!((all.calls, all.right, all.orphans), (80, 10, 10));
        assert!((all.right_percent() - 50.0).abs() < 1e-9);
    }
}
