//! What becomes of a process event from the kernel: the table judges, the engine is told who the process is, and orders say what
//! the kernel has to be told once the ring is not borrowed.

use super::refused::Refused;
use crate::{
    event::{ConnectionId, Event, Timestamp},
    pipeline::EventSink,
    process::{Change, Table},
    source::kernel::ProcessNotice,
};

/// A change of the kernel's process map.
#[derive(Debug, Clone, Copy)]
pub(super) enum Order {
    Select {
        pid: u32,
    },
    /// The kernel has selected the process by itself.
    Welcome {
        pid: u32,
    },
    Deselect {
        pid: u32,
    },
    /// The decision of the rules that the kernel has asked for.
    Refuse {
        pid: u32,
        trial: u32,
    },
    /// Nothing of the connection is wanted.
    Release {
        connection: ConnectionId,
    },
    /// A process executes a program.
    Execute {
        pid: u32,
    },
    /// What a selected process is may have changed.
    Refresh {
        pid: u32,
    },
}

/// A process event from the kernel: the table judges, the engine is told, the kernel's map follows.
pub(super) fn process(
    table: &mut Table,
    sink: &mut EventSink,
    refused: &mut Refused,
    orders: &mut Vec<Order>,
    at: Timestamp,
    notice: ProcessNotice,
) {
    // The process that the kernel traces for now and drops unless the rules select it.
    let (on_trial, changes) = match notice {
        ProcessNotice::Fork { parent, child, told } if refused.is_refused(parent) => {
            refused.refuse(child, false);
            orders.push(Order::Refuse { pid: child, trial: told.trial });
            return;
        }
        ProcessNotice::Fork { parent, child, told } => {
            sink.feed(&Event::Fork { at, parent, child });
            // Whoever had this pid before is gone.
            refused.accept(child);
            (None, table.on_fork(parent, child, &told))
        }
        ProcessNotice::Exec { pid, told } => {
            orders.push(Order::Execute { pid });
            (Some((pid, told.trial)), table.on_exec(pid, &told))
        }
        ProcessNotice::Exit { pid, told } => {
            for change in table.on_user(pid, told.user) {
                announce(sink, at, &change);
            }
            if !refused.is_refused(pid) {
                sink.feed(&Event::Exit { at, pid });
            }
            (None, table.on_exit(pid, &told))
        }
        ProcessNotice::Listen { pid, port, told } => {
            (Some((pid, told.trial)), table.on_listen(pid, port, &told))
        }
        ProcessNotice::CgroupMoved { pid, told } => (None, table.on_exec(pid, &told)),
    };
    for change in &changes {
        announce(sink, at, change);
        match change {
            // The kernel traces the process already, unless it was asked not to trace its previous
            // program.
            Change::Select { facts }
                if !refused.accept(facts.pid) && on_trial.is_some_and(|(pid, _)| pid == facts.pid) =>
            {
                orders.push(Order::Welcome { pid: facts.pid });
            }
            // The kernel gets the decision below.
            Change::Deselect { pid } if on_trial.is_some_and(|(on_trial, _)| on_trial == *pid) => {}
            change => orders.extend(order(change)),
        }
    }
    let Some((pid, trial)) = on_trial else { return };
    if table.is_selected(pid) {
        if refused.accept(pid) {
            orders.push(Order::Select { pid });
        }
    } else {
        refused.refuse(pid, changes.iter().any(|change| matches!(change, Change::Unjudged { .. })));
        orders.push(Order::Refuse { pid, trial });
    }
}

/// Gives the facts about a process to the pipeline.
pub(super) fn announce(sink: &mut EventSink, at: Timestamp, change: &Change) {
    match change {
        Change::Select { facts } | Change::Refresh { facts } => {
            sink.feed(&Event::Process { at, facts: facts.clone() });
        }
        Change::Deselect { .. } | Change::Unjudged { .. } => {}
    }
}

pub(super) fn order(change: &Change) -> Option<Order> {
    match change {
        Change::Select { facts } => Some(Order::Select { pid: facts.pid }),
        Change::Refresh { facts } => Some(Order::Refresh { pid: facts.pid }),
        Change::Deselect { pid } => Some(Order::Deselect { pid: *pid }),
        Change::Unjudged { .. } => None,
    }
}
