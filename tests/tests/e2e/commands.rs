//! The commands for people: `trace`, `doctor`, `config`.

use anyhow::Result;
use wirespan_tests::{
    machine,
    nginx::Nginx,
    process::{Launch, Process},
    stage::Stage,
};

fn wirespan(stage: &Stage, words: &[&str]) -> Result<Process> {
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
fn the_default_configuration_is_explained_and_checked() -> Result<()> {
    let Some(stage) = Stage::shared("default", &[]) else { return Ok(()) };
    let text = wirespan(&stage, &["config", "default"])?.finish()?;
    for key in ["select", "export", "metrics"] {
        assert!(text.contains(key), "{text}");
    }
    let file = stage.file("good.yaml", &format!("{}export: {{ console: {{}} }}\n", stage.select()))?;
    let mut check = wirespan(&stage, &["config", "check", &file.display().to_string()])?;
    assert!(check.wait()?.success(), "{}", check.stderr());
    let file = stage.file("bad.yaml", "select: [ { prot: 80 } ]\n")?;
    let mut check = wirespan(&stage, &["config", "check", &file.display().to_string()])?;
    assert!(!check.wait()?.success());
    let said = check.stderr() + &check.stdout();
    assert!(said.contains("bad.yaml") && said.contains("prot"), "{said}");
    Ok(())
}

#[test]
fn trace_without_a_choice_lists_what_listens() -> Result<()> {
    let Some(stage) = Stage::shared("choice", &["nginx"]) else { return Ok(()) };
    let nginx = Nginx::start(Some(&stage.cgroup), stage.dir(), "")?;
    let mut trace = wirespan(&stage, &["trace"])?;
    assert_eq!(trace.wait()?.code(), Some(2));
    let said = trace.stderr() + &trace.stdout();
    assert!(said.contains("nginx") && said.contains(&nginx.port.to_string()), "{said}");
    Ok(())
}

#[test]
fn trace_starts_a_command_and_forwards_its_status() -> Result<()> {
    let Some(stage) = Stage::shared("command", &["nginx", "curl"]) else { return Ok(()) };
    let nginx = Nginx::start(Some(&stage.cgroup), stage.dir(), "")?;
    let url = format!("http://127.0.0.1:{}/hello/command", nginx.port);
    let script = format!("curl -q -sS {url}; exit 7");
    for format in ["tree", "json"] {
        let mut trace = wirespan(&stage, &["trace", "--format", format, "--", "sh", "-c", &script])?;
        assert_eq!(trace.wait()?.code(), Some(7), "{}", trace.stderr());
        assert!(trace.stdout().contains("/hello/command"), "{format}: {}{}", trace.stdout(), trace.stderr());
    }
    Ok(())
}

#[test]
fn trace_ends_after_the_time_given() -> Result<()> {
    let Some(stage) = Stage::shared("for", &["nginx", "curl"]) else { return Ok(()) };
    let nginx = Nginx::start(Some(&stage.cgroup), stage.dir(), "")?;
    let port = nginx.port.to_string();
    let mut trace = wirespan(&stage, &["trace", "--port", &port, "--for", "5s"])?;
    let url = format!("http://127.0.0.1:{port}/hello/seen");
    // Until the first span shows that it watches.
    let seen = wirespan_tests::wait::until("a request in the tree", || {
        Launch::new("curl").args(["-q", "-sS", &url]).start(stage.dir()).and_then(Process::finish).ok()?;
        trace.stdout().contains("/hello/seen").then_some(())
    });
    seen?;
    assert!(trace.wait()?.success(), "{}", trace.stderr());
    Ok(())
}
