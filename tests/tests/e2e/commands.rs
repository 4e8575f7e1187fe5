//! The commands for people: `trace`, `doctor`, `config`.

use anyhow::Result;
use wirespan_tests::{
    agent::Agent,
    cgroup::Cgroup,
    machine,
    nginx::Nginx,
    process::{Launch, Process},
    stage::Stage,
    wait,
};

pub(crate) fn wirespan(stage: &Stage, words: &[&str]) -> Result<Process> {
    Launch::new(machine::wirespan()?).args(words).start(stage.dir())
}

#[test]
fn doctor_says_that_tracing_works_here() -> Result<()> {
    let Some(stage) = Stage::shared("doctor", &[]) else { return Ok(()) };
    let text = wirespan(&stage, &["doctor"])?.finish()?;
    assert!(text.contains("raw_tp") || text.contains("fexit"), "{text}");
    let json = wirespan(&stage, &["doctor", "--json"])?.finish()?;
    serde_json::from_str::<serde_json::Value>(&json)?;
    Ok(())
}

#[test]
fn doctor_tells_how_far_a_process_is_believed() -> Result<()> {
    let Some(stage) = Stage::shared("belief", &["nginx", "curl"]) else { return Ok(()) };
    let aside = Cgroup::create("belief-backend")?;
    let back = Nginx::start(&aside, stage.dir(), "")?;
    let proxied = format!("location /via/ {{ proxy_pass http://127.0.0.1:{}/hello/; }}", back.port);
    let nginx = Nginx::start(&stage.cgroup, stage.dir(), &proxied)?;
    let agent = Agent::start(&stage)?;
    let url = format!("http://127.0.0.1:{}/via/[1-50]", nginx.port);
    Launch::new("curl").args(["-q", "-sS", "-o", "/dev/null", &url]).start(stage.dir())?.finish()?;
    let (address, pid) = (agent.metrics_address(), nginx.workers()[0].to_string());
    wait::until("all calls to be counted", || {
        let text = doctor_of(&stage, &pid, &address).ok()?;
        text.contains("50 of 50 calls linked").then_some(())
    })?;
    let json = wirespan(&stage, &["doctor", "--json", "--pid", &pid, "--metrics", &address])?.finish()?;
    let told: serde_json::Value = serde_json::from_str(&json)?;
    assert_eq!(told["confidence"]["figures"]["linked"], 50, "{json}");
    assert_eq!(told["not_captured"].as_object().map(serde_json::Map::len), Some(0), "{json}");
    let mut nobody = wirespan(&stage, &["doctor", "--pid", "1", "--metrics", &address])?;
    assert_eq!(nobody.wait()?.code(), Some(1));
    assert!(nobody.stdout().contains("has seen no outbound request of it"), "{}", nobody.stdout());
    drop(agent.stop()?);
    let mut alone = wirespan(&stage, &["doctor", "--pid", &pid, "--metrics", &address])?;
    assert!(!alone.wait()?.success());
    assert!(alone.stderr().contains("no agent answers") && alone.stderr().contains(&address));
    Ok(())
}

fn doctor_of(stage: &Stage, pid: &str, address: &str) -> Result<String> {
    wirespan(stage, &["doctor", "--pid", pid, "--metrics", address])?.finish()
}

#[test]
fn trace_without_a_choice_lists_what_listens() -> Result<()> {
    let Some(stage) = Stage::shared("choice", &["nginx"]) else { return Ok(()) };
    let nginx = Nginx::start(&stage.cgroup, stage.dir(), "")?;
    let mut trace = wirespan(&stage, &["trace"])?;
    assert_eq!(trace.wait()?.code(), Some(2));
    let said = trace.stderr() + &trace.stdout();
    assert!(said.contains("nginx") && said.contains(&nginx.port.to_string()), "{said}");
    Ok(())
}

#[test]
fn trace_starts_a_command_and_forwards_its_status() -> Result<()> {
    let Some(stage) = Stage::shared("command", &["nginx", "curl"]) else { return Ok(()) };
    let nginx = Nginx::start(&stage.cgroup, stage.dir(), "")?;
    let url = format!("http://127.0.0.1:{}/hello/command", nginx.port);
    let script = format!("curl -q -sS {url}; exit 7");
    for format in ["tree", "json"] {
        let mut trace = wirespan(&stage, &["trace", "--format", format, "--", "sh", "-c", &script])?;
        assert_eq!(trace.wait()?.code(), Some(7), "{}", trace.stderr());
        assert!(trace.stdout().contains("/hello/command"), "{format}: {}{}", trace.stdout(), trace.stderr());
    }
    Ok(())
}
