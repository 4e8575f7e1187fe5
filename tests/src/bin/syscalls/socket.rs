//! A connected socket whose bytes move by the system calls of its mode.

use std::{
    cell::RefCell,
    io::{self, Error, Result},
    net::TcpStream,
    os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd, RawFd},
    ptr,
};

use io_uring::{opcode, squeue, types};

use crate::{mode::Mode, ring::Ring};

/// A buffer below 4 GiB, where a 32-bit system call can reach it.
const LOW_SIZE: usize = 65_536;

pub(crate) struct Socket {
    stream: TcpStream,
    mode: Mode,
    /// Received and not used yet.
    pending: Vec<u8>,
    /// For the 32-bit interface alone.
    low: *mut u8,
    /// For the tasks with io_uring alone.
    ring: Option<RefCell<Ring>>,
}

impl Socket {
    pub(crate) fn new(stream: TcpStream, mode: Mode) -> Result<Self> {
        stream.set_nodelay(true)?;
        let mut socket = Self { stream, mode, pending: Vec::new(), low: ptr::null_mut(), ring: None };
        match mode {
            Mode::Partial => {
                let size: libc::c_int = 2_304;
                let (size_of, size) = (size_of_val(&size) as libc::socklen_t, ptr::from_ref(&size).cast());
                // SAFETY: the option's value is an int that lives through the call.
                let set = unsafe {
                    libc::setsockopt(socket.fd(), libc::SOL_SOCKET, libc::SO_SNDBUF, size, size_of)
                };
                checked(set as isize)?;
                socket.stream.set_nonblocking(true)?;
            }
            Mode::Int80 => socket.low = low_memory()?,
            Mode::IdleRing | Mode::Ring => socket.ring = Some(RefCell::new(Ring::new()?)),
            _ => {}
        }
        Ok(socket)
    }

    /// Sends a head and a body.
    pub(crate) fn message(&mut self, head: &[u8], body: &[u8]) -> Result<()> {
        match self.mode {
            Mode::Sendfile => {
                self.send(head)?;
                send_file(self.fd(), body)
            }
            Mode::Splice => {
                self.send(head)?;
                splice_out(self.fd(), body)
            }
            _ => self.send(&[head, body].concat()),
        }
    }

    /// Receives up to the end of a head. `None`: the other side has closed.
    pub(crate) fn head(&mut self) -> Result<Option<String>> {
        // In modes whose body must arrive by another system call, none of it may be read with the
        // head.
        let step = if matches!(self.mode, Mode::Splice | Mode::Truncate | Mode::Bytes) { 1 } else { 16_384 };
        let mut buffer = vec![0; step];
        loop {
            if let Some(end) = self.pending.windows(4).position(|window| window == b"\r\n\r\n") {
                let rest = self.pending.split_off(end + 4);
                let head = std::mem::replace(&mut self.pending, rest);
                return String::from_utf8(head).map(Some).map_err(Error::other);
            }
            match self.receive(&mut buffer)? {
                0 => return Ok(None),
                length => self.pending.extend_from_slice(&buffer[..length]),
            }
        }
    }

    /// Receives that many bytes of body and forgets them.
    pub(crate) fn discard(&mut self, size: usize) -> Result<()> {
        let mut left = size;
        let had = left.min(self.pending.len());
        self.pending.drain(..had);
        left -= had;
        let mut buffer = vec![0; 16_384];
        while left > 0 {
            let part = left.min(buffer.len());
            let length = match self.mode {
                Mode::Splice => splice_in(self.fd(), part)?,
                // SAFETY: with MSG_TRUNC TCP writes nothing to the buffer.
                Mode::Truncate => checked(unsafe {
                    libc::recv(self.fd(), buffer.as_mut_ptr().cast(), part, libc::MSG_TRUNC)
                })?,
                _ => self.receive(&mut buffer[..part])?,
            };
            if length == 0 {
                return Err(Error::other("the other side closed within a body"));
            }
            left -= length;
        }
        Ok(())
    }

    fn fd(&self) -> RawFd {
        self.stream.as_raw_fd()
    }

    fn send(&self, mut bytes: &[u8]) -> Result<()> {
        while !bytes.is_empty() {
            match self.send_some(bytes) {
                Ok(sent) => bytes = &bytes[sent..],
                Err(err) if err.kind() == io::ErrorKind::WouldBlock => self.poll(libc::POLLOUT)?,
                Err(err) => return Err(err),
            }
        }
        Ok(())
    }

