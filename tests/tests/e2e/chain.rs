//! Four services in four network namespaces, each linked by other evidence: nginx, Node with a
//! timer, Python's asyncio, Go.

use std::{fs, path::PathBuf};

use anyhow::{Result, ensure};
use wirespan_tests::{
    agent::Agent,
    machine, nginx,
    process::{Launch, Process},
    programs,
    span::{self, SpanRow},
    stage::{self, Namespace, Stage},
};

use crate::check::brief;

/// Spans of a request: SERVER and CLIENT of three hops, SERVER of the last.
const SPANS: usize = 7;

struct Chain {
    /// In front, in the first namespace.
    port: u16,
    first: Namespace,
    _processes: Vec<Process>,
    _namespaces: Vec<Namespace>,
}

impl Chain {
    fn start(stage: &Stage) -> Result<Self> {
        let spaces: Vec<Namespace> = (0..4).map(|_| Namespace::create()).collect::<Result<_>>()?;
        let mut addresses = vec!["127.0.0.1".to_owned()];
        for pair in spaces.windows(2) {
            addresses.push(pair[0].connect(&pair[1])?.1);
        }
        let ports: Vec<u16> = (0..4).map(|_| stage::port()).collect();
        let next = |hop: usize| [addresses[hop + 1].clone(), ports[hop + 1].to_string()];
        let own = |hop: usize| [addresses[hop].clone(), ports[hop].to_string()];
        let start = |launch: Launch<'_>, hop: usize| -> Result<Process> {
            let mut process =
                launch.namespace(Some(spaces[hop].name())).inside(&stage.cgroup).start(stage.dir())?;
            process.says("listening")?;
            Ok(process)
        };
        let node = stage.file("hop.js", include_str!("../../programs/hop.js"))?;
        let python = stage.file("hop.py", include_str!("../../programs/hop.py"))?;
        let go = Launch::new(programs::go_relay(false)?).arg(format!("{}:{}", addresses[3], ports[3]));
        let mut processes = vec![
            start(go, 3)?,
            start(Launch::new("/usr/bin/python3").arg(python).args(own(2)).args(next(2)), 2)?,
            start(Launch::new("node").arg(node).args(own(1)).args(next(1)), 1)?,
        ];
        let configuration = proxy(stage, ports[0], &next(0).join(":"))?;
        let launch = Launch::new("nginx").arg("-p").arg(stage.dir()).arg("-c").arg(configuration);
        let launch = launch.args(["-e", "stderr"]).namespace(Some(spaces[0].name())).inside(&stage.cgroup);
        processes.push(launch.start(stage.dir())?);
        let mut spaces = spaces.into_iter();
        let first = spaces.next().expect("there are four");
        Ok(Self { port: ports[0], first, _processes: processes, _namespaces: spaces.collect() })
    }

    /// Requests with the numbers from `first` on at the end of their paths, a number of them at a
    /// time.
    fn drive(&self, stage: &Stage, first: usize, count: usize, at_once: usize) -> Result<()> {
        let url = format!("http://127.0.0.1:{}/hello/[{first}-{}]", self.port, first + count - 1);
        let curl = Launch::new("curl").args(["-q", "-sS", "-Z", "--parallel-max", &at_once.to_string()]);
        let curl = curl.args(["--retry", "20", "--retry-connrefused", "--retry-delay", "1", "-f"]);
        let curl = curl.args(["-o", "/dev/null", &url]).namespace(Some(self.first.name()));
        curl.start(stage.dir())?.finish().map(drop)
    }
}

fn proxy(stage: &Stage, port: u16, next: &str) -> Result<PathBuf> {
    let temporary = nginx::temporary();
    let text = format!(
        "daemon off;\nworker_processes 1;\nuser root;\npid nginx.pid;\nerror_log stderr warn;\nevents {{ }}\n\
         http {{\n    access_log off;\n{temporary}    upstream next {{ server {next}; keepalive 16; }}\n    server {{\n\
         listen 127.0.0.1:{port};\n        location / {{ proxy_pass http://next; proxy_http_version 1.1; \
         proxy_set_header Connection \"\"; }}\n    }}\n}}\n"
    );
    stage.file("chain.conf", &text)
}

/// How many spans the trace of each request has in one chain from its root. A wrong parent is a
/// failure.
fn depths(rows: &[SpanRow], first: usize, count: usize) -> Vec<usize> {
    let of = |number: usize| {
        let path = format!("/hello/{number}");
        rows.iter().filter(move |row| row.path() == path).collect::<Vec<_>>()
    };
    (first..first + count)
        .map(|number| {
            let spans = of(number);
            assert_eq!(spans.len(), SPANS, "{number}: {}", brief(rows));
            for row in &spans {
                let Some(parent) = &row.parent else { continue };
                assert!(spans.iter().any(|other| other.id == *parent), "a wrong parent: {row:#?}");
            }
            let whole = spans.iter().filter(|row| row.parent.is_some()).count() + 1;
            let one = spans.iter().all(|row| row.trace == spans[0].trace);
            if one { whole } else { whole.min(SPANS - 1) }
        })
        .collect()
}

#[test]
fn four_hops_over_four_network_namespaces_are_one_trace() -> Result<()> {
    let needs = ["nginx", "curl", "node", "/usr/bin/python3", "ip"];
    let needs: Vec<&str> = programs::go_needs().iter().copied().chain(needs).collect();
    let Some(stage) = Stage::shared("four-hops", &needs) else { return Ok(()) };
    if let Err(why) = Namespace::create().and_then(|one| one.connect(&Namespace::create()?)) {
        machine::skip(&format!("no network namespaces with veth: {why:#}"));
        return Ok(());
    }
    let chain = Chain::start(&stage)?;
    let log = stage.dir().join("chain.wslog");
    let agent = Agent::recording(&stage, &log)?;
    // With one request at a time everything is known from the start. The next requests show what
    // can be trusted when there are many.
    let (alone, learning, many) = (20, 300, 400);
    chain.drive(&stage, 1_000, alone, 1)?;
    chain.drive(&stage, 2_000, learning, 8)?;
    chain.drive(&stage, 3_000, many, 8)?;
    let live = agent.finish()?;
    let rows = span::read(&live)?;
    let whole = |depths: Vec<usize>| depths.into_iter().filter(|depth| *depth == SPANS).count();
    let first = depths(&rows, 1_000, alone);
    assert!(whole(first.clone()) >= alone - 1, "{first:?} {}", brief(&rows));
    depths(&rows, 2_000, learning);
    let whole = whole(depths(&rows, 3_000, many));
    assert!(whole * 100 >= many * 95, "{whole} of {many} traces are whole");
    let again = stage.dir().join("again.jsonl");
    let replay = Launch::new(machine::wirespan()?).arg("replay").arg(&log).arg("--export").arg(&again);
    replay.start(stage.dir())?.finish()?;
    ensure!(fs::read(&live)? == fs::read(&again)?, "the replay has other spans");
    Ok(())
}
