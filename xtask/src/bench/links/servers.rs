//! Servers of Debian's that are described by a configuration file or a script: what to install,
//! what to write, what to run.
//!
//! In files and arguments these names are replaced by the values of a run: `@PORT@`,
//! `@BACKEND_PORT@`, `@DIR@` (of this run), `@SOURCES@` (the programs of `tests/programs/links`).

use std::{fs, path::Path};

use anyhow::{Context as _, Result};
use wirespan_tests::process::Launch;

/// A server, by the name of its binary.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct Server {
    pub(super) program: &'static str,
    /// Packages; the first has the program.
    pub(super) packages: &'static [&'static str],
    /// The configuration, as `config` in the directory of the run.
    config: &'static str,
    words: &'static [&'static str],
}

macro_rules! file {
    ($name:literal) => {
        include_str!(concat!("../../../../tests/programs/links/", $name))
    };
}

const APACHE_WORDS: &[&str] = &["-d", "@DIR@", "-f", "@DIR@/config", "-DFOREGROUND"];

pub(super) const APACHE: Server = Server {
    program: "apache2",
    packages: &["apache2-bin"],
    config: file!("proxy/apache-event.conf"),
    words: APACHE_WORDS,
};

/// A process per connection, PHP inside.
pub(super) const APACHE_PHP: Server = Server {
    program: "apache2",
    packages: &["apache2-bin", "libapache2-mod-php", "php-curl"],
    config: file!("proxy/apache-php.conf"),
    words: APACHE_WORDS,
};

/// PHP's own server, several processes that share a listener.
pub(super) const PHP: Server = Server {
    program: "php",
    packages: &["php-cli", "php-curl"],
    config: "",
    words: &["-S", "127.0.0.1:@PORT@", "@SOURCES@/php/service.php"],
};

pub(super) const LIGHTTPD: Server = Server {
    program: "lighttpd",
    packages: &["lighttpd"],
    config: file!("proxy/lighttpd.conf"),
    words: &["-D", "-f", "@DIR@/config"],
};

/// A pool of threads; the thread that calls the backend is not the one that answers.
pub(super) const VARNISH: Server = Server {
    program: "varnishd",
    packages: &["varnish", "gcc", "libc6-dev"],
    config: file!("proxy/varnish.vcl"),
    words: &[
        "-F",
        "-j",
        "none",
        "-n",
        "@DIR@/varnish",
        "-a",
        "127.0.0.1:@PORT@",
        "-f",
        "@DIR@/config",
        "-s",
        "malloc,32m",
    ],
};

pub(super) const SQUID: Server = Server {
    program: "squid",
    packages: &["squid"],
    config: file!("proxy/squid.conf"),
    words: &["-N", "-f", "@DIR@/config"],
};

/// A process per connection.
pub(super) const STARMAN: Server = Server {
    program: "starman",
    packages: &["starman"],
    config: "",
    words: &[
        "--listen",
        "127.0.0.1:@PORT@",
        "--workers",
        "64",
        "--keepalive-timeout",
        "60",
        "--max-requests",
        "1000000",
        "@SOURCES@/perl/service.psgi",
    ],
};

/// An event loop with promises.
pub(super) const MOJOLICIOUS: Server = Server {
    program: "perl",
    packages: &["perl", "libmojolicious-perl"],
    config: "",
    words: &["@SOURCES@/perl/loop.pl"],
};

/// Light processes on a thread per processor.
pub(super) const ERLANG: Server = Server {
    program: "escript",
    packages: &["erlang-base", "erlang-inets"],
    config: "",
    words: &["@SOURCES@/erlang/service.escript"],
};

/// What a run has of its own.
#[derive(Debug, Clone, Copy)]
pub(super) struct Own<'a> {
    pub(super) port: u16,
    pub(super) backend: u16,
    pub(super) dir: &'a Path,
    pub(super) sources: &'a Path,
}

impl Own<'_> {
    fn filled(self, text: &str) -> String {
        text.replace("@PORT@", &self.port.to_string())
            .replace("@BACKEND_PORT@", &self.backend.to_string())
            .replace("@DIR@", &self.dir.display().to_string())
            .replace("@SOURCES@", &self.sources.display().to_string())
    }
}

impl Server {
    /// Writes the configuration; gives the command.
    pub(super) fn launch(&self, program: &Path, own: Own<'_>) -> Result<Launch<'static>> {
        let config = own.dir.join("config");
        fs::write(&config, own.filled(self.config))
            .with_context(|| format!("cannot write {}", config.display()))?;
        Ok(Launch::new(program).args(self.words.iter().map(|word| own.filled(word))))
    }
}
