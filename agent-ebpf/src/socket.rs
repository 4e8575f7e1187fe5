//! After a send or a receive: the process and the connection decide first, then come the position,
//! the bytes, and one record.

use core::ptr::read_volatile;

use agent_common::{
    Connection, Control, Counter, Header, IN, LastReceive, OUT, conn_flags, kind, not_captured, switch,
    transfer_flags,
};
use aya_ebpf::{EbpfContext, programs::FExitContext};

use crate::{
    capture::{self, Captured, Scratch, Source},
    close,
    connection::{self, Traced},
    context::{Actor, distrust, meaningful_receive},
    count::Counts,
    heads,
    kernel::{self, Sock, Tcp},
    maps::{CONTROLS, SCRATCH, SWITCHES, tunable},
    record, ring, selected,
    task::Task,
    whole,
};

/// A send or receive that has just returned.
pub(crate) struct SocketIo {
    pub socket: Sock,
    /// Bytes, or a negative errno.
    pub result: i64,
    /// Receives: the MSG_* flags.
    pub flags: u32,
}

pub(crate) const MSG_OOB: u32 = 0x1;
pub(crate) const MSG_PEEK: u32 = 0x2;
pub(crate) const MSG_TRUNC: u32 = 0x20;
pub(crate) const MSG_ERRQUEUE: u32 = 0x2000;

/// A shorter system call is taken for one that leaves no head open.
const SMALL: u32 = 512;

/// Flags and result of tcp_recvmsg, whose argument list changed in 5.19.
#[inline(always)]
pub(crate) fn recvmsg_slots(ctx: &FExitContext) -> (u32, i64) {
    let flags = if tunable!(recvmsg_flags_slot) == 4 { slot::<4>(ctx) } else { slot::<3>(ctx) };
    let result = if tunable!(recvmsg_return_slot) == 6 { slot::<6>(ctx) } else { slot::<5>(ctx) };
    (flags as u32, i64::from(result as i32))
}

/// One word of the context. In assembly: the compiler would choose between two addresses and load
/// once, and the verifier refuses a load from a computed context address.
#[inline(always)]
fn slot<const N: usize>(ctx: &FExitContext) -> u64 {
    let value: u64;
    // SAFETY: a load from the context at a constant offset, which the verifier checks against the
    // function's type.
    unsafe {
        core::arch::asm!("{value} = *(u64 *)({ctx} + {offset})", value = out(reg) value, ctx = in(reg) ctx.as_ptr(), offset = const N * 8);
    }
    value
}

/// After a send.
#[inline(always)]
pub(crate) fn try_send<C: EbpfContext>(counts: Counts, ctx: &C, io: &SocketIo) -> Result<(), Counter> {
    if io.result <= 0 {
        return Ok(());
    }
    moved(counts, ctx, io, OUT)
}

/// After a receive.
#[inline(always)]
pub(crate) fn try_receive<C: EbpfContext>(counts: Counts, ctx: &C, io: &SocketIo) -> Result<(), Counter> {
    if io.result < 0 || io.flags & (MSG_PEEK | MSG_OOB | MSG_ERRQUEUE) != 0 {
        return Ok(());
    }
    moved(counts, ctx, io, IN)
}

/// After a system call that may have moved bytes of a traced connection.
#[inline(always)]
fn moved<C: EbpfContext>(counts: Counts, ctx: &C, io: &SocketIo, direction: usize) -> Result<(), Counter> {
    let actor = Actor::current();
    let process = selected::flags(actor.pid);
    if process == 0 {
        return Ok(());
    }
    let length = io.result as u32;
    let Some(traced) = connection::find(ctx, io.socket, length, direction)? else { return Ok(()) };
    let who = Who { counts, actor, process };
    let outcome =
        if direction == OUT { send(io, length, &who, &traced) } else { receive(io, length, &who, &traced) };
    close::drained(ctx, io.socket, &traced)?;
    outcome
}

/// Whose system call it is, with the counters of this CPU.
struct Who {
    counts: Counts,
    actor: Actor,
    /// Bits of `pid_flags`.
    process: u8,
}

#[inline(always)]
fn send(io: &SocketIo, length: u32, who: &Who, traced: &Traced) -> Result<(), Counter> {
    let tcp = Tcp::of(io.socket).ok_or(Counter::ReadFailed)?;
    let sequence = tcp.write_seq();
    if connection::stands(traced.state, OUT, sequence) {
        connection::redirected(io.socket, traced.cookie, traced.state, OUT, length);
    }
    let outcome = sent(tcp, sequence, length, who, traced);
    connection::advance(traced.state, OUT, sequence);
    outcome
}

