//! Listening TCP sockets and the processes that hold them: for `port:` rules, and for the list of
//! what can be traced.

use std::{
    cell::{Cell, RefCell},
    io::{BufRead, BufReader, Read},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    rc::Rc,
    sync::Arc,
};

use rustc_hash::{FxHashMap, FxHashSet};

use super::{ProcError, ProcRoot, facts};

/// Most listening sockets of one network namespace that are read.
pub const MAX_LISTENING: usize = 65_536;

/// State LISTEN in /proc/net/tcp (TCP_LISTEN,
/// <https://github.com/torvalds/linux/blob/v6.12/include/net/tcp_states.h>).
const LISTEN: &str = "0A";

type ByInode = FxHashMap<u64, SocketAddr>;

/// The listening sockets of each network namespace, read when first needed. Use one value for one
/// operation: it never learns of later changes.
#[derive(Debug, Default)]
pub struct ListeningSockets {
    namespaces: RefCell<FxHashMap<u64, Rc<ByInode>>>,
    cut: Cell<u64>,
    /// A process and the port on which it begins to listen: the kernel reports it before the socket
    /// stands in its table.
    reported: Option<(u32, u16)>,
}

impl ListeningSockets {
    /// With the listener that the kernel has just reported.
    pub(crate) fn reported(pid: u32, port: u16) -> Self {
        Self { reported: Some((pid, port)), ..Self::default() }
    }

    /// Whether `pid` holds a socket that listens on `port`.
    pub(crate) fn listens_on(&self, proc: &ProcRoot, pid: u32, port: u16) -> Result<bool, ProcError> {
        Ok(self.is_reported(pid, port)
            || self.held(proc, pid)?.iter().any(|(_, address)| address.port() == port))
    }

    /// Whether the kernel has just reported that `pid` listens on `port`.
    pub(crate) fn is_reported(&self, pid: u32, port: u16) -> bool {
        self.reported == Some((pid, port))
    }

    /// Inode and address of each listening socket that `pid` holds.
    fn held(&self, proc: &ProcRoot, pid: u32) -> Result<Vec<(u64, SocketAddr)>, ProcError> {
        // Most processes have no socket at all: for them the table of the namespace is not read.
        let (sockets, cut) = proc.sockets(pid)?;
        self.cut.set(self.cut.get() + u64::from(cut));
        if sockets.is_empty() {
            return Ok(Vec::new());
        }
        let Some(listening) = self.of_namespace(proc, pid)? else { return Ok(Vec::new()) };
        Ok(sockets.into_iter().filter_map(|inode| Some((inode, *listening.get(&inode)?))).collect())
    }

    /// How often a limit cut a search: [`MAX_LISTENING`], or descriptors of one process.
    pub(crate) const fn cut(&self) -> u64 {
        self.cut.get()
    }

    fn of_namespace(&self, proc: &ProcRoot, pid: u32) -> Result<Option<Rc<ByInode>>, ProcError> {
        let Some(namespace) = proc.namespace(pid, "net")? else { return Ok(None) };
        if let Some(known) = self.namespaces.borrow().get(&namespace) {
            return Ok(Some(Rc::clone(known)));
        }
        let mut listening = ByInode::default();
        for table in ["tcp", "tcp6"] {
            if let Some(file) = proc.net_table(pid, table)? {
                let whole = read_table(file, &mut listening);
                self.cut.set(self.cut.get() + u64::from(!whole));
            }
        }
        let listening = Rc::new(listening);
        self.namespaces.borrow_mut().insert(namespace, Rc::clone(&listening));
        Ok(Some(listening))
    }
}

/// A process that listens, for the list that `wirespan trace` shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListeningProcess {
    pub pid: u32,
    pub executable: Arc<str>,
    pub service_name: Arc<str>,
    /// Sorted by port, then address; no address twice.
    pub addresses: Vec<SocketAddr>,
    /// Child processes that hold only listening sockets of this one: its workers.
    pub workers: usize,
}

/// All processes that listen on TCP, by lowest port, then pid. A child whose listening sockets are
/// all its parent's is counted as a worker of its parent. Unreadable processes are left out.
///
/// # Errors
/// When the process directory itself cannot be read.
pub fn listening_processes(proc: &ProcRoot) -> Result<Vec<ListeningProcess>, ProcError> {
    let sockets = ListeningSockets::default();
    let mut held: FxHashMap<u32, Vec<(u64, SocketAddr)>> = FxHashMap::default();
    for pid in proc.pids()? {
        match sockets.held(proc, pid) {
            Ok(of_pid) if !of_pid.is_empty() => drop(held.insert(pid, of_pid)),
            _ => {}
        }
    }

    let mut processes: Vec<ListeningProcess> = Vec::new();
    let mut workers_of: FxHashMap<u32, usize> = FxHashMap::default();
    for (&pid, own) in &held {
        let Ok(Some(facts)) = facts::read(proc, pid, None) else { continue };
        let parent = facts.parent_pid.unwrap_or(0);
        let is_worker = held.get(&parent).is_some_and(|parents| {
            let inodes: FxHashSet<u64> = parents.iter().map(|(inode, _)| *inode).collect();
            own.iter().all(|(inode, _)| inodes.contains(inode))
        });
        if is_worker {
            *workers_of.entry(parent).or_default() += 1;
            continue;
        }
        let mut addresses: Vec<SocketAddr> = own.iter().map(|(_, address)| *address).collect();
        addresses.sort_by_key(|address| (address.port(), address.ip()));
        addresses.dedup();
        processes.push(ListeningProcess {
            pid,
            executable: facts.executable,
            service_name: facts.service_name,
            addresses,
            workers: 0,
        });
    }
    for process in &mut processes {
        process.workers = workers_of.get(&process.pid).copied().unwrap_or(0);
    }
    processes.sort_by_key(|process| (process.addresses.first().map(SocketAddr::port), process.pid));
    Ok(processes)
}

