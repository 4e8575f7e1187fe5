//! Tests that an attach mode sees what it must. The agent sends to itself over loopback, once with
//! every system call that moves bytes through a socket, and compares the records of the programs
//! with what it sent.

use std::{
    io::{IoSlice, IoSliceMut, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    os::fd::{AsRawFd as _, RawFd},
};

use nix::sys::socket::{MsgFlags, recv, recvmsg, send, sendmsg};

use super::{AttachError, KernelSource, Notice};
use crate::event::{Direction, Event};

/// One system call: its name and what it sends. All payloads differ, so that none can pass for
/// another.
const SYSCALLS: [(&str, &[u8]); 4] = [
    ("write/read", b"wirespan self-test: write"),
    ("writev/readv", b"wirespan self-test: vectors"),
    ("sendto/recvfrom", b"wirespan self-test: sendto!"),
    ("sendmsg/recvmsg", b"wirespan self-test: a message"),
];

/// Runs the exchange. The agent's own process must be selected, and be cleaned up after.
pub(super) fn run(source: &mut KernelSource) -> Result<(), AttachError> {
    exchange().map_err(AttachError::Loopback)?;
    let mut seen = [Vec::new(), Vec::new()];
    source.drain(&mut |notice| {
        if let Notice::Event(Event::Transfer(t)) | Notice::Last(Event::Transfer(t), _) = notice {
            seen[t.direction.index()].push((t.length as usize, t.head.to_vec(), t.not_captured));
        }
    });
    for direction in Direction::BOTH {
        let seen = &seen[direction.index()];
        for (index, (name, payload)) in SYSCALLS.iter().enumerate() {
            let side = name.split('/').nth(direction.index()).unwrap_or(name);
            let Some((length, head, not_captured)) = seen.get(index) else {
                return Err(AttachError::NotSeen { syscall: side, seen: seen.len(), all: SYSCALLS.len() });
            };
            if *length != payload.len() || head != payload {
                return Err(AttachError::SeenOtherwise {
                    syscall: side,
                    moved: payload.len(),
                    seen: *length,
                    captured: head.len(),
                    reason: *not_captured,
                });
            }
        }
    }
    Ok(())
}

fn exchange() -> std::io::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let mut client = TcpStream::connect(listener.local_addr()?)?;
    let (mut server, _) = listener.accept()?;
    for (index, (_, payload)) in SYSCALLS.iter().enumerate() {
        let mut buffer = vec![0; payload.len()];
        match index {
            0 => {
                client.write_all(payload)?;
                server.read_exact(&mut buffer)?;
            }
            1 => {
                let (left, right) = payload.split_at(5);
                whole(client.write_vectored(&[IoSlice::new(left), IoSlice::new(right)])?, payload)?;
                let (left, right) = buffer.split_at_mut(7);
                whole(server.read_vectored(&mut [IoSliceMut::new(left), IoSliceMut::new(right)])?, payload)?;
            }
            2 => {
                whole(send(client.as_raw_fd(), payload, MsgFlags::empty())?, payload)?;
                whole(recv(server.as_raw_fd(), &mut buffer, MsgFlags::empty())?, payload)?;
            }
            _ => messages(client.as_raw_fd(), server.as_raw_fd(), payload, &mut buffer)?,
        }
    }
    Ok(())
}

/// One system call moves a few bytes on loopback as a whole. Otherwise the comparison would be
/// wrong.
fn whole(moved: usize, payload: &[u8]) -> std::io::Result<()> {
    if moved == payload.len() {
        return Ok(());
    }
    Err(std::io::Error::other(format!(
        "one system call moved {moved} of {} bytes on loopback",
        payload.len()
    )))
}

fn messages(client: RawFd, server: RawFd, payload: &[u8], buffer: &mut [u8]) -> std::io::Result<()> {
    sendmsg::<()>(client, &[IoSlice::new(payload)], &[], MsgFlags::empty(), None)?;
    let mut vector = [IoSliceMut::new(buffer)];
    recvmsg::<()>(server, &mut vector, None, MsgFlags::empty())?;
    Ok(())
}
