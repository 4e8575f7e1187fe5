//! nginx with a directory and a configuration of its own.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::TcpStream,
    path::Path,
};

use anyhow::{Context as _, Result};

use crate::{
    cgroup::Cgroup,
    machine,
    process::{Launch, Process},
    stage, wait,
};

/// A running nginx: one worker, keep-alive without limit.
#[derive(Debug)]
pub struct Nginx {
    pub port: u16,
    process: Process,
}

/// The routes that every service of the tests has; a count of requests; an OTLP collector that
/// takes everything.
const ROUTES: &str = r#"
        location /hello/ { return 200 "hello\n"; }
        location /echo/ { return 200 "posted\n"; }
        location /empty/ { return 204; }
        location /missing/ { return 404 "not found\n"; }
        location /fail/ { return 500 "failed\n"; }
        location /bytes/ { rewrite "^/bytes/(\d+)/" /files/$1 break; }
        location /chunked/ { rewrite "^/chunked/(\d+)/" /files/$1 break; ssi on; ssi_types *; }
        location = /status { stub_status; }
        location = /v1/traces { default_type application/x-protobuf; return 200 ""; }
"#;

/// Sizes for which there is a file.
const SIZES: [usize; 6] = [0, 1, 100, 5_000, 100_000, 3_000_000];

/// Directives that keep its temporary files in its own directory.
#[must_use]
pub fn temporary() -> String {
    ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|kind| format!("    {kind}_temp_path {kind};\n"))
        .concat()
}

impl Nginx {
    /// Starts it in a cgroup, with which its workers end; `locations` are added to the routes of
    /// the other test services.
    ///
    /// # Errors
    /// When it does not listen.
    pub fn start(cgroup: &Cgroup, dir: &Path, locations: &str) -> Result<Self> {
        Self::with_room(cgroup, dir, locations, 4_096)
    }

    /// As [`Nginx::start`], for this many connections at once: with more workers where one may not
    /// have enough descriptors.
    ///
    /// # Errors
    /// When it does not listen.
    pub fn with_room(cgroup: &Cgroup, dir: &Path, locations: &str, room: u32) -> Result<Self> {
        let port = stage::port();
        let prefix = dir.join(format!("nginx-{port}"));
        fs::create_dir_all(prefix.join("files")).context("cannot make nginx's directory")?;
        for size in SIZES {
            fs::write(prefix.join(format!("files/{size}")), "n".repeat(size))?;
        }
        let temporary = temporary();
        const OF_WORKER: u32 = 15_000;
        let workers = room.div_ceil(OF_WORKER);
        let room = room.min(OF_WORKER);
        let config = format!(
            "daemon off;\nworker_processes {workers};\nuser root;\npid nginx.pid;\nerror_log stderr warn;\n\
             events {{ worker_connections {room}; }}\n\
             http {{\n    access_log off;\n    sendfile on;\n    tcp_nopush off;\n    keepalive_requests 1000000000;\n\
             client_max_body_size 0;\n    large_client_header_buffers 8 64k;\n{temporary}    \
             server {{\n        listen 127.0.0.1:{port} reuseport backlog=4096;\n        listen [::1]:{port};\n        root .;\n{ROUTES}{locations}\n    }}\n}}\n"
        );
        fs::write(
            prefix.join("nginx.conf"),
            config.replace("root .;", &format!("root {};", prefix.display())),
        )?;
        let nginx = machine::program("nginx").context("nginx is not installed")?;
        let launch = Launch::new(nginx).arg("-p").arg(&prefix).args(["-c", "nginx.conf", "-e", "stderr"]);
        let process = launch.inside(cgroup).start(dir)?;
        let started = Self { port, process };
        wait::until("nginx to listen", || TcpStream::connect(("127.0.0.1", port)).ok())
            .with_context(|| started.process.stderr())?;
        // The master listens before it has a worker.
        wait::until("nginx's worker", || started.workers().first().copied())?;
        Ok(started)
    }

    /// The master's process id; the workers are its children.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// The process ids of its workers.
    #[must_use]
    pub fn workers(&self) -> Vec<u32> {
        let path = format!("/proc/{0}/task/{0}/children", self.pid());
        let children = fs::read_to_string(path).unwrap_or_default();
        children.split_whitespace().filter_map(|pid| pid.parse().ok()).collect()
    }

    /// How many requests it has served, the one that asks included.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn requests(&self) -> Result<u64> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port))?;
        stream.write_all(b"GET /status HTTP/1.0\r\n\r\n")?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        // The line after "server accepts handled requests" holds the three numbers.
        let numbers = text.lines().skip_while(|line| !line.starts_with("server accepts")).nth(1);
        let requests = numbers.and_then(|line| line.split_whitespace().nth(2)?.parse().ok());
        requests.with_context(|| format!("not a stub_status page: {text}"))
    }
}
