//! What a running agent on this host could not read: `doctor` asks its metrics endpoint, since the counts live there.

use std::{
    io::{Read as _, Write as _},
    net::{TcpStream, ToSocketAddrs as _},
    time::Duration,
};

/// How long to wait for the agent's answer.
const TIMEOUT: Duration = Duration::from_millis(500);

/// Largest answer read.
const LIMIT: u64 = 4 << 20;

/// Metrics that tell of bytes that could not be had.
const TOLD: [&str; 3] =
    ["wirespan_withheld_calls_total", "wirespan_kernel_untraced_calls_total", "wirespan_kernel_drops_total"];

/// The non-zero lines of these metrics; `None` when no agent answers at `address`.
pub(super) fn unreadable(address: &str) -> Option<Vec<String>> {
    let address = address.to_socket_addrs().ok()?.next()?;
    let mut stream = TcpStream::connect_timeout(&address, TIMEOUT).ok()?;
    stream.set_read_timeout(Some(TIMEOUT)).ok()?;
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.take(LIMIT).read_to_string(&mut answer).ok()?;
    answer.starts_with("HTTP/1.1 200").then(|| lines(&answer))
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
    fn only_what_was_counted_is_told() {
        let answer = "HTTP/1.1 200 OK\r\n\r\n# TYPE wirespan_withheld_calls_total counter\n\
                      wirespan_withheld_calls_total{reason=\"io_uring\",pid=\"7\"} 3\n\
                      wirespan_kernel_drops_total{reason=\"ring_full_transfer\"} 0\nwirespan_spans_total 9\n";
        assert_eq!(lines(answer), ["wirespan_withheld_calls_total{reason=\"io_uring\",pid=\"7\"} 3"]);
    }
}
