//! The BPF programs of wirespan: one thin entry per hook and nothing else. The work of a hook is in
//! the file of its concern.

#![no_std]
#![no_main]
#![feature(asm_experimental_arch)]
#![expect(unsafe_code, reason = "BPF programs read kernel memory through helpers and share maps")]
#![expect(
    clippy::multiple_unsafe_ops_per_block,
    reason = "a block reads several fields of one map entry, and one SAFETY line holds for all of them"
)]

mod capture;
mod close;
mod connect;
mod connection;
mod context;
mod count;
mod facts;
mod framing;
mod go;
mod heads;
mod kernel;
mod maps;
mod pieces;
mod process;
mod python;
mod record;
mod ring;
mod selected;
mod socket;
mod syscalls;
mod task;
mod threads;
mod whole;

use agent_common::Counter;
use aya_ebpf::{
    EbpfContext,
    macros::{btf_tracepoint, fexit, raw_tracepoint, sock_ops, uprobe},
    programs::{BtfTracePointContext, FExitContext, ProbeContext, RawTracePointContext, SockOpsContext},
};

use crate::{
    count::{finish, run},
    socket::SocketIo,
};

/// Linux 6.3 and later: after every send on any socket.
#[btf_tracepoint(function = "sock_send_length")]
pub(crate) fn sock_send_length(ctx: BtfTracePointContext) -> i32 {
    let io = SocketIo { socket: ctx.arg(0), result: i64::from(ctx.arg::<i32>(1)), flags: 0 };
    run(Counter::CallSend, |counts| socket::try_send(counts, &ctx, &io))
}

/// Linux 6.3 and later: after every receive on any socket.
#[btf_tracepoint(function = "sock_recv_length")]
pub(crate) fn sock_recv_length(ctx: BtfTracePointContext) -> i32 {
    let io = SocketIo { socket: ctx.arg(0), result: i64::from(ctx.arg::<i32>(1)), flags: ctx.arg(2) };
    run(Counter::CallReceive, |counts| socket::try_receive(counts, &ctx, &io))
}

/// Before 6.3: `int tcp_sendmsg(struct sock *sk, struct msghdr *msg, size_t size)`.
#[fexit]
pub(crate) fn tcp_sendmsg(ctx: FExitContext) -> i32 {
    let io = SocketIo { socket: ctx.arg(0), result: i64::from(ctx.arg::<i32>(3)), flags: 0 };
    run(Counter::CallSend, |counts| socket::try_send(counts, &ctx, &io))
}

/// Before 6.3: `int tcp_recvmsg(sk, msg, len, [nonblock,] flags, addr_len)`; the slots come from
/// BTF.
#[fexit]
pub(crate) fn tcp_recvmsg(ctx: FExitContext) -> i32 {
    let (flags, result) = socket::recvmsg_slots(&ctx);
    let io = SocketIo { socket: ctx.arg(0), result, flags };
    run(Counter::CallReceive, |counts| {
        let outcome = socket::try_receive(counts, &ctx, &io);
        connection::note_inner_receive(io.socket);
        outcome
    })
}

/// Before 6.3, a socket in a sockmap:
/// `int tcp_bpf_sendmsg(struct sock *sk, struct msghdr *msg, size_t size)`. Where the socket has
/// left the sockmap, tcp_sendmsg runs inside and reports the bytes.
#[fexit]
pub(crate) fn tcp_bpf_sendmsg(ctx: FExitContext) -> i32 {
    let io = SocketIo { socket: ctx.arg(0), result: i64::from(ctx.arg::<i32>(3)), flags: 0 };
    if !kernel::replaced(io.socket) {
        return 0;
    }
    run(Counter::CallSend, |counts| socket::try_send(counts, &ctx, &io))
}

/// Before 6.3, a socket in a sockmap:
/// `int tcp_bpf_recvmsg(sk, msg, len, [nonblock,] flags, addr_len)`. It enters tcp_recvmsg for
/// bytes that came by TCP.
#[fexit]
pub(crate) fn tcp_bpf_recvmsg(ctx: FExitContext) -> i32 {
    let (flags, result) = socket::recvmsg_slots(&ctx);
    let io = SocketIo { socket: ctx.arg(0), result, flags };
    if !kernel::replaced(io.socket) || connection::take_inner_receive(io.socket) {
        return 0;
    }
    run(Counter::CallReceive, |counts| socket::try_receive(counts, &ctx, &io))
}

