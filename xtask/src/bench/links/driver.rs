//! Makes the load: a number of connections at once, one request after the other on each, and a
//! number in every path. That number is the ground truth: the application puts it into the path of
//! the call that it makes for the request.

use std::{
    fmt,
    io::{self, BufReader, Write as _},
    net::TcpStream,
    str::FromStr,
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use super::{
    failure::{Failing, Failure},
    http, interrupted,
};

/// An application that does not answer within this time fails the request.
const PATIENCE: Duration = Duration::from_secs(20);
/// All numbers have the same length.
const FIRST: u64 = 1_000_000;

/// What became of the requests.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    pub(super) answered: u64,
    pub(super) failed: u64,
    /// The first failure.
    pub(super) complaint: Option<String>,
}

/// How many connections are kept busy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Concurrency {
    Steady(usize),
    /// The concurrencies of [`RAMP`] in turn: what a program shows while it is idle must not be
    /// trusted when load comes.
    Ramp,
}

const RAMP: [usize; 5] = [1, 64, 1, 8, 32];

impl Concurrency {
    /// The load in its phases.
    fn phases(&self) -> &[usize] {
        match self {
            Self::Steady(connections) => std::slice::from_ref(connections),
            Self::Ramp => &RAMP,
        }
    }
}

impl FromStr for Concurrency {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "ramp" {
            return Ok(Self::Ramp);
        }
        let number = text.parse().ok().filter(|&number| number > 0);
        number.map(Self::Steady).ok_or_else(|| format!("{text} is neither a number above 0 nor `ramp`"))
    }
}

impl fmt::Display for Concurrency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            // Padded like a number in a table.
            Self::Steady(connections) => connections.fmt(f),
            Self::Ramp => f.pad("ramp"),
        }
    }
}

/// What is sent.
#[derive(Debug, Clone, Copy)]
pub(super) struct Load {
    pub(super) concurrency: Concurrency,
    /// At most.
    pub(super) requests: u64,
    /// All paths are the same, without a number.
    pub(super) same: bool,
    pub(super) failing: Failing,
    /// The application connects where a failing request says.
    pub(super) refuses: bool,
}

/// Sends requests to a port of loopback. `wanted` returns whether the application has made less
/// than this share (parts of a whole) of the calls that it should make.
pub(super) fn drive(port: u16, load: Load, wanted: &(dyn Fn(u64, u64) -> bool + Sync)) -> Outcome {
    let drive = Drive { port, load, next: AtomicU64::new(0), outcome: Mutex::default() };
    let phases = load.concurrency.phases();
    let parts = phases.len() as u64;
    for (part, &connections) in (1..).zip(phases) {
        let until = load.requests * part / parts;
        thread::scope(|scope| {
            for _ in 0..connections {
                scope.spawn(|| drive.connection(until, &|| wanted(part, parts)));
            }
        });
        // Each connection took a number that it did not use.
        drive.next.fetch_min(until, Ordering::Relaxed);
    }
    drive.outcome.into_inner().expect("no thread panics with it")
}

/// What the connections share.
struct Drive {
    port: u16,
    load: Load,
    next: AtomicU64,
    outcome: Mutex<Outcome>,
}

impl Drive {
    /// Sends one request after the other.
    fn connection(&self, until: u64, wanted: &dyn Fn() -> bool) {
        let mut client = Client { port: self.port, stream: None };
        while wanted() && !interrupted() {
            let number = self.next.fetch_add(1, Ordering::Relaxed);
            if number >= until {
                return;
            }
            let failure = self.load.failing.failure(number, self.load.requests, self.load.refuses);
            let done = client.request(&path(self.load, number, failure), failure.is_some());
            let mut outcome = self.outcome.lock().expect("no thread panics with it");
            let Err(err) = done else {
                outcome.answered += 1;
                continue;
            };
            outcome.failed += 1;
            outcome.complaint.get_or_insert_with(|| format!("request {number}: {err}"));
            drop(outcome);
            // Without a pause, a dead application would be asked in a tight loop.
            thread::sleep(Duration::from_millis(1));
        }
    }
}

fn path(load: Load, number: u64, failure: Option<Failure>) -> String {
    let letter = failure.map(|failure| failure.letter().to_string()).unwrap_or_default();
    if load.same { "/in/same".to_owned() } else { format!("/in/{}{letter}", FIRST + number) }
}

/// One connection, made again when the application closes it.
struct Client {
    port: u16,
    stream: Option<BufReader<TcpStream>>,
}

impl Client {
    /// `fails`: the application may answer with an error, or close the connection.
    fn request(&mut self, path: &str, fails: bool) -> io::Result<()> {
        let head = format!("GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{}\r\nAccept: */*\r\n\r\n", self.port);
        let mut reader = match self.stream.take() {
            Some(reader) => reader,
            None => BufReader::new(self.connect()?),
        };
        reader.get_mut().write_all(head.as_bytes())?;
        let answer = match http::read(&mut reader, true)? {
            Some(answer) => answer,
            None if fails => return Ok(()),
            None => return Err(io::Error::other("the application closed the connection")),
        };
        if !answer.succeeded() && !fails {
            return Err(io::Error::other(answer.start));
        }
        if !answer.closes {
            self.stream = Some(reader);
        }
        Ok(())
    }

    fn connect(&self) -> io::Result<TcpStream> {
        let stream = TcpStream::connect(("127.0.0.1", self.port))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(stream)
    }
}
