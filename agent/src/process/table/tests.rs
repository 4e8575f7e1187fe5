use std::{
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
};

use super::*;
use crate::process::{
    Glob, Rule,
    fake::{FakeProc, FakeProcess},
};

const OWN: u32 = 99;

fn exe(pattern: &str) -> Rule {
    Rule { exe: Some(Glob::new(pattern).unwrap()), ..Rule::default() }
}

fn port(port: u16) -> Rule {
    Rule { port: Some(port), ..Rule::default() }
}

fn table(proc: &FakeProc, select: Vec<Rule>, exclude: Vec<Rule>) -> Table {
    Table::new(Selection { select, exclude }, proc.root().clone(), OWN, Limits::default())
}

fn process(pid: u32, parent: u32, exe: &str, image: u64) -> FakeProcess<'_> {
    FakeProcess { pid, parent, exe, image, ..FakeProcess::default() }
}

/// `+pid` selected, `~pid` refreshed, `-pid` deselected.
fn seen(changes: &[Change]) -> String {
    let one = |change: &Change| match change {
        Change::Select { facts } => format!("+{}", facts.pid),
        Change::Refresh { facts } => format!("~{}", facts.pid),
        Change::Deselect { pid } => format!("-{pid}"),
        Change::Unjudged { pid } => format!("?{pid}"),
    };
    changes.iter().map(one).collect::<Vec<_>>().join(" ")
}

#[test]
fn a_scan_selects_once_and_never_the_agent() {
    let proc = FakeProc::new();
    proc.add(&process(5, 1, "/bin/a", 1));
    proc.add(&process(6, 1, "/bin/b", 2));
    proc.add(&process(OWN, 1, "/bin/a", 3));
    proc.add(&process(2, 0, "", 0));
    let mut table = table(&proc, vec![exe("/bin/a")], vec![]);
    assert_eq!(seen(&table.scan().unwrap()), "+5");
    assert_eq!(seen(&table.scan().unwrap()), "");
    assert_eq!(seen(&table.on_exec(OWN, &KernelFacts::default())), "");
    assert_eq!(seen(&table.pin(OWN)), "");
    assert_eq!(table.selected().map(|facts| facts.pid).collect::<Vec<_>>(), [5]);

    // A lost exit, a lost exec, a reused pid.
    proc.remove(5);
    proc.add(&process(6, 1, "/bin/a", 7));
    assert_eq!(seen(&table.scan().unwrap()), "-5 +6");
    proc.add(&FakeProcess { start_time: 11, ..process(6, 1, "/bin/a", 7) });
    assert_eq!(seen(&table.scan().unwrap()), "-6 +6");
    proc.add(&FakeProcess { state: 'Z', start_time: 11, ..process(6, 1, "/bin/a", 7) });
    assert_eq!(seen(&table.scan().unwrap()), "-6");
    assert_eq!(table.counters(), Counters { selected: 3, deselected: 3, ..Counters::default() });
}

#[test]
fn exec_judges_anew() {
    let proc = FakeProc::new();
    let mut table = table(&proc, vec![exe("/bin/a"), exe("/bin/c*")], vec![exe("/bin/cx")]);
    for (program, image, expected) in [
        ("/bin/a", 1, "+5"),
        ("/bin/c", 2, "~5"),
        ("/bin/b", 3, "-5"),
        ("/bin/b", 4, ""),
        ("/bin/a", 5, "+5"),
        ("/bin/cx", 6, "-5"),
    ] {
        proc.add(&process(5, 1, program, image));
        assert_eq!(seen(&table.on_exec(5, &KernelFacts::default())), expected, "{program}");
    }
    proc.remove(5);
    assert_eq!(seen(&table.on_exec(5, &KernelFacts::default())), "?5");
}

#[test]
fn a_fork_inherits_until_exec() {
    let proc = FakeProc::new();
    proc.add(&process(5, 1, "/bin/a", 1));
    let named = Rule { service: Some("shop".into()), ..exe("/bin/a") };
    let mut table = table(&proc, vec![named], vec![]);
    table.scan().unwrap();

    proc.add(&FakeProcess { start_time: 20, ..process(6, 5, "/bin/a", 1) });
    let changes = table.on_fork(5, 6, &KernelFacts::default());
    let Some(Change::Select { facts }) = changes.first() else { panic!("{changes:?}") };
    assert_eq!(
        (facts.pid, facts.parent_pid, facts.start_time, &*facts.service_name),
        (6, Some(5), 20, "shop")
    );
    assert_eq!(seen(&table.on_fork(5, 6, &KernelFacts::default())), "");
    // Its parent is not selected.
    assert_eq!(seen(&table.on_fork(1, 7, &KernelFacts::default())), "");
    // It is gone before it is looked at.
    assert_eq!(seen(&table.on_fork(6, 8, &KernelFacts::default())), "");

    proc.add(&FakeProcess { start_time: 20, ..process(6, 5, "/bin/b", 2) });
    assert_eq!(seen(&table.on_exec(6, &KernelFacts::default())), "-6");
    // The report of a fork that comes late says nothing of another program, ...
    assert_eq!(seen(&table.on_fork(5, 6, &KernelFacts::default())), "");
    // ... but of a child that a scan has seen without knowing its parent.
    proc.add(&process(9, 5, "/bin/b", 1));
    assert_eq!(seen(&table.scan().unwrap()), "");
    assert_eq!(seen(&table.on_fork(5, 9, &KernelFacts::default())), "+9");
}