/// Before 6.3:
/// `int tcp_sendpage(struct sock *sk, struct page *page, int offset, size_t size, int flags)`:
/// sendfile, splice.
#[fexit]
pub(crate) fn tcp_sendpage(ctx: FExitContext) -> i32 {
    let io = SocketIo { socket: ctx.arg(0), result: i64::from(ctx.arg::<i32>(5)), flags: 0 };
    run(Counter::CallSend, |counts| socket::try_send(counts, &ctx, &io))
}

/// Before 6.3:
/// `ssize_t tcp_splice_read(struct socket *sock, loff_t *ppos, struct pipe_inode_info *pipe, size_t len, unsigned int flags)`.
#[fexit]
pub(crate) fn tcp_splice_read(ctx: FExitContext) -> i32 {
    let socket = kernel::socket_of(ctx.arg(0));
    if socket == 0 {
        return 0;
    }
    let io = SocketIo { socket, result: ctx.arg::<i64>(5), flags: 0 };
    run(Counter::CallReceive, |counts| socket::try_receive(counts, &ctx, &io))
}

/// Every change of a TCP state: connects, half-closes, ends, listening.
#[raw_tracepoint(tracepoint = "inet_sock_set_state")]
pub(crate) fn inet_sock_set_state(ctx: RawTracePointContext) -> i32 {
    finish(Counter::CallState, connection::try_state(&ctx, ctx.arg(0), ctx.arg(1), ctx.arg(2)))
}

/// A TCP socket is destroyed: `(struct sock *sk)`.
#[raw_tracepoint(tracepoint = "tcp_destroy_sock")]
pub(crate) fn tcp_destroy_sock(ctx: RawTracePointContext) -> i32 {
    finish(Counter::CallDestroy, close::try_destroy(&ctx, ctx.arg(0)))
}

/// Makes the socket cookie at connect and at established; returns 1 and never writes `reply`.
#[sock_ops]
pub(crate) fn sock_cookie(ctx: SockOpsContext) -> u32 {
    connection::make_cookie(&ctx);
    1
}

/// A new process or thread.
#[raw_tracepoint(tracepoint = "sched_process_fork")]
pub(crate) fn sched_process_fork(ctx: RawTracePointContext) -> i32 {
    finish(Counter::CallFork, process::try_fork(ctx.arg(1)))
}

/// A process has executed another program.
#[raw_tracepoint(tracepoint = "sched_process_exec")]
pub(crate) fn sched_process_exec(ctx: RawTracePointContext) -> i32 {
    finish(Counter::CallExec, process::try_exec(ctx.arg(2)))
}

/// A thread ends.
#[raw_tracepoint(tracepoint = "sched_process_exit")]
pub(crate) fn sched_process_exit(ctx: RawTracePointContext) -> i32 {
    let _: *mut core::ffi::c_void = ctx.as_ptr();
    finish(Counter::CallExit, process::try_exit())
}

/// A process was moved to another cgroup: `(dst_cgrp, path, task, threadgroup)`.
#[raw_tracepoint(tracepoint = "cgroup_attach_task")]
pub(crate) fn cgroup_attach_task(ctx: RawTracePointContext) -> i32 {
    finish(Counter::CallCgroup, process::try_cgroup(ctx.arg(2)))
}

/// Go's `net/http` hands a request to the goroutine that writes it.
#[uprobe]
pub(crate) fn go_round_trip(ctx: ProbeContext) -> i32 {
    finish(Counter::CallRoundTrip, go::try_round_trip(&ctx))
}

/// Go's `net/http` begins to write a request.
#[uprobe]
pub(crate) fn go_request_write(ctx: ProbeContext) -> i32 {
    finish(Counter::CallRequestWrite, go::try_request_write(&ctx))
}

#[cfg(not(test))]
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    // No panic path survives: the verifier refuses a program that has one.
    loop {}
}

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