    fn send_some(&self, bytes: &[u8]) -> Result<usize> {
        let fd = self.fd();
        let (data, size) = (bytes.as_ptr().cast::<libc::c_void>(), bytes.len());
        match self.mode {
            // SAFETY: each call reads at most `size` bytes at `data`, which `bytes` owns; the
            // vectors point into it.
            Mode::Vectors => checked(unsafe {
                let vectors = vectors(data, size, 3, 40);
                libc::writev(fd, vectors.as_ptr(), vectors.len() as libc::c_int)
            }),
            // SAFETY: as above.
            Mode::ManyVectors => checked(unsafe {
                let vectors = vectors(data, size, 48, 16);
                libc::writev(fd, vectors.as_ptr(), vectors.len() as libc::c_int)
            }),
            // SAFETY: as above.
            Mode::SendRecv | Mode::Peek => checked(unsafe { libc::send(fd, data, size, libc::MSG_NOSIGNAL) }),
            Mode::SendTo => {
                // SAFETY: as above; a connected socket needs no address.
                checked(unsafe { libc::sendto(fd, data, size, libc::MSG_NOSIGNAL, ptr::null(), 0) })
            }
            Mode::SendMsg => {
                let mut vectors = vectors(data, size, 2, 50);
                let message = header(&mut vectors);
                // SAFETY: the header points to vectors over `bytes`; all live through the call.
                checked(unsafe { libc::sendmsg(fd, &raw const message, libc::MSG_NOSIGNAL) })
            }
            Mode::SendMmsg => send_two(fd, data, size),
            Mode::Bytes => {
                // SAFETY: the slice is not empty.
                checked(unsafe { libc::write(fd, data, 1) })
            }
            Mode::Int80 => {
                let size = size.min(LOW_SIZE);
                // SAFETY: the low buffer has LOW_SIZE bytes and is this socket's own.
                unsafe { ptr::copy_nonoverlapping(bytes.as_ptr(), self.low, size) };
                checked(int80(4, fd, self.low, size))
            }
            Mode::Ring => {
                let send = opcode::Send::new(types::Fd(fd), bytes.as_ptr(), length(bytes)).build();
                self.through_ring(&send)
            }
            // SAFETY: as above.
            _ => checked(unsafe { libc::write(fd, data, size) }),
        }
    }

    fn receive(&self, buffer: &mut [u8]) -> Result<usize> {
        loop {
            match self.receive_some(buffer) {
                Err(err) if err.kind() == io::ErrorKind::WouldBlock => self.poll(libc::POLLIN)?,
                done => return done,
            }
        }
    }

    fn receive_some(&self, buffer: &mut [u8]) -> Result<usize> {
        let fd = self.fd();
        let (data, size) = (buffer.as_mut_ptr().cast::<libc::c_void>(), buffer.len());
        match self.mode {
            // SAFETY: each call writes at most `size` bytes at `data`, which `buffer` owns; the
            // vectors point into it.
            Mode::Vectors | Mode::ManyVectors => checked(unsafe {
                let vectors = vectors(data, size, 3, 40);
                libc::readv(fd, vectors.as_ptr(), vectors.len() as libc::c_int)
            }),
            // SAFETY: as above.
            Mode::SendRecv => checked(unsafe { libc::recv(fd, data, size, 0) }),
            Mode::SendTo => {
                // SAFETY: all zeros is a valid address of no family.
                let mut from: libc::sockaddr_storage = unsafe { std::mem::zeroed() };
                let mut length = size_of_val(&from) as libc::socklen_t;
                let address = (&raw mut from).cast();
                // SAFETY: as above; the address and its length live through the call.
                checked(unsafe { libc::recvfrom(fd, data, size, 0, address, &raw mut length) })
            }
            Mode::SendMsg => {
                let mut vectors = vectors(data, size, 2, 50);
                let mut message = header(&mut vectors);
                // SAFETY: the header points to vectors over `buffer`; all live through the call.
                checked(unsafe { libc::recvmsg(fd, &raw mut message, 0) })
            }
            Mode::SendMmsg => receive_two(fd, data, size),
            Mode::Peek => {
                // SAFETY: as above.
                let seen = checked(unsafe { libc::recv(fd, data, size, libc::MSG_PEEK) })?;
                // SAFETY: as above, with no more than the buffer's size.
                checked(unsafe { libc::recv(fd, data, seen.max(1), 0) })
            }
            Mode::Int80 => {
                let received = checked(int80(3, fd, self.low, size.min(LOW_SIZE)))?;
                // SAFETY: the kernel has written `received` bytes, no more than `buffer` has, to
                // the low buffer.
                unsafe { ptr::copy_nonoverlapping(self.low, buffer.as_mut_ptr(), received) };
                Ok(received)
            }
            Mode::Ring => {
                let receive = opcode::Recv::new(types::Fd(fd), data.cast(), length(buffer)).build();
                self.through_ring(&receive)
            }
            // SAFETY: as above.
            _ => checked(unsafe { libc::read(fd, data, size) }),
        }
    }

