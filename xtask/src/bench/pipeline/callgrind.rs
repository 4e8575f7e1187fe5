//! Reads callgrind's profile: from function calls to the instructions of each stage.
//!
//! The file (valgrind's manual, "Callgrind Format Specification") lists, for each function, its own
//! cost and its calls: `fn=(id) name`, then lines `position cost`; `cfn=(id) name`, `calls=count
//! position`, and a line with the cost of these calls, what the called function called included. A
//! name is written only where its id occurs first.

use std::collections::HashMap;

use anyhow::{Context as _, Result, anyhow, ensure};

/// Instructions by stage.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Profile {
    pub(super) feed: u64,
    pub(super) protocol: u64,
    pub(super) ambiguity: u64,
    pub(super) event: u64,
    pub(super) message: u64,
    pub(super) export: u64,
    pub(super) forget: u64,
}

/// The functions of a stage. None of them is inlined: their definitions say so.
const FEED: &[&str] = &["wirespan::pipeline::engine::Engine::feed"];
const PROTOCOL: &[&str] = &[
    "wirespan::stream::connection::Connection::transfer",
    "wirespan::stream::connection::Connection::half_closed",
    "wirespan::stream::connection::Connection::local_closed",
    "wirespan::stream::connection::Connection::closed",
    "wirespan::stream::connection::Connection::tick",
    "wirespan::stream::connection::Connection::finish",
];
const AMBIGUITY: &[&str] = &["wirespan::trace::Tracer::with_input_ambiguity"];
const EVENT: &[&str] = &["wirespan::trace::Tracer::event"];
/// What parsers report, while they work.
const MESSAGE: &[&str] = &[
    "wirespan::trace::report::::begin",
    "wirespan::trace::report::::described",
    "wirespan::trace::report::::reply",
    "wirespan::trace::report::::end",
];
const EXPORT: &[&str] = &["pipeline::replay::exporter::Exporter::export"];
const FORGET: &[&str] = &["pipeline::replay::forget"];

/// Reads a profile.
pub(super) fn read(text: &str) -> Result<Profile> {
    let functions = instructions(text)?;
    let stage = |names: &[&str]| {
        let instructions = names.iter().filter_map(|name| functions.get(*name)).sum();
        ensure!(instructions > 0, "valgrind saw no call of {}: was it inlined or renamed?", names[0]);
        Ok(instructions)
    };
    let message = stage(MESSAGE)?;
    Ok(Profile {
        feed: stage(FEED)?,
        protocol: stage(PROTOCOL)?.saturating_sub(message),
        ambiguity: stage(AMBIGUITY)?,
        event: stage(EVENT)?,
        message,
        export: stage(EXPORT)?,
        forget: stage(FORGET)?,
    })
}

/// The cost of each function, with the functions that it called. Recursion counts once.
fn instructions(text: &str) -> Result<HashMap<String, u64>> {
    let mut names = HashMap::new();
    let mut functions: HashMap<String, u64> = HashMap::new();
    let (mut caller, mut callee) = (String::new(), String::new());
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if let Some(function) = line.strip_prefix("fn=") {
            caller = name(function, &mut names)?;
        } else if let Some(function) = line.strip_prefix("cfn=") {
            callee = name(function, &mut names)?;
        } else if line.starts_with("calls=") {
            let cost = lines.next().context("the profile ends in the middle of a call")?;
            if caller != callee {
                *functions.entry(callee.clone()).or_default() += cost_of(cost)?;
            }
        }
    }
    Ok(functions)
}

/// The name of a function: `(id) name` or, when it was met before, `(id)`.
fn name(text: &str, names: &mut HashMap<String, String>) -> Result<String> {
    let (id, name) = text.split_once(' ').unwrap_or((text, ""));
    if !name.is_empty() {
        names.insert(id.to_owned(), plain(name));
    }
    names.get(id).cloned().ok_or_else(|| anyhow!("no name for function {id}"))
}

/// `T::f` of `<T>::f` (the newer mangling), of `T<P>::f`, and of either with the number that LTO
/// appends to some.
fn plain(name: &str) -> String {
    let name = name.split(".llvm.").next().unwrap_or(name);
    let name = name.strip_prefix('<').unwrap_or(name);
    let mut depth = 0_u32;
    let outside = |character: &char| {
        match character {
            '<' => depth += 1,
            '>' if depth > 0 => depth -= 1,
            '>' => {}
            _ => return depth == 0,
        }
        false
    };
    name.chars().filter(outside).collect()
}

/// The cost in a line `position cost`; the cost may be left out, which means none.
fn cost_of(line: &str) -> Result<u64> {
    let Some(cost) = line.split_whitespace().nth(1) else { return Ok(0) };
    cost.parse().map_err(|_| anyhow!("no cost in {line:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PROFILE: &str = "\
events: Ir
fn=(1) pipeline::replay::Replay::measured_round
3 10
cfn=(2) <wirespan::pipeline::engine::Engine>::feed.llvm.77
calls=2 5
4 100
cfn=(3) pipeline::replay::exporter::Exporter::export
calls=1 5
4 40
cfn=(9) pipeline::replay::forget
calls=1 5
4 4

fn=(2)
5 10
cfn=(4) <wirespan::stream::connection::Connection<wirespan::protocol::session::Session>>::transfer
calls=2 5
6 80
cfn=(5) wirespan::trace::Tracer::with_input_ambiguity
calls=2 5
6 1
cfn=(6) wirespan::trace::Tracer::event
calls=2 5
6 2

fn=(4)
7 10
cfn=(7) wirespan::trace::report::<impl wirespan::protocol::report::Report for wirespan::trace::Tracer>::begin
calls=3 5
7 50

fn=(7)
7 5
cfn=(7)
calls=1 5
7 20
";

    #[test]
    fn stages_are_found_by_their_functions() {
        let expected =
            Profile { feed: 100, protocol: 30, ambiguity: 1, event: 2, message: 50, export: 40, forget: 4 };
        assert_eq!(read(PROFILE).unwrap(), expected);
    }

    #[test]
    fn a_stage_that_nobody_called_is_an_error() {
        let inlined = PROFILE.replace("Tracer::with_input_ambiguity", "Tracer::other");
        let error = read(&inlined).unwrap_err().to_string();
        assert!(error.contains("Tracer::with_input_ambiguity"), "{error}");
    }
}
