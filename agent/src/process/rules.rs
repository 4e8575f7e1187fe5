//! Rules: what the user asked to trace, and whether a process matches.

use std::{fmt, sync::Arc};

use globset::{GlobBuilder, GlobMatcher};

use super::{Candidate, ProcError, cgroup};

/// Most bytes of one pattern.
pub const MAX_PATTERN: usize = 4096;

/// Why a rule or a pattern is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RuleError {
    #[error("a rule needs at least one of exe, cmdline, port, pid, cgroup")]
    Empty,
    #[error("an empty pattern matches nothing; write * to match everything")]
    EmptyPattern,
    #[error("a pattern of {0} bytes is too long; the limit is {MAX_PATTERN}")]
    LongPattern(usize),
    #[error("\"{pattern}\" is not a glob: {reason}; put a backslash before * ? [ {{ that mean themselves")]
    Glob { pattern: String, reason: String },
    #[error("port 0 is no port to listen on; give one between 1 and 65535")]
    PortZero,
    #[error("pid 0 is no process; give the pid that ps shows")]
    PidZero,
    #[error(
        "\"{0}\" is not an absolute cgroup path; write it as in /proc/PID/cgroup, like /system.slice/nginx.service"
    )]
    RelativeCgroup(String),
}

/// A pattern for a whole text: `*` any characters (`/` too), `?` one, `[ab]` one of, `{a,b}`
/// either; case matters.
#[derive(Clone)]
pub struct Glob {
    pattern: Arc<str>,
    matcher: GlobMatcher,
}

impl Glob {
    /// # Errors
    /// When the pattern is empty, longer than [`MAX_PATTERN`] or malformed.
    pub fn new(pattern: &str) -> Result<Self, RuleError> {
        if pattern.is_empty() {
            return Err(RuleError::EmptyPattern);
        }
        if pattern.len() > MAX_PATTERN {
            return Err(RuleError::LongPattern(pattern.len()));
        }
        let glob = GlobBuilder::new(pattern).literal_separator(false).backslash_escape(true).build();
        let glob = glob.map_err(|error| RuleError::Glob {
            pattern: pattern.to_owned(),
            reason: error.kind().to_string(),
        })?;
        Ok(Self { pattern: pattern.into(), matcher: glob.compile_matcher() })
    }

    #[must_use]
    pub fn matches(&self, text: &str) -> bool {
        self.matcher.is_match(text)
    }

    /// The same for the path of a file: a pattern without a slash is that of a name in any
    /// directory.
    #[must_use]
    pub fn matches_path(&self, path: &str) -> bool {
        if self.matches(path) {
            return true;
        }
        let name = path.rsplit('/').next().unwrap_or(path);
        !self.pattern.contains('/') && self.matches(name)
    }

    #[must_use]
    pub fn pattern(&self) -> &str {
        &self.pattern
    }

    /// The one text it matches, when it has no wildcard.
    #[must_use]
    pub fn exact(&self) -> Option<&str> {
        (!self.pattern.contains(['*', '?', '[', '{', '\\'])).then_some(&*self.pattern)
    }
}

impl PartialEq for Glob {
    fn eq(&self, other: &Self) -> bool {
        self.pattern == other.pattern
    }
}

impl fmt::Debug for Glob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Glob({:?})", self.pattern)
    }
}

/// One rule: all fields that are given must match.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Rule {
    /// The executable's path, or its name in any directory.
    pub exe: Option<Glob>,
    /// The arguments joined by spaces, the program's name first.
    pub cmdline: Option<Glob>,
    /// The process holds a TCP socket that listens on it.
    pub port: Option<u16>,
    pub pid: Option<u32>,
    /// The process is in this cgroup or below. Relative to the cgroup mount, or a path below the
    /// mount point.
    pub cgroup: Option<String>,
    /// Names what the rule selects; it is no condition.
    pub service: Option<Arc<str>>,
}

