//! The configuration file: any text is a configuration or an error that names a place in it.

use wirespan::config::{Config, ConfigError};

pub(crate) fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    match Config::parse("f.yaml", text) {
        Ok(mut config) => {
            assert!(config.export != wirespan::export::Settings::default(), "nothing is exported");
            config.apply_environment(|_| None);
            let _ = config.redaction();
            let _ = (config.selection.needs_listen(), config.selection.verdict_of_file("/usr/sbin/nginx"));
        }
        Err(ConfigError::Invalid { file, line, column, message }) => {
            assert_eq!(file, "f.yaml");
            assert!(!message.trim().is_empty(), "an error that says nothing");
            // YAML's line breaks are more than LF: a lone CR is one too. An error may stand behind
            // the last line.
            let lines = text.matches(['\n', '\r']).count() as u64 + 1;
            assert!((1..=lines + 1).contains(&line), "line {line} of {lines}: {message}");
            let columns = text.chars().count() as u64 + 1;
            assert!((1..=columns).contains(&column), "column {column} of {columns} characters: {message}");
        }
        Err(error) => panic!("a text gave another error: {error}"),
    }
}
