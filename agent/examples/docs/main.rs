//! `cargo xtask docs`: writes the pages of `docs/` that say what the code says: metrics, limits, configuration. With `--check` it
//! writes nothing and fails where a page differs from the code.
//!
//! It is an example and no part of the agent, since only people who change the code need it.

mod configuration;
mod limits;
mod metrics;
mod source;
mod text;

use std::{
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
};

/// A page of `docs/`.
struct Page {
    /// Name of the file.
    file: String,
    text: String,
}

fn main() -> ExitCode {
    let check = match std::env::args().nth(1).as_deref() {
        None => false,
        Some("--check") => true,
        Some(other) => {
            eprintln!("error: unknown argument {other}; there is --check");
            return ExitCode::FAILURE;
        }
    };
    let mut outdated = 0;
    for page in pages() {
        let path = directory().join(&page.file);
        if fs::read_to_string(&path).is_ok_and(|text| text == page.text) {
            continue;
        }
        if check {
            eprintln!("error: docs/{} is not what the code says; run `cargo xtask docs`", page.file);
            outdated += 1;
        } else if let Err(error) = fs::write(&path, &page.text) {
            eprintln!("error: cannot write {}: {error}", path.display());
            return ExitCode::FAILURE;
        } else {
            println!("docs/{} written", page.file);
        }
    }
    if outdated > 0 { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs")
}

fn pages() -> Vec<Page> {
    let mut pages = metrics::pages();
    pages.extend(limits::pages());
    pages.push(configuration::page());
    pages
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Nobody reads a page that is longer.
    #[test]
    fn pages_are_short() {
        for page in pages() {
            assert!(page.text.len() <= 9_000, "{} has {} bytes", page.file, page.text.len());
        }
    }

    #[test]
    fn pages_end_with_one_line_break_and_have_no_gaps() {
        for page in pages() {
            assert!(page.text.ends_with('\n') && !page.text.ends_with("\n\n"), "{}", page.file);
            assert!(!page.text.contains("\n\n\n"), "{}", page.file);
        }
    }
}