impl Rule {
    /// # Errors
    /// When the rule has no condition or one that no process can meet.
    pub fn check(&self) -> Result<(), RuleError> {
        let Self { exe, cmdline, port, pid, cgroup, service: _ } = self;
        if exe.is_none() && cmdline.is_none() && port.is_none() && pid.is_none() && cgroup.is_none() {
            return Err(RuleError::Empty);
        }
        if *port == Some(0) {
            return Err(RuleError::PortZero);
        }
        if *pid == Some(0) {
            return Err(RuleError::PidZero);
        }
        match cgroup {
            Some(path) if !path.starts_with('/') => Err(RuleError::RelativeCgroup(path.clone())),
            _ => Ok(()),
        }
    }

    /// Cheap conditions first: nothing more is read of a process that an earlier one has refused.
    fn matches(&self, candidate: &Candidate<'_>) -> Result<bool, Undecided> {
        if self.pid.is_some_and(|pid| pid != candidate.pid) {
            return Ok(false);
        }
        if let Some(glob) = &self.exe
            && !candidate.executable()?.is_some_and(|path| glob.matches_path(path))
        {
            return Ok(false);
        }
        if let Some(glob) = &self.cmdline
            && !glob.matches(candidate.command_line()?)
        {
            return Ok(false);
        }
        if let Some(path) = &self.cgroup
            && !candidate.cgroups()?.is_within(path)
        {
            return Ok(false);
        }
        match self.port {
            Some(port) => candidate.listens_on(port),
            None => Ok(true),
        }
    }

    /// Whether a process that executes the file at `path` can match the rule.
    fn may_match_file(&self, path: &str) -> bool {
        self.exe.as_ref().is_none_or(|glob| glob.matches_path(path))
    }

    fn is_of(&self, conditions: [bool; 5]) -> bool {
        let Self { exe, cmdline, port, pid, cgroup, service: _ } = self;
        [exe.is_some(), cmdline.is_some(), port.is_some(), pid.is_some(), cgroup.is_some()] == conditions
    }

    /// The rule has no condition but the executable.
    fn is_exe(&self) -> bool {
        self.is_of([true, false, false, false, false])
    }

    fn is_port(&self) -> bool {
        self.is_of([false, false, true, false, false])
    }

    fn is_cgroup(&self) -> bool {
        self.is_of([false, false, false, false, true])
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { exe, cmdline, port, pid, cgroup, service } = self;
        let conditions = [
            exe.as_ref().map(|glob| format!("exe {}", glob.pattern())),
            cmdline.as_ref().map(|glob| format!("cmdline {}", glob.pattern())),
            port.map(|port| format!("port {port}")),
            pid.map(|pid| format!("pid {pid}")),
            cgroup.as_ref().map(|path| format!("cgroup {path}")),
        ];
        f.write_str(&conditions.into_iter().flatten().collect::<Vec<_>>().join(" and "))?;
        service.as_ref().map_or(Ok(()), |service| write!(f, ", as service {service}"))
    }
}

/// What is traced: every process that a rule of `select` matches and none of `exclude`.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Selection {
    pub select: Vec<Rule>,
    pub exclude: Vec<Rule>,
}

/// The decision of the rules about a process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// `service` is the name of the first matching rule that has one.
    Selected { service: Option<Arc<str>> },
    /// A rule of `exclude` matches.
    Excluded,
    /// No rule matches.
    No,
}

/// The decision that the executable alone allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileVerdict {
    /// It is selected.
    Select,
    /// The process is not selected, whatever else it is.
    Ignore,
    /// No rule excludes the process, and rules with other conditions may select it.
    Allow,
    /// Rules with other conditions may select or exclude the process.
    Open,
}

