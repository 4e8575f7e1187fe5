//! `wirespan config`: check a file without tracing anything, print one to start from.

use std::path::Path;

use anyhow::Result;

use crate::config::Config;

/// Validates the file and says what a run with it would do.
pub(super) fn check(path: &Path) -> Result<()> {
    let mut config = Config::from_file(path)?;
    for variable in config.apply_environment(|name| std::env::var(name).ok()) {
        eprintln!("wirespan: {variable}");
    }
    println!("{} is valid", path.display());
    for rule in &config.selection.select {
        println!("  select   {rule}");
    }
    for rule in &config.selection.exclude {
        println!("  exclude  {rule}");
    }
    let export = &config.export;
    let exporters = [
        ("otlp", export.otlp.is_some()),
        ("file", export.file.is_some()),
        ("console", export.console.is_some()),
    ];
    for (name, _) in exporters.into_iter().filter(|(_, on)| *on) {
        println!("  export   {name}");
    }
    match config.metrics {
        Some(address) => println!("  metrics  http://{address}/metrics"),
        None => println!("  metrics  not served"),
    }
    Ok(())
}

/// Prints the commented default.
pub(super) fn default() {
    print!("{}", Config::example());
}
