//! Each server with one client, one server with each client: N requests make N SERVER spans and N
//! CLIENT spans.

use anyhow::Result;
use wirespan_tests::{
    agent::Agent,
    clients::{Client, requests},
    nginx::Nginx,
    programs::Service,
    span::Kind,
    stage::Stage,
};

use crate::check::{assert_complete, assert_exactly};

/// Rounds of one request of each sort.
const ROUNDS: usize = 5;

fn service_with_client(name: &str, service: Service, client: Client) -> Result<()> {
    let needs = [service.needs(), client.needs()].concat();
    let Some(stage) = Stage::shared(name, &needs) else { return Ok(()) };
    let server = service.start(&stage)?;
    let agent = Agent::start(&stage)?;
    let expected = client.run(&stage, server.port, &requests(name, ROUNDS))?;
    let rows = agent.stop()?;
    assert_exactly(&rows, Kind::Server, &expected);
    assert_exactly(&rows, Kind::Client, &expected);
    assert_complete(&rows);
    Ok(())
}

fn nginx_with_client(name: &str, client: Client) -> Result<()> {
    let needs = [&["nginx"], client.needs()].concat();
    let Some(stage) = Stage::shared(name, &needs) else { return Ok(()) };
    let nginx = Nginx::start(&stage.cgroup, stage.dir(), "")?;
    let agent = Agent::start(&stage)?;
    let expected = client.run(&stage, nginx.port, &requests(name, ROUNDS))?;
    let rows = agent.stop()?;
    assert_exactly(&rows, Kind::Server, &expected);
    assert_exactly(&rows, Kind::Client, &expected);
    assert_complete(&rows);
    Ok(())
}

#[test]
fn nginx_curl() -> Result<()> {
    nginx_with_client("nginx-curl", Client::Curl)
}

#[test]
fn nginx_python() -> Result<()> {
    nginx_with_client("nginx-python", Client::Python)
}

#[test]
fn nginx_node() -> Result<()> {
    nginx_with_client("nginx-node", Client::Node)
}

#[test]
fn nginx_java() -> Result<()> {
    nginx_with_client("nginx-java", Client::Java)
}

#[test]
fn nginx_go() -> Result<()> {
    nginx_with_client("nginx-go", Client::Go)
}

#[test]
fn python_curl() -> Result<()> {
    service_with_client("python-curl", Service::Python, Client::Curl)
}

#[test]
fn wsgi_curl() -> Result<()> {
    service_with_client("wsgi-curl", Service::Wsgi, Client::Curl)
}

#[test]
fn node_curl() -> Result<()> {
    service_with_client("node-curl", Service::Node, Client::Curl)
}

#[test]
fn java_curl() -> Result<()> {
    service_with_client("java-curl", Service::Java, Client::Curl)
}

#[test]
fn go_curl() -> Result<()> {
    service_with_client("go-curl", Service::Go, Client::Curl)
}