/// Why a rule could not decide.
#[derive(Debug, thiserror::Error)]
pub enum Undecided {
    #[error(transparent)]
    Proc(#[from] ProcError),
    /// Its condition needs something of the process that cannot be read any more.
    #[error("the process is gone")]
    Gone,
}

impl Selection {
    /// # Errors
    /// When a rule needs something that /proc refuses, or that is gone.
    pub fn decide(&self, candidate: &Candidate<'_>) -> Result<Decision, Undecided> {
        for rule in &self.exclude {
            if rule.matches(candidate)? {
                return Ok(Decision::Excluded);
            }
        }
        let (mut selected, mut undecided) = (false, false);
        for rule in &self.select {
            // After the first match only a service name is still wanted.
            if selected && rule.service.is_none() {
                continue;
            }
            match rule.matches(candidate) {
                Ok(false) => {}
                Ok(true) if rule.service.is_some() => {
                    return Ok(Decision::Selected { service: rule.service.clone() });
                }
                Ok(true) => selected = true,
                Err(Undecided::Gone) => undecided = true,
                Err(error) => return Err(error),
            }
        }
        match (selected, undecided) {
            (true, _) => Ok(Decision::Selected { service: None }),
            (false, true) => Err(Undecided::Gone),
            (false, false) => Ok(Decision::No),
        }
    }

    /// The service name that the rules give to a process that is selected in any case.
    pub(super) fn service_of(&self, candidate: &Candidate<'_>) -> Option<Arc<str>> {
        let named = self.select.iter().filter(|rule| rule.service.is_some());
        named.into_iter().find(|rule| matches!(rule.matches(candidate), Ok(true)))?.service.clone()
    }

    /// The decision about every process that executes the file at `path`. A rule with a pid names a
    /// process that lives already, and so selects no file.
    #[must_use]
    pub fn verdict_of_file(&self, path: &str) -> FileVerdict {
        let excluding = || self.exclude.iter().filter(|rule| rule.may_match_file(path));
        let mut selecting = self.select.iter().filter(|rule| rule.pid.is_none() && rule.may_match_file(path));
        if excluding().any(Rule::is_exe) {
            return FileVerdict::Ignore;
        }
        let Some(first) = selecting.next() else { return FileVerdict::Ignore };
        if excluding().next().is_some() {
            return FileVerdict::Open;
        }
        if first.is_exe() || selecting.any(Rule::is_exe) { FileVerdict::Select } else { FileVerdict::Allow }
    }

    /// Whether executing a program can select a process.
    #[must_use]
    pub fn needs_exec(&self) -> bool {
        self.select.iter().any(|rule| rule.pid.is_none())
    }

    /// Whether a process that is selected can be excluded by listening.
    #[must_use]
    pub fn excludes_listeners(&self) -> bool {
        self.exclude.iter().any(|rule| rule.port.is_some())
    }

    /// Whether a process can become selected or excluded by listening.
    #[must_use]
    pub fn needs_listen(&self) -> bool {
        self.rules().any(|rule| rule.port.is_some())
    }

    /// Whether moving a process to another cgroup can change its selection.
    #[must_use]
    pub fn needs_cgroup(&self) -> bool {
        self.rules().any(|rule| rule.cgroup.is_some())
    }

    /// Whether command lines are read.
    #[must_use]
    pub fn needs_cmdline(&self) -> bool {
        self.rules().any(|rule| rule.cmdline.is_some())
    }

    /// The paths that `select` names without a wildcard.
    pub fn exact_exes(&self) -> impl Iterator<Item = &str> {
        self.select.iter().filter_map(|rule| rule.exe.as_ref()?.exact()).filter(|path| path.contains('/'))
    }

    /// The cgroups of rules without another condition: the kernel may select their processes by
    /// itself, unless an `exclude` rule may apply.
    pub fn plain_cgroups(&self) -> impl Iterator<Item = &str> {
        self.select.iter().filter(|rule| rule.is_cgroup()).filter_map(|rule| rule.cgroup.as_deref())
    }

    /// The same for ports.
    pub fn plain_ports(&self) -> impl Iterator<Item = u16> {
        self.select.iter().filter(|rule| rule.is_port()).filter_map(|rule| rule.port)
    }

    /// Makes cgroup paths that were given below a mount point relative to it.
    pub(super) fn resolve_cgroups(&mut self, mounts: &[String]) {
        for path in self.select.iter_mut().chain(&mut self.exclude).filter_map(|rule| rule.cgroup.as_mut()) {
            *path = cgroup::relative(path, mounts);
        }
    }

    fn rules(&self) -> impl Iterator<Item = &Rule> {
        self.select.iter().chain(&self.exclude)
    }
}

#[cfg(test)]
mod tests;
