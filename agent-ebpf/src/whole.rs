//! System calls of which more is captured than their first and last bytes, and records that found no
//! room. Both are rare: global functions (`no_mangle`, numbers only), which the verifier checks once
//! by themselves, and whose stack the sends and receives do not carry.

use agent_common::{FIRST_POSITION, transfer_flags};

use crate::{
    connection, framing,
    heads::{self, capture},
    maps::{CONNECTIONS, SCRATCH},
    pieces, record, selected,
};

/// Results of [`put_whole`].
pub(crate) const NOT_NEEDED: u32 = 0;
pub(crate) const PUT: u32 = 1;
const LOST: u32 = 2;

/// Puts a system call of `length` bytes in pieces if that is needed, by its first `size` bytes, which
/// are in the scratch. Bytes behind the last piece are truncated. `asked`: the directions that, as
/// the agent says, are framed by chunks.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn put_whole(slot: u32, size: u32, length: u32, asked: u32, cookie: u64) -> u32 {
    let how = framing::how(slot, size, length, u64::from(asked), cookie);
    if how == capture::ENDS {
        return NOT_NEEDED;
    }
    record::complete(slot);
    let Some(scratch) = SCRATCH.get_ptr_mut(slot) else { return LOST };
    // SAFETY: the per-CPU scratch of this direction; nothing else writes it until this program
    // ends.
    let (position, flags) =
        unsafe { ((*scratch).record.transfer.position, (*scratch).record.transfer.header.flags) };
    let plan = pieces::Plan { length, most: size, how, flags: flags & transfer_flags::FIN };
    let lost = pieces::put_all(scratch, slot, &plan);
    if how == capture::HEAD {
        heads::conclude(slot, cookie, length);
    }
    if lost.records != 0 {
        mark_loss(cookie, slot, lost.bytes, lost.records, position);
    }
    if lost.rest == 0 || record::put_rest(slot, lost.rest, u32::from(plan.flags)) != 0 {
        return PUT;
    }
    mark_loss(cookie, slot, lost.rest, 1, position);
    LOST
}

/// Records of the current process found no room, with bytes of a system call at `position`. If it
/// began before the connection was first observed, its bytes may not be among the observed ones, and
/// are not counted here: those of them that were observed show as unseen.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn mark_loss(cookie: u64, slot: u32, bytes: u32, records: u32, position: u64) -> u32 {
    if position >= FIRST_POSITION
        && let Some(state) = CONNECTIONS.get_ptr_mut(cookie)
    {
        let direction = (slot & 1) as usize;
        // SAFETY: an entry of CONNECTIONS; see `connection::Traced`.
        connection::atomic_add(unsafe { &raw mut (*state).dropped[direction] }, u64::from(bytes));
    }
    selected::count_lost_records(crate::context::Actor::current().pid, records)
}
