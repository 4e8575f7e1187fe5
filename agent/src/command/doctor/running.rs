//! Asks a running agent on this host for its status page, because the counts live in the agent.

use std::{
    fmt::Write as _,
    io,
    net::{SocketAddr, ToSocketAddrs as _},
    time::Duration,
};

use anyhow::Context as _;
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::{Request, StatusCode, body::Bytes, client::conn::http1, header};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;

use crate::session::status::{AGENT, Count, FORMAT, Status};

/// How long to wait for the agent's response.
const TIMEOUT: Duration = Duration::from_secs(2);

/// Largest response that is read.
const LIMIT: usize = 4 << 20;

/// The beginning of the 404 page of agents that have no status page.
const OLDER: &str = "there are /metrics, ";

/// Why there is no status.
#[derive(Debug, thiserror::Error)]
pub(super) enum AskError {
    #[error("--metrics {address} is no address: write HOST:PORT, like 127.0.0.1:9464")]
    Address { address: String },
    #[error(
        "no agent answers at {address}: {reason}; a running agent serves its status where `metrics.listen` of its \
         configuration says: give that address with --metrics"
    )]
    Nobody { address: String, reason: io::Error },
    #[error(
        "{address} takes connections and does not respond within {seconds} s: the agent there is stopped or has no CPU left, \
         or it is no wirespan agent",
        seconds = TIMEOUT.as_secs()
    )]
    Slow { address: String },
    #[error(
        "what listens at {address} is no wirespan agent: give the address of its `metrics.listen` with --metrics"
    )]
    OtherServer { address: String },
    #[error("the agent at {address} is older than this program and has no status page: restart it")]
    Older { address: String },
    #[error(
        "the agent at {address} is of version {version}, which this program cannot read: ask with its own"
    )]
    Newer { address: String, version: String },
    #[error("cannot ask the agent at {address}: {reason}")]
    Failed { address: String, reason: String },
}

/// Asks the agent whose metrics are served at `address`.
pub(super) fn status(address: &str) -> Result<Status, AskError> {
    let failed =
        |error: anyhow::Error| AskError::Failed { address: address.to_owned(), reason: format!("{error:#}") };
    let addresses = address.to_socket_addrs().ok().and_then(|mut addresses| addresses.next());
    let to = addresses.ok_or_else(|| AskError::Address { address: address.to_owned() })?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the thread that waits")
        .map_err(failed)?;
    let asked = runtime.block_on(async { tokio::time::timeout(TIMEOUT, ask(to, address)).await });
    let (code, body) = asked.unwrap_or_else(|_| Err(AskError::Slow { address: address.to_owned() }))?;
    read(address, code, &body)
}

/// Status code and body of the page.
async fn ask(to: SocketAddr, address: &str) -> Result<(StatusCode, Bytes), AskError> {
    let nobody = |reason| AskError::Nobody { address: address.to_owned(), reason };
    let other = || AskError::OtherServer { address: address.to_owned() };
    let stream = TcpStream::connect(to).await.map_err(nobody)?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(|_| other())?;
    let connection = tokio::spawn(connection);
    let request = Request::get("/status").header(header::HOST, address).body(Empty::<Bytes>::new());
    let response = sender.send_request(request.map_err(|_| other())?).await.map_err(|_| other())?;
    let code = response.status();
    let body = Limited::new(response.into_body(), LIMIT).collect().await.map_err(|_| other())?;
    connection.abort();
    Ok((code, body.to_bytes()))
}

/// Reads the response, and recognizes who sent it.
fn read(address: &str, code: StatusCode, body: &[u8]) -> Result<Status, AskError> {
    let address = address.to_owned();
    if code == StatusCode::NOT_FOUND && body.starts_with(OLDER.as_bytes()) {
        return Err(AskError::Older { address });
    }
    let page: Option<Value> = serde_json::from_slice(body).ok().filter(|_| code.is_success());
    let Some(page) = page.filter(|page| page["agent"] == AGENT) else {
        return Err(AskError::OtherServer { address });
    };
    let version = page["version"].as_str().unwrap_or("unknown").to_owned();
    match serde_json::from_value::<Status>(page) {
        Ok(status) if status.format == FORMAT => Ok(status),
        _ => Err(AskError::Newer { address, version }),
    }
}

/// A counter as one line: its name as in the metrics.
pub(super) fn line(count: &Count) -> String {
    let mut text = count.metric.clone();
    for (number, (name, value)) in count.labels.iter().enumerate() {
        let before = if number == 0 { '{' } else { ',' };
        // Writing to a string does not fail.
        let _ = write!(text, "{before}{name}={value:?}");
    }
    let end = if count.labels.is_empty() { "" } else { "}" };
    format!("{text}{end} {}", count.value)
}

#[cfg(test)]
mod tests {
    use std::{
        io::{Read as _, Write as _},
        net::TcpListener,
        thread,
    };

    use super::*;

    /// Starts a server that sends these bytes to its first client; returns its address.
    fn server(response: &'static [u8]) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let _asked = stream.read(&mut [0; 1024]).unwrap();
            stream.write_all(response).unwrap();
            // A client that gets nothing waits, as it does for an agent that is stopped.
            if response.is_empty() {
                thread::park();
            }
        });
        address
    }

    fn page(body: &str) -> &'static [u8] {
        format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len()).into_bytes().leak()
    }

    fn error(response: &'static [u8]) -> AskError {
        status(&server(response)).unwrap_err()
    }

    #[test]
    fn an_agent_is_read() {
        let newer_fields = r#"{"agent":"wirespan","version":"9","format":1,"new":[],
            "unreadable":[{"metric":"m_total","labels":{"reason":"a","b":"\""},"value":3}],
            "processes":[{"pid":7,"confidence":null,"not_captured":{"io_uring":3}}]}"#;
        let status = status(&server(page(newer_fields))).unwrap();
        assert_eq!(status.processes[0].not_captured["io_uring"], 3);
        assert_eq!(line(&status.unreadable[0]), r#"m_total{b="\"",reason="a"} 3"#);
    }

    #[test]
    fn an_agent_of_another_version_is_named() {
        let older = b"HTTP/1.1 404 Not Found\r\ncontent-length: 47\r\n\r\n\
                      there are /metrics, /processes and /healthz\n\n\n\n";
        assert!(matches!(error(older), AskError::Older { .. }));
        let newer = error(page(r#"{"agent":"wirespan","version":"9.1","format":2}"#));
        assert!(matches!(&newer, AskError::Newer { version, .. } if version == "9.1"), "{newer}");
    }

    #[test]
    fn another_server_is_none_of_ours() {
        for response in [
            &b"SSH-2.0-OpenSSH_9.2\r\n"[..],
            b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n",
            b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello",
            b"HTTP/1.1 200 OK\r\ncontent-length: 17\r\n\r\n{\"agent\":\"other\"}",
            b"HTTP/1.1 200 OK\r\ncontent-length: 9000000\r\n\r\n",
            b"HTTP/1.1 200 OK\r\ncontent-length: 90\r\n\r\n{",
        ] {
            let error = error(response);
            assert!(matches!(error, AskError::OtherServer { .. }), "{error}");
        }
    }

    #[test]
    fn nobody_a_slow_one_and_no_address_are_told_apart() {
        let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
        let error_of = |address: &str| status(address).unwrap_err().to_string();
        assert!(error_of(&free).starts_with(&format!("no agent answers at {free}: Connection refused")));
        assert!(error_of(&server(b"")).contains("does not respond within 2 s"));
        assert!(error_of("9464").contains("is no address"));
    }
}
