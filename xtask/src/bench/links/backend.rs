//! The server that every application calls. It answers each call after a random time, so that calls
//! overlap and end in another order than they began. It is part of the bench so that it can count
//! the calls, and it is not traced.
//!
//! `/big/…` is answered by 400 kB, `/flaky/ID.1` by 503 (each further try succeeds), `/…/same` by a
//! length that no other response of this backend has, an ID with a letter fails as [`Failure`]
//! says, everything else is answered by a few bytes.

use std::{
    io::{self, BufReader, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result};

use super::{failure::Failure, http};

/// The longest time until a response, in microseconds.
const DELAY: u64 = 2_000;
const LARGE: usize = 400_000;

/// A backend on a port of loopback, IPv4 and IPv6, until it is dropped.
#[derive(Debug)]
pub(super) struct Backend {
    pub(super) port: u16,
    shared: Arc<Shared>,
    addresses: Vec<SocketAddr>,
}

#[derive(Debug, Default)]
struct Shared {
    /// Calls that a request caused: all but `/poll/…`.
    calls: AtomicU64,
    over: AtomicBool,
}

impl Backend {
    pub(super) fn start() -> Result<Self> {
        let shared = Arc::new(Shared::default());
        let first = TcpListener::bind("127.0.0.1:0").context("cannot listen on 127.0.0.1")?;
        let port = first.local_addr()?.port();
        // A program that resolves `localhost` may try IPv6 first. Without IPv6 its connect is
        // refused and tried again.
        let second = TcpListener::bind(("::1", port)).ok();
        let mut addresses = Vec::new();
        for listener in [Some(first), second].into_iter().flatten() {
            addresses.push(listener.local_addr()?);
            let shared = Arc::clone(&shared);
            thread::spawn(move || accept(&listener, &shared));
        }
        Ok(Self { port, shared, addresses })
    }

    /// How many calls have arrived that a request caused.
    pub(super) fn calls(&self) -> u64 {
        self.shared.calls.load(Ordering::Relaxed)
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        self.shared.over.store(true, Ordering::Relaxed);
        // A connection wakes each listener so that it sees the flag.
        for address in &self.addresses {
            let _ = TcpStream::connect(address);
        }
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    for stream in listener.incoming() {
        if shared.over.load(Ordering::Relaxed) {
            return;
        }
        let Ok(stream) = stream else { continue };
        let shared = Arc::clone(shared);
        // The thread ends with its connection, whose other end is a process of the stage.
        thread::spawn(move || drop(serve(&stream, &shared)));
    }
}

fn serve(stream: &TcpStream, shared: &Shared) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut reader = BufReader::new(stream);
    while let Some(request) = http::read(&mut reader, false)? {
        let target = request.target();
        let mut number = u64::MAX;
        if !target.starts_with("/poll/") {
            number = shared.calls.fetch_add(1, Ordering::Relaxed);
        }
        thread::sleep(Duration::from_micros(scrambled(number) % DELAY));
        if let Some(failure) = Failure::of_call(target)
            && failure.ends(stream)?
        {
            return Ok(());
        }
        (&*stream).write_all(&answer(target, number, request.closes))?;
        if request.closes {
            return Ok(());
        }
    }
    Ok(())
}

/// `number` is that of the call.
fn answer(target: &str, number: u64, closes: bool) -> Vec<u8> {
    let flaky = target.starts_with("/flaky/") && target.ends_with(".1");
    let status = match Failure::of_call(target) {
        Some(_) => "500 Internal Server Error",
        None if flaky => "503 Service Unavailable",
        None => "200 OK",
    };
    let length = match target {
        _ if target.starts_with("/big/") => LARGE,
        _ if target.ends_with("/same") => target.len() + usize::try_from(number).unwrap_or_default(),
        _ => target.len(),
    };
    let connection = if closes { "close" } else { "keep-alive" };
    let mut bytes = format!(
        "HTTP/1.1 {status}\r\nContent-Type: text/plain\r\nContent-Length: {length}\r\nConnection: {connection}\r\n\r\n"
    )
    .into_bytes();
    let head = bytes.len();
    bytes.extend_from_slice(target.as_bytes());
    bytes.resize(head + length, b'.');
    bytes
}

/// A number that looks random, the same on every run (the finalizer of SplitMix64).
pub(super) fn scrambled(number: u64) -> u64 {
    let mut z = number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_have_the_length_that_they_say() {
        for (target, status) in [
            ("/out/1", "200"),
            ("/big/1", "200"),
            ("/flaky/7.1", "503"),
            ("/flaky/7.2", "200"),
            ("/out/1e", "500"),
        ] {
            let bytes = answer(target, 7, false);
            let message = http::read(&mut bytes.as_slice(), true).unwrap().unwrap();
            assert!(message.start.contains(status) && !message.closes, "{target}: {message:?}");
        }
    }
}
