//! `wirespan trace` without a selector: what listens here, to choose from.

use std::fmt::Write as _;

use anyhow::{Context as _, Result};

use crate::process::{
    ProcRoot,
    listeners::{ListeningProcess, listening_processes},
};

/// Prints the listening processes and how to choose one.
pub(super) fn print() -> Result<()> {
    let processes = listening_processes(&ProcRoot::default()).context("cannot list the processes that listen")?;
    if processes.is_empty() {
        println!("No process listens on TCP here. Trace one by --pid, --exe, --cmdline or --cgroup, or start it: -- CMD");
        return Ok(());
    }
    print!("{}", table(&processes));
    println!("Choose: wirespan trace --port N | --pid N | --exe GLOB | --cmdline GLOB | --cgroup PATH, or start one: -- CMD");
    Ok(())
}

fn table(processes: &[ListeningProcess]) -> String {
    let service = width(processes.iter().map(|p| p.service_name.as_ref()), "SERVICE");
    let executable = width(processes.iter().map(|p| p.executable.as_ref()), "EXECUTABLE");
    let mut text = format!("{:>8}  {:service$}  {:executable$}  LISTENS ON\n", "PID", "SERVICE", "EXECUTABLE");
    for process in processes {
        let addresses: Vec<String> = process.addresses.iter().map(ToString::to_string).collect();
        let workers = match process.workers {
            0 => String::new(),
            n => format!(" ({n} workers)"),
        };
        // Writing to a String cannot fail.
        let _ok = writeln!(
            text,
            "{:>8}  {:service$}  {:executable$}  {}{workers}",
            process.pid,
            process.service_name,
            process.executable,
            addresses.join(" ")
        );
    }
    text
}

fn width<'a>(texts: impl Iterator<Item = &'a str>, title: &str) -> usize {
    texts.map(|text| text.chars().count()).max().unwrap_or(0).max(title.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up() {
        let process = |pid, service: &str| ListeningProcess {
            pid,
            executable: "/usr/sbin/nginx".into(),
            service_name: service.into(),
            addresses: vec!["127.0.0.1:80".parse().expect("an address")],
            workers: usize::from(pid == 7),
        };
        let text = table(&[process(7, "a"), process(12_345, "a-longer-name")]);
        let columns: Vec<_> = text.lines().map(|line| line.find("/usr").or(line.find("EXECUTABLE"))).collect();
        assert!(columns.windows(2).all(|pair| pair[0] == pair[1]), "{text}");
        assert!(text.contains("(1 workers)"), "{text}");
    }
}
