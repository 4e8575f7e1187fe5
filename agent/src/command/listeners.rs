//! The list that `wirespan trace` without a selector shows: which processes listen, and how to
//! trace one of them.

use std::fmt::Write as _;

use anyhow::{Context as _, Result};

use super::stdout;
use crate::process::{
    ProcRoot,
    listeners::{ListeningProcess, listening_processes},
};

/// Most addresses shown of one process; the number of further ones follows.
const SHOWN_ADDRESSES: usize = 3;
/// Characters of an executable's path that are shown: its end, where the name is.
const SHOWN_PATH: usize = 48;

/// Prints the listening processes and how to choose one. The caller exits with status 2.
///
/// # Errors
/// When /proc cannot be read or stdout not be written.
pub(super) fn print() -> Result<()> {
    let processes =
        listening_processes(&ProcRoot::default()).context("cannot list the processes that listen")?;
    let own = std::process::id();
    let others: Vec<_> = processes.into_iter().filter(|process| process.pid != own).collect();
    stdout::print(&table(&others)?)
}

fn table(processes: &[ListeningProcess]) -> Result<String> {
    let mut text = String::new();
    let Some(example) = processes.first() else {
        writeln!(text, "no process listens on TCP, or none may be seen (run as root)")?;
        writeln!(text, "trace a program from its start:  wirespan trace -- COMMAND")?;
        return Ok(text);
    };
    let rows: Vec<[String; 4]> = processes.iter().map(row).collect();
    let header = ["PID", "SERVICE", "LISTENS ON", "EXECUTABLE"].map(str::to_owned);
    let width = |column: usize| {
        let cells = std::iter::once(&header).chain(&rows).filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let (pid, service, addresses) = (width(0), width(1), width(2));
    writeln!(text, "these processes listen on TCP; say which to trace:\n")?;
    for [a, b, c, d] in std::iter::once(&header).chain(&rows) {
        writeln!(text, "  {a:>pid$}  {b:service$}  {c:addresses$}  {d}")?;
    }
    let port = example.addresses.first().map_or(0, std::net::SocketAddr::port);
    writeln!(
        text,
        "\nfor example:  wirespan trace --pid {}   or   wirespan trace --port {port}",
        example.pid
    )?;
    Ok(text)
}

fn row(process: &ListeningProcess) -> [String; 4] {
    let mut addresses: Vec<String> =
        process.addresses.iter().take(SHOWN_ADDRESSES).map(ToString::to_string).collect();
    if let more @ 1.. = process.addresses.len().saturating_sub(SHOWN_ADDRESSES) {
        addresses.push(format!("{more} more"));
    }
    let workers = match process.workers {
        0 => String::new(),
        1 => " (1 worker)".to_owned(),
        workers => format!(" ({workers} workers)"),
    };
    let path = printable(&process.executable);
    let hidden = path.chars().count().saturating_sub(SHOWN_PATH);
    let path = match hidden {
        0 => path,
        hidden => format!("…{}", path.chars().skip(hidden).collect::<String>()),
    };
    [
        process.pid.to_string(),
        printable(&process.service_name),
        addresses.join(", "),
        format!("{path}{workers}"),
    ]
}

/// A name may hold control sequences, which a terminal must not carry out.
fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_of_processes() {
        let process = |pid, service: &str, executable: &str, addresses: &[&str], workers| ListeningProcess {
            pid,
            executable: executable.into(),
            service_name: service.into(),
            addresses: addresses.iter().map(|address| address.parse().unwrap()).collect(),
            workers,
        };
        let long = format!("/opt/{}/api", "x".repeat(60));
        let found = table(&[
            process(712, "nginx", "/usr/sbin/nginx", &["0.0.0.0:80", "[::]:80"], 2),
            process(
                31_337,
                "or\u{1b}ders",
                &long,
                &["127.0.0.1:1", "127.0.0.1:2", "127.0.0.1:3", "127.0.0.1:4"],
                0,
            ),
        ])
        .unwrap();
        let expected = "these processes listen on TCP; say which to trace:

    PID  SERVICE  LISTENS ON                                     EXECUTABLE
    712  nginx    0.0.0.0:80, [::]:80                            /usr/sbin/nginx (2 workers)
  31337  or\u{fffd}ders  127.0.0.1:1, 127.0.0.1:2, 127.0.0.1:3, 1 more  …xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx/api

for example:  wirespan trace --pid 712   or   wirespan trace --port 80
";
        assert_eq!(found, expected, "\n{found}");
    }

    #[test]
    fn nothing_listens() {
        assert!(table(&[]).unwrap().contains("wirespan trace -- COMMAND"));
    }
}
