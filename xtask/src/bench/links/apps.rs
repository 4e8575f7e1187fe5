//! The applications: what each row starts, and which share of links it must reach.
//!
//! A floor is the least percent of calls, at each steady concurrency and after the first 30, that
//! must have their parent. 0 means that nothing in the events shows the parent, so that an unlinked
//! call is right. Wrong parents have one limit for all.

use super::{
    database::Database::{self, Postgres, Redis},
    servers::{self, Server},
};

/// One row of the table.
#[derive(Debug, Clone, Copy)]
pub(super) struct App {
    pub(super) name: &'static str,
    pub(super) program: Program,
    /// What its source calls MODE.
    pub(super) mode: &'static str,
    /// Calls per request; 0 where several requests share one.
    pub(super) calls: u64,
    pub(super) floor: f64,
    /// What else it calls.
    pub(super) database: Option<Database>,
    /// Further lines of the agent's configuration.
    pub(super) config: &'static str,
    /// How it handles calls that fail; `None`: its calls do not fail.
    pub(super) survives: Option<Survives>,
}

/// The failures that an application answers with an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Survives {
    /// All but refused connects: it connects to the backend alone.
    NotRefused,
    /// All, and it connects to `127.0.1.N` for an ID that says so.
    Refused,
}

/// What is started, and by which runtime; texts are files in `tests/programs/links`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Program {
    Nginx {
        keepalive: bool,
        workers: u32,
    },
    Haproxy {
        threads: u32,
        reuse: &'static str,
    },
    Python(&'static str),
    /// The class of gunicorn's workers.
    Gunicorn(&'static str),
    /// The event loop.
    Uvicorn(&'static str),
    Node(&'static str),
    /// The same with packages.
    Npm(&'static str),
    /// A class, and the oldest Java that has what it uses.
    Java(&'static str, u32),
    /// A class, and packages from Maven.
    Maven(&'static str),
    Go(&'static str),
    Rust(&'static str),
    Puma,
    /// A server that a configuration or a script describes.
    Served(&'static Server),
}

use Program::{Go, Gunicorn, Haproxy, Java, Maven, Nginx, Node, Npm, Puma, Python, Rust, Served, Uvicorn};

const fn app(name: &'static str, program: Program, mode: &'static str, calls: u64, floor: f64) -> App {
    App { name, program, mode, calls, floor, database: None, config: "", survives: None }
}

impl App {
    const fn asking(self, database: Database) -> Self {
        Self { database: Some(database), ..self }
    }

    const fn surviving(self, survives: Survives) -> Self {
        Self { survives: Some(survives), ..self }
    }

    const fn configured(self, config: &'static str) -> Self {
        Self { config, ..self }
    }
}

const NODE: Program = Node("server.js");
const NPM: Program = Npm("server.js");
const AIO: Program = Python("aio.py");
const NOT_REFUSED: Survives = Survives::NotRefused;
const REFUSED: Survives = Survives::Refused;
const QUEUE: Program = Python("workers.py");
const SERVICE: Program = Java("Service", 11);
const GO: Program = Go("service");
const RUST: Program = Rust("links");

pub(super) const APPS: &[App] = &[
    app("nginx", Nginx { keepalive: true, workers: 1 }, "in", 1, 99.0).surviving(REFUSED),
    app("nginx-close", Nginx { keepalive: false, workers: 1 }, "in", 1, 99.0).surviving(REFUSED),
    app("nginx-workers", Nginx { keepalive: true, workers: 2 }, "in", 1, 99.0),
    app("nginx-same", Nginx { keepalive: true, workers: 1 }, "same", 1, 99.0),
    app("nginx-big", Nginx { keepalive: true, workers: 1 }, "big", 1, 99.0),
    app("nginx-mirror", Nginx { keepalive: true, workers: 1 }, "mirror", 2, 45.0),
    app("haproxy-1", Haproxy { threads: 1, reuse: "safe" }, "in", 1, 97.0).surviving(NOT_REFUSED),
    app("haproxy-2", Haproxy { threads: 2, reuse: "safe" }, "in", 1, 97.0).surviving(NOT_REFUSED),
    app("haproxy-rewrite", Haproxy { threads: 1, reuse: "always" }, "rewrite", 1, 0.0),
    app("haproxy-same", Haproxy { threads: 1, reuse: "always" }, "same", 1, 0.0),
    app("apache", Served(&servers::APACHE), "in", 1, 99.0),
    app("lighttpd", Served(&servers::LIGHTTPD), "in", 1, 99.0),
    app("varnish", Served(&servers::VARNISH), "in", 1, 97.0),
    app("squid", Served(&servers::SQUID), "in", 1, 97.0),
    app("varnish-same", Served(&servers::VARNISH), "same", 1, 0.0),
    app("squid-same", Served(&servers::SQUID), "same", 1, 0.0),
    app("apache-php", Served(&servers::APACHE_PHP), "plain", 1, 99.0),
    app("php", Served(&servers::PHP), "plain", 1, 99.0),
    app("starman", Served(&servers::STARMAN), "plain", 1, 99.0),
    app("mojolicious", Served(&servers::MOJOLICIOUS), "plain", 1, 0.0),
    app("erlang", Served(&servers::ERLANG), "plain", 1, 0.0),
    app("python-threads", Python("threads.py"), "plain", 1, 99.0).surviving(REFUSED),
    app("python-threads-pool", Python("threads.py"), "pool", 1, 99.0),
    app("python-threads-retry", Python("threads.py"), "retry", 2, 99.0),
    app("python-threads-fallback", Python("threads.py"), "fallback", 1, 99.0).surviving(REFUSED),
    app("python-threads-poller", Python("threads.py"), "poller", 1, 99.0),
    app("python-threads-after", Python("threads.py"), "after", 1, 0.0),
    app("python-threads-fanout", Python("threads.py"), "fanout", 2, 0.0),
    app("python-threads-mixed", Python("threads.py"), "mixed", 3, 30.0),
    app("python-threads-redis", Python("threads.py"), "redis", 1, 99.0).asking(Redis),
    app("python-threads-postgres", Python("threads.py"), "postgres", 1, 99.0).asking(Postgres),
    app("python-threads-redis-close", Python("threads.py"), "redis-close", 1, 97.0).asking(Redis),
    app("python-threads-postgres-close", Python("threads.py"), "postgres-close", 1, 97.0).asking(Postgres),
    app("gunicorn-gthread", Gunicorn("gthread"), "plain", 1, 99.0),
    app("gunicorn-gevent", Gunicorn("gevent"), "plain", 1, 97.0),
    app("gunicorn-gevent-poller", Gunicorn("gevent"), "poller", 1, 0.0),
    app("aiohttp", AIO, "plain", 1, 99.0).surviving(REFUSED),
    app("aiohttp-sleep", AIO, "sleep", 1, 99.0),
    app("aiohttp-thread", AIO, "thread", 1, 99.0),
    app("aiohttp-row", AIO, "row", 2, 99.0),
    app("aiohttp-gather", AIO, "gather", 3, 0.0),
    app("aiohttp-retry", AIO, "retry", 2, 99.0),
    app("aiohttp-fallback", AIO, "fallback", 1, 99.0).surviving(REFUSED),
    app("aiohttp-chain", AIO, "chain", 3, 95.0),
    app("aiohttp-poller", AIO, "poller", 1, 97.0),
    app("aiohttp-after", AIO, "after", 1, 0.0),
    app("aiohttp-pool", AIO, "pool", 1, 0.0),
    app("aiohttp-serial", AIO, "serial", 1, 0.0),
    app("aiohttp-hedge", AIO, "hedge", 2, 0.0),
    app("aiohttp-coalesce", AIO, "coalesce", 0, 0.0),
    app("aiohttp-cache", AIO, "cache", 0, 0.0),
    app("aiohttp-batch", AIO, "batch", 0, 0.0),
    app("aiohttp-uvloop", AIO, "uvloop-plain", 1, 99.0),
    app("uvicorn-httpx", Uvicorn("asyncio"), "plain", 1, 99.0),
    app("uvicorn-uvloop", Uvicorn("uvloop"), "plain", 1, 99.0),
    app("tornado", Python("tornado_service.py"), "plain", 1, 0.0),
    app("tornado-poller", Python("tornado_service.py"), "poller", 1, 0.0),
    app("twisted", Python("twisted_service.py"), "plain", 1, 0.0),
    app("twisted-delay", Python("twisted_service.py"), "delay", 1, 0.0),
    app("twisted-poller", Python("twisted_service.py"), "poller", 1, 0.0),
    app("node", NODE, "plain", 1, 99.0).surviving(REFUSED),
    app("node-close", NODE, "close", 1, 99.0).surviving(REFUSED),
    app("node-pool", NODE, "pool", 1, 95.0),
    app("node-fetch", NODE, "fetch", 1, 99.0),
    app("node-resolve", NODE, "resolve", 1, 99.0),
    app("node-timer", NODE, "timer", 1, 99.0).surviving(REFUSED),
    app("node-immediate", NODE, "immediate", 1, 97.0),
    app("node-file", NODE, "file", 1, 97.0),
    app("node-mixed", NODE, "mixed", 1, 97.0),
    app("node-three", NODE, "three", 3, 45.0),
    app("node-row", NODE, "row", 2, 99.0),
    app("node-async", NODE, "async", 2, 99.0),
    app("node-big", NODE, "big", 1, 97.0),
    app("node-big-timer", NODE, "bigtimer", 1, 95.0),
    app("node-retry", NODE, "retry", 2, 30.0),
    app("node-fallback", NODE, "fallback", 1, 99.0).surviving(REFUSED),
    app("node-chain", NODE, "chain", 3, 95.0),
    app("node-chain-tick", NODE, "chain-tick", 2, 95.0),
    app("node-chain-immediate", NODE, "chain-immediate", 2, 95.0),
    app("node-chain3-immediate", NODE, "chain3-immediate", 3, 95.0),
    app("node-chain3-both", NODE, "chain3-both", 3, 0.0),
    app("node-poller", NODE, "poller", 1, 95.0),
    app("node-after", NODE, "after", 1, 0.0),
    app("node-later", NODE, "later", 1, 0.0),
    app("node-serial", NODE, "serial", 1, 95.0),
    app("node-hedge", NODE, "hedge", 2, 0.0),
    app("node-worker", NODE, "worker", 1, 0.0),
    app("node-coalesce", NODE, "coalesce", 0, 90.0),
    app("node-cache", NODE, "cache", 0, 90.0),
    app("node-batch", NODE, "batch", 0, 0.0),
    app("node-redis", NPM, "redis", 1, 97.0).asking(Redis),
    // The client writes the calls of several requests at once, after it received one of these
    // requests: so responses have the cause of another request.
    app("node-redis-after", NPM, "redis-after", 1, 0.0).asking(Redis),
    app("node-postgres", NPM, "postgres", 1, 85.0).asking(Postgres),
    app("node-postgres-after", NPM, "postgres-after", 1, 0.0).asking(Postgres),
    app("node-undici", NPM, "undici", 1, 97.0),
    app("node-undici-pipelining", NPM, "undici-pipelining", 1, 0.0),
    app("java-blocking", SERVICE, "plain", 1, 99.0).surviving(REFUSED),
    app("java-blocking-row", SERVICE, "row", 2, 99.0),
    app("java-retry", SERVICE, "retry", 2, 99.0),
    app("java-fallback", SERVICE, "fallback", 1, 99.0).surviving(REFUSED),
    app("java-poller", SERVICE, "poller", 1, 99.0),
    app("java-after", SERVICE, "after", 1, 0.0),
    app("java-executor", SERVICE, "executor", 1, 0.0),
    app("java-handoff", SERVICE, "handoff", 1, 0.0),
    app("java-completion", SERVICE, "completion", 1, 0.0),
    app("java-httpclient", SERVICE, "send", 1, 0.0),
    app("java-async", SERVICE, "async", 1, 0.0),
    app("java-virtual", Java("Service", 21), "virtual", 1, 85.0),
    app("vertx-own", Maven("Reactive"), "own", 1, 95.0),
    app("vertx-shared", Maven("Reactive"), "shared", 1, 0.0),
    app("vertx-delay", Maven("Reactive"), "delay", 1, 0.0),
    app("go", GO, "plain", 1, 99.0).surviving(REFUSED),
    // Without its edge, and by threads: the scheduler decides which thread takes over whose work.
    app("go-threads", GO, "plain", 1, 50.0).configured("causality: { goroutine: false }").surviving(REFUSED),
    app("go-row", GO, "row", 2, 99.0),
    app("go-timer", GO, "timer", 1, 99.0),
    app("go-goroutine", GO, "goroutine", 1, 99.0),
    app("go-three", GO, "three", 3, 0.0),
    app("go-proxy", GO, "proxy", 1, 99.0),
    app("go-big", GO, "big", 1, 0.0),
    app("go-retry", GO, "retry", 2, 99.0),
    app("go-fallback", GO, "fallback", 1, 99.0).surviving(REFUSED),
    app("go-poller", GO, "poller", 1, 99.0),
    app("go-after", GO, "after", 1, 0.0),
    app("go-pool", GO, "pool", 1, 0.0),
    app("go-hedge", GO, "hedge", 2, 0.0),
    app("go-workers", GO, "workers", 1, 0.0),
    app("go-coalesce", GO, "coalesce", 0, 0.0),
    app("go-cache", GO, "cache", 0, 0.0),
    app("go-batch", GO, "batch", 0, 0.0),
    app("fasthttp", Go("fast"), "plain", 1, 99.0),
    app("fasthttp-fanout", Go("fast"), "fanout", 2, 0.0),
    app("tokio", RUST, "plain", 1, 90.0).surviving(REFUSED),
    app("tokio-row", RUST, "row", 2, 75.0),
    app("tokio-fallback", RUST, "fallback", 1, 75.0).surviving(REFUSED),
    app("tokio-sleep", RUST, "sleep", 1, 40.0),
    app("tokio-spawn", RUST, "spawn", 1, 45.0),
    app("tokio-after", RUST, "after", 1, 0.0),
    app("tokio-poller", RUST, "poller", 1, 0.0),
    app("tokio-single", RUST, "single-plain", 1, 0.0),
    app("tokio-single-sleep", RUST, "single-sleep", 1, 0.0),
    app("tokio-single-poller", RUST, "single-poller", 1, 0.0),
    app("puma", Puma, "plain", 1, 99.0),
    app("queue-pipe", QUEUE, "pipe", 1, 0.0),
    app("queue-condition", QUEUE, "condition", 1, 0.0),
    app("queue-completion", QUEUE, "completion", 1, 0.0),
    app("queue-shared", QUEUE, "shared", 1, 0.0),
];

/// Whether a name matches a pattern in which `*` stands for any text; patterns may be several, with
/// commas between.
pub(super) fn matches(patterns: &str, name: &str) -> bool {
    patterns.split(',').any(|pattern| one_matches(pattern, name))
}

fn one_matches(pattern: &str, name: &str) -> bool {
    let Some((before, after)) = pattern.split_once('*') else { return pattern == name };
    let Some(rest) = name.strip_prefix(before) else { return false };
    (0..=rest.len()).any(|at| rest.is_char_boundary(at) && one_matches(after, &rest[at..]))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn a_star_stands_for_any_text() {
        for (pattern, name, expected) in [
            ("node", "node", true),
            ("node", "node-row", false),
            ("node*", "node-row", true),
            ("*-row", "node-row", true),
            ("n*e-*w", "node-row", true),
            ("go,node", "node", true),
            ("*x", "node", false),
        ] {
            assert_eq!(matches(pattern, name), expected, "{pattern} {name}");
        }
    }

    #[test]
    fn every_row_has_a_name_of_its_own() {
        let names: BTreeSet<_> = APPS.iter().map(|app| app.name).collect();
        assert_eq!(names.len(), APPS.len());
    }
}
