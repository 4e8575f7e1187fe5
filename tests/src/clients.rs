//! Clients that make a list of requests and report the responses: the truth with which spans are
//! compared.

use std::{fmt::Write as _, path::PathBuf};

use anyhow::{Context as _, Result, bail, ensure};

use crate::{
    machine,
    process::Launch,
    programs::{go, java, script},
    stage::Stage,
};

/// A request to make.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    pub method: &'static str,
    pub path: String,
    /// Bytes of body to post.
    pub size: u64,
}

/// What the client saw.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Exchange {
    pub method: String,
    pub path: String,
    pub status: u16,
    pub sent: u64,
    pub received: u64,
}

/// One request of each sort, `rounds` times, no two with the same path.
#[must_use]
pub fn requests(tag: &str, rounds: usize) -> Vec<Request> {
    let mut list = Vec::new();
    for round in 0..rounds {
        let mut add = |method, path: &str, size| {
            list.push(Request { method, path: format!("{path}/{tag}-{round}"), size });
        };
        add("GET", "/hello", 0);
        add("GET", "/bytes/100000", 0);
        add("POST", "/echo", 3_000);
        add("GET", "/chunked/5000", 0);
        add("GET", "/empty", 0);
        add("GET", "/missing", 0);
        add("GET", "/bytes/1", 0);
        add("GET", "/fail", 0);
        add("POST", "/echo/long", 70_000);
    }
    list
}

/// A client program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Client {
    Curl,
    Python,
    Node,
    Java,
    Go,
}

impl Client {
    /// The programs without which it cannot run.
    #[must_use]
    pub const fn needs(self) -> &'static [&'static str] {
        match self {
            Self::Curl => &["curl"],
            Self::Python => &["/usr/bin/python3"],
            Self::Node => &["node"],
            Self::Java => &["java", "javac"],
            Self::Go => &["go"],
        }
    }

    /// Makes the requests in order against `127.0.0.1:PORT`, from within the stage's cgroup.
    ///
    /// # Errors
    /// When the client fails or does not report every request.
    pub fn run(self, stage: &Stage, port: u16, requests: &[Request]) -> Result<Vec<Exchange>> {
        let reports = if self == Self::Curl {
            let config = curl_config(stage, port, requests, &[])?;
            let launch = Launch::new(curl()?).args(["-q", "-K"]).arg(config);
            launch.inside(&stage.cgroup).start(stage.dir())?.finish()?
        } else {
            let launch = match self {
                Self::Python => script(stage, "client.py", include_str!("../programs/client.py"))?,
                Self::Node => script(stage, "client.js", include_str!("../programs/client.js"))?,
                Self::Java => java("Client", include_str!("../programs/Client.java"))?,
                Self::Go => Launch::new(go("go-client", include_str!("../programs/go-client/main.go"))?),
                Self::Curl => bail!("curl has a list of its own"),
            };
            let mut list = String::new();
            for request in requests {
                writeln!(list, "{} {} {}", request.method, request.path, request.size)?;
            }
            let started =
                launch.arg(port.to_string()).stdin(list).inside(&stage.cgroup).start(stage.dir())?;
            started.finish()?
        };
        exchanges(&reports, requests).with_context(|| format!("{self:?}"))
    }
}

/// What a client reports, a line per request.
///
/// # Errors
/// When it does not report every request, in order.
pub fn exchanges(reports: &str, requests: &[Request]) -> Result<Vec<Exchange>> {
    let exchanges: Vec<_> = reports.lines().map(exchange).collect::<Result<_>>()?;
    ensure!(exchanges.len() == requests.len(), "{} of {} requests made", exchanges.len(), requests.len());
    for (exchange, request) in exchanges.iter().zip(requests) {
        ensure!(exchange.path == request.path, "{exchange:?} is reported for {request:?}");
    }
    Ok(exchanges)
}

/// curl itself.
///
/// # Errors
/// When it is not installed.
pub fn curl() -> Result<PathBuf> {
    machine::program("curl").context("curl is not installed")
}

/// The file with which one curl (`curl -q -K FILE`) makes every request over one connection, as far
/// as the server lets it, each with these header fields (`Name: value`), and reports them
/// ([`exchanges`]).
///
/// # Errors
/// When it cannot be written.
pub fn curl_config(stage: &Stage, port: u16, requests: &[Request], headers: &[&str]) -> Result<PathBuf> {
    let mut config = String::new();
    for (number, request) in requests.iter().enumerate() {
        if number > 0 {
            config.push_str("next\n");
        }
        writeln!(config, "url = \"http://127.0.0.1:{port}{}\"", request.path)?;
        writeln!(config, "silent\nshow-error\noutput = \"/dev/null\"")?;
        // With this method curl must know that no body follows.
        match request.method {
            "HEAD" => writeln!(config, "head")?,
            method => writeln!(config, "request = \"{method}\"")?,
        }
        for header in headers {
            writeln!(config, "header = \"{header}\"")?;
        }
        if request.size > 0 {
            let name = format!("body-{}", request.size);
            let body = stage.file(&name, &"p".repeat(usize::try_from(request.size)?))?;
            writeln!(config, "data-binary = \"@{}\"", body.display())?;
        }
        let path = &request.path;
        writeln!(
            config,
            "write-out = \"{} {path} %{{http_code}} %{{size_upload}} %{{size_download}}\\n\"",
            request.method
        )?;
    }
    stage.file(&format!("curl-{port}.config"), &config)
}

fn exchange(line: &str) -> Result<Exchange> {
    let words: Vec<_> = line.split_whitespace().collect();
    let [method, path, status, sent, received] = words[..] else { bail!("not a report: {line:?}") };
    Ok(Exchange {
        method: method.to_owned(),
        path: path.to_owned(),
        status: status.parse()?,
        sent: sent.parse()?,
        received: received.parse()?,
    })
}
