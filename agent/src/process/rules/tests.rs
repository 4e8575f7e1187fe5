use proptest::prelude::*;

use super::*;
use crate::process::{
    fake::{FakeProc, FakeProcess},
    listeners::ListeningSockets,
};

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
    let orders = Rule { cmdline: glob("*orders.jar*"), service: Some("orders".into()), ..Rule::default() };
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
    let (port, pid) = (Rule { port: Some(80), ..Rule::default() }, Rule { pid: Some(7), ..Rule::default() });
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
fn the_kernels_report_decides_about_a_process_that_is_gone() {
    let (proc, sockets) = (FakeProc::new(), ListeningSockets::default());
    let exe = |pattern| Rule { exe: glob(pattern), ..Rule::default() };
    let cmdline = |pattern| Rule { cmdline: glob(pattern), ..Rule::default() };
    let cgroup = Rule { cgroup: Some("/a".to_owned()), ..Rule::default() };
    let reported = ["app".to_owned(), "-x".to_owned()];
    for (select, exclude, path, arguments, expected) in [
        (vec![exe("app")], vec![], Some("/bin/app"), None, Some(true)),
        (vec![exe("app")], vec![], None, None, None),
        (vec![exe("other")], vec![], Some("/bin/app"), None, Some(false)),
        (vec![cmdline("app -x")], vec![], None, Some(&reported[..]), Some(true)),
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