    fn through_ring(&self, operation: &squeue::Entry) -> Result<usize> {
        let ring = self.ring.as_ref().ok_or_else(|| Error::other("this mode has no ring"))?;
        ring.borrow_mut().carry_out(operation)
    }

    fn poll(&self, events: libc::c_short) -> Result<()> {
        let mut wanted = libc::pollfd { fd: self.fd(), events, revents: 0 };
        // SAFETY: one pollfd that lives through the call.
        checked(unsafe { libc::poll(&raw mut wanted, 1, -1) } as isize).map(drop)
    }
}

fn checked(returned: isize) -> Result<usize> {
    usize::try_from(returned).map_err(|_| Error::last_os_error())
}

/// Up to `count` vectors over a buffer: each but the last has `step` bytes.
fn vectors(data: *const libc::c_void, size: usize, count: usize, step: usize) -> Vec<libc::iovec> {
    let mut vectors = Vec::new();
    let mut at = 0;
    while at < size {
        let length = if vectors.len() + 1 == count { size - at } else { step.min(size - at) };
        let base = data.wrapping_byte_add(at).cast_mut();
        vectors.push(libc::iovec { iov_base: base, iov_len: length });
        at += length;
    }
    vectors
}

fn header(vectors: &mut [libc::iovec]) -> libc::msghdr {
    // SAFETY: all zeros is an empty header.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_iov = vectors.as_mut_ptr();
    message.msg_iovlen = vectors.len();
    message
}

fn two_messages(first: &mut [libc::iovec], second: &mut [libc::iovec]) -> [libc::mmsghdr; 2] {
    [first, second].map(|vectors| libc::mmsghdr { msg_hdr: header(vectors), msg_len: 0 })
}

/// Half of the bytes in each of two messages.
fn send_two(fd: RawFd, data: *const libc::c_void, size: usize) -> Result<usize> {
    let half = size / 2;
    let mut first = vectors(data, half, 2, 30);
    let mut second = vectors(data.wrapping_byte_add(half), size - half, 2, 30);
    let mut messages = two_messages(&mut first, &mut second);
    // SAFETY: two messages with vectors over the caller's buffer; all live through the call.
    let sent = checked(unsafe { libc::sendmmsg(fd, messages.as_mut_ptr(), 2, libc::MSG_NOSIGNAL) } as isize)?;
    // A message may be sent in part; what follows it would then be out of order, so the program
    // counts on room.
    Ok(messages[..sent].iter().map(|message| message.msg_len as usize).sum())
}

fn receive_two(fd: RawFd, data: *mut libc::c_void, size: usize) -> Result<usize> {
    let half = size / 2;
    let mut first = vectors(data, half, 2, 30);
    let mut second = vectors(data.wrapping_byte_add(half), size - half, 2, 30);
    let mut messages = two_messages(&mut first, &mut second);
    let flags = libc::MSG_WAITFORONE;
    // SAFETY: two messages with vectors over the caller's buffer; all live through the call.
    let got = unsafe { libc::recvmmsg(fd, messages.as_mut_ptr(), 2, flags, ptr::null_mut()) };
    let got = checked(got as isize)?;
    let lengths: Vec<_> = messages[..got].iter().map(|message| message.msg_len as usize).collect();
    if let [first, second] = lengths[..] {
        // Closes the hole behind a first message that was shorter than its buffer.
        let (from, to) = (data.wrapping_byte_add(half), data.wrapping_byte_add(first));
        // SAFETY: both ranges lie in the caller's buffer.
        unsafe { ptr::copy(from.cast::<u8>(), to.cast::<u8>(), second) };
    }
    Ok(lengths.iter().sum())
}

