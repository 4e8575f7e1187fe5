//! Commands that ask nothing new of the kernel.

use anyhow::Result;
use wirespan_tests::{
    nginx::Nginx,
    process::{Launch, Process},
    stage::Stage,
    wait,
};

use crate::commands::wirespan;

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
fn trace_ends_after_the_time_given() -> Result<()> {
    let Some(stage) = Stage::shared("for", &["nginx", "curl"]) else { return Ok(()) };
    let nginx = Nginx::start(&stage.cgroup, stage.dir(), "")?;
    let port = nginx.port.to_string();
    let mut trace = wirespan(&stage, &["trace", "--port", &port, "--for", "5s"])?;
    let url = format!("http://127.0.0.1:{port}/hello/seen");
    // Until the first span shows that tracing has begun.
    let seen = wait::until("a request in the tree", || {
        Launch::new("curl").args(["-q", "-sS", &url]).start(stage.dir()).and_then(Process::finish).ok()?;
        trace.stdout().contains("/hello/seen").then_some(())
    });
    seen?;
    assert!(trace.wait()?.success(), "{}", trace.stderr());
    Ok(())
}
