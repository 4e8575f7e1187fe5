//! Erlang and Elixir: the release, by its name, its start script, its node or its directory.

use super::{Place, file_name, is_nameless_directory};

/// Programs and modules that start others.
const STARTERS: [&str; 8] = ["erl", "elixir", "iex", "mix", "start_cli", "init", "werl", "escript"];

/// Boot files that every release has.
const BOOTS: [&str; 5] = ["start", "start_clean", "start_sasl", "no_dot_erlang", "start_erl"];

/// The name of what these arguments of the virtual machine run.
pub(super) fn name(arguments: &[String], place: &dyn Place) -> Option<String> {
    if let Some(release) = place.variable("RELEASE_NAME") {
        return Some(release);
    }
    let value = |option: &str| {
        let at = arguments.iter().position(|argument| argument == option)?;
        arguments.get(at + 1).map(String::as_str).filter(|value| !value.starts_with('-'))
    };
    let named = |name: &str| !STARTERS.contains(&name) && !name.is_empty();
    let program = value("-progname").map(file_name).filter(|name| named(name));
    let boot = value("-boot");
    let script = boot.map(file_name).map(|name| name.trim_end_matches(".boot"));
    let script = script.filter(|name| !BOOTS.contains(name) && named(name));
    // shop@host, or a name that a remote shell makes for itself.
    let node = ["-name", "-sname"].into_iter().find_map(value).and_then(|node| node.split('@').next());
    let node = node.filter(|node| !node.is_empty());
    let directory = boot.and_then(|boot| boot.split_once("/releases/")).map(|(root, _)| file_name(root));
    let directory = directory.filter(|name| !name.is_empty() && !is_nameless_directory(name));
    let found = program.or(script).or(node).or(directory).or_else(|| module(arguments));
    found.map(str::to_owned).or_else(|| {
        let is_project = arguments.iter().any(|argument| matches!(file_name(argument), "mix" | "iex"));
        is_project.then(|| super::project(place)).flatten()
    })
}

/// The module of the first `-s` or `-run` that starts no other one.
fn module(arguments: &[String]) -> Option<&str> {
    let pairs = arguments.iter().zip(arguments.iter().skip(1));
    let mut started = pairs.filter(|(option, _)| matches!(option.as_str(), "-s" | "-run"));
    started.find(|(_, module)| !STARTERS.contains(&module.as_str())).map(|(_, module)| module.as_str())
}
