//! Each server with one client, one server with each client: N requests make N SERVER spans and N CLIENT spans.

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

/// The programs themselves, without an agent: what the matrix takes for the truth.
#[test]
fn every_client_reports_what_every_service_answers() -> Result<()> {
    let services = [Service::Python, Service::Wsgi, Service::Node, Service::Java, Service::Go];
    let clients = [Client::Curl, Client::Python, Client::Node, Client::Java, Client::Go];
    for service in services {
        for client in clients {
            let name = format!("{service:?}-{client:?}").to_lowercase();
            let needs = [service.needs(), client.needs()].concat();
            let Some(stage) = Stage::shared(&name, &needs) else { continue };
            let server = service.start(&stage)?;
            for exchange in client.run(&stage, server.port, &requests(&name, 1))? {
                let (status, received) = match exchange.path.split('/').nth(1) {
                    Some("hello") => (200, 6),
                    Some("bytes") if exchange.path.starts_with("/bytes/1/") => (200, 1),
                    Some("bytes") => (200, 100_000),
                    Some("chunked") => (200, 5_000),
                    Some("echo") => (200, exchange.sent),
                    Some("empty") => (204, 0),
                    Some("missing") => (404, 10),
                    _ => (500, 7),
                };
                assert_eq!((exchange.status, exchange.received), (status, received), "{name}: {exchange:?}");
            }
        }
    }
    Ok(())
}
