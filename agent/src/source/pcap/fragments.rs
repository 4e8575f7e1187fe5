//! Puts fragmented IP datagrams together, a bounded number at a time (RFC 791 section 3.2, RFC 8200
//! section 4.5).

use std::{collections::HashMap, net::IpAddr};

use etherparse::{IpNumber, defrag::IpDefragBuf};

use super::ip::Fragment;

/// Most datagrams being put together; each has at most 64 KiB.
const MAX_DATAGRAMS: usize = 64;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Id {
    from: IpAddr,
    to: IpAddr,
    identification: u32,
    protocol: IpNumber,
}

#[derive(Debug, Default)]
pub(super) struct Fragments {
    datagrams: HashMap<Id, (u64, IpDefragBuf)>,
    begun: u64,
    /// Datagrams that will never be complete.
    pub(super) lost: u64,
}

impl Fragments {
    /// Takes one fragment; the whole payload if it was the last one missing.
    pub(super) fn add(&mut self, fragment: &Fragment<'_>) -> Option<Vec<u8>> {
        let part = fragment.part;
        let id = Id {
            from: part.from,
            to: part.to,
            identification: fragment.identification,
            protocol: fragment.protocol,
        };
        if part.bytes.len() < part.length {
            // The capture cut this off, and it will not come again. Counted once per datagram: here
            // with its last fragment, or when that one waits in vain.
            self.datagrams.remove(&id);
            self.lost += u64::from(!fragment.more);
            return None;
        }
        if !self.datagrams.contains_key(&id) {
            self.make_room();
            self.begun += 1;
            let buffer = IpDefragBuf::new(fragment.protocol, Vec::new(), Vec::new());
            self.datagrams.insert(id, (self.begun, buffer));
        }
        let (_, buffer) = self.datagrams.get_mut(&id)?;
        if buffer.add(fragment.offset, fragment.more, part.bytes).is_err() {
            self.datagrams.remove(&id);
            self.lost += 1;
            return None;
        }
        if !buffer.is_complete() {
            return None;
        }
        self.datagrams.remove(&id).map(|(_, buffer)| buffer.take_bufs().0)
    }

    /// The end of the capture.
    pub(super) fn finish(&mut self) {
        self.lost += self.datagrams.len() as u64;
        self.datagrams.clear();
    }

    /// The oldest one makes room: sooner or later its number is used again.
    fn make_room(&mut self) {
        if self.datagrams.len() < MAX_DATAGRAMS {
            return;
        }
        let oldest = self.datagrams.iter().min_by_key(|(_, (begun, _))| *begun).map(|(id, _)| *id);
        if let Some(id) = oldest {
            self.datagrams.remove(&id);
            self.lost += 1;
        }
    }
}
