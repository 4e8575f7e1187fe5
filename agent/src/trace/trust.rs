//! The confidence in each process, in words and numbers: for the metrics, for `doctor --pid` and
//! for the summary at the end of a run.

use std::{fmt, sync::Arc};

use super::{Tracer, process::Processes};
use crate::event::UNKNOWN_SERVICE;

/// The confidence in one process that has made calls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProcessConfidence {
    pub pid: u32,
    pub service: Arc<str>,
    pub level: TrustLevel,
    pub figures: Figures,
}

/// Which evidence names parents within a process, for calls that were made while several requests
/// were open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TrustLevel {
    /// The request side, for calls whose signature is known to be consistent, before they are
    /// answered. Otherwise both sides.
    RequestSide,
    /// The response side.
    ResponseSide,
    /// Both sides if they agree.
    BothSides,
    /// None yet: too few calls were made while several requests were open.
    Unproven,
    /// None: the sides of its calls conflict.
    Conflicting,
}

impl TrustLevel {
    pub const ALL: [Self; 5] =
        [Self::RequestSide, Self::ResponseSide, Self::BothSides, Self::Unproven, Self::Conflicting];

    /// The value of the metrics' label.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::RequestSide => "request_side",
            Self::ResponseSide => "response_side",
            Self::BothSides => "both_sides",
            Self::Unproven => "insufficient_evidence",
            Self::Conflicting => "conflict",
        }
    }

    /// The level in words. "Under load" means while several requests are open at once.
    const fn meaning(self) -> &'static str {
        match self {
            Self::RequestSide => "certain under load",
            Self::ResponseSide => "certain under load, once the request is answered",
            Self::BothSides => "certain under load for calls that are consistent",
            Self::Unproven => "not yet certain under load",
            Self::Conflicting => "not linked under load: its calls conflict",
        }
    }
}