/// Adds the listening sockets of a /proc/PID/net/tcp or tcp6 table (proc_pid_net(5)); false when
/// [`MAX_LISTENING`] cut it.
fn read_table(table: impl Read, listening: &mut ByInode) -> bool {
    for line in BufReader::new(table).lines().map_while(Result::ok) {
        if listening.len() >= MAX_LISTENING {
            return false;
        }
        listening.extend(listening_row(&line));
    }
    true
}

fn listening_row(line: &str) -> Option<(u64, SocketAddr)> {
    let mut fields = line.split_ascii_whitespace();
    let local = fields.nth(1)?;
    if fields.nth(1)? != LISTEN {
        return None;
    }
    let inode = fields.nth(5)?.parse().ok()?;
    let (address, port) = local.split_once(':')?;
    let address = match address.len() {
        8 => IpAddr::from(Ipv4Addr::from(word(address)?)),
        32 => {
            let mut bytes = [0; 16];
            for (index, part) in bytes.chunks_exact_mut(4).enumerate() {
                part.copy_from_slice(&word(address.get(index * 8..index * 8 + 8)?)?);
            }
            IpAddr::from(Ipv6Addr::from(bytes))
        }
        _ => return None,
    };
    Some((inode, SocketAddr::new(address, u16::from_str_radix(port, 16).ok()?)))
}

/// The kernel prints each 32-bit word of an address, which it keeps in network order, as a host
/// number.
fn word(digits: &str) -> Option<[u8; 4]> {
    Some(u32::from_str_radix(digits, 16).ok()?.to_ne_bytes())
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use proptest::prelude::*;

    use super::*;
    use crate::process::fake::{FakeProc, FakeProcess};

    #[test]
    fn rows_of_the_kernels_tables() {
        for (line, expected) in [
            (
                "   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 4711 1 0 100 0 0 10 0",
                Some((4711, "127.0.0.1:8080")),
            ),
            (
                "   1: 00000000000000000000000001000000:0050 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 12 1 0 100 0 0 10 0",
                Some((12, "[::1]:80")),
            ),
            (
                "   2: 0100007F:1F90 0100007F:A0B4 01 00000000:00000000 00:00000000 00000000  1000        0 4712 1 0",
                None,
            ),
            (
                "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode",
                None,
            ),
            ("", None),
        ] {
            let expected = expected.map(|(inode, address)| (inode, address.parse().unwrap()));
            assert_eq!(listening_row(line), expected, "{line}");
        }
    }

    proptest! {
        #[test]
        fn any_row_is_answered(line in "[ :0-9A-Fa-f\u{e9}]{0,200}") {
            let _ = listening_row(&line);
        }
    }

    #[test]
    fn workers_are_counted_with_their_parent() {
        let proc = FakeProc::new();
        let nginx = |pid, parent, sockets| FakeProcess {
            pid,
            parent,
            exe: "/usr/sbin/nginx",
            sockets,
            ..FakeProcess::default()
        };
        proc.add(&nginx(10, 1, &[7, 8]));
        proc.add(&nginx(11, 10, &[7, 8, 99]));
        proc.add(&nginx(12, 10, &[7]));
        proc.add(&FakeProcess {
            pid: 20,
            parent: 10,
            exe: "/usr/bin/api",
            sockets: &[30],
            ..FakeProcess::default()
        });
        proc.add(&FakeProcess { pid: 21, sockets: &[99], ..FakeProcess::default() });
        proc.listen(10, 8080, 7);
        proc.listen(10, 80, 8);
        proc.listen(10, 443, 30);

        let found = listening_processes(proc.root()).unwrap();
        let seen: Vec<_> =
            found.iter().map(|p| (p.pid, &*p.service_name, p.addresses.len(), p.workers)).collect();
        assert_eq!(seen, [(10, "nginx", 2, 2), (20, "api", 1, 0)]);
        assert_eq!(found[0].addresses[0].port(), 80);
    }

    #[test]
    fn a_real_listener_is_found() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let proc = ProcRoot::default();
        let own = std::process::id();
        assert!(ListeningSockets::default().listens_on(&proc, own, address.port()).unwrap());
        let found = listening_processes(&proc).unwrap();
        let this = found.iter().find(|process| process.pid == own).unwrap();
        assert!(this.addresses.contains(&address));
        drop(listener);
    }
}