fn reported(start_time: u64, user: u32) -> KernelFacts {
    KernelFacts { start_time: Some(start_time), parent: Some(3), user: Some(user), ..KernelFacts::default() }
}

#[test]
fn the_kernels_word_stands_in_for_a_process_that_is_gone() {
    let proc = FakeProc::new();
    let cmdline = Rule { cmdline: Some(Glob::new("*-x*").unwrap()), ..Rule::default() };
    let mut table = table(&proc, vec![exe("/bin/a"), cmdline], vec![]);
    // Nobody knows its file any more, and the kernel had decided, or it had not.
    assert_eq!(seen(&table.on_exec(5, &KernelFacts { decided: true, ..reported(10, 7) })), "+5");
    let facts = table.selected().next().unwrap();
    assert_eq!((facts.parent_pid, facts.user_id, &*facts.executable), (Some(3), Some(7), ""));
    assert_eq!((&*facts.service_name, facts.start_time), ("unknown_service", 10));
    assert_eq!(seen(&table.on_exec(6, &reported(10, 7))), "?6");
    // Its arguments suffice.
    let arguments = Some(vec!["b".to_owned(), "-x".to_owned()]);
    assert_eq!(
        seen(&table.on_exec(7, &KernelFacts { arguments: arguments.clone(), ..reported(10, 7) })),
        "+7"
    );
    // Another program runs by now: /proc does not describe this one.
    proc.add(&process(8, 1, "/bin/a", 50));
    let before =
        KernelFacts { image: Some((40, 40)), arguments: Some(vec!["b".to_owned()]), ..reported(10, 7) };
    assert_eq!(seen(&table.on_exec(8, &before)), "?8");
    assert_eq!(seen(&table.on_exec(8, &KernelFacts { image: Some((50, 50)), ..reported(10, 7) })), "+8");
    // So does another process of this pid.
    assert_eq!(seen(&table.on_exec(8, &KernelFacts { arguments, ..reported(9, 7) })), "-8 +8");
    // The end is the kernel's word too.
    proc.add(&FakeProcess { start_time: 9, ..process(8, 1, "/bin/b", 60) });
    assert_eq!(seen(&table.on_exit(8, &reported(8, 7))), "");
    assert_eq!(seen(&table.on_exit(8, &reported(9, 7))), "-8");
}

#[test]
fn a_fork_is_read_when_it_has_its_first_connection() {
    let proc = FakeProc::new();
    proc.add(&process(5, 1, "/bin/a", 1));
    let mut table = table(&proc, vec![exe("/bin/a")], vec![]);
    table.scan().unwrap();
    // One that is gone has its parent's facts and what the kernel reported.
    assert_eq!(seen(&table.on_fork(5, 6, &reported(20, 0))), "+6");
    assert_eq!(seen(&table.on_user(6, Some(0))), "");
    assert_eq!(seen(&table.on_user(6, Some(33))), "~6");
    // One that lives has another title and user by then.
    assert_eq!(seen(&table.on_fork(5, 7, &reported(21, 0))), "+7");
    let worker = process(7, 5, "/bin/a", 1);
    proc.add(&FakeProcess { start_time: 21, user: 33, cmdline: &["a: pool b", "", ""], ..worker });
    let changes = table.on_user(7, Some(33));
    let [Change::Refresh { facts }] = &changes[..] else { panic!("{changes:?}") };
    assert_eq!((facts.user_id, &facts.command_args[..]), (Some(33), &["a: pool b".to_owned()][..]));
    assert_eq!(seen(&table.on_user(7, Some(33))), "");
    // Without a connection, a scan sees it.
    proc.add(&FakeProcess { user: 8, ..process(5, 1, "/bin/a", 1) });
    proc.add(&FakeProcess { start_time: 21, user: 33, ..process(7, 5, "/bin/a", 1) });
    assert_eq!(seen(&table.scan().unwrap()), "-6 ~5");
}

