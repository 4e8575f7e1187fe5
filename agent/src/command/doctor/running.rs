//! What a running agent on this host could not read: `doctor` asks its metrics endpoint, since the counts live there.

use std::{
    io::{Read as _, Write as _},
    net::{TcpStream, ToSocketAddrs as _},
    time::Duration,
};

use crate::trace::{Figures, ProcessConfidence, TrustLevel};

/// How long to wait for the agent's answer.
const TIMEOUT: Duration = Duration::from_millis(500);

/// Largest answer read.
const LIMIT: u64 = 4 << 20;

/// Metrics that tell of bytes that could not be had, or not as TCP counts them.
const TOLD: [&str; 4] = [
    "wirespan_withheld_calls_total",
    "wirespan_kernel_untraced_calls_total",
    "wirespan_kernel_drops_total",
    "wirespan_kernel_redirected_calls_total",
];

/// The non-zero lines of these metrics; `None` when no agent answers at `address`.
pub(super) fn unreadable(address: &str) -> Option<Vec<String>> {
    ask(address, "/metrics").map(|answer| lines(&answer))
}

/// What a running agent says of a process.
pub(super) struct Process {
    /// `None` when it has seen no call of it.
    pub(super) standing: Option<ProcessConfidence>,
    /// Its calls whose bytes could not be read, by reason.
    pub(super) unreadable: Vec<String>,
}

/// What is known of a process; `None` when no agent answers.
pub(super) fn process(address: &str, pid: u32) -> Option<Process> {
    let answer = ask(address, "/processes")?;
    let own = format!("pid=\"{pid}\"");
    let unreadable = lines(&answer).into_iter().filter(|line| line.contains(&own)).collect();
    Some(Process { standing: standing_in(&answer, pid), unreadable })
}

/// The text of a page.
fn ask(address: &str, path: &str) -> Option<String> {
    let address = address.to_socket_addrs().ok()?.next()?;
    let mut stream = TcpStream::connect_timeout(&address, TIMEOUT).ok()?;
    stream.set_read_timeout(Some(TIMEOUT)).ok()?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.take(LIMIT).read_to_string(&mut answer).ok()?;
    answer.starts_with("HTTP/1.1 200").then_some(answer)
}

fn standing_in(answer: &str, pid: u32) -> Option<ProcessConfidence> {
    let pid_label = format!("pid=\"{pid}\"");
    let mut found: Option<ProcessConfidence> = None;
    for line in answer.lines().filter(|line| line.contains(&pid_label)) {
        if let Some(name) =
            line.strip_prefix("wirespan_process_belief{").and_then(|rest| label(rest, "standing"))
        {
            let standing = TrustLevel::ALL.into_iter().find(|standing| standing.name() == name)?;
            let service = label(line, "service").unwrap_or_default().into();
            found = Some(ProcessConfidence { pid, service, level: standing, figures: Figures::default() });
        }
    }
    let mut found = found?;
    for line in
        answer.lines().filter(|line| line.starts_with("wirespan_process_calls{") && line.contains(&pid_label))
    {
        let (Some(what), Some((_, value))) = (label(line, "what"), line.rsplit_once(' ')) else { continue };
        found.figures.set(what, value.parse().ok()?);
    }
    Some(found)
}

/// The value of a label; an escaped quote would end it early, which only shortens a service's name.
fn label<'a>(line: &'a str, name: &str) -> Option<&'a str> {
    let start = line.find(&format!("{name}=\""))? + name.len() + 2;
    line[start..].split('"').next()
}

fn lines(answer: &str) -> Vec<String> {
    answer
        .lines()
        .filter(|line| TOLD.iter().any(|metric| line.starts_with(metric)) && !line.ends_with(" 0"))
        .map(str::to_owned)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_standing_of_a_process_is_read_back() {
        let answer = "HTTP/1.1 200 OK\r\n\r\n\
                      wirespan_process_belief{pid=\"7\",service=\"shop\",standing=\"start\"} 1\n\
                      wirespan_process_belief{pid=\"77\",service=\"x\",standing=\"end\"} 1\n\
                      wirespan_process_calls{pid=\"7\",service=\"shop\",what=\"parents\"} 90\n\
                      wirespan_process_calls{pid=\"7\",service=\"shop\",what=\"orphans\"} 10\n";
        let standing = standing_in(answer, 7).unwrap();
        assert_eq!(standing.level, TrustLevel::RequestSide);
        assert!(
            standing.to_string().starts_with("shop (pid 7): 90 of 100 calls have a parent; the request side")
        );
        assert!(standing_in(answer, 8).is_none());
    }

    #[test]
    fn only_what_was_counted_is_told() {
        let answer = "HTTP/1.1 200 OK\r\n\r\n# TYPE wirespan_withheld_calls_total counter\n\
                      wirespan_withheld_calls_total{reason=\"io_uring\",pid=\"7\"} 3\n\
                      wirespan_kernel_drops_total{reason=\"ring_full_transfer\"} 0\nwirespan_spans_total 9\n";
        assert_eq!(lines(answer), ["wirespan_withheld_calls_total{reason=\"io_uring\",pid=\"7\"} 3"]);
    }
}
