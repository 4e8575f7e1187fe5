//! `wirespan config check FILE` and `wirespan config default`.

use std::{fmt::Write as _, path::Path};

use anyhow::Result;

use super::stdout::{self, report};
use crate::{
    config::Config,
    export::{
        console::ConsoleFormat,
        otlp::settings::{Compression, Protocol},
    },
};

/// Validates the file together with this environment and prints what a run with it would do.
///
/// # Errors
/// What is wrong with the file, or with the endpoint that the environment adds to it.
pub(super) fn check(path: &Path) -> Result<()> {
    let mut config = Config::from_file(path)?;
    let ignored = config.apply_environment(|name| std::env::var(name).ok());
    let text = summary(&config)?;
    for variable in ignored {
        report(format_args!("warning: {variable}"));
    }
    for doubt in config.warnings() {
        report(format_args!("warning: {doubt}"));
    }
    stdout::print(&format!("{} is valid; a run with it would\n{text}", path.display()))
}

/// Prints a commented configuration that is itself valid.
///
/// # Errors
/// When stdout cannot be written.
pub(super) fn default() -> Result<()> {
    stdout::print(Config::example())
}

fn summary(config: &Config) -> Result<String> {
    let mut text = String::new();
    for rule in &config.selection.select {
        writeln!(text, "  select   {rule}")?;
    }
    for rule in &config.selection.exclude {
        writeln!(text, "  exclude  {rule}")?;
    }
    if let Some(otlp) = &config.export.otlp {
        let target = otlp.target()?;
        let protocol = match otlp.protocol() {
            Protocol::Grpc => "grpc",
            Protocol::HttpProtobuf => "http/protobuf",
        };
        let compression = match otlp.compression() {
            Compression::None => "not compressed",
            Compression::Gzip => "gzip",
        };
        writeln!(text, "  export   otlp to {target} ({protocol}, {compression})")?;
    }
    if let Some(file) = &config.export.file {
        writeln!(text, "  export   file {}", file.path.display())?;
    }
    if let Some(console) = &config.export.console {
        let format = match console.format {
            ConsoleFormat::Tree => "tree",
            ConsoleFormat::Json => "json",
        };
        writeln!(text, "  export   console ({format})")?;
    }
    match config.metrics {
        Some(address) => writeln!(text, "  metrics  http://{address}/metrics")?,
        None => writeln!(text, "  metrics  not served")?,
    }
    let capture = config.capture;
    let ring = capture
        .ring_bytes
        .map_or("a ring sized by the host".to_owned(), |bytes| format!("ring of {bytes} bytes"));
    writeln!(
        text,
        "  capture  {} bytes of a system call, {} of a head, {ring}, read at nice {}",
        capture.bytes, capture.head_bytes, capture.nice
    )?;
    let limits = config.limits;
    writeln!(
        text,
        "  limits   {} connections, {} spans waiting up to {:?} for a parent, {} for each exporter",
        limits.connections, limits.waiting_spans, limits.parent_wait, limits.queue_spans,
    )?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_summary_tells_what_would_be_done() {
        let config = Config::parse("c.yaml", Config::example()).unwrap();
        assert_eq!(
            summary(&config).unwrap(),
            "  select   exe /usr/sbin/nginx\n\
             \x20 exclude  exe */sshd\n\
             \x20 export   otlp to http://127.0.0.1:4317/ (grpc, not compressed)\n\
             \x20 metrics  http://127.0.0.1:9464/metrics\n\
             \x20 capture  4096 bytes of a system call, 65536 of a head, a ring sized by the host, read at nice -10\n\
             \x20 limits   65536 connections, 50000 spans waiting up to 30s for a parent, 32768 for each exporter\n"
        );
    }

    #[test]
    fn a_file_with_an_error_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("c.yaml");
        std::fs::write(&path, "select: [ { port: 80 } ]\nexport: { console: {} }\n").unwrap();
        assert!(check(&path).is_ok());
        std::fs::write(&path, "select: [ { port: 0 } ]\n").unwrap();
        let message = check(&path).unwrap_err().to_string();
        assert!(
            message.ends_with("c.yaml:1:19: port: expected a number from 1 to 65535, found 0"),
            "{message}"
        );
    }
}
