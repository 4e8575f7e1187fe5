//! `cargo xtask demo`: shows traces as they happen of nginx, a Python service and a Node service
//! that call each other. None of them is instrumented.

use std::{
    process::{Command, ExitCode},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use wirespan_tests::{
    machine,
    nginx::Nginx,
    process::{Launch, Process},
    programs::Service,
    stage::Stage,
};

use crate::{build, setup, sh};

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// How long to watch, in seconds
    #[arg(long, default_value_t = 10)]
    seconds: u32,
}

pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode> {
    setup::run()?;
    let agent = build::agent(build::Profile::Release)?;
    if !sh::is_root() {
        println!("demo: tracing needs root: asking sudo");
        return sh::again_as_root(&agent);
    }
    // An interrupt ends `wirespan trace`; this process stays to clean up.
    ctrlc::set_handler(|| {}).context("cannot handle interrupts")?;
    let programs = ["nginx", "curl", "/usr/bin/python3", "node"];
    let Some(stage) = Stage::shared("demo", &programs) else {
        bail!("the demo cannot run on this machine, `wirespan doctor` says more")
    };
    let node = Service::Node.start_as(&stage, &stage.cgroup, Some("stock"))?;
    let python = Service::Python.start_as(&stage, &stage.cgroup, Some("orders"))?;
    let locations = format!(
        "        location /orders/ {{ proxy_pass http://127.0.0.1:{}/; }}\n        \
         location /stock/ {{ proxy_pass http://127.0.0.1:{}/; }}\n",
        python.port, node.port
    );
    let nginx = Nginx::start(&stage.cgroup, stage.dir(), &locations)?;
    println!(
        "demo: curl → nginx (port {}) → orders (Python, {}) ⇄ stock (Node, {})",
        nginx.port, python.port, node.port
    );

    let mut words = vec!["trace".to_owned(), "--cgroup".to_owned(), stage.cgroup.path().to_owned()];
    words.extend(["--for".to_owned(), format!("{}s", arguments.seconds)]);
    println!("demo: wirespan {}\n", words.join(" "));
    let mut trace = Command::new(agent).args(&words).spawn().context("cannot start wirespan trace")?;

    let over = AtomicBool::new(false);
    let status = thread::scope(|scope| {
        scope.spawn(|| traffic(&stage, nginx.port, python.port, node.port, &over));
        let status = trace.wait();
        over.store(true, Ordering::Relaxed);
        status
    })?;
    println!("\ndemo: done, everything that was started is stopped");
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// A few requests per second, some of which fail.
fn traffic(stage: &Stage, nginx: u16, python: u16, node: u16, over: &AtomicBool) {
    let paths = [
        format!("orders/call/{node}/hello/lamp"),
        "stock/hello/table".to_owned(),
        format!("stock/call/{python}/bytes/5000"),
        "orders/missing/chair".to_owned(),
        format!("orders/call/{node}/fail/shelf"),
    ];
    for path in paths.iter().cycle() {
        if over.load(Ordering::Relaxed) {
            return;
        }
        let url = format!("http://127.0.0.1:{nginx}/{path}");
        let curl = Launch::new(machine::program("curl").unwrap_or_else(|| "curl".into()));
        let curl = curl.args(["-q", "-sS", "-o", "/dev/null", &url]).inside(&stage.cgroup);
        if let Err(err) = curl.start(stage.dir()).and_then(Process::finish) {
            eprintln!("demo: {err:#}");
        }
        // Slow enough for a person to read.
        thread::sleep(Duration::from_millis(400));
    }
}
