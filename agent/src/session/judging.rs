//! What becomes of a process event from the kernel: the table judges, the engine gets who the process is, and the changes that
//! the kernel's maps need are kept until the ring is not borrowed any more.

use super::refused::Refused;
use crate::{
    event::{ConnectionId, Event, Timestamp},
    pipeline::EventSink,
    process::{Change, Table},
    source::kernel::ProcessNotice,
};

/// A change of what the kernel traces.
#[derive(Debug, Clone, Copy)]
pub(super) enum PolicyChange {
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

/// A process event from the kernel: the table judges, the engine gets the facts, the kernel's map follows.
pub(super) fn process(
    table: &mut Table,
    sink: &mut EventSink,
    refused: &mut Refused,
    pending: &mut Vec<PolicyChange>,
    at: Timestamp,
    notice: ProcessNotice,
) {
    // The process that the kernel traces for now and drops unless the rules select it.
    let (on_trial, changes) = match notice {
        ProcessNotice::Fork { parent, child, reported } if refused.is_refused(parent) => {
            refused.refuse(child, false);
            pending.push(PolicyChange::Refuse { pid: child, trial: reported.trial });
            return;
        }
        ProcessNotice::Fork { parent, child, reported } => {
            sink.feed(&Event::Fork { at, parent, child });
            // Whoever had this pid before is gone.
            refused.accept(child);
            (None, table.on_fork(parent, child, &reported))
        }
        ProcessNotice::Exec { pid, reported } => {
            pending.push(PolicyChange::Execute { pid });
            (Some((pid, reported.trial)), table.on_exec(pid, &reported))
        }
        ProcessNotice::Exit { pid, reported } => {
            for change in table.on_user(pid, reported.user) {
                announce(sink, at, &change);
            }
            if !refused.is_refused(pid) {
                sink.feed(&Event::Exit { at, pid });
            }
            (None, table.on_exit(pid, &reported))
        }
        ProcessNotice::Listen { pid, port, reported } => {
            (Some((pid, reported.trial)), table.on_listen(pid, port, &reported))
        }
        ProcessNotice::CgroupMoved { pid, reported } => (None, table.on_exec(pid, &reported)),
    };
    for change in &changes {
        announce(sink, at, change);
        match change {
            // The kernel traces the process already, unless it was asked not to trace its previous
            // program.
            Change::Select { facts }
                if !refused.accept(facts.pid) && on_trial.is_some_and(|(pid, _)| pid == facts.pid) =>
            {
                pending.push(PolicyChange::Welcome { pid: facts.pid });
            }
            // The kernel gets the decision below.
            Change::Deselect { pid } if on_trial.is_some_and(|(on_trial, _)| on_trial == *pid) => {}
            change => pending.extend(policy_change(change)),
        }
    }
    let Some((pid, trial)) = on_trial else { return };
    if table.is_selected(pid) {
        if refused.accept(pid) {
            pending.push(PolicyChange::Select { pid });
        }
    } else {
        refused.refuse(pid, changes.iter().any(|change| matches!(change, Change::Unjudged { .. })));
        pending.push(PolicyChange::Refuse { pid, trial });
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

pub(super) fn policy_change(change: &Change) -> Option<PolicyChange> {
    match change {
        Change::Select { facts } => Some(PolicyChange::Select { pid: facts.pid }),
        Change::Refresh { facts } => Some(PolicyChange::Refresh { pid: facts.pid }),
        Change::Deselect { pid } => Some(PolicyChange::Deselect { pid: *pid }),
        Change::Unjudged { .. } => None,
    }
}
