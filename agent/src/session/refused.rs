//! Drops the events of processes that the rules turned out not to select. The kernel traces a new
//! process until the rules have decided. What the process did meanwhile is in the ring, behind the
//! record that led to the decision.

use rustc_hash::FxHashMap;

use crate::event::{ConnectionId, Event, Timestamp};

/// When the kernel stopped tracing it; `None`: the kernel still has to be asked to.
type Since = Option<Timestamp>;

#[derive(Debug)]
struct Process {
    since: Since,
    /// The rules could not decide, because the process was gone.
    unjudged: bool,
}

/// What becomes of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    Pass,
    Drop,
    /// Drop it, and have the kernel forget the connection: a traced process that uses the
    /// connection then reports it as opened.
    Release(ConnectionId),
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Refused {
    processes: FxHashMap<u32, Process>,
    connections: FxHashMap<ConnectionId, Since>,
    unjudged_processes: u64,
    unjudged_connections: u64,
}

impl Refused {
    /// From now on the events of `pid` are dropped.
    pub(super) fn refuse(&mut self, pid: u32, unjudged: bool) {
        self.unjudged_processes += u64::from(unjudged);
        self.processes.insert(pid, Process { since: None, unjudged });
    }

    /// The process is traced after all; `true`: the kernel may have been asked not to.
    pub(super) fn accept(&mut self, pid: u32) -> bool {
        self.processes.remove(&pid).is_some()
    }

    /// Whether the events of `pid` are dropped.
    pub(super) fn is_refused(&self, pid: u32) -> bool {
        self.processes.contains_key(&pid)
    }

    /// The kernel was asked at `at` not to trace the process.
    pub(super) fn announced(&mut self, pid: u32, at: Timestamp) {
        if let Some(process) = self.processes.get_mut(&pid) {
            process.since = Some(at);
        }
    }

    /// The kernel was asked at `at` to forget the connection.
    pub(super) fn released(&mut self, connection: ConnectionId, at: Timestamp) {
        if let Some(since) = self.connections.get_mut(&connection) {
            *since = Some(at);
        }
    }

    /// Every event from before `at` has been read.
    pub(super) fn read_up_to(&mut self, at: Timestamp) {
        let waits = |since: &Since| since.is_none_or(|since| since.0 >= at.0);
        self.processes.retain(|_, process| waits(&process.since));
        self.connections.retain(|_, since| waits(since));
    }

    /// What becomes of an event.
    pub(super) fn judge(&mut self, event: &Event<'_>) -> Fate {
        if self.processes.is_empty() && self.connections.is_empty() {
            return Fate::Pass;
        }
        match event {
            Event::Opened(opened) => match self.processes.get(&opened.thread.pid) {
                Some(process) => {
                    self.unjudged_connections += u64::from(process.unjudged);
                    self.connections.insert(opened.connection, None);
                    Fate::Release(opened.connection)
                }
                None => {
                    self.connections.remove(&opened.connection);
                    Fate::Pass
                }
            },
            Event::Connecting(connecting) => self.drop_if(self.is_refused(connecting.thread.pid)),
            Event::Transfer(transfer) => self.drop_if(
                self.is_refused(transfer.thread.pid) || self.connections.contains_key(&transfer.connection),
            ),
            Event::HalfClosed { connection, .. }
            | Event::Connected { connection, .. }
            | Event::Redirected { connection, .. } => self.drop_if(self.connections.contains_key(connection)),
            Event::LocalClosed(closed) => self.drop_if(self.connections.contains_key(&closed.connection)),
            Event::Released { connection, actor, .. } => {
                let forgotten =
                    connection.is_some_and(|connection| self.connections.contains_key(&connection));
                self.drop_if(forgotten || self.is_refused(actor.thread.pid))
            }
            Event::Closed(closed) => self.drop_if(self.connections.contains_key(&closed.connection)),
            _ => Fate::Pass,
        }
    }

    /// Processes that ended before the rules could decide, and their connections.
    pub(super) const fn unjudged(&self) -> (u64, u64) {
        (self.unjudged_processes, self.unjudged_connections)
    }

    const fn drop_if(&self, refused: bool) -> Fate {
        if refused { Fate::Drop } else { Fate::Pass }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Connecting, Endpoint, SocketId, Thread};

    fn connecting(pid: u32) -> Event<'static> {
        Event::Connecting(Connecting {
            at: Timestamp(1),
            socket: SocketId(1),
            thread: Thread { pid, tid: pid },
            peer: Endpoint::Inet(([127, 0, 0, 1], 80).into()),
            last_receive: None,
            task: None,
        })
    }

    #[test]
    fn a_process_is_refused_until_the_kernel_was_told_and_all_before_was_read() {
        let mut refused = Refused::default();
        assert_eq!(refused.judge(&connecting(5)), Fate::Pass);
        refused.refuse(5, false);
        assert_eq!((refused.judge(&connecting(5)), refused.judge(&connecting(6))), (Fate::Drop, Fate::Pass));
        refused.read_up_to(Timestamp(90));
        refused.announced(5, Timestamp(100));
        refused.read_up_to(Timestamp(100));
        assert_eq!(refused.judge(&connecting(5)), Fate::Drop, "records of that very moment");
        refused.read_up_to(Timestamp(101));
        assert_eq!(refused.judge(&connecting(5)), Fate::Pass);
        refused.refuse(5, true);
        assert!(refused.accept(5) && !refused.accept(5));
        assert_eq!(refused.judge(&connecting(5)), Fate::Pass);
        assert_eq!(refused.unjudged(), (1, 0));
    }
}
