//! Rules: what the user asked to trace, and whether a process is that.

use std::{cell::OnceCell, fmt, sync::Arc};

use globset::{GlobBuilder, GlobMatcher};

use super::{
    ProcError, ProcRoot,
    cgroup::{self, Cgroups},
    listeners::ListeningSockets,
};

/// Bytes of one pattern.
pub const MAX_PATTERN: usize = 4096;

/// Why a rule or a pattern cannot be.
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

/// A pattern for a whole text: `*` any characters (`/` too), `?` one, `[ab]` one of, `{a,b}` either; case matters.
#[derive(Clone)]
pub struct Glob {
    pattern: Arc<str>,
    matcher: GlobMatcher,
}

impl Glob {
    /// # Errors
    /// When the pattern is empty, longer than [`MAX_PATTERN`] or has no sense.
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

    /// The same for the path of a file: a pattern without a slash is that of a name in any directory.
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
    /// The process is in this cgroup or below. Relative to the cgroup mount, or a path below the mount point.
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

    /// Cheap conditions first: nothing is read of a process that an earlier one has turned down.
    fn matches(&self, candidate: &Candidate<'_>) -> Result<bool, Unanswered> {
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

    /// Whether a process that executes the file at `path` may meet the rule.
    fn may_match_file(&self, path: &str) -> bool {
        self.exe.as_ref().is_none_or(|glob| glob.matches_path(path))
    }

    fn is_of(&self, conditions: [bool; 5]) -> bool {
        let Self { exe, cmdline, port, pid, cgroup, service: _ } = self;
        [exe.is_some(), cmdline.is_some(), port.is_some(), pid.is_some(), cgroup.is_some()] == conditions
    }

    /// It asks for nothing but the executable.
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

/// What the rules say of a process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// `service` is that of the first matching rule that has one.
    Selected { service: Option<Arc<str>> },
    /// A rule of `exclude` matches.
    Excluded,
    /// No rule matches.
    No,
}

/// What the executable alone says of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileVerdict {
    /// It is selected.
    Select,
    /// It is not, whatever else it is.
    Ignore,
    /// No rule excludes it, and rules that look at other things may select it.
    Allow,
    /// Rules that look at other things may select or exclude it.
    Open,
}

/// Why a rule gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum Unanswered {
    #[error(transparent)]
    Proc(#[from] ProcError),
    /// It asks for something that nobody can look at any more.
    #[error("the process is gone")]
    Gone,
}

impl Selection {
    /// # Errors
    /// When a rule needs to know what /proc refuses to tell or what is gone.
    pub fn decide(&self, candidate: &Candidate<'_>) -> Result<Decision, Unanswered> {
        for rule in &self.exclude {
            if rule.matches(candidate)? {
                return Ok(Decision::Excluded);
            }
        }
        let (mut selected, mut unanswered) = (false, false);
        for rule in &self.select {
            // After the first match only a name is still wanted.
            if selected && rule.service.is_none() {
                continue;
            }
            match rule.matches(candidate) {
                Ok(false) => {}
                Ok(true) if rule.service.is_some() => {
                    return Ok(Decision::Selected { service: rule.service.clone() });
                }
                Ok(true) => selected = true,
                Err(Unanswered::Gone) => unanswered = true,
                Err(error) => return Err(error),
            }
        }
        match (selected, unanswered) {
            (true, _) => Ok(Decision::Selected { service: None }),
            (false, true) => Err(Unanswered::Gone),
            (false, false) => Ok(Decision::No),
        }
    }

    /// The name that the rules give a process that is selected whatever they say.
    pub(super) fn service_of(&self, candidate: &Candidate<'_>) -> Option<Arc<str>> {
        let named = self.select.iter().filter(|rule| rule.service.is_some());
        named.into_iter().find(|rule| matches!(rule.matches(candidate), Ok(true)))?.service.clone()
    }

    /// What the rules say of every process that executes the file at `path`. A rule with a pid names a process that lives
    /// already, so that it selects no file.
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