#[test]
fn exit_of_the_living_is_ignored() {
    let proc = FakeProc::new();
    proc.add(&process(5, 1, "/bin/a", 1));
    let mut table = table(&proc, vec![exe("*")], vec![]);
    table.scan().unwrap();
    assert_eq!(seen(&table.on_exit(5, &KernelFacts::default())), "");
    proc.remove(5);
    assert_eq!(seen(&table.on_exit(5, &KernelFacts::default())), "-5");
    assert_eq!(seen(&table.on_exit(5, &KernelFacts::default())), "");
    assert_eq!(table.selected_count(), 0);
}

#[test]
fn a_pinned_process_and_its_descendants_stay_selected() {
    let proc = FakeProc::new();
    proc.add(&process(5, OWN, "/bin/wirespan", 1));
    let mut table = table(&proc, vec![], vec![exe("/bin/b")]);
    assert_eq!(seen(&table.scan().unwrap()), "");
    assert_eq!(seen(&table.pin(5)), "+5");
    proc.add(&process(5, OWN, "/bin/a", 2));
    assert_eq!(seen(&table.on_exec(5, &KernelFacts::default())), "~5");
    proc.add(&process(6, 5, "/bin/a", 2));
    assert_eq!(seen(&table.on_fork(5, 6, &KernelFacts::default())), "+6");
    proc.add(&process(6, 5, "/bin/b", 3));
    assert_eq!(seen(&table.on_exec(6, &KernelFacts::default())), "~6");
    // Even when the rules decided about it in a scan before its fork was reported.
    proc.add(&process(8, 6, "/bin/b", 4));
    assert_eq!(seen(&table.scan().unwrap()), "");
    assert_eq!(seen(&table.on_fork(6, 8, &KernelFacts::default())), "+8");
    proc.add(&process(7, 6, "/bin/b", 3));
    assert_eq!(seen(&table.on_fork(6, 7, &KernelFacts::default())), "+7");
}

#[test]
fn listening_selects_the_process_and_its_forks() {
    let proc = FakeProc::new();
    let worker =
        |pid, parent, image, sockets| FakeProcess { sockets, ..process(pid, parent, "/bin/a", image) };
    proc.add(&worker(5, 1, 1, &[40, 41]));
    // Forked before; forked by that; forked, then another program; holds the socket although it is
    // another program.
    proc.add(&worker(6, 5, 1, &[]));
    proc.add(&worker(7, 6, 1, &[]));
    proc.add(&worker(8, 5, 2, &[]));
    proc.add(&process(9, 1, "/bin/a", 1));
    let mut table = table(&proc, vec![port(8080)], vec![]);
    assert_eq!(seen(&table.scan().unwrap()), "");
    proc.listen(5, 80, 40);
    assert_eq!(seen(&table.on_listen(5, 80, &KernelFacts::default())), "");
    proc.listen(5, 8080, 41);
    assert_eq!(seen(&table.on_listen(5, 8080, &KernelFacts::default())), "+5 +6 +7");
    assert_eq!(seen(&table.on_listen(5, 8080, &KernelFacts::default())), "");
    // What does not match does not lose what it inherited.
    assert_eq!(seen(&table.on_listen(6, 80, &KernelFacts::default())), "");
}

/// The state changes before the socket is hashed (`inet_csk_listen_start`,
/// <https://github.com/torvalds/linux/blob/v6.12/net/ipv4/inet_connection_sock.c>): it may not
/// stand in /proc/net/tcp yet.
#[test]
fn a_listener_is_known_before_its_table_shows_it() {
    let proc = FakeProc::new();
    proc.add(&process(5, 1, "/bin/a", 1));
    let mut table = table(&proc, vec![port(8080)], vec![]);
    assert_eq!(seen(&table.scan().unwrap()), "");
    assert_eq!(seen(&table.on_listen(5, 80, &KernelFacts::default())), "");
    assert_eq!(seen(&table.on_listen(5, 8080, &KernelFacts::default())), "+5");
}

#[test]
fn a_scan_finds_workers_that_were_forked_before() {
    let proc = FakeProc::new();
    proc.add(&process(5, 1, "/usr/sbin/nginx", 1));
    proc.add(&process(6, 5, "/usr/sbin/nginx", 1));
    proc.add(&process(7, 5, "/usr/sbin/nginx", 2));
    let pid = Rule { pid: Some(5), ..Rule::default() };
    let mut table = table(&proc, vec![pid], vec![]);
    assert_eq!(seen(&table.scan().unwrap()), "+5 +6");
    assert_eq!(seen(&table.scan().unwrap()), "");
}

