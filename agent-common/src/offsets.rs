//! Constants of the running kernel and of this run, passed as read-only globals. The verifier sees
//! them as constants: it skips a branch on an absent feature, with the helper that the branch
//! uses.

/// Value of an offset that the running kernel's BTF does not have.
pub const MISSING: u32 = u32::MAX;

/// Most cgroup rules that the kernel checks itself.
pub const CGROUP_RULES: usize = 8;

/// Most port rules that the kernel checks itself.
pub const PORT_RULES: usize = 8;

/// Byte offsets of kernel struct fields, from BTF. `MISSING` where the kernel has no such field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "user", derive(bytemuck::Pod, bytemuck::Zeroable))]
#[repr(C)]
pub struct Offsets {
    // struct sock (and its first member, struct sock_common)
    pub sock_family: u32,
    pub sock_num: u32,
    pub sock_dport: u32,
    pub sock_daddr: u32,
    pub sock_rcv_saddr: u32,
    pub sock_v6_daddr: u32,
    pub sock_v6_rcv_saddr: u32,
    pub sock_cookie: u32,
    pub sock_net: u32,
    pub sock_protocol: u32,
    pub sock_flags: u32,
    pub sock_err: u32,
    /// Byte whose two lowest bits are `sk_shutdown`.
    pub sock_shutdown: u32,
    pub sock_user_data: u32,
    /// Byte and mask of the one-bit field `sk_kern_sock`.
    pub sock_kern_byte: u32,
    pub sock_kern_mask: u32,
    pub net_inum: u32,
    // struct inet_connection_sock, struct tcp_sock
    pub ulp_ops: u32,
    pub write_seq: u32,
    pub copied_seq: u32,
    pub rcv_nxt: u32,
    pub snd_nxt: u32,
    pub bytes_received: u32,
    pub bytes_sent: u32,
    pub bytes_retrans: u32,
    // struct socket
    pub socket_sk: u32,
    // struct task_struct
    pub task_flags: u32,
    pub task_pid: u32,
    pub task_tgid: u32,
    pub task_stack: u32,
    /// `thread_info.status` within task_struct.
    pub task_status: u32,
    pub task_io_uring: u32,
    /// `thread.fsbase` within task_struct (x86-64).
    pub task_fsbase: u32,
    pub task_signal: u32,
    pub signal_live: u32,
    // Facts of a process that records report; MISSING where the kernel does not have them
    pub task_group_leader: u32,
    pub task_real_parent: u32,
    pub task_start_boottime: u32,
    pub task_real_cred: u32,
    pub cred_euid: u32,
    pub task_mm: u32,
    pub mm_exe_file: u32,
    pub mm_start_code: u32,
    pub mm_start_stack: u32,
    pub mm_arg_start: u32,
    pub mm_arg_end: u32,
    pub binprm_filename: u32,
    // struct linux_binprm, file, inode, super_block
    pub binprm_file: u32,
    pub file_inode: u32,
    pub inode_ino: u32,
    pub inode_sb: u32,
    pub sb_dev: u32,
    // task_struct → css_set → cgroup, before 6.1; later kernels have a helper for it
    pub task_cgroups: u32,
    pub css_set_cgroup: u32,
    pub cgroup_level: u32,
    pub cgroup_ancestor_ids: u32,
}

