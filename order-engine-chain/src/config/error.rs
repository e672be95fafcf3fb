//! Reading a file, and what is wrong with it.

use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;

use crate::Source;

/// Why there is no configuration. No message shows a value of the file, which may be a secret.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read {}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why it cannot be read.
        source: std::io::Error,
    },
    /// The text is no TOML with these settings.
    #[error("{}line {line}: {message}", setting.as_ref().map(|setting| format!("{setting}, ")).unwrap_or_default())]
    Malformed {
        /// The setting there, with its table, if it can be told.
        setting: Option<String>,
        /// Where, from 1.
        line: usize,
        /// What is wrong there.
        message: String,
    },
    /// A setting has a value that it cannot have.
    #[error("{setting}: {message}")]
    Invalid {
        /// The setting, with its table.
        setting: &'static str,
        /// What is wrong with it.
        message: String,
    },
    /// Another file, which the configuration names, cannot be used.
    #[error("cannot use {}", path.display())]
    OtherFile {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: Source,
    },
}

impl ConfigError {
    /// Returns the error of a setting.
    pub fn invalid(setting: &'static str, message: impl Into<String>) -> Self {
        Self::Invalid { setting, message: message.into() }
    }
}

/// Reads a file.
///
/// # Errors
/// If it cannot be read.
pub fn read(path: &Path) -> Result<String, ConfigError> {
    std::fs::read_to_string(path).map_err(|source| ConfigError::Unreadable { path: path.to_owned(), source })
}

/// Reads settings from TOML.
///
/// # Errors
/// If it is none, or has other settings.
pub fn parse<T: DeserializeOwned>(text: &str) -> Result<T, ConfigError> {
    toml::from_str(text).map_err(|error| malformed(text, &error))
}

/// Returns the error of a text, without the text: the parser's own message repeats it.
fn malformed(text: &str, error: &toml::de::Error) -> ConfigError {
    let at = error.span().map_or(0, |span| span.start);
    let before = text.get(..at).unwrap_or_default();
    let line = 1 + before.matches('\n').count();
    let message = error.message();
    // "invalid type: string "the value", expected …"
    let message = match message.rsplit_once(", expected ") {
        Some((what, expected)) if what.starts_with("invalid ") => format!("expected {expected}"),
        _ => message.to_owned(),
    };
    ConfigError::Malformed { setting: setting(text, line), line, message }
}

/// Returns the setting in a line, counted from 1, with its table.
fn setting(text: &str, line: usize) -> Option<String> {
    let lines: Vec<&str> = text.lines().take(line).collect();
    let (key, _) = lines.last()?.split_once('=')?;
    let key = name(key)?;
    let headers = lines.iter().rev().filter_map(|line| line.trim().strip_prefix('['));
    let mut tables = headers.filter_map(|header| header.trim_start_matches('[').split(']').next());
    match tables.find_map(name) {
        Some(table) => Some(format!("{table}.{key}")),
        None => Some(key.to_owned()),
    }
}

/// Returns the name of a setting or a table; nothing if it is anything else, which may be part of a value.
fn name(text: &str) -> Option<&str> {
    let text = text.trim();
    let is_name = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_' || c == '.';
    (!text.is_empty() && text.chars().all(is_name)).then_some(text)
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[allow(dead_code, reason = "it is only read")]
    struct File {
        name: String,
        table: Table,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[allow(dead_code, reason = "it is only read")]
    struct Table {
        number: u64,
        list: Option<Vec<u64>>,
    }

    fn refused(text: &str) -> String {
        parse::<File>(text).unwrap_err().to_string()
    }

    #[test]
    fn an_error_names_the_setting_and_shows_no_value() {
        assert_eq!(refused("name = 5"), "name, line 1: expected a string");
        let wrong = "name = \"x\"\n\n[table] # of things\nnumber = \"planted-canary\"";
        assert_eq!(refused(wrong), "table.number, line 4: expected u64");
        let inside = "name = \"x\"\n[table]\nnumber = 1\nlist = [\n  \"planted=canary\",\n]";
        assert_eq!(refused(inside), "line 5: expected u64");
        let unknown = refused("name = \"x\"\n[table]\nnumbre = 1");
        assert!(unknown.starts_with("table.numbre, line 3: unknown field `numbre`"), "{unknown}");
        let missing = refused("name = \"x\"\n[table]\n");
        assert!(missing.contains("missing field `number`"), "{missing}");
        assert!(!refused("name = planted-canary").contains("canary"));
    }
}