#[test]
fn listening_can_exclude_and_name() {
    let proc = FakeProc::new();
    proc.add(&FakeProcess { sockets: &[40, 41], ..process(5, 1, "/bin/a", 1) });
    let named = Rule { service: Some("web".into()), ..port(80) };
    let mut table = table(&proc, vec![exe("/bin/a"), named], vec![port(22)]);
    assert_eq!(seen(&table.scan().unwrap()), "+5");
    proc.listen(5, 80, 40);
    assert_eq!(seen(&table.on_listen(5, 80, &KernelFacts::default())), "~5");
    assert_eq!(table.selected().map(|facts| &*facts.service_name).collect::<Vec<_>>(), ["web"]);
    proc.listen(5, 22, 41);
    assert_eq!(seen(&table.on_listen(5, 22, &KernelFacts::default())), "-5");
}

#[test]
fn moving_between_cgroups_is_noticed() {
    let proc = FakeProc::new();
    let within = |cgroup| FakeProcess { cgroup, ..process(5, 1, "/bin/a", 1) };
    proc.add(&within("0::/other\n"));
    let rule = Rule { cgroup: Some("/sys/fs/cgroup/legacy.service".to_owned()), ..Rule::default() };
    let mut table = table(&proc, vec![rule], vec![]);
    assert_eq!(seen(&table.scan().unwrap()), "");
    proc.add(&within("0::/legacy.service/x\n"));
    assert_eq!(seen(&table.scan().unwrap()), "+5");
    proc.add(&within("0::/other\n"));
    assert_eq!(seen(&table.scan().unwrap()), "-5");
}

#[test]
fn limits_hold_and_are_counted() {
    let proc = FakeProc::new();
    for pid in 1..=6 {
        proc.add(&process(pid, 0, if pid <= 3 { "/bin/b" } else { "/bin/a" }, u64::from(pid)));
    }
    let selection = Selection { select: vec![exe("/bin/a")], exclude: vec![] };
    let limits = Limits { known: 100, selected: 2 };
    let mut table = Table::new(selection.clone(), proc.root().clone(), OWN, limits);
    assert_eq!(seen(&table.scan().unwrap()), "+4 +5");
    assert_eq!(table.counters().over_limit, 1);
    // Room again.
    proc.remove(4);
    assert_eq!(seen(&table.scan().unwrap()), "-4 +6");

    let limits = Limits { known: 2, selected: 2 };
    let mut table = Table::new(selection, proc.root().clone(), OWN, limits);
    assert_eq!(seen(&table.scan().unwrap()), "");
    assert_eq!((table.counters().forgotten, table.counters().over_limit), (1, 2));
}

/// A child that is killed when the test ends, however it ends.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn real_processes() {
    let sleeper = Killed(Command::new("/bin/sleep").arg("600").spawn().unwrap());
    let pid = sleeper.0.id();
    let program = ProcRoot::default().executable(pid).unwrap().unwrap();
    let rule = Rule { pid: Some(pid), ..exe(&program) };
    let selection = Selection { select: vec![rule], exclude: vec![] };
    let mut table = Table::new(selection, ProcRoot::default(), std::process::id(), Limits::default());
    assert_eq!(seen(&table.scan().unwrap()), format!("+{pid}"));
    assert_eq!(seen(&table.on_exit(pid, &KernelFacts::default())), "");
    drop(sleeper);
    assert_eq!(seen(&table.on_exit(pid, &KernelFacts::default())), format!("-{pid}"));
}

#[test]
fn a_real_exec_is_seen_without_its_event_and_a_real_fork_inherits() {
    // A shell forks a subshell that waits for input, and executes another program when its own
    // input ends.
    let mut shell = Killed(
        Command::new("/bin/sh")
            .args(["-c", "exec 3<&0; (read x <&3) & echo $!; read go; exec sleep 600"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap(),
    );
    let pid = shell.0.id();
    let mut line = String::new();
    BufReader::new(shell.0.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let subshell: u32 = line.trim().parse().unwrap();

    let program = ProcRoot::default().executable(pid).unwrap().unwrap();
    let rule = Rule { pid: Some(pid), ..exe(&program) };
    let selection = Selection { select: vec![rule], exclude: vec![] };
    let mut table = Table::new(selection, ProcRoot::default(), std::process::id(), Limits::default());
    assert_eq!(seen(&table.scan().unwrap()), format!("+{pid} +{subshell}"));
    assert_eq!(seen(&table.scan().unwrap()), "");

    // End of input: the subshell exits, the shell goes on to its exec.
    drop(shell.0.stdin.take());
    while table.is_selected(pid) {
        table.scan().unwrap();
    }
    while ProcRoot::default().arguments(pid).unwrap() != ["sleep", "600"] {
        std::thread::yield_now();
    }
}