    /// The cgroups of rules that ask for nothing else: the kernel may select their processes by itself, unless an `exclude`
    /// may apply.
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

/// A process that rules look at. What they ask for is read when first asked, once.
#[derive(Debug)]
pub struct Candidate<'a> {
    proc: &'a ProcRoot,
    sockets: &'a ListeningSockets,
    pid: u32,
    /// Nothing can be read of it any more.
    gone: bool,
    executable: OnceCell<Option<String>>,
    command_line: OnceCell<String>,
    cgroups: OnceCell<Cgroups>,
}

impl<'a> Candidate<'a> {
    #[must_use]
    pub fn new(proc: &'a ProcRoot, sockets: &'a ListeningSockets, pid: u32) -> Self {
        Self {
            proc,
            sockets,
            pid,
            gone: false,
            executable: OnceCell::new(),
            command_line: OnceCell::new(),
            cgroups: OnceCell::new(),
        }
    }

    /// A process that is gone, or is another program by now: only this is known of what it was.
    #[must_use]
    pub fn gone(self, executable: Option<String>, arguments: Option<&[String]>) -> Self {
        Self {
            gone: true,
            executable: executable.map(|path| OnceCell::from(Some(path))).unwrap_or_default(),
            command_line: arguments.map(|all| OnceCell::from(all.join(" "))).unwrap_or_default(),
            ..self
        }
    }

    fn executable(&self) -> Result<Option<&str>, Unanswered> {
        let path = self.once(&self.executable, || self.proc.executable(self.pid))?;
        Ok(path.as_deref())
    }

    fn command_line(&self) -> Result<&str, Unanswered> {
        let text = self.once(&self.command_line, || Ok(self.proc.arguments(self.pid)?.join(" ")))?;
        Ok(text)
    }

    fn cgroups(&self) -> Result<&Cgroups, Unanswered> {
        self.once(&self.cgroups, || self.proc.cgroups(self.pid))
    }

    fn listens_on(&self, port: u16) -> Result<bool, Unanswered> {
        if self.gone {
            return if self.sockets.is_told(self.pid, port) { Ok(true) } else { Err(Unanswered::Gone) };
        }
        Ok(self.sockets.listens_on(self.proc, self.pid, port)?)
    }

