//! All maps. The agent overrides some sizes at load (docs/maps-and-records.md has the table).

use core::cell::UnsafeCell;

use agent_common::{
    COUNTERS as COUNTER_SLOTS, Connection, Control, ExeKey, ExecRecord, FlowKey, GoKey, GoReceive,
    LastReceive, Offsets, PIDS_PER_ENTRY, Pending, Process, Runtime, THREAD_SLOTS as SLOTS, Tunables, switch,
};
use aya_ebpf::{
    macros::map,
    maps::{Array, HashMap, LruHashMap, PerCpuArray, RingBuf},
};

use crate::capture::Scratch;

/// A map flag: <https://github.com/torvalds/linux/blob/v6.12/include/uapi/linux/bpf.h>.
const BPF_F_MMAPABLE: u32 = 1 << 10;

/// Field offsets of the running kernel, patched at load.
#[unsafe(no_mangle)]
pub(crate) static OFFSETS: Offsets = Offsets::ZERO;

/// Settings of this run, patched at load.
#[unsafe(no_mangle)]
pub(crate) static TUNABLES: Tunables = Tunables::ZERO;

/// Every record, of all CPUs: one ring keeps the order of a thread pool's events.
#[map]
pub(crate) static EVENTS: RingBuf = RingBuf::with_byte_size(16 << 20, 0);

/// Selected processes by tgid.
#[map]
pub(crate) static PROCESSES: HashMap<u32, Process> = HashMap::with_max_entries(16_384, 0);

/// For each pid that the kernel may give out (`PID_MAX_LIMIT`,
/// <https://github.com/torvalds/linux/blob/v6.12/include/linux/threads.h>) whether its process is
/// selected (`selected.rs`). The agent maps the memory it writes: a map update would overwrite the
/// neighbouring pids.
#[map]
pub(crate) static PIDS: Array<[u8; PIDS_PER_ENTRY as usize]> =
    Array::with_max_entries((4 << 20) / PIDS_PER_ENTRY, BPF_F_MMAPABLE);

/// Last receive of each thread of a selected process, by the low bits of its tid (`threads.rs`).
#[map]
pub(crate) static THREAD_SLOTS: Array<[u64; 2]> = Array::with_max_entries(SLOTS, BPF_F_MMAPABLE);

/// The same by tid, of threads whose slot another thread has.
#[map]
pub(crate) static THREADS: HashMap<u32, LastReceive> = HashMap::with_max_entries(32_768, 0);

/// Whether some thread is in `THREADS`.
#[unsafe(no_mangle)]
#[unsafe(link_section = ".data.crowded")]
pub(crate) static CROWDED: Switches<1> = Switches::off();

/// Traced connections by socket cookie.
#[map]
pub(crate) static CONNECTIONS: HashMap<u64, Connection> = HashMap::with_max_entries(65_536, 0);

/// What the agent asks for a connection, by socket cookie. Only the agent writes values.
#[map]
pub(crate) static CONTROLS: HashMap<u64, Control> = HashMap::with_max_entries(65_536, 0);

/// Connects in progress, by address of the struct sock.
#[map]
pub(crate) static PENDING: HashMap<u64, Pending> = HashMap::with_max_entries(16_384, 0);

/// The agent's own connections as their peer sees them.
#[map]
pub(crate) static OWN_FLOWS: LruHashMap<FlowKey, u32> = LruHashMap::with_max_entries(1_024, 0);

/// Executable files with the agent's verdict.
#[map]
pub(crate) static EXES: HashMap<ExeKey, u32> = HashMap::with_max_entries(16_384, 0);

/// Room to assemble the record of an exec.
#[map]
pub(crate) static EXECUTED: PerCpuArray<ExecRecord> = PerCpuArray::with_max_entries(1, 0);

/// Processes whose runtime has tasks, by tgid.
#[map]
pub(crate) static RUNTIMES: HashMap<u32, Runtime> = HashMap::with_max_entries(16_384, 0);

/// Last receive of each goroutine of a Go program; takes the place of `THREADS`.
#[map]
pub(crate) static GOROUTINES: LruHashMap<GoKey, GoReceive> = LruHashMap::with_max_entries(65_536, 0);

/// Requests of Go's `net/http` that wait for the goroutine which will write them, by address.
#[map]
pub(crate) static HANDOFFS: LruHashMap<GoKey, GoReceive> = LruHashMap::with_max_entries(16_384, 0);

/// What the agent has switched on, by `switch`. A global: reading it needs no look-up, and nothing
/// that the verifier would have to follow twice. The agent writes it as the map of its section.
#[unsafe(no_mangle)]
#[unsafe(link_section = ".data.switches")]
pub(crate) static SWITCHES: Switches<{ switch::COUNT as usize }> = Switches::off();

/// Words that others write while a program reads.
#[repr(transparent)]
pub(crate) struct Switches<const N: usize>(UnsafeCell<[u32; N]>);

// SAFETY: the programs read and write single words of it.
unsafe impl<const N: usize> Sync for Switches<N> {}

impl<const N: usize> Switches<N> {
    const fn off() -> Self {
        Self(UnsafeCell::new([switch::OFF; N]))
    }

    /// The caller names one of the `N` slots.
    #[inline(always)]
    fn slot(&self, slot: u32) -> *mut u32 {
        // SAFETY: as above.
        unsafe { self.0.get().cast::<u32>().add(slot as usize) }
    }

    #[inline(always)]
    pub(crate) fn is_on(&self, slot: u32) -> bool {
        // SAFETY: a word of this value; volatile, because others write meanwhile.
        unsafe { self.slot(slot).read_volatile() != switch::OFF }
    }

    #[inline(always)]
    pub(crate) fn set_on(&self, slot: u32) {
        // SAFETY: as above.
        unsafe { self.slot(slot).write_volatile(switch::ON) };
    }
}

/// Counters by `Counter`, in one entry, so that a program looks up all of them at once.
#[map]
pub(crate) static COUNTERS: PerCpuArray<[u64; COUNTER_SLOTS as usize]> = PerCpuArray::with_max_entries(1, 0);

/// Room to assemble a record. Sends have slot 0 and receives slot 1, so that a receive in an
/// interrupt cannot overwrite a send.
#[map]
pub(crate) static SCRATCH: PerCpuArray<Scratch> = PerCpuArray::with_max_entries(2, 0);

/// A field's offset in the running kernel.
macro_rules! offset {
    ($field:ident) => {
        // SAFETY: a static of plain integers; volatile because the loader patches it after
        // compilation.
        unsafe { core::ptr::read_volatile(&raw const $crate::maps::OFFSETS.$field) }
    };
}

/// A setting of this run.
macro_rules! tunable {
    ($field:ident) => {
        // SAFETY: as for `offset!`.
        unsafe { core::ptr::read_volatile(&raw const $crate::maps::TUNABLES.$field) }
    };
}

pub(crate) use {offset, tunable};
