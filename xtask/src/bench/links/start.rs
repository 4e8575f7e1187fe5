//! How each kind of program is started: with its port, the backend's port and its mode in the
//! environment.

use std::{fs, net::TcpStream, path::Path};

use anyhow::{Context as _, Result, ensure};
use wirespan_tests::{
    cgroup::Cgroup,
    process::{Launch, Process},
    stage, wait,
};

use super::{
    apps::{App, Program},
    database,
    install::Tools,
    servers::Own,
};

/// An application that listens on a port of loopback.
#[derive(Debug)]
pub(super) struct Running {
    pub(super) port: u16,
    process: Process,
    /// Ends after the application.
    _database: Option<database::Server>,
}

/// Starts an application in a cgroup and waits until it listens; what it writes goes to `dir`.
pub(super) fn start(app: &App, tools: &Tools, backend: u16, cgroup: &Cgroup, dir: &Path) -> Result<Running> {
    // Outside of the cgroup, so that it is not selected.
    let database = app.database.map(|database| database.start(dir)).transpose()?;
    let port = stage::port();
    let place = Place { port, backend, dir, mode: app.mode };
    let launch = launch(app, tools, &place)?
        .env("PORT", port.to_string())
        .env("BACKEND_PORT", backend.to_string())
        .env("DATABASE_PORT", database.as_ref().map(|server| server.port.to_string()).unwrap_or_default())
        .env("MODE", app.mode)
        // The sources stay unchanged.
        .env("PYTHONDONTWRITEBYTECODE", "1");
    let mut process = launch.inside(cgroup).start(dir)?;
    let listens = || TcpStream::connect(("127.0.0.1", port)).is_ok();
    wait::until("the application to listen", || (listens() || !process.is_running()).then_some(()))?;
    let running = Running { port, process, _database: database };
    ensure!(listens(), "it ended; it said: {}", running.last_words());
    Ok(running)
}

impl Running {
    /// The last line that it wrote to standard error.
    pub(super) fn last_words(&self) -> String {
        let text = self.process.stderr();
        let said = text.lines().rev().find(|line| line.chars().any(char::is_alphanumeric));
        said.unwrap_or("nothing").trim().to_owned()
    }
}

struct Place<'a> {
    port: u16,
    backend: u16,
    dir: &'a Path,
    mode: &'static str,
}

fn launch(app: &App, tools: &Tools, place: &Place<'_>) -> Result<Launch<'static>> {
    let address = format!("127.0.0.1:{}", place.port);
    let program = tools.program();
    Ok(match app.program {
        Program::Nginx { keepalive, workers } => {
            let config = nginx(keepalive, workers, place)?;
            Launch::new(program).arg("-p").arg(place.dir).arg("-c").arg(config).args(["-e", "stderr"])
        }
        Program::Haproxy { threads, reuse } => {
            Launch::new(program).arg("-db").arg("-f").arg(haproxy(threads, reuse, place)?)
        }
        Program::Python(name) => Launch::new(program).arg(tools.source(name)),
        Program::Gunicorn(class) => Launch::new(program)
            .args(["-m", "gunicorn", "--bind", &address, "--worker-class", class, "--threads", "64"])
            .args(["--keep-alive", "60", "--log-level", "warning", "--worker-tmp-dir"])
            .arg(place.dir)
            .arg("--chdir")
            .arg(tools.source(""))
            .arg("wsgi:app"),
        Program::Uvicorn(event_loop) => Launch::new(program)
            .args(["-m", "uvicorn", "--host", "127.0.0.1", "--port", &place.port.to_string()])
            .args(["--loop", event_loop])
            .args(["--no-access-log", "--log-level", "warning", "--timeout-keep-alive", "60", "--app-dir"])
            .arg(tools.source(""))
            .arg("asgi:app"),
        Program::Node(name) => Launch::new(program).arg(tools.source(name)),
        Program::Npm(name) => Launch::new(program).env("NODE_PATH", tools.built()).arg(tools.source(name)),
        Program::Java(class, _) => {
            Launch::new(program).args(["-XX:+UseSerialGC", "-Xmx512m", "-cp"]).arg(tools.built()).arg(class)
        }
        Program::Maven(class) => {
            let built = tools.built().display();
            let path = format!("{built}:{built}/jars/*");
            Launch::new(program).args(["-XX:+UseSerialGC", "-Xmx512m", "-cp", &path, class])
        }
        Program::Go(_) | Program::Rust(_) => Launch::new(program),
        Program::Puma => Launch::new(program)
            .args(["--quiet", "--threads", "64:64", "--bind", &format!("tcp://{address}")])
            .arg(tools.source("config.ru")),
        Program::Served(server) => {
            let sources = tools.source("");
            let own = Own { port: place.port, backend: place.backend, dir: place.dir, sources: &sources };
            server.launch(program, own)?
        }
    })
}

fn nginx(keepalive: bool, workers: u32, place: &Place<'_>) -> Result<std::path::PathBuf> {
    let target = if keepalive { "backend".to_owned() } else { format!("127.0.0.1:{}", place.backend) };
    // Without a path after the name nginx passes on the request's own.
    let target = if place.mode == "big" { format!("{target}/big/") } else { target };
    let header = if keepalive { "proxy_http_version 1.1; proxy_set_header Connection \"\";" } else { "" };
    let text = include_str!("../../../../tests/programs/links/proxy/nginx.conf")
        .replace("MIRROR", if place.mode == "mirror" { "mirror /mirror;" } else { "" })
        .replace("WORKERS", &workers.to_string())
        .replace("BACKEND_PORT", &place.backend.to_string())
        .replace("PORT", &place.port.to_string())
        .replace("KEEPALIVE", header)
        .replace("TARGET", &target);
    write(place, "nginx.conf", &text)
}

fn haproxy(threads: u32, reuse: &str, place: &Place<'_>) -> Result<std::path::PathBuf> {
    let rewrite = if place.mode == "rewrite" { "http-request replace-path /in/(.*) /out/\\1" } else { "" };
    let text = include_str!("../../../../tests/programs/links/proxy/haproxy.cfg")
        .replace("THREADS", &threads.to_string())
        .replace("REUSE", reuse)
        .replace("REWRITE", rewrite)
        .replace("BACKEND_PORT", &place.backend.to_string())
        .replace("PORT", &place.port.to_string());
    write(place, "haproxy.cfg", &text)
}

fn write(place: &Place<'_>, name: &str, text: &str) -> Result<std::path::PathBuf> {
    let path = place.dir.join(name);
    fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(path)
}