    fn once<'c, T>(
        &self,
        cell: &'c OnceCell<T>,
        read: impl FnOnce() -> Result<T, ProcError>,
    ) -> Result<&'c T, Unanswered> {
        match cell.get() {
            Some(value) => Ok(value),
            None if self.gone => Err(Unanswered::Gone),
            None => {
                let value = read()?;
                Ok(cell.get_or_init(|| value))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::process::fake::{FakeProc, FakeProcess};

    fn glob(pattern: &str) -> Option<Glob> {
        Some(Glob::new(pattern).unwrap())
    }

    #[test]
    fn globs() {
        for (pattern, text, expected) in [
            ("/usr/sbin/nginx", "/usr/sbin/nginx", true),
            ("/usr/sbin/nginx", "/usr/sbin/nginx2", false),
            ("nginx", "/usr/sbin/nginx", false),
            ("*/sshd", "/usr/sbin/sshd", true),
            ("*sshd", "sshd", true),
            ("*/sshd", "/usr/sbin/sshd-session", false),
            ("/usr/*", "/usr/lib/jvm/bin/java", true),
            ("*/python3*", "/usr/bin/python3.11", true),
            ("/opt/?/run", "/opt/a/run", true),
            ("/opt/{a,b}/run", "/opt/b/run", true),
            ("/opt/[ab]/run", "/opt/c/run", false),
            ("*orders.jar*", "java -Xmx1g -jar /srv/orders.jar --x\ny", true),
            ("*", "", true),
            ("*", "a\nb", true),
            (r"/opt/\*", "/opt/*", true),
            (r"/opt/\*", "/opt/x", false),
            ("/Opt/*", "/opt/x", false),
            ("*/.hidden/*", "/a/.hidden/b", true),
            ("*é*", "caffé", true),
        ] {
            assert_eq!(Glob::new(pattern).unwrap().matches(text), expected, "{pattern} {text:?}");
        }
    }

    #[test]
    fn a_pattern_without_a_slash_is_a_name_in_any_directory() {
        for (pattern, path, expected) in [
            ("nginx", "/usr/sbin/nginx", true),
            ("nginx", "/usr/sbin/nginx-debug", false),
            ("python3*", "/usr/bin/python3.11", true),
            ("*sshd", "/usr/sbin/sshd", true),
            ("sbin/nginx", "/usr/sbin/nginx", false),
            ("/usr/sbin/nginx", "/usr/sbin/nginx", true),
        ] {
            assert_eq!(Glob::new(pattern).unwrap().matches_path(path), expected, "{pattern} {path}");
        }
    }

    #[test]
    fn what_is_no_glob_or_rule_is_refused() {
        for pattern in ["", "[a", "{a", "a}", r"a\", "[z-a]", &"a".repeat(MAX_PATTERN + 1)] {
            assert!(Glob::new(pattern).is_err(), "{pattern}");
        }
        for (rule, expected) in [
            (Rule::default(), Err(RuleError::Empty)),
            (Rule { service: Some("x".into()), ..Rule::default() }, Err(RuleError::Empty)),
            (Rule { port: Some(0), ..Rule::default() }, Err(RuleError::PortZero)),
            (Rule { pid: Some(0), ..Rule::default() }, Err(RuleError::PidZero)),
            (
                Rule { cgroup: Some("a".to_owned()), ..Rule::default() },
                Err(RuleError::RelativeCgroup("a".to_owned())),
            ),
            (Rule { port: Some(80), ..Rule::default() }, Ok(())),
        ] {
            assert_eq!(rule.check(), expected);
        }
    }

    #[test]
    fn decisions() {
        let proc = FakeProc::new();
        let java = FakeProcess {
            pid: 7,
            exe: "/usr/bin/java",
            cmdline: &["java", "-jar", "/srv/orders.jar"],
            cgroup: "0::/system.slice/legacy.service\n",
            sockets: &[5, 6],
            ..FakeProcess::default()
        };
        proc.add(&java);
        proc.listen(7, 8080, 6);
        proc.listen(7, 9090, 44);

        let exe = |pattern| Rule { exe: glob(pattern), ..Rule::default() };
        let port = |port| Rule { port: Some(port), ..Rule::default() };
        let orders =
            Rule { cmdline: glob("*orders.jar*"), service: Some("orders".into()), ..Rule::default() };
        let unit = Rule { cgroup: Some("/system.slice".to_owned()), ..Rule::default() };
        let selected = |service: Option<&str>| Decision::Selected { service: service.map(Into::into) };
        for (select, exclude, expected) in [
            (vec![exe("*/java")], vec![], selected(None)),
            (vec![exe("*/python")], vec![], Decision::No),
            (vec![port(8080)], vec![], selected(None)),
            // Somebody else's socket.
            (vec![port(9090)], vec![], Decision::No),
            (vec![orders.clone()], vec![], selected(Some("orders"))),
            (vec![exe("*/java"), orders.clone()], vec![], selected(Some("orders"))),
            (vec![unit], vec![], selected(None)),
            (vec![Rule { pid: Some(7), ..Rule::default() }], vec![], selected(None)),
            (vec![Rule { pid: Some(8), ..Rule::default() }], vec![], Decision::No),
            // All fields of one rule.
            (vec![Rule { port: Some(81), ..exe("*/java") }], vec![], Decision::No),
            (vec![Rule { port: Some(8080), ..exe("*/java") }], vec![], selected(None)),
            (vec![exe("*")], vec![exe("*/java")], Decision::Excluded),
            (vec![], vec![exe("*/java")], Decision::Excluded),
            (vec![exe("*")], vec![port(8080)], Decision::Excluded),
            (vec![exe("*")], vec![port(81)], selected(None)),
            (vec![], vec![], Decision::No),
        ] {
            let selection = Selection { select, exclude };
            let sockets = ListeningSockets::default();
            let candidate = Candidate::new(proc.root(), &sockets, 7);
            assert_eq!(selection.decide(&candidate).unwrap(), expected, "{selection:?}");
        }
    }

    #[test]
    fn what_a_file_alone_decides() {
        use FileVerdict::{Allow, Ignore, Open, Select};
        let exe = |pattern| Rule { exe: glob(pattern), ..Rule::default() };
        let (port, pid) =
            (Rule { port: Some(80), ..Rule::default() }, Rule { pid: Some(7), ..Rule::default() });
        let cmdline = Rule { cmdline: glob("*x*"), ..Rule::default() };
        let java_at_80 = Rule { port: Some(80), ..exe("java") };
        for (select, exclude, expected) in [
            (vec![exe("*/java")], vec![], Select),
            (vec![exe("java")], vec![], Select),
            (vec![exe("python")], vec![], Ignore),
            (vec![], vec![], Ignore),
            // A rule of another kind takes no verdict away.
            (vec![cmdline.clone(), exe("java")], vec![], Select),
            (vec![port.clone()], vec![], Allow),
            (vec![java_at_80.clone()], vec![], Allow),
            (vec![Rule { exe: glob("python"), ..port.clone() }], vec![], Ignore),
            (vec![pid.clone()], vec![], Ignore),
            // Nor does an exclude that cannot apply.
            (vec![exe("java")], vec![exe("sshd")], Select),
            (vec![port.clone()], vec![exe("*/sshd")], Allow),
            (vec![exe("*")], vec![exe("java")], Ignore),
            (vec![exe("*")], vec![java_at_80], Open),
            (vec![exe("*")], vec![cmdline], Open),
            (vec![port], vec![pid], Open),
        ] {
            let selection = Selection { select, exclude };
            assert_eq!(selection.verdict_of_file("/usr/bin/java"), expected, "{selection:?}");
        }
    }

    #[test]
    fn a_process_that_is_gone_is_judged_by_what_was_told() {
        let (proc, sockets) = (FakeProc::new(), ListeningSockets::default());
        let exe = |pattern| Rule { exe: glob(pattern), ..Rule::default() };
        let cmdline = |pattern| Rule { cmdline: glob(pattern), ..Rule::default() };
        let cgroup = Rule { cgroup: Some("/a".to_owned()), ..Rule::default() };
        let told = ["app".to_owned(), "-x".to_owned()];
        for (select, exclude, path, arguments, expected) in [
            (vec![exe("app")], vec![], Some("/bin/app"), None, Some(true)),
            (vec![exe("app")], vec![], None, None, None),
            (vec![exe("other")], vec![], Some("/bin/app"), None, Some(false)),
            (vec![cmdline("app -x")], vec![], None, Some(&told[..]), Some(true)),
            (vec![cmdline("app -x")], vec![], Some("/bin/app"), None, None),
            (vec![cgroup.clone(), exe("app")], vec![], Some("/bin/app"), None, Some(true)),
            (vec![cgroup.clone()], vec![], Some("/bin/app"), None, None),
            (vec![exe("app")], vec![cgroup], Some("/bin/app"), None, None),
        ] {
            let selection = Selection { select, exclude };
            let candidate = Candidate::new(proc.root(), &sockets, 7).gone(path.map(str::to_owned), arguments);
            let decision = selection.decide(&candidate).ok();
            let selected = decision.map(|decision| matches!(decision, Decision::Selected { .. }));
            assert_eq!(selected, expected, "{selection:?}");
        }
    }

    #[test]
    fn what_rules_need_to_know() {
        let selection = Selection {
            select: vec![
                Rule { exe: glob("/usr/sbin/nginx"), ..Rule::default() },
                Rule { exe: glob("*/java"), ..Rule::default() },
            ],
            exclude: vec![Rule { port: Some(22), ..Rule::default() }],
        };
        assert!(selection.needs_listen() && !selection.needs_cgroup() && !selection.needs_cmdline());
        assert_eq!(selection.exact_exes().collect::<Vec<_>>(), ["/usr/sbin/nginx"]);
    }

    proptest! {
        #[test]
        fn any_pattern_is_answered(pattern in ".{0,40}", text in ".{0,40}") {
            if let Ok(glob) = Glob::new(&pattern) {
                if let Some(exact) = glob.exact() {
                    prop_assert!(glob.matches(exact));
                }
                let _ = glob.matches(&text);
            }
        }
    }
}
