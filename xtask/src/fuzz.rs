//! `cargo xtask fuzz`: gives hostile input to every parser and reader. Inputs that break a property
//! go into the committed corpus, which `cargo xtask test` runs without libFuzzer.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Command, ExitCode, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};

use crate::{build, setup, sh};

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// One target (a directory of tests/fuzz/corpus); without it all, one after the other
    target: Option<String>,
    /// How long each target runs
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..))]
    seconds: u64,
}

/// libFuzzer's instrumentation, of this workspace's crates and of all that they use. Every compiler
/// has these options. The address sanitizer needs another compiler, and would watch code that has
/// no `unsafe`.
const INSTRUMENTATION: &str = "-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
     -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
     -Cllvm-args=-sanitizer-coverage-trace-compares";

/// Most bytes of an input: enough for some packets, few enough to be quick.
const MAX_INPUT: u32 = 4096;
/// Seconds after which an input counts as hanging.
const INPUT_SECONDS: u32 = 10;
const MEMORY_MIB: u32 = 1024;

/// What libFuzzer reports at the end of a run.
#[derive(Debug, Default, PartialEq, Eq)]
struct Outcome {
    executions: u64,
    /// The input that broke a property.
    crash: Option<String>,
}

impl Outcome {
    fn read(&mut self, line: &str) {
        if let Some(count) = line.strip_prefix("stat::number_of_executed_units:") {
            self.executions = count.trim().parse().unwrap_or_default();
        } else if let Some((_, path)) = line.split_once("Test unit written to ") {
            self.crash = Some(path.trim().to_owned());
        }
    }
}

pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode> {
    let known = targets()?;
    let chosen = match &arguments.target {
        None => known,
        Some(name) if known.contains(name) => vec![name.clone()],
        Some(name) => bail!("there is no target {name}; there are {}", known.join(", ")),
    };
    setup::ensure_cxx()?;
    let fuzzer = fuzzer()?;
    let mut failed = false;
    for name in chosen {
        failed |= !one(&fuzzer, &name, arguments.seconds)?;
    }
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// The names of the directories of seeds.
fn targets() -> Result<Vec<String>> {
    let directory = corpus();
    let entries = fs::read_dir(&directory).with_context(|| format!("cannot read {}", directory.display()))?;
    let mut names = entries
        .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
        .collect::<Result<Vec<_>>>()?;
    names.sort();
    Ok(names)
}

fn corpus() -> PathBuf {
    sh::root().join("tests/fuzz/corpus")
}

fn fuzzer() -> Result<PathBuf> {
    println!("fuzz: building the fuzzer (some minutes the first time)");
    const TARGET: &str = "x86_64-unknown-linux-gnu";
    let mut command = sh::cargo();
    command.args(["build", "--profile", "fuzz", "--package", "wirespan-fuzz", "--bin", "fuzz"]);
    command.args(["--features", "libfuzzer", "--target", TARGET]);
    command.env("CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUSTFLAGS", INSTRUMENTATION);
    // No target loads a BPF program.
    command.env("AYA_BUILD_SKIP", "1");
    build::one(build::executables(&mut command)?, "fuzz")
}

/// Runs one target; false when it found something.
fn one(fuzzer: &Path, name: &str, seconds: u64) -> Result<bool> {
    let seeds = corpus().join(name);
    let own = sh::target().join("fuzzing").join(name);
    let grown = own.join("corpus");
    fs::create_dir_all(&grown).with_context(|| format!("cannot make {}", grown.display()))?;
    let started = Instant::now();
    let mut command = Command::new(fuzzer);
    command.env("WIRESPAN_FUZZ", name);
    // libFuzzer writes new inputs to the first directory and only reads the committed one.
    command.arg(&grown).arg(&seeds);
    command.arg(format!("-max_total_time={seconds}")).arg(format!("-max_len={MAX_INPUT}"));
    command.arg(format!("-timeout={INPUT_SECONDS}")).arg(format!("-rss_limit_mb={MEMORY_MIB}"));
    command.arg(format!("-artifact_prefix={}/", own.display()));
    command.args(["-print_final_stats=1", "-verbosity=0"]);
    let dictionary = sh::root().join("tests/fuzz/dictionaries").join(name);
    if dictionary.exists() {
        command.arg(format!("-dict={}", dictionary.display()));
    }
    let mut child = command
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot run {}", fuzzer.display()))?;
    let mut outcome = Outcome::default();
    let mut said = Vec::new();
    for line in BufReader::new(child.stderr.take().expect("standard error is a pipe")).split(b'\n') {
        let line = String::from_utf8_lossy(&line.context("the fuzzer cannot be read")?).into_owned();
        outcome.read(&line);
        said.push(line);
    }
    let status = child.wait().context("the fuzzer is gone")?;
    let elapsed = started.elapsed();
    let size = fs::read_dir(&grown)?.count() + fs::read_dir(&seeds)?.count();
    println!("{}", line(name, outcome.executions, elapsed, size));
    if status.success() {
        return Ok(true);
    }
    for line in said.iter().filter(|line| !line.starts_with("stat::")) {
        println!("  {line}");
    }
    let Some(crash) = outcome.crash else { bail!("the fuzzer of {name} failed: {status}") };
    println!("{name} FAILED: {crash}");
    println!("  smaller: WIRESPAN_FUZZ={name} {} -minimize_crash=1 -runs=10000 {crash}", fuzzer.display());
    println!("  then copy it into {} under a name that says what it is, and mend the cause", seeds.display());
    Ok(false)
}

fn line(name: &str, executions: u64, elapsed: Duration, corpus: usize) -> String {
    format!("{name}: {executions} executions in {} s, {corpus} inputs in its corpus", elapsed.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_fuzzer_says_at_its_end_is_understood() {
        let mut outcome = Outcome::default();
        for line in [
            "==7== ERROR: libFuzzer: deadly signal",
            "artifact_prefix='/t/'; Test unit written to /t/crash-0123",
            "stat::number_of_executed_units: 4711",
            "stat::average_exec_per_sec:     9",
        ] {
            outcome.read(line);
        }
        assert_eq!(outcome, Outcome { executions: 4711, crash: Some("/t/crash-0123".into()) });
    }
}
