//! The TCP connections that exist already: a netlink SOCK_DIAG dump inside the network namespace of
//! a process.
//!
//! The dump is more than a list. The kernel gives a cookie to every socket that it shows
//! (`sock_diag_save_cookie`, <https://github.com/torvalds/linux/blob/v6.12/net/core/sock_diag.c>),
//! and that cookie is the identity which the BPF programs read from then on. Format: sock_diag(7),
//! structures of <https://github.com/torvalds/linux/blob/v6.12/include/uapi/linux/inet_diag.h>.

use std::{
    fs::File,
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::fs::MetadataExt,
    },
    path::PathBuf,
    thread,
};

use bytemuck::{Pod, Zeroable};
use nix::{
    errno::Errno,
    sched::{CloneFlags, setns},
    sys::{
        socket::{
            AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, recv, sendto, setsockopt,
            socket, sockopt::ReceiveTimeout,
        },
        time::{TimeVal, TimeValLike},
    },
};

/// Most sockets of one namespace that are returned; all of them get their cookies.
pub const MAX_SOCKETS: usize = 262_144;

/// Seconds without a response after which a dump is given up.
const RESPONSE_SECONDS: i64 = 5;

/// The kernel fills at most 32 KiB per message of a dump (`netlink_dump`,
/// <https://github.com/torvalds/linux/blob/v6.12/net/netlink/af_netlink.c>).
const BUFFER: usize = 64 * 1024;

const SOCK_DIAG_BY_FAMILY: u16 = 20;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;

/// State of a TCP socket (<https://github.com/torvalds/linux/blob/v6.12/include/net/tcp_states.h>).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum TcpState {
    Established = 1,
    SynSent = 2,
    FinWait1 = 4,
    FinWait2 = 5,
    CloseWait = 8,
    LastAck = 9,
    Closing = 11,
}

impl TcpState {
    /// The states in which a socket can still carry bytes or belong to a process. LISTEN and CLOSE
    /// are no connections; SYN_RECV and TIME_WAIT are not sockets of a process.
    pub const ALL: [Self; 7] = [
        Self::Established,
        Self::SynSent,
        Self::FinWait1,
        Self::FinWait2,
        Self::CloseWait,
        Self::LastAck,
        Self::Closing,
    ];

    fn from_kernel(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|state| *state as u8 == number)
    }
}

/// One TCP connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DiagSocket {
    /// Never 0.
    pub cookie: u64,
    /// IPv4 in IPv6 (`::ffff:a.b.c.d`) is shown as IPv4.
    pub local: SocketAddr,
    pub peer: SocketAddr,
    /// Inode of the socket as in /proc/PID/fd; 0 when no process has it yet (before accept) or any
    /// more.
    pub inode: u32,
    pub state: TcpState,
    pub uid: u32,
}

/// The connections of one network namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dump {
    /// Inode of the namespace.
    pub network_namespace: u64,
    pub sockets: Vec<DiagSocket>,
    /// Sockets that were left out because of [`MAX_SOCKETS`].
    pub over_limit: u64,
}

/// Why there is no dump.
#[derive(Debug, thiserror::Error)]
pub enum SockDiagError {
    #[error("process {0} is gone, and its network namespace may be")]
    ProcessGone(u32),
    #[error(
        "no permission to enter the network namespace of process {pid}: {source}; run with CAP_SYS_ADMIN and CAP_SYS_PTRACE"
    )]
    Permission { pid: u32, source: io::Error },
    #[error("this kernel cannot list TCP sockets: {0}; load the modules tcp_diag and inet_diag")]
    Unsupported(Errno),
    #[error("listing TCP sockets failed in {syscall}: {errno}")]
    Netlink { syscall: &'static str, errno: Errno },
    #[error("the kernel's list of TCP sockets is cut short or of an unknown format")]
    Format,
    #[error("no thread could be started to enter a network namespace: {0}")]
    Thread(io::Error),
    #[error("cannot open {path}: {source}")]
    Namespace { path: String, source: io::Error },
}

