//! The BPF object, loaded with the constants and map sizes that this kernel and these settings
//! give, and the log of its programs.

use std::{io, process};

use agent_common::{CAPTURE_MAX, CGROUP_RULES, MISSING, Tunables, report_listen};
use aya::{Ebpf, EbpfError, EbpfLoader};
use aya_log::EbpfLogger;

use super::{
    KernelError, Settings, attach_mode,
    btf::Btf,
    cgroup::{CgroupRoot, cgroup_id},
    offsets::offsets,
};
use crate::causes::{causes, with_causes};

/// The object that `build.rs` made of agent-ebpf.
pub(super) static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/wirespan-bpf"));

/// x86-64 kernels have stacks of four pages (THREAD_SIZE_ORDER 2,
/// <https://github.com/torvalds/linux/blob/v6.12/arch/x86/include/asm/page_64_types.h>).
const STACK_SIZE: u32 = 16 * 1024;

/// Whether the agent was built without its programs.
pub(super) const fn is_stub() -> bool {
    OBJECT.is_empty()
}

/// Reads the log of the programs.
pub(super) type Logger = EbpfLogger<TracingLog>;

pub(super) fn load(
    btf: &Btf,
    root: &CgroupRoot,
    settings: &Settings,
    ring_bytes: u32,
) -> Result<Ebpf, KernelError> {
    let offsets = offsets(btf)?;
    if offsets.sock_shutdown == MISSING {
        tracing::warn!(
            "this kernel's type information has no usable field sock.sk_shutdown: a call whose program gives up ends when TCP \
             closes the connection, maybe minutes later"
        );
    }
    let tunables = tunables(btf, root, settings);
    let log_level: u8 = if settings.verbose { aya_log_level() } else { 0 };
    EbpfLoader::new()
        .override_global("OFFSETS", bytemuck::bytes_of(&offsets), true)
        .override_global("TUNABLES", bytemuck::bytes_of(&tunables), true)
        .override_global(aya_log::LEVEL, &log_level, true)
        .map_max_entries("EVENTS", ring_bytes)
        .map_max_entries("CONNECTIONS", with_slack(settings.connections))
        .map_max_entries("CONTROLS", settings.connections)
        .load(OBJECT)
        .map_err(|error| {
            let text = with_causes(&error);
            if is_permission(&error) { KernelError::Permission(text) } else { KernelError::Load(text) }
        })
}

/// Whether the kernel has refused a system call for want of a privilege. aya has the errno as a
/// cause of its own errors.
fn is_permission(error: &EbpfError) -> bool {
    let errnos = causes(error).filter_map(|cause| cause.downcast_ref::<io::Error>()?.raw_os_error());
    errnos.into_iter().any(|errno| matches!(errno, libc::EPERM | libc::EACCES))
}

/// The pipeline evicts at its limit, a moment after the kernel has met the connections that reach
/// it. Until then the map needs room for as many more as the ring holds records of while the reader
/// waits for a processor. With 100,000 connections at once on two processors, an eighth was too
/// little.
const fn with_slack(connections: u32) -> u32 {
    connections.saturating_add(connections / 2).saturating_add(1_024)
}

/// `Level::Debug` of aya-log: everything that the programs say.
const fn aya_log_level() -> u8 {
    4
}

fn tunables(btf: &Btf, root: &CgroupRoot, settings: &Settings) -> Tunables {
    let helpers = ["bpf_task_pt_regs", "bpf_get_current_task_btf"];
    let (recvmsg_flags_slot, recvmsg_return_slot) = attach_mode::recvmsg_slots(btf);
    let mut tunables = Tunables {
        agent_pid: process::id(),
        capture_bytes: settings.capture_bytes.min(CAPTURE_MAX as u32),
        head_bytes: settings.head_bytes,
        padding: 0,
        has_task_pt_regs: u32::from(helpers.iter().all(|helper| btf.parameters(helper).is_some())),
        stack_size: STACK_SIZE,
        recvmsg_flags_slot,
        recvmsg_return_slot,
        report_listen: listen_reports(settings),
        no_exclude: u32::from(settings.no_exclude),
        report_exec: u32::from(settings.report_exec),
        ..Tunables::ZERO
    };
    let cgroups = settings.cgroups.iter().filter_map(|path| cgroup_id(root, path));
    for (index, (level, id)) in cgroups.take(CGROUP_RULES).enumerate() {
        tunables.cgroup_levels[index] = level;
        tunables.cgroup_ids[index] = id;
        tunables.cgroup_rules += 1;
    }
    for (slot, port) in tunables.ports.iter_mut().zip(&settings.ports) {
        *slot = u32::from(*port);
    }
    tunables
}

const fn listen_reports(settings: &Settings) -> u32 {
    match (settings.excludes_listeners, settings.report_listen) {
        (true, _) => report_listen::ALL,
        (false, true) => report_listen::UNDECIDED,
        (false, false) => report_listen::NONE,
    }
}

/// Hands the programs' log, which aya-log gives to the `log` crate, to tracing.
#[derive(Debug, Clone, Copy)]
pub(super) struct TracingLog;

impl log::Log for TracingLog {
    fn enabled(&self, _metadata: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        tracing::info!(target: "wirespan::bpf", "{}", record.args());
    }

    fn flush(&self) {}
}

pub(super) fn logger(ebpf: &mut Ebpf, verbose: bool) -> Option<Logger> {
    if !verbose {
        return None;
    }
    EbpfLogger::init_with_logger(ebpf, TracingLog)
        .inspect_err(|error| tracing::warn!("the programs' log cannot be read: {error}"))
        .ok()
}
