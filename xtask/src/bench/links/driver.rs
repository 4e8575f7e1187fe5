//! The load: so many connections at once, one request after the other on each, a number of its own in every path. That number
//! is the ground truth: the application puts it into the path of the call that it makes for the request.

use std::{
    io::{self, BufReader, Write as _},
    net::TcpStream,
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use super::{http, interrupted};

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

/// What is sent.
#[derive(Debug, Clone, Copy)]
pub(super) struct Load {
    pub(super) connections: usize,
    /// At most.
    pub(super) requests: u64,
    /// All paths are the same, without a number.
    pub(super) same: bool,
}

/// Sends requests to a port of loopback while more are wanted.
pub(super) fn drive(port: u16, load: Load, wanted: &(impl Fn() -> bool + Sync)) -> Outcome {
    let next = AtomicU64::new(0);
    let outcome = Mutex::new(Outcome::default());
    thread::scope(|scope| {
        for _ in 0..load.connections {
            scope.spawn(|| {
                let mut client = Client { port, stream: None };
                while wanted() && !interrupted() {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= load.requests {
                        return;
                    }
                    let done = client.request(&path(load, number));
                    let mut outcome = outcome.lock().expect("no thread panics with it");
                    match done {
                        Ok(()) => outcome.answered += 1,
                        Err(err) => {
                            outcome.failed += 1;
                            outcome.complaint.get_or_insert_with(|| format!("request {number}: {err}"));
                            // A dead application would be asked in a tight loop.
                            thread::sleep(Duration::from_millis(1));
                        }
                    }
                }
            });
        }
    });
    outcome.into_inner().expect("no thread panics with it")
}

fn path(load: Load, number: u64) -> String {
    if load.same { "/in/same".to_owned() } else { format!("/in/{}", FIRST + number) }
}

/// One connection, made again when the application closes it.
struct Client {
    port: u16,
    stream: Option<BufReader<TcpStream>>,
}

impl Client {
    fn request(&mut self, path: &str) -> io::Result<()> {
        let head = format!("GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{}\r\nAccept: */*\r\n\r\n", self.port);
        let mut reader = match self.stream.take() {
            Some(reader) => reader,
            None => BufReader::new(self.connect()?),
        };
        reader.get_mut().write_all(head.as_bytes())?;
        let answer = http::read(&mut reader, true)?
            .ok_or_else(|| io::Error::other("the application closed the connection"))?;
        if !answer.succeeded() {
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