/// Lists the TCP connections in the network namespace of `pid`. Blocks for the time of a dump, some
/// 1 µs per socket.
///
/// A thread of its own enters the namespace and ends with the dump, so that no other thread is ever
/// in a foreign one. The namespace of the agent itself needs no privilege.
///
/// # Errors
/// See [`SockDiagError`].
pub fn dump(pid: u32) -> Result<Dump, SockDiagError> {
    let path = PathBuf::from(format!("/proc/{pid}/ns/net"));
    let open_error = |source: io::Error| match source.raw_os_error() {
        Some(libc::ENOENT | libc::ESRCH) => SockDiagError::ProcessGone(pid),
        Some(libc::EACCES | libc::EPERM) => SockDiagError::Permission { pid, source },
        _ => SockDiagError::Namespace { path: path.display().to_string(), source },
    };
    let namespace = File::open(&path).map_err(open_error)?;
    let network_namespace = namespace.metadata().map_err(open_error)?.ino();
    let own = std::fs::metadata("/proc/thread-self/ns/net").map(|own| own.ino()).ok();

    let mut result = Dump { network_namespace, sockets: Vec::new(), over_limit: 0 };
    if own == Some(network_namespace) {
        dump_here(&mut result)?;
        return Ok(result);
    }
    let entering = thread::Builder::new().name("netns".to_owned()).spawn(move || {
        setns(&namespace, CloneFlags::CLONE_NEWNET).map_err(|errno| match errno {
            Errno::EPERM => SockDiagError::Permission { pid, source: errno.into() },
            _ => SockDiagError::Netlink { syscall: "setns", errno },
        })?;
        dump_here(&mut result)?;
        Ok(result)
    });
    let thread = entering.map_err(SockDiagError::Thread)?;
    thread.join().unwrap_or(Err(SockDiagError::Format))
}

/// Dumps the namespace that the calling thread is in.
fn dump_here(result: &mut Dump) -> Result<(), SockDiagError> {
    let netlink =
        socket(AddressFamily::Netlink, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::NetlinkSockDiag)
            .map_err(|errno| match errno {
                Errno::EPROTONOSUPPORT => SockDiagError::Unsupported(errno),
                _ => SockDiagError::Netlink { syscall: "socket", errno },
            })?;
    setsockopt(&netlink, ReceiveTimeout, &TimeVal::seconds(RESPONSE_SECONDS))
        .map_err(|errno| SockDiagError::Netlink { syscall: "setsockopt", errno })?;
    let mut buffer = vec![0; BUFFER];
    for family in [libc::AF_INET, libc::AF_INET6] {
        let request = Request::new(family);
        sendto(netlink.as_raw_fd(), bytemuck::bytes_of(&request), &NetlinkAddr::new(0, 0), MsgFlags::empty())
            .map_err(|errno| SockDiagError::Netlink { syscall: "sendto", errno })?;
        receive(&netlink, &mut buffer, result)?;
    }
    Ok(())
}