macro_rules! figures {
    ($($(#[$doc:meta])* $field:ident: $name:literal;)+) => {
        /// The numbers behind the trust level.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
        pub struct Figures { $($(#[$doc])* pub $field: u64,)+ }

        impl Figures {
            /// Each number with its name on the status page.
            #[must_use]
            pub const fn list(&self) -> [(&'static str, u64); 10] {
                [$(($name, self.$field)),+]
            }

            /// Adds the numbers of another process.
            pub const fn add(&mut self, other: &Self) {
                $(self.$field += other.$field;)+
            }

            /// Sets the number of this name. Returns `false` if there is none.
            pub fn set(&mut self, name: &str, value: u64) -> bool {
                match name {
                    $($name => self.$field = value,)+
                    _ => return false,
                }
                true
            }
        }
    };
}

figures! {
    /// Calls that got a parent within the process, since it is known.
    parents: "linked";
    /// Calls that got none.
    unlinked: "unlinked";
    /// Of the last 400 judged calls: both sides agree.
    consistent: "consistent";
    /// Their sides conflict.
    conflicts: "conflict";
    /// They have a request side alone.
    request_side_only: "request_side_only";
    /// They have a response side alone.
    response_side_only: "response_side_only";
    /// They have neither, or a request side whose request did not wait for the call.
    unexplained: "unexplained";
    /// The last responses to inbound requests, at most 400.
    responses: "responses";
    /// Of these, those whose cause is the answered request or one of its calls.
    covered: "covered_responses";
    /// Calls whose sides agreed while other requests were open.
    agreed_concurrently: "consistent_concurrent";
}

impl Figures {
    /// The numbers as metrics: the name, the value of the label `result`, the number. Each metric
    /// counts one thing, so that the sum over its labels means something.
    #[must_use]
    pub const fn metrics(&self) -> [(&'static str, Option<&'static str>, u64); 10] {
        const CALLS: &str = "wirespan_process_calls";
        const JUDGED: &str = "wirespan_process_recent_calls";
        const RESPONSES: &str = "wirespan_process_recent_responses";
        [
            (CALLS, Some("linked"), self.parents),
            (CALLS, Some("unlinked"), self.unlinked),
            (JUDGED, Some("consistent"), self.consistent),
            (JUDGED, Some("conflict"), self.conflicts),
            (JUDGED, Some("request_side_only"), self.request_side_only),
            (JUDGED, Some("response_side_only"), self.response_side_only),
            (JUDGED, Some("unexplained"), self.unexplained),
            (RESPONSES, Some("explained"), self.covered),
            (RESPONSES, Some("unexplained"), self.responses.saturating_sub(self.covered)),
            ("wirespan_process_concurrent_consistent_calls", None, self.agreed_concurrently),
        ]
    }
}

/// One line for people. `{:#}` adds a second one with the numbers.
impl fmt::Display for ProcessConfidence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { pid, service, level, figures } = self;
        let calls = figures.parents + figures.unlinked;
        let (linked, meaning) = (figures.parents, level.meaning());
        write!(f, "{service} (pid {pid}): {linked} of {calls} calls linked; {meaning}")?;
        if !f.alternate() {
            return Ok(());
        }
        let judged = figures.consistent
            + figures.conflicts
            + figures.request_side_only
            + figures.response_side_only
            + figures.unexplained;
        write!(
            f,
            "\n  of its last {judged} calls {} consistent, {} in conflict, {} with request side alone, {} with response side alone, \
             {} with neither; {} of its last {} responses explained",
            figures.consistent,
            figures.conflicts,
            figures.request_side_only,
            figures.response_side_only,
            figures.unexplained,
            figures.covered,
            figures.responses,
        )
    }
}

impl Tracer {
    /// The name of a process's service. If the process is not known, that of an unknown service.
    #[must_use]
    pub fn service(&self, pid: u32) -> Arc<str> {
        let known = self.processes.get(pid).map(|process| Arc::clone(&process.facts.service_name));
        known.unwrap_or_else(|| UNKNOWN_SERVICE.into())
    }

    /// The processes that have made calls, those with most calls first, at most `limit` of them;
    /// and how many there are.
    #[must_use]
    pub fn process_confidence(&self, limit: usize) -> (Vec<ProcessConfidence>, usize) {
        let mut all: Vec<_> =
            self.processes.iter().filter(|process| process.linked + process.unlinked > 0).collect();
        let count = all.len();
        all.sort_unstable_by_key(|process| (u64::MAX - process.linked - process.unlinked, process.facts.pid));
        all.truncate(limit);
        let processes = all.into_iter().map(|process| {
            let (level, figures) = process.confidence.trust_level();
            ProcessConfidence {
                pid: process.facts.pid,
                service: Arc::clone(&process.facts.service_name),
                level,
                figures: Figures { parents: process.linked, unlinked: process.unlinked, ..figures },
            }
        });
        (processes.collect(), count)
    }
}

impl Processes {
    /// Counts for its process whether a call got a parent.
    pub(super) fn count_call(&mut self, pid: u32, linked: bool) {
        let Some(process) = self.get_mut(pid) else { return };
        if linked {
            process.linked += 1;
        } else {
            process.unlinked += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_has_a_line_and_its_figures_another() {
        let figures = Figures { parents: 3, consistent: 3, responses: 4, covered: 3, ..Figures::default() };
        let level = TrustLevel::Unproven;
        let process = ProcessConfidence { pid: 4574, service: "nginx".into(), level, figures };
        let line = "nginx (pid 4574): 3 of 3 calls linked; not yet certain under load";
        assert_eq!(process.to_string(), line);
        assert_eq!(
            format!("{process:#}"),
            format!(
                "{line}\n  of its last 3 calls 3 consistent, 0 in conflict, 0 with request side alone, \
                 0 with response side alone, 0 with neither; 3 of its last 4 responses explained"
            )
        );
    }
}