#[inline(always)]
fn sent(tcp: Tcp, sequence: u32, length: u32, who: &Who, traced: &Traced) -> Result<(), Counter> {
    let Who { counts, actor, process } = *who;
    let end = connection::at(traced.state, OUT, sequence);
    let position = end.wrapping_sub(u64::from(length));
    let reason = distrust()?;
    let trusted = reason != not_captured::IO_URING;
    let mut task = if trusted { Task::current(actor) } else { Task::NONE };
    if !trusted {
        selected::set_rings(actor.pid, 1);
    }
    let last =
        meaningful_receive(process, if trusted { task.last_receive(actor) } else { LastReceive::NONE });
    let control = control(traced.cookie);
    if control.opaque != 0 {
        connection::carry(traced.state, last);
        return skip(traced.state, OUT, length, Counter::SkipOpaque);
    }
    if end <= control.skip_until[OUT] {
        return skip(traced.state, OUT, length, Counter::SkipBody);
    }
    let header = Header { not_captured: reason, ..ring::header(kind::TRANSFER, OUT as u8, length) };
    let event = Event {
        header,
        traced: *traced,
        position,
        actor,
        process,
        task: task.of_send(actor),
        last,
        msg_flags: 0,
        whole: control.whole,
    };
    emit(counts, tcp, &event)
}

#[inline(always)]
fn receive(io: &SocketIo, length: u32, who: &Who, traced: &Traced) -> Result<(), Counter> {
    let tcp = Tcp::of(io.socket).ok_or(Counter::ReadFailed)?;
    let mut copied = tcp.copied_seq();
    let mut fin = 0;
    if connection::jumps(traced.state, IN, copied, length) || length == 0 {
        if kernel::fin_consumed(io.socket, copied)? {
            copied = copied.wrapping_sub(1);
            fin = transfer_flags::FIN;
        }
        if length != 0 && connection::stands(traced.state, IN, copied) {
            connection::redirected(io.socket, traced.cookie, traced.state, IN, length);
        }
    }
    let outcome = received(io, tcp, (copied, fin), length, who, traced);
    connection::advance(traced.state, IN, copied);
    outcome
}

#[inline(always)]
fn received(
    io: &SocketIo,
    tcp: Tcp,
    (copied, fin): (u32, u8),
    length: u32,
    who: &Who,
    traced: &Traced,
) -> Result<(), Counter> {
    let Who { counts, actor, process } = *who;
    let end = connection::at(traced.state, IN, copied);
    if length == 0 {
        return if fin == 0 { Ok(()) } else { half_closed(traced, end) };
    }
    let position = end.wrapping_sub(u64::from(length));
    let reason = distrust()?;
    let control = control(traced.cookie);
    let opaque = control.opaque != 0;
    let receive = if reason == not_captured::IO_URING {
        LastReceive::NONE
    } else if opaque {
        connection::carried(traced.state)
    } else {
        LastReceive { cookie: traced.cookie, position: end.wrapping_sub(1) }
    };
    let task = if reason == not_captured::IO_URING {
        selected::set_rings(actor.pid, 1);
        Task::NONE
    } else {
        Task::current(actor)
    };
    task.set_last_receive(actor, receive);
    if opaque {
        return skip(traced.state, IN, length, Counter::SkipOpaque);
    }
    if end <= control.skip_until[IN] && fin == 0 {
        return skip(traced.state, IN, length, Counter::SkipBody);
    }
    if fin != 0 {
        connection::set_flags(traced.state, connection::flags(traced.state) | conn_flags::FIN_READ);
    }
    let header =
        Header { not_captured: reason, flags: fin, ..ring::header(kind::TRANSFER, IN as u8, length) };
    let event = Event {
        header,
        traced: *traced,
        position,
        actor,
        process,
        task: task.of_receive(),
        last: LastReceive::NONE,
        msg_flags: io.flags,
        whole: control.whole,
    };
    emit(counts, tcp, &event)
}