/// Reads responses until the kernel says that the dump is done.
fn receive(netlink: &OwnedFd, buffer: &mut [u8], result: &mut Dump) -> Result<(), SockDiagError> {
    loop {
        let length = match recv(netlink.as_raw_fd(), buffer, MsgFlags::empty()) {
            Ok(length) => length,
            Err(Errno::EINTR) => continue,
            Err(errno) => return Err(SockDiagError::Netlink { syscall: "recv", errno }),
        };
        let datagram = buffer.get(..length).ok_or(SockDiagError::Format)?;
        if take_datagram(datagram, result)? == Progress::Done {
            return Ok(());
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Progress {
    More,
    Done,
}

fn take_datagram(mut datagram: &[u8], result: &mut Dump) -> Result<Progress, SockDiagError> {
    if datagram.is_empty() {
        return Err(SockDiagError::Format);
    }
    while !datagram.is_empty() {
        let header: Header = head(datagram)?;
        let length = usize::try_from(header.length).map_err(|_| SockDiagError::Format)?;
        let payload = datagram.get(size_of::<Header>()..length).ok_or(SockDiagError::Format)?;
        match header.kind {
            NLMSG_DONE => return Ok(Progress::Done),
            NLMSG_ERROR => return Err(refusal(head(payload)?)),
            SOCK_DIAG_BY_FAMILY => take_socket(&head(payload)?, result),
            _ => {}
        }
        // Messages are aligned to 4 bytes (NLMSG_ALIGN).
        datagram = datagram.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    Ok(Progress::More)
}

fn refusal(negative_errno: i32) -> SockDiagError {
    match Errno::from_raw(negative_errno.saturating_neg()) {
        errno @ (Errno::ENOENT | Errno::EINVAL | Errno::EOPNOTSUPP) => SockDiagError::Unsupported(errno),
        errno => SockDiagError::Netlink { syscall: "dump", errno },
    }
}

fn take_socket(message: &Message, result: &mut Dump) {
    // A state that was not asked for, or a socket without a cookie: nothing to trace.
    let Some(state) = TcpState::from_kernel(message.state) else { return };
    let cookie = u64::from(message.id.cookie[1]) << 32 | u64::from(message.id.cookie[0]);
    if cookie == 0 {
        return;
    }
    if result.sockets.len() >= MAX_SOCKETS {
        result.over_limit += 1;
        return;
    }
    let address = |bytes: &[u8; 16], port: u16| {
        let ip = if i32::from(message.family) == libc::AF_INET {
            let [a, b, c, d, ..] = *bytes;
            IpAddr::from(Ipv4Addr::new(a, b, c, d))
        } else {
            IpAddr::from(Ipv6Addr::from(*bytes)).to_canonical()
        };
        SocketAddr::new(ip, u16::from_be(port))
    };
    result.sockets.push(DiagSocket {
        cookie,
        local: address(&message.id.source, message.id.source_port),
        peer: address(&message.id.destination, message.id.destination_port),
        inode: message.inode,
        state,
        uid: message.uid,
    });
}

fn head<T: Pod>(bytes: &[u8]) -> Result<T, SockDiagError> {
    bytes.get(..size_of::<T>()).map(bytemuck::pod_read_unaligned).ok_or(SockDiagError::Format)
}

/// struct nlmsghdr.
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct Header {
    length: u32,
    kind: u16,
    flags: u16,
    sequence: u32,
    port: u32,
}

/// struct inet_diag_sockid. Ports and addresses are in network order; the cookie's low half comes
/// first.
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct SocketId {
    source_port: u16,
    destination_port: u16,
    source: [u8; 16],
    destination: [u8; 16],
    interface: u32,
    cookie: [u32; 2],
}

/// struct nlmsghdr and struct inet_diag_req_v2.
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct Request {
    header: Header,
    family: u8,
    protocol: u8,
    extensions: u8,
    padding: u8,
    /// Bit n asks for sockets in state n.
    states: u32,
    id: SocketId,
}

/// struct inet_diag_msg.
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct Message {
    family: u8,
    state: u8,
    timer: u8,
    retransmits: u8,
    id: SocketId,
    expires: u32,
    receive_queue: u32,
    send_queue: u32,
    uid: u32,
    inode: u32,
}

const _: () = assert!(size_of::<Header>() == 16);
const _: () = assert!(size_of::<SocketId>() == 48);
const _: () = assert!(size_of::<Request>() == 72);
const _: () = assert!(size_of::<Message>() == 72);

impl Request {
    fn new(family: i32) -> Self {
        let mut request = Self::zeroed();
        request.header.length = u32::try_from(size_of::<Self>()).unwrap_or(u32::MAX);
        request.header.kind = SOCK_DIAG_BY_FAMILY;
        request.header.flags = (libc::NLM_F_REQUEST | libc::NLM_F_DUMP).unsigned_abs() as u16;
        request.family = family.unsigned_abs() as u8;
        request.protocol = libc::IPPROTO_TCP.unsigned_abs() as u8;
        request.states = TcpState::ALL.iter().fold(0, |bits, state| bits | 1 << *state as u8);
        request
    }
}

#[cfg(test)]
mod tests {
    use std::{
        net::{TcpListener, TcpStream},
        os::unix::fs::MetadataExt,
        process::{Child, Command, Stdio},
    };

    use proptest::prelude::*;

    use super::*;

    fn inode(socket: &TcpStream) -> u32 {
        let path = format!("/proc/self/fd/{}", socket.as_raw_fd());
        u32::try_from(std::fs::metadata(path).unwrap().ino()).unwrap()
    }

    fn cookie(socket: &TcpStream) -> u64 {
        socket2::SockRef::from(socket).cookie().unwrap()
    }

    #[test]
    fn real_connections_have_the_cookies_that_the_kernel_knows() {
        for (listen, connect) in [("127.0.0.1:0", "127.0.0.1"), ("[::1]:0", "::1"), ("[::]:0", "127.0.0.1")] {
            let listener = TcpListener::bind(listen).unwrap();
            let port = listener.local_addr().unwrap().port();
            let client = TcpStream::connect((connect, port)).unwrap();
            let (server, _) = listener.accept().unwrap();

            // The dump comes first: it makes the cookies.
            let dump = dump(std::process::id()).unwrap();
            for (socket, other) in [(&client, &server), (&server, &client)] {
                let found = dump.sockets.iter().find(|found| found.inode == inode(socket)).unwrap();
                let canonical =
                    |address: SocketAddr| SocketAddr::new(address.ip().to_canonical(), address.port());
                assert_eq!(found.cookie, cookie(socket));
                assert_eq!(found.local, canonical(socket.local_addr().unwrap()));
                assert_eq!(found.peer, canonical(other.local_addr().unwrap()));
                assert_eq!((found.state, found.uid), (TcpState::Established, 0));
            }
            assert!(dump.sockets.iter().all(|socket| socket.local.port() != port || socket.peer.port() != 0));
            assert_eq!(dump.over_limit, 0);
        }
    }

    #[test]
    fn half_closed_connections_and_such_that_wait_for_accept_are_found() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let client = TcpStream::connect(address).unwrap();
        client.shutdown(std::net::Shutdown::Write).unwrap();
        // The FIN and its acknowledgement take time, on loopback too.
        let (of_server, of_client) = loop {
            let found = dump(std::process::id()).unwrap().sockets;
            let of_server = *found.iter().find(|socket| socket.local == address).unwrap();
            let of_client = *found.iter().find(|socket| socket.peer == address).unwrap();
            if (of_server.state, of_client.state) == (TcpState::CloseWait, TcpState::FinWait2) {
                break (of_server, of_client);
            }
        };
        assert_eq!((of_server.inode, of_client.inode), (0, inode(&client)));
        assert_eq!(of_client.cookie, cookie(&client));
    }

    /// A child that is killed when the test ends, however it ends.
    struct Killed(Child);

    impl Drop for Killed {
        fn drop(&mut self) {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }

    #[test]
    fn another_network_namespace_is_another_list() {
        // `unshare` is util-linux, which every Debian has; it wants root.
        let mut command = Command::new("unshare");
        command.args(["--net", "sh", "-c", "echo; exec sleep 600"]).stdout(Stdio::piped());
        let mut child = Killed(command.spawn().unwrap());
        // The program writes a line when it has entered its namespace.
        io::Read::read_exact(&mut child.0.stdout.take().unwrap(), &mut [0]).unwrap();

        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let here = dump(std::process::id()).unwrap();
        let there = dump(child.0.id()).unwrap();
        assert_ne!(there.network_namespace, here.network_namespace);
        assert!(here.sockets.iter().any(|socket| socket.inode == inode(&client)));
        assert_eq!(there.sockets, []);
    }

    #[test]
    fn a_process_that_is_gone_is_said_to_be() {
        let mut child = Command::new("true").spawn().unwrap();
        child.wait().unwrap();
        assert!(matches!(dump(child.id()), Err(SockDiagError::ProcessGone(pid)) if pid == child.id()));
    }

    proptest! {
        #[test]
        fn any_datagram_is_answered(bytes in proptest::collection::vec(any::<u8>(), 0..300), kind in 0_u16..22) {
            let mut result = Dump { network_namespace: 0, sockets: Vec::new(), over_limit: 0 };
            let _ = take_datagram(&bytes, &mut result);
            let mut plausible = bytes;
            if let Some(header) = plausible.get_mut(..6) {
                header[..4].copy_from_slice(&100_u32.to_ne_bytes());
                header[4..].copy_from_slice(&kind.to_ne_bytes());
            }
            let _ = take_datagram(&plausible, &mut result);
        }
    }
}
