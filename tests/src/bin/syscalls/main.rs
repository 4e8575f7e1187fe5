//! A static server and client that move HTTP/1.1 through every system call that a program may use
//! on a socket: `syscalls server MODE ADDRESS` and `syscalls client MODE ADDRESS < REQUESTS` (a
//! line per request: method, path, size of the body; the client reports method, path, status, bytes
//! sent and received).
#![expect(unsafe_code, reason = "raw system calls are what this program is for")]

mod mode;
mod ring;
mod socket;

use std::{
    env,
    io::{self, BufRead as _, Write as _},
    net::{TcpListener, TcpStream},
    process::ExitCode,
};

use self::{mode::Mode, socket::Socket};

fn main() -> ExitCode {
    let words: Vec<_> = env::args().skip(1).collect();
    let done = match words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["modes"] => {
            println!("{}", Mode::ALL.map(Mode::name).join("\n"));
            Ok(())
        }
        ["server", mode, address] => Mode::named(mode).and_then(|mode| serve(mode, address)),
        ["client", mode, address] => Mode::named(mode).and_then(|mode| request(mode, address)),
        _ => Err(io::Error::other("usage: syscalls modes | server MODE ADDRESS | client MODE ADDRESS")),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(err) => {
            eprintln!("syscalls: {err}");
            ExitCode::FAILURE
        }
    }
}

fn serve(mode: Mode, address: &str) -> io::Result<()> {
    let listener = TcpListener::bind(address)?;
    println!("listening");
    for stream in listener.incoming() {
        let mut socket = Socket::new(stream?, mode)?;
        // A client that goes away ends its connection, not the server.
        while let Ok(Some(head)) = socket.head() {
            if answer(&mut socket, &head).is_err() {
                break;
            }
        }
    }
    Ok(())
}

fn answer(socket: &mut Socket, head: &str) -> io::Result<()> {
    let mut words = head.split(' ');
    let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let posted = content_length(head);
    socket.discard(posted)?;
    let parts: Vec<_> = path.split('/').collect();
    let size = match parts.get(1) {
        Some(&"bytes") => parts.get(2).and_then(|size| size.parse().ok()).unwrap_or(0),
        _ if method == "POST" => posted,
        _ => 6,
    };
    let status = if parts.get(1) == Some(&"missing") { "404 Not Found" } else { "200 OK" };
    let head = format!("HTTP/1.1 {status}\r\nServer: syscalls\r\nContent-Length: {size}\r\n\r\n");
    socket.message(head.as_bytes(), &vec![b's'; size])
}

fn request(mode: Mode, address: &str) -> io::Result<()> {
    let mut socket = Socket::new(TcpStream::connect(address)?, mode)?;
    for line in io::stdin().lock().lines() {
        let line = line?;
        let words: Vec<_> = line.split(' ').collect();
        let [method, path, size] = words[..] else {
            return Err(io::Error::other("a request is METHOD PATH SIZE"));
        };
        let size: usize = size.parse().map_err(io::Error::other)?;
        let length = if size > 0 { format!("Content-Length: {size}\r\n") } else { String::new() };
        let head =
            format!("{method} {path} HTTP/1.1\r\nHost: {address}\r\nUser-Agent: syscalls\r\n{length}\r\n");
        socket.message(head.as_bytes(), &vec![b'p'; size])?;
        let head = socket.head()?.ok_or_else(|| io::Error::other("the server closed the connection"))?;
        let status = head.split(' ').nth(1).unwrap_or_default().to_owned();
        let received = content_length(&head);
        socket.discard(received)?;
        writeln!(io::stdout(), "{method} {path} {status} {size} {received}")?;
    }
    Ok(())
}

fn content_length(head: &str) -> usize {
    let value = head.lines().find_map(|line| line.strip_prefix("Content-Length: "));
    value.and_then(|value| value.trim().parse().ok()).unwrap_or(0)
}
