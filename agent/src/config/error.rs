//! What can be wrong with a configuration file, in words that say how to correct it.

use std::io;

use super::{MAX_FILE, yaml::Location};

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("{file} does not exist; `wirespan config default` prints a file to start from")]
    Missing { file: String },
    #[error("{file} cannot be read: {source}")]
    Unreadable { file: String, source: io::Error },
    #[error("{file} is larger than {MAX_FILE} bytes; a configuration is a few lines")]
    TooLarge { file: String },
    #[error("{file}:{line}: not UTF-8; save the file in that encoding")]
    NotUtf8 { file: String, line: usize },
    #[error("{file}:{line}:{column}: {message}")]
    Invalid { file: String, line: u64, column: u64, message: String },
}

impl ConfigError {
    pub(super) fn unreadable(file: &str, source: io::Error) -> Self {
        let file = file.to_owned();
        match source.kind() {
            io::ErrorKind::NotFound => Self::Missing { file },
            _ => Self::Unreadable { file, source },
        }
    }
}

/// Something wrong at a place of the file, whose name is added later.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Problem {
    pub(super) at: Location,
    pub(super) message: String,
}
