//! Reads the ring: by a timer while it is busy, by epoll when it is idle. While the reader polls,
//! the programs wake nobody.

use std::{os::fd::AsFd as _, thread, time::Duration};

use agent_common::{IN, OUT, conn_flags, switch};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::{KernelSource, Notice, decode, pod::Plain};
use crate::event::{Closed, ConnectionId, Event, Layer, Timestamp};

/// How long events may gather while the ring is busy. 300,000 events/s of 200 bytes fill 120 KB of
/// it in this time.
const BUSY_PAUSE: Duration = Duration::from_millis(2);

/// Rounds without an event after which the reader sleeps in epoll.
const QUIET_ROUNDS: u32 = 5;

/// Most records taken in one round, so that ticks and signals come in between.
const ROUND: usize = 8192;

/// BPF_RINGBUF_HDR_SZ (<https://github.com/torvalds/linux/blob/v6.12/include/uapi/linux/bpf.h>):
/// bytes that the kernel puts before each record.
const RECORD_HEADER: u64 = 8;

/// What one round brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Batch {
    pub records: usize,
    /// The ring was empty at the end: everything that happened before this round has been
    /// delivered.
    pub caught_up: bool,
}

/// The ring at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fill {
    pub used: u64,
    pub size: u64,
}

impl KernelSource {
    /// Delivers what is in the ring, at most a round of it.
    pub fn drain(&mut self, sink: &mut dyn FnMut(Notice<'_>)) -> Batch {
        let mut records = 0;
        while records < ROUND {
            let Some(item) = self.ring.next() else {
                return self.drained(records);
            };
            records += 1;
            self.round_bytes += (item.len() as u64 + RECORD_HEADER).next_multiple_of(8);
            match decode(&item) {
                Some(notice) => sink(notice),
                None => self.undecodable += 1,
            }
        }
        self.most_bytes = self.most_bytes.max(self.round_bytes);
        Batch { records, caught_up: false }
    }

    /// The ring at its fullest since the last question.
    pub fn fill(&mut self) -> Fill {
        Fill { used: std::mem::take(&mut self.most_bytes), size: u64::from(self.ring_bytes()) }
    }

    fn drained(&mut self, records: usize) -> Batch {
        self.most_bytes = self.most_bytes.max(std::mem::take(&mut self.round_bytes));
        self.quiet_rounds = if records == 0 { self.quiet_rounds.saturating_add(1) } else { 0 };
        if let Some(logger) = &mut self.logger {
            logger.flush();
        }
        Batch { records, caught_up: true }
    }

    /// Waits for events: a short pause while the ring is busy, otherwise until a program wakes the
    /// reader or `most` has passed.
    pub fn wait(&mut self, most: Duration) {
        if self.quiet_rounds < QUIET_ROUNDS {
            thread::sleep(BUSY_PAUSE.min(most));
            return;
        }
        // From here on a record wakes the reader. One that came before is seen by poll itself,
        // which looks into the ring.
        if self.switches.set(switch::READER_SLEEPS, switch::ON).is_err() {
            thread::sleep(BUSY_PAUSE);
            return;
        }
        let timeout = PollTimeout::try_from(most).unwrap_or(PollTimeout::from(100u8));
        let mut ready = [PollFd::new(self.ring.as_fd(), PollFlags::POLLIN)];
        // After EINTR as after a timeout the reader looks again.
        let _ready = poll(&mut ready, timeout);
        drop(self.switches.set(switch::READER_SLEEPS, switch::OFF));
    }

    /// Connections whose end found no room in the ring, read from the map and then removed. To be
    /// used when the counter of such ends has risen.
    pub fn sweep_closed(&mut self, at: Timestamp) -> Vec<Event<'static>> {
        let ended: Vec<(u64, agent_common::Connection)> = self
            .connections
            .iter()
            .filter_map(Result::ok)
            .filter(|(_, Plain(state))| state.flags & conn_flags::CLOSED != 0)
            .map(|(cookie, Plain(state))| (cookie, state))
            .collect();
        ended
            .into_iter()
            .map(|(cookie, state)| {
                drop(self.connections.remove(&cookie));
                Event::Closed(Closed {
                    at,
                    connection: ConnectionId(cookie),
                    layer: Layer::Wire,
                    errno: state.errno,
                    observed: [OUT, IN].map(|d| {
                        state.next[d].wrapping_sub(state.base[d]).wrapping_sub(agent_common::FIRST_POSITION)
                    }),
                    dropped: state.dropped,
                    skipped: state.skipped,
                })
            })
            .collect()
    }

    /// Records that could not be decoded: must stay 0.
    #[must_use]
    pub const fn undecodable(&self) -> u64 {
        self.undecodable
    }
}
