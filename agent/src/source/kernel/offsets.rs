//! The table of kernel fields that the BPF programs read.

use agent_common::{MISSING, Offsets};
use thiserror::Error;

use super::btf::{Btf, Field};

/// A field without which nothing can be traced.
#[derive(Debug, Error, PartialEq, Eq)]
#[error(
    "this kernel's type information has no field {0}; wirespan does not know this kernel: please report its version"
)]
pub struct MissingField(pub String);

/// Fills in every offset. Optional fields stay [`MISSING`].
pub(super) fn offsets(btf: &Btf) -> Result<Offsets, MissingField> {
    let find = |name: &str, path: &[&str]| -> Result<Field, MissingField> {
        btf.field(name, path).ok_or_else(|| MissingField(format!("{name}.{}", path.join("."))))
    };
    let byte = |name: &str, path: &[&str]| find(name, path).map(Field::byte);
    let optional = |name: &str, path: &[&str]| btf.field(name, path).map_or(MISSING, Field::byte);
    let kern = find("sock", &["sk_kern_sock"])?;
    Ok(Offsets {
        sock_family: byte("sock_common", &["skc_family"])?,
        sock_num: byte("sock_common", &["skc_num"])?,
        sock_dport: byte("sock_common", &["skc_dport"])?,
        sock_daddr: byte("sock_common", &["skc_daddr"])?,
        sock_rcv_saddr: byte("sock_common", &["skc_rcv_saddr"])?,
        sock_v6_daddr: byte("sock_common", &["skc_v6_daddr"])?,
        sock_v6_rcv_saddr: byte("sock_common", &["skc_v6_rcv_saddr"])?,
        sock_cookie: byte("sock_common", &["skc_cookie"])?,
        sock_net: byte("sock_common", &["skc_net"])?,
        sock_protocol: byte("sock", &["sk_protocol"])?,
        sock_flags: byte("sock_common", &["skc_flags"])?,
        sock_err: byte("sock", &["sk_err"])?,
        sock_shutdown: btf.field("sock", &["sk_shutdown"]).and_then(low_bits).unwrap_or(MISSING),
        sock_user_data: optional("sock", &["sk_user_data"]),
        sock_kern_byte: kern.byte(),
        sock_kern_mask: 1 << (kern.bit % 8),
        net_inum: byte("net", &["ns", "inum"])?,
        ulp_ops: optional("inet_connection_sock", &["icsk_ulp_ops"]),
        write_seq: byte("tcp_sock", &["write_seq"])?,
        copied_seq: byte("tcp_sock", &["copied_seq"])?,
        rcv_nxt: byte("tcp_sock", &["rcv_nxt"])?,
        snd_nxt: byte("tcp_sock", &["snd_nxt"])?,
        bytes_received: optional("tcp_sock", &["bytes_received"]),
        bytes_sent: optional("tcp_sock", &["bytes_sent"]),
        bytes_retrans: optional("tcp_sock", &["bytes_retrans"]),
        socket_sk: byte("socket", &["sk"])?,
        task_flags: byte("task_struct", &["flags"])?,
        task_pid: byte("task_struct", &["pid"])?,
        task_tgid: byte("task_struct", &["tgid"])?,
        task_stack: byte("task_struct", &["stack"])?,
        task_status: byte("task_struct", &["thread_info", "status"])?,
        task_io_uring: optional("task_struct", &["io_uring"]),
        task_fsbase: optional("task_struct", &["thread", "fsbase"]),
        task_signal: byte("task_struct", &["signal"])?,
        signal_live: byte("signal_struct", &["live"])?,
        task_group_leader: optional("task_struct", &["group_leader"]),
        task_real_parent: optional("task_struct", &["real_parent"]),
        task_start_boottime: optional("task_struct", &["start_boottime"]),
        task_real_cred: optional("task_struct", &["real_cred"]),
        cred_euid: optional("cred", &["euid"]),
        task_mm: optional("task_struct", &["mm"]),
        mm_exe_file: optional("mm_struct", &["exe_file"]),
        mm_start_code: optional("mm_struct", &["start_code"]),
        mm_start_stack: optional("mm_struct", &["start_stack"]),
        mm_arg_start: optional("mm_struct", &["arg_start"]),
        mm_arg_end: optional("mm_struct", &["arg_end"]),
        binprm_filename: optional("linux_binprm", &["filename"]),
        binprm_file: byte("linux_binprm", &["file"])?,
        file_inode: byte("file", &["f_inode"])?,
        inode_ino: byte("inode", &["i_ino"])?,
        inode_sb: byte("inode", &["i_sb"])?,
        sb_dev: byte("super_block", &["s_dev"])?,
        task_cgroups: optional("task_struct", &["cgroups"]),
        css_set_cgroup: optional("css_set", &["dfl_cgrp"]),
        cgroup_level: optional("cgroup", &["level"]),
        cgroup_ancestor_ids: optional("cgroup", &["ancestor_ids"]),
    })
}

/// The byte whose lowest bits are this field: an ordinary member, or a bit field (before Linux 5.10
/// on some kernels) that begins with a byte.
const fn low_bits(field: Field) -> Option<u32> {
    if field.bit.is_multiple_of(8) { Some(field.byte()) } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::skipped::{Machine, skip};

    #[test]
    fn the_running_kernel_has_every_field() {
        let Ok(btf) = Btf::of_kernel() else {
            skip(Machine::Lacks, "this kernel has no BTF");
            return;
        };
        let offsets = offsets(&btf).expect("every required field");
        assert_ne!(offsets.bytes_received, MISSING);
        assert_ne!(offsets.sock_shutdown, MISSING);
        assert_ne!(offsets.sock_user_data, MISSING);
        assert!(![offsets.task_real_cred, offsets.cred_euid, offsets.mm_exe_file].contains(&MISSING));
        assert!(offsets.sock_kern_mask.is_power_of_two());
    }
}