fn send_file(fd: RawFd, body: &[u8]) -> Result<()> {
    // SAFETY: the name is a C string; the descriptor is checked before it is owned.
    let file = unsafe { libc::memfd_create(c"body".as_ptr(), 0) };
    checked(file as isize)?;
    // SAFETY: nobody else owns the descriptor.
    let file = unsafe { OwnedFd::from_raw_fd(file) };
    // SAFETY: the body is read only.
    checked(unsafe { libc::write(file.as_raw_fd(), body.as_ptr().cast(), body.len()) })?;
    let mut offset: libc::off_t = 0;
    while (offset as usize) < body.len() {
        let left = body.len() - offset as usize;
        // SAFETY: the offset lives through the call.
        checked(unsafe { libc::sendfile(fd, file.as_raw_fd(), &raw mut offset, left) })?;
    }
    Ok(())
}

fn pipe() -> Result<[OwnedFd; 2]> {
    let mut ends = [0; 2];
    // SAFETY: two descriptors are written.
    checked(unsafe { libc::pipe2(ends.as_mut_ptr(), 0) } as isize)?;
    // SAFETY: nobody else owns the descriptors.
    Ok(ends.map(|end| unsafe { OwnedFd::from_raw_fd(end) }))
}

fn splice(from: RawFd, to: RawFd, size: usize) -> Result<usize> {
    // SAFETY: no offsets are given.
    checked(unsafe { libc::splice(from, ptr::null_mut(), to, ptr::null_mut(), size, 0) })
}

fn splice_out(fd: RawFd, body: &[u8]) -> Result<()> {
    let [read, write] = pipe()?;
    for piece in body.chunks(16_384) {
        // SAFETY: the piece is read only; a pipe has room for it.
        let mut left =
            checked(unsafe { libc::write(write.as_raw_fd(), piece.as_ptr().cast(), piece.len()) })?;
        while left > 0 {
            left -= splice(read.as_raw_fd(), fd, left)?;
        }
    }
    Ok(())
}

fn splice_in(fd: RawFd, size: usize) -> Result<usize> {
    let [read, write] = pipe()?;
    let moved = splice(fd, write.as_raw_fd(), size)?;
    let mut buffer = vec![0_u8; moved.max(1)];
    // SAFETY: the buffer has room for what is in the pipe.
    checked(unsafe { libc::read(read.as_raw_fd(), buffer.as_mut_ptr().cast(), moved) })
}

fn low_memory() -> Result<*mut u8> {
    let (protection, flags) =
        (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_32BIT);
    // SAFETY: a new mapping touches nothing that exists.
    let low = unsafe { libc::mmap(ptr::null_mut(), LOW_SIZE, protection, flags, -1, 0) };
    if low == libc::MAP_FAILED { Err(Error::last_os_error()) } else { Ok(low.cast()) }
}

/// `read` (3) or `write` (4) through the 32-bit interface; sets errno like libc.
fn int80(number: i64, fd: RawFd, buffer: *mut u8, size: usize) -> isize {
    let returned: i64;
    // SAFETY: the kernel reads or writes `size` bytes of a buffer below 4 GiB. rbx belongs to LLVM,
    // so it is swapped in and out; the 32-bit entry clobbers r8 to r11.
    unsafe {
        std::arch::asm!(
            "xchg rbx, {fd}",
            "int 0x80",
            "xchg rbx, {fd}",
            fd = inout(reg) i64::from(fd) => _,
            inout("rax") number => returned,
            in("rcx") buffer,
            in("rdx") size,
            out("r8") _, out("r9") _, out("r10") _, out("r11") _,
        );
    }
    // The 32-bit entry returns 32 bits.
    let returned = returned as i32;
    if returned < 0 {
        // SAFETY: it takes nothing and gives an address of this thread's.
        let errno = unsafe { libc::__errno_location() };
        // SAFETY: errno is this thread's own.
        unsafe { *errno = -returned };
        return -1;
    }
    returned as isize
}

fn length(buffer: &[u8]) -> u32 {
    u32::try_from(buffer.len()).unwrap_or(u32::MAX)
}