impl Offsets {
    /// Before the loader has patched it.
    pub const ZERO: Self = Self {
        sock_family: 0,
        sock_num: 0,
        sock_dport: 0,
        sock_daddr: 0,
        sock_rcv_saddr: 0,
        sock_v6_daddr: 0,
        sock_v6_rcv_saddr: 0,
        sock_cookie: 0,
        sock_net: 0,
        sock_protocol: 0,
        sock_flags: 0,
        sock_err: 0,
        sock_shutdown: 0,
        sock_user_data: 0,
        sock_kern_byte: 0,
        sock_kern_mask: 0,
        net_inum: 0,
        ulp_ops: 0,
        write_seq: 0,
        copied_seq: 0,
        rcv_nxt: 0,
        snd_nxt: 0,
        bytes_received: 0,
        bytes_sent: 0,
        bytes_retrans: 0,
        socket_sk: 0,
        task_flags: 0,
        task_pid: 0,
        task_tgid: 0,
        task_stack: 0,
        task_status: 0,
        task_io_uring: 0,
        task_fsbase: 0,
        task_signal: 0,
        signal_live: 0,
        task_group_leader: 0,
        task_real_parent: 0,
        task_start_boottime: 0,
        task_real_cred: 0,
        cred_euid: 0,
        task_mm: 0,
        mm_exe_file: 0,
        mm_start_code: 0,
        mm_start_stack: 0,
        mm_arg_start: 0,
        mm_arg_end: 0,
        binprm_filename: 0,
        binprm_file: 0,
        file_inode: 0,
        inode_ino: 0,
        inode_sb: 0,
        sb_dev: 0,
        task_cgroups: 0,
        css_set_cgroup: 0,
        cgroup_level: 0,
        cgroup_ancestor_ids: 0,
    };
}

const _: () = assert!(size_of::<Offsets>() == 56 * 4);

/// Settings of this run, fixed before the programs are loaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "user", derive(bytemuck::Pod, bytemuck::Zeroable))]
#[repr(C)]
pub struct Tunables {
    /// The agent's own process: never traced.
    pub agent_pid: u32,
    /// Most bytes copied from the start of a system call.
    pub capture_bytes: u32,
    /// A longer head is not captured to its end.
    pub head_bytes: u32,
    pub padding: u32,
    /// 1 when the helper bpf_task_pt_regs exists (5.15); otherwise the programs find the registers
    /// from `task->stack`.
    pub has_task_pt_regs: u32,
    /// Size of a kernel stack (16 KiB on x86-64).
    pub stack_size: u32,
    /// fexit: slot of `flags` in the arguments of tcp_recvmsg, and of the return value.
    pub recvmsg_flags_slot: u32,
    pub recvmsg_return_slot: u32,
    /// Which processes are reported when they begin to listen: a value of
    /// [`report_listen`](crate::report_listen). A reported process that is not traced yet is traced
    /// from then on.
    pub report_listen: u32,
    /// 1 when the kernel traces and reports every process that executes a file, unless the file's
    /// verdict is against it.
    pub report_exec: u32,
    /// Number of used entries in `cgroup_ids`.
    pub cgroup_rules: u32,
    /// 1 when no rule excludes anything: the kernel may decide by cgroup or port for any file.
    pub no_exclude: u32,
    /// Depth of each cgroup below the root of the hierarchy.
    pub cgroup_levels: [u32; CGROUP_RULES],
    pub cgroup_ids: [u64; CGROUP_RULES],
    /// Ports whose listeners the kernel selects by itself; 0: unused.
    pub ports: [u32; PORT_RULES],
}

impl Tunables {
    /// Before the loader has patched it.
    pub const ZERO: Self = Self {
        agent_pid: 0,
        capture_bytes: 0,
        head_bytes: 0,
        padding: 0,
        has_task_pt_regs: 0,
        stack_size: 0,
        recvmsg_flags_slot: 0,
        recvmsg_return_slot: 0,
        report_listen: 0,
        report_exec: 0,
        cgroup_rules: 0,
        no_exclude: 0,
        cgroup_levels: [0; CGROUP_RULES],
        cgroup_ids: [0; CGROUP_RULES],
        ports: [0; PORT_RULES],
    };
}

const _: () = assert!(size_of::<Tunables>() == 48 + 12 * CGROUP_RULES + 4 * PORT_RULES);

#[cfg(feature = "user")]
impl Offsets {
    /// All fields missing.
    #[must_use]
    pub fn missing() -> Self {
        bytemuck::cast([MISSING; size_of::<Self>() / 4])
    }
}
