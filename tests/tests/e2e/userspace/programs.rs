//! The programs of the other tests, without an agent.

use anyhow::Result;
use wirespan_tests::{
    clients::{Client, requests},
    programs::Service,
    stage::Stage,
};

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