/// What the agent asks for this connection; not looked up until the agent has asked for anything.
/// No `Option`: before 5.12 the verifier refuses to copy the payload of a variant that is not set.
#[inline(always)]
fn control(cookie: u64) -> Control {
    let nothing = Control::nothing(cookie);
    if !SWITCHES.is_on(switch::CONTROLS_POSTED) {
        return nothing;
    }
    let Some(found) = CONTROLS.get_ptr(cookie) else { return nothing };
    // The kernel writes a change into another entry and gives the old one to the next change, which
    // may be another connection's, also while a program reads it (`alloc_htab_elem`,
    // <https://github.com/torvalds/linux/blob/v6.12/kernel/bpf/hashtab.c>). Taken for this
    // connection's, that change would hide a request. So the cookie, which is written first, is
    // read last. If it is another one, the system call makes a record that nobody needs.
    //
    // SAFETY: an entry stays readable for the run of the program.
    let control = unsafe {
        Control {
            skip_until: read_volatile(&raw const (*found).skip_until),
            opaque: read_volatile(&raw const (*found).opaque),
            whole: read_volatile(&raw const (*found).whole),
            cookie: read_volatile(&raw const (*found).cookie),
        }
    };
    if control.cookie == cookie { control } else { nothing }
}

/// No record for this system call.
#[inline(always)]
fn skip(state: *mut Connection, direction: usize, length: u32, why: Counter) -> Result<(), Counter> {
    // SAFETY: an entry of CONNECTIONS; see `connection::Traced`.
    connection::atomic_add(unsafe { &raw mut (*state).skipped[direction] }, u64::from(length));
    Err(why)
}

/// The reader has consumed the peer's FIN with a system call of its own.
#[inline(always)]
fn half_closed(traced: &Traced, position: u64) -> Result<(), Counter> {
    let flags = connection::flags(traced.state);
    if flags & conn_flags::FIN_READ != 0 {
        return Ok(());
    }
    connection::set_flags(traced.state, flags | conn_flags::FIN_READ);
    let dropped = close::half_closed_in(traced.cookie, position) != 0;
    if dropped { Err(Counter::DropHalfClosed) } else { Ok(()) }
}

/// Everything that a record says about a system call.
pub(crate) struct Event {
    pub header: Header,
    pub traced: Traced,
    pub position: u64,
    pub actor: Actor,
    /// Bits of `pid_flags`.
    pub process: u8,
    pub task: Task,
    pub last: LastReceive,
    msg_flags: u32,
    /// The directions that, as the agent says, are framed by chunks.
    whole: u64,
}

/// Captures what may be captured. Puts one record into the ring, or several for a system call that
/// is captured whole.
#[inline(always)]
fn emit(counts: Counts, tcp: Tcp, event: &Event) -> Result<(), Counter> {
    let direction = usize::from(event.header.direction) & 1;
    let slot = direction as u32;
    let scratch: *mut Scratch = SCRATCH.get_ptr_mut(slot).ok_or(Counter::ReadFailed)?;
    let length = event.header.length;
    record::begin(scratch, direction, event);
    let source = if event.header.not_captured != not_captured::NONE {
        Source::not_captured(event.header.not_captured)
    } else if tcp.upper_layer() {
        Source::not_captured(not_captured::UPPER_LAYER)
    } else {
        capture::locate(direction, event.msg_flags)?
    };
    let captured = capture::copy_payload(scratch, &source, slot, length);
    if captured.not_captured == not_captured::NONE && is_looked_at(scratch, event, captured.head) {
        match whole::put_whole(slot, captured.head, length, event.whole as u32, event.traced.cookie) {
            whole::NOT_NEEDED => {}
            whole::PUT => return Ok(()),
            _ => return Err(Counter::DropTransfer),
        }
    }
    put(counts, scratch, event, captured)
}

/// Whether more than the first bytes of the system call may be needed, or it may leave a head open.
/// Small ones hardly ever do, nor do those that end as a head does.
#[inline(always)]
fn is_looked_at(scratch: *const Scratch, event: &Event, head: u32) -> bool {
    let length = event.header.length;
    let direction = usize::from(event.header.direction) & 1;
    let flags = connection::flags(event.traced.state);
    let open = flags & conn_flags::HEAD_OUT << direction != 0;
    length > head || open || length >= SMALL && !heads::is_end_of_head(scratch, length)
}

/// Puts the record, with what was captured of the system call.
#[inline(always)]
fn put(counts: Counts, scratch: *mut Scratch, event: &Event, captured: Captured) -> Result<(), Counter> {
    let direction = usize::from(event.header.direction) & 1;
    let length = event.header.length;
    if record::put(scratch, direction, captured) {
        counts.add(Counter::Events, 1);
        counts.add(Counter::Bytes, u64::from(captured.head + captured.tail));
        return Ok(());
    }
    whole::mark_loss(event.traced.cookie, direction as u32, length, 1, event.position);
    Err(Counter::DropTransfer)
}
