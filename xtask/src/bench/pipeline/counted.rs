//! Counts: every row runs the benchmark's program under callgrind, then twice under DHAT, as many
//! rows at once as there are processors. Other load on the machine changes no count.

use std::{fs, path::Path, process::Command, sync::Mutex, thread};

use anyhow::{Context as _, Result, anyhow, bail};

use super::{
    callgrind,
    dhat::{self, Blocks},
    rows::Row,
};
use crate::sh;

/// What a span costs under the conditions of a row: figures in the order of [`COLUMNS`].
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Counted {
    pub(super) row: String,
    pub(super) figures: [f64; COLUMNS.len()],
}

/// Per span. All but the last four are instructions: of everything, and of each stage.
pub(super) const COLUMNS: [&str; 12] = [
    "instructions",
    "protocol",
    "ambiguity",
    "event",
    "message",
    "engine",
    "encoder",
    "drops",
    "allocations",
    "allocated_bytes",
    "copies",
    "copied_bytes",
];

/// Counts all rows; the results are in the order of the rows.
pub(super) fn count(program: &Path, rows: &[Row]) -> Result<Vec<Counted>> {
    // At its start libc copies the program's path to the heap, where its length moves all that
    // follows. So the program gets a path of the same length everywhere.
    let place = std::env::temp_dir().join(format!("wirespan-bench-{:010}", std::process::id()));
    fs::create_dir(&place).with_context(|| format!("cannot make {}", place.display()))?;
    let placed = place.join("pipeline");
    let counted = fs::copy(program, &placed).map_err(Into::into).and_then(|_| count_all(&placed, rows));
    fs::remove_dir_all(&place)?;
    counted
}

fn count_all(program: &Path, rows: &[Row]) -> Result<Vec<Counted>> {
    // Absolute, since the programs run elsewhere.
    let directory = std::path::absolute(sh::target())?.join("valgrind");
    fs::create_dir_all(&directory)?;
    let waiting = Mutex::new(rows.iter().enumerate());
    let done = Mutex::new(Vec::new());
    let work = || {
        loop {
            let next = waiting.lock().map_or(None, |mut waiting| waiting.next());
            let Some((index, row)) = next else { return };
            let result = count_row(program, row, &directory.join(index.to_string()));
            if let Ok(mut done) = done.lock() {
                done.push((index, result));
            }
        }
    };
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(work);
        }
    });
    let mut done = done.into_inner().map_err(|_| anyhow!("a row's thread failed"))?;
    done.sort_by_key(|(index, _)| *index);
    done.into_iter().map(|(_, result)| result).collect()
}

fn count_row(program: &Path, row: &Row, output: &Path) -> Result<Counted> {
    let name = row.name();
    let (spans, profile) = instructions(program, row, output).with_context(|| name.clone())?;
    let allocated = blocks(program, row, output, "heap").with_context(|| name.clone())?;
    let copied = blocks(program, row, output, "copy").with_context(|| name.clone())?;
    let known = profile.protocol + profile.ambiguity + profile.event + profile.message;
    let all = [
        profile.feed + profile.export + profile.forget,
        profile.protocol,
        profile.ambiguity,
        profile.event,
        profile.message,
        profile.feed.saturating_sub(known),
        profile.export,
        profile.forget,
        allocated.number,
        allocated.bytes,
        copied.number,
        copied.bytes,
    ];
    println!("bench: {name}: {} instructions/span", all[0] / spans);
    Ok(Counted { row: name, figures: all.map(|figure| figure as f64 / spans as f64) })
}

/// The spans of the measured rounds, and the instructions of each stage.
fn instructions(program: &Path, row: &Row, output: &Path) -> Result<(u64, callgrind::Profile)> {
    let profile = output.with_extension("callgrind");
    let mut command = valgrind(&profile, "callgrind-out-file");
    command.args(["--tool=callgrind", "--collect-atstart=no"]);
    command.arg(format!("--toggle-collect=*{}*", dhat::MEASURED));
    let said = run(command, program, row)?;
    let report: serde_json::Value =
        serde_json::from_str(&said).with_context(|| format!("not a report: {said}"))?;
    let spans = report["spans"].as_u64().filter(|spans| *spans > 0).context("no spans came out")?;
    Ok((spans, callgrind::read(&fs::read_to_string(profile)?)?))
}

/// What was allocated, or copied by memcpy and memmove, in the measured rounds.
fn blocks(program: &Path, row: &Row, output: &Path, mode: &str) -> Result<Blocks> {
    let profile = output.with_extension(mode);
    let mut command = valgrind(&profile, "dhat-out-file");
    command.args(["--tool=dhat", &format!("--mode={mode}"), "--num-callers=100"]);
    run(command, program, row)?;
    dhat::read(&fs::read_to_string(profile)?)
}

fn valgrind(profile: &Path, option: &str) -> Command {
    let mut command = Command::new(sh::which("valgrind").unwrap_or_else(|| "valgrind".into()));
    command.arg("--quiet").arg(format!("--{option}={}", profile.display()));
    command
}

/// Runs the benchmark's program from its directory and without environment variables: its name and
/// the environment are on its stack and move everything below.
fn run(mut command: Command, program: &Path, row: &Row) -> Result<String> {
    let (Some(directory), Some(name)) = (program.parent(), program.file_name()) else {
        bail!("{} is no program", program.display());
    };
    command.env_clear().current_dir(directory).arg(Path::new(".").join(name)).args(row.options());
    sh::output(&mut command)
}
