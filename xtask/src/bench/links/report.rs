//! The table, and whether every row keeps its limits.

use super::{
    apps::App,
    driver::Concurrency,
    failure::Failing,
    judge::{Verdict, percent},
};

/// One wrong parent is allowed in this many calls of an application, at all concurrencies together.
const CALLS_PER_WRONG: u64 = 10_000;

/// One application at one concurrency.
#[derive(Debug)]
pub(super) struct Sample {
    pub(super) concurrency: Concurrency,
    pub(super) failing: Failing,
    /// Calls that the backend counted.
    pub(super) made: u64,
    pub(super) verdict: Verdict,
    pub(super) losses: Vec<String>,
}

/// What was measured so far.
#[derive(Debug)]
pub(super) struct Report {
    lines: Vec<[String; 11]>,
    failures: Vec<String>,
    skipped: Vec<String>,
    /// The runs of the application at hand.
    open: Vec<Sample>,
}

const HEAD: [&str; 11] = [
    "application",
    "at once",
    "failing",
    "calls",
    "right %",
    "orphan %",
    "of failed",
    "wrong",
    "first link",
    "seen %",
    "evidence",
];
const WIDTHS: [usize; 11] = [22, 8, 8, 8, 8, 9, 10, 6, 11, 7, 0];

impl Report {
    pub(super) fn new() -> Self {
        println!("{}", aligned(&HEAD.map(str::to_owned)));
        Self { lines: Vec::new(), failures: Vec::new(), skipped: Vec::new(), open: Vec::new() }
    }

    /// A run; an application's runs follow each other.
    pub(super) fn add(&mut self, app: &App, sample: Sample) {
        let line = line(app, &sample);
        println!("{}", aligned(&line));
        self.lines.push(line);
        let verdict = &sample.verdict;
        for example in &verdict.examples {
            println!("    WRONG: {example}");
        }
        for loss in &sample.losses {
            println!("    lost: {loss}");
        }
        // The trust in a process changes with the load of the ramp, which only has to show that no
        // link is wrong. Floors of calls that fail are those of the rows of `App::survives`, taken
        // from measurements.
        let steady = sample.concurrency != Concurrency::Ramp && sample.failing.none();
        if steady && verdict.right_percent() < app.floor {
            self.failures.push(format!(
                "{} at {}: {:.2} % right, its floor is {} %",
                app.name,
                sample.concurrency,
                verdict.right_percent(),
                app.floor
            ));
        }
        self.open.push(sample);
    }

    /// A run without a result.
    pub(super) fn fail(&mut self, app: &App, concurrency: Concurrency, why: &str) {
        println!("{:22} {concurrency:>8}  FAILED: {why}", app.name);
        self.failures.push(format!("{} at {concurrency}: {why}", app.name));
    }

    /// An application that cannot be run here.
    pub(super) fn skip(&mut self, app: &App, why: &str) {
        println!("{:22} skipped: {why}", app.name);
        self.skipped.push(format!("{}: skipped: {why}", app.name));
    }

    /// After the last run of an application.
    pub(super) fn close(&mut self, app: &App) {
        let mut all = Verdict::default();
        for sample in self.open.drain(..) {
            all.add(&sample.verdict);
        }
        if all.wrong * CALLS_PER_WRONG > all.calls + all.causeless {
            self.failures.push(format!(
                "{}: {} wrong of {} calls, the limit is one in {CALLS_PER_WRONG}",
                app.name,
                all.wrong,
                all.calls + all.causeless
            ));
        }
    }

    /// Writes what was measured, complete or not.
    pub(super) fn finish(&self, markdown: bool) {
        if markdown {
            println!("\n{}", self.markdown());
        }
        println!(
            "\n{} runs, {} limits broken, {} applications skipped",
            self.lines.len(),
            self.failures.len(),
            self.skipped.len()
        );
        for line in self.skipped.iter().chain(&self.failures) {
            println!("  {line}");
        }
    }

    /// Whether every limit holds.
    pub(super) fn is_good(&self) -> bool {
        self.failures.is_empty()
    }

    fn markdown(&self) -> String {
        let row = |cells: &[String]| format!("| {} |\n", cells.join(" | "));
        let mut text = row(&HEAD.map(str::to_owned));
        text.push_str(&row(&HEAD.map(|_| "---".to_owned())));
        self.lines.iter().for_each(|line| text.push_str(&row(line)));
        self.skipped.iter().for_each(|line| text.push_str(&format!("\n{line}\n")));
        text
    }
}

fn line(app: &App, sample: &Sample) -> [String; 11] {
    let verdict = &sample.verdict;
    let parents: u64 = verdict.evidence.values().sum();
    let evidence = verdict.evidence.iter();
    let evidence = evidence.map(|(name, &count)| format!("{name} {:.0} %", percent(count, parents)));
    [
        app.name.to_owned(),
        sample.concurrency.to_string(),
        sample.failing.to_string(),
        verdict.calls.to_string(),
        format!("{:.2}", verdict.right_percent()),
        format!("{:.2}", verdict.orphan_percent()),
        verdict.failed_right_percent().map_or("-".to_owned(), |right| format!("{right:.2}")),
        verdict.wrong.to_string(),
        verdict.first_link.map_or("none".to_owned(), |ordinal| format!("call {ordinal}")),
        format!("{:.1}", percent(verdict.calls, sample.made)),
        evidence.collect::<Vec<_>>().join(", "),
    ]
}

fn aligned(cells: &[String; 11]) -> String {
    let mut text = format!("{:22}", cells[0]);
    for (cell, width) in cells.iter().zip(WIDTHS).skip(1) {
        text.push_str(&if width == 0 { format!("  {cell}") } else { format!(" {cell:>width$}") });
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::links::apps::APPS;

    fn sample(right: u64, orphans: u64, wrong: u64) -> Sample {
        let calls = right + orphans + wrong;
        let verdict = Verdict { calls, right, orphans, wrong, ..Verdict::default() };
        Sample {
            concurrency: Concurrency::Steady(8),
            failing: Failing::Percent(0),
            made: calls,
            verdict,
            losses: Vec::new(),
        }
    }

    fn outcome(samples: Vec<Sample>) -> Vec<String> {
        let app = App { floor: 99.0, ..APPS[0] };
        let mut report = Report::new();
        samples.into_iter().for_each(|sample| report.add(&app, sample));
        report.close(&app);
        report.failures
    }

    #[test]
    fn a_floor_holds_at_each_concurrency_and_the_limit_of_wrong_ones_for_all() {
        assert!(outcome(vec![sample(9_990, 10, 0), sample(10_000, 0, 1)]).is_empty());
        assert_eq!(outcome(vec![sample(9_000, 1_000, 0), sample(9_990, 10, 0)]).len(), 1);
        assert_eq!(outcome(vec![sample(5_000, 0, 1)]).len(), 1);
    }
}
