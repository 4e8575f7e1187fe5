//! The table in the repository: what a span costs, row by row. A commit that makes a row cost more
//! changes the table, too.

use std::{fmt::Write as _, fs, path::PathBuf, process::Command, process::ExitCode};

use anyhow::{Context as _, Result, bail};

use super::counted::{COLUMNS, Counted};
use crate::sh;

/// How much a figure may grow before the table must change.
const ALLOWED: f64 = 1.02;

/// The figures that must not grow without a change of the table. The others show where the cost is,
/// and move when a stage takes over work from another.
const HELD: [&str; 4] = ["instructions", "encoder", "allocations", "copied_bytes"];

/// Below this, one unit of a figure is larger than what it may grow.
const GRAIN: f64 = 0.1;

/// Writes the table anew.
pub(super) fn write(counted: &[Counted]) -> Result<()> {
    fs::write(path(), format!("# {}\n{}", made_by()?, text(counted))).context("cannot write the table")
}

/// Prints what was counted.
pub(super) fn show(counted: &[Counted]) -> Result<ExitCode> {
    print!("{}", text(counted));
    Ok(ExitCode::SUCCESS)
}

/// Compares what was counted with the table; fails where the table has less.
pub(super) fn check(counted: &[Counted]) -> Result<ExitCode> {
    let table = fs::read_to_string(path()).context("there is no table: --write makes one")?;
    print!("{}", text(counted));
    let made_by = made_by()?;
    let comparable = table.lines().any(|line| line.trim_start_matches("# ") == made_by);
    if !comparable {
        println!(
            "bench: the table was not made by {made_by}: what differs may be theirs, so that nothing fails"
        );
    }
    let moved = moved(&parse(&table)?, counted);
    for line in moved.dearer.iter().chain(&moved.cheaper) {
        println!("bench: {line}");
    }
    if !moved.dearer.is_empty() && comparable {
        println!(
            "bench: FAILED: dearer than the table says; `cargo xtask bench pipeline --write` renews it, if it is worth it"
        );
        return Ok(ExitCode::FAILURE);
    }
    if !moved.cheaper.is_empty() {
        println!(
            "bench: cheaper than the table says: `cargo xtask bench pipeline --write` holds what was won"
        );
    }
    if moved.dearer.is_empty() {
        println!("bench: no row is dearer than the table says");
    }
    Ok(ExitCode::SUCCESS)
}

fn path() -> PathBuf {
    sh::root().join("agent/benches/instructions.tsv")
}

/// The programs whose versions move the figures, and what the C library and memchr choose their
/// functions by.
fn made_by() -> Result<String> {
    let rustc = sh::output(Command::new("rustc").arg("--version"))?;
    let valgrind = sh::output(Command::new("valgrind").arg("--version"))?;
    let libc = sh::output(Command::new("getconf").arg("GNU_LIBC_VERSION"))?;
    let processor = if std::is_x86_feature_detected!("avx2") { "AVX2" } else { "no AVX2" };
    Ok(format!("{}, {}, {}, {processor}", rustc.trim(), valgrind.trim(), libc.trim()))
}

fn text(counted: &[Counted]) -> String {
    let width = counted.iter().map(|one| one.row.len()).max().unwrap_or_default();
    let mut text = format!("{:width$}", "row");
    for column in COLUMNS {
        let _ = write!(text, "\t{column}");
    }
    text.push('\n');
    for one in counted {
        let _ = write!(text, "{:width$}", one.row);
        for (figure, column) in one.figures.iter().zip(COLUMNS) {
            let _ = write!(text, "\t{figure:>length$.1}", length = column.len());
        }
        text.push('\n');
    }
    text
}

fn parse(table: &str) -> Result<Vec<Counted>> {
    let mut lines = table.lines().filter(|line| !line.starts_with('#'));
    let head: Vec<_> = lines.next().unwrap_or_default().split('\t').skip(1).collect();
    if head != COLUMNS {
        bail!("the table has other columns: --write makes it anew");
    }
    lines.map(parse_row).collect()
}

fn parse_row(line: &str) -> Result<Counted> {
    let mut cells = line.split('\t').map(str::trim);
    let row = cells.next().unwrap_or_default().to_owned();
    let mut figures = [0.0; COLUMNS.len()];
    for figure in &mut figures {
        let cell = cells.next().with_context(|| format!("a cell is missing in row {row}"))?;
        *figure = cell.parse().with_context(|| format!("no number in row {row}: {cell}"))?;
    }
    Ok(Counted { row, figures })
}

/// What the table lacks or has less of, a line each.
#[derive(Debug, Default)]
struct Moved {
    dearer: Vec<String>,
    cheaper: Vec<String>,
}

fn moved(table: &[Counted], counted: &[Counted]) -> Moved {
    let mut moved = Moved::default();
    for now in counted {
        let row = &now.row;
        let Some(before) = table.iter().find(|before| before.row == *row) else {
            moved.dearer.push(format!("{row}: the table lacks it"));
            continue;
        };
        for (column, (before, now)) in COLUMNS.iter().zip(before.figures.iter().zip(&now.figures)) {
            let line = format!("{row}: {column} {before:.1} -> {now:.1}");
            if !HELD.contains(column) {
                continue;
            } else if *now > before * ALLOWED + GRAIN {
                moved.dearer.push(line);
            } else if *before > now * ALLOWED + GRAIN {
                moved.cheaper.push(line);
            }
        }
    }
    moved
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counted(row: &str, instructions: f64) -> Counted {
        let mut figures = [1_000.0; COLUMNS.len()];
        figures[0] = instructions;
        Counted { row: row.to_owned(), figures }
    }

    #[test]
    fn a_table_is_read_as_it_was_written() {
        let rows = vec![counted("gateway 100 short otlp", 26_409.5), counted("client 100 long json", 1.0)];
        assert_eq!(parse(&format!("# a\n{}", text(&rows))).unwrap(), rows);
    }

    #[test]
    fn what_moved_by_more_than_a_fiftieth_is_told() {
        let table = [counted("a", 1_000.0)];
        let dearer = |row, instructions| moved(&table, &[counted(row, instructions)]).dearer;
        assert!(dearer("a", 1_019.0).is_empty());
        assert_eq!(dearer("a", 1_021.0), ["a: instructions 1000.0 -> 1021.0"]);
        assert_eq!(dearer("b", 1.0), ["b: the table lacks it"]);
        assert_eq!(moved(&table, &[counted("a", 979.0)]).cheaper, ["a: instructions 1000.0 -> 979.0"]);
    }

    #[test]
    fn a_stage_may_take_over_from_another() {
        let (table, mut now) = (counted("a", 1_000.0), counted("a", 1_000.0));
        now.figures[1] = 1_500.0;
        assert!(moved(&[table], &[now]).dearer.is_empty());
    }
}
