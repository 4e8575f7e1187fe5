//! An agent that cannot start or cannot export says so in one sentence, on any kernel.

use std::net::TcpListener;

use anyhow::Result;
use wirespan_tests::stage::{self, Stage};

use crate::harm::{CONSOLE, assert_clear, config, in_trouble, metrics, refused};

#[test]
fn a_taken_port_is_named() -> Result<()> {
    let Some(stage) = Stage::shared("port-taken", &[]) else { return Ok(()) };
    let holder = TcpListener::bind("127.0.0.1:0")?;
    let address = holder.local_addr()?.to_string();
    let message =
        refused(&stage, &config(&stage, &format!("{CONSOLE}metrics: {{ listen: \"{address}\" }}\n")), &[])?;
    assert_clear(&message, &[&address]);
    Ok(())
}

#[test]
fn an_error_in_the_configuration_has_file_and_line() -> Result<()> {
    let Some(stage) = Stage::shared("config", &[]) else { return Ok(()) };
    let cases = [
        ("select: []\n", "select"),
        ("slect: [ { port: 1 } ]\n", "slect"),
        ("select: [ { port: high } ]\n", "port"),
        ("select: [ { port: 70000 } ]\n", "port"),
    ];
    for (text, word) in cases {
        let message = refused(&stage, &format!("{text}{CONSOLE}{}", metrics()), &[])?;
        assert_clear(&message, &[word]);
        assert!(message.contains("refused.yaml"), "{message}");
    }
    Ok(())
}

#[test]
fn a_dead_collector_is_reported() -> Result<()> {
    for protocol in ["grpc", "http/protobuf"] {
        let Some(stage) = Stage::shared("collector", &["nginx", "curl"]) else { return Ok(()) };
        let endpoint = format!("http://127.0.0.1:{}", stage::port());
        let export = format!("export: {{ otlp: {{ endpoint: \"{endpoint}\", protocol: {protocol} }} }}\n");
        in_trouble(&stage, &export, &["refused", "collector", "connect"])?;
    }
    Ok(())
}
