//! The promise that aya needs: values that bytemuck knows as plain data are plain data.

#![expect(unsafe_code, reason = "aya::Pod is an unsafe trait")]

use agent_common::{Connection, Control, ExeKey, GoKey, GoReceive, LastReceive, Process, Runtime};

/// A map key or value of agent-common.
#[derive(Debug, Clone, Copy)]
#[repr(transparent)]
pub(super) struct Plain<T>(pub(super) T);

macro_rules! plain {
    ($($type:ty),+) => {
        $(
            // SAFETY: the type implements bytemuck::Pod (checked below), which is what aya::Pod
            // promises; repr(transparent).
            unsafe impl aya::Pod for Plain<$type> {}
            const _: fn() = || {
                const fn is_pod<T: bytemuck::Pod>() {}
                is_pod::<$type>();
            };
        )+
    };
}

plain!(Connection, Control, ExeKey, GoReceive, GoKey, LastReceive, Process, Runtime);
