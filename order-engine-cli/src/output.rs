//! What is written, for people or as JSON.

use std::io::{self, Write as _};

use serde_json::Value;

use crate::failure::Failure;

/// Where results go, and how.
#[derive(Debug)]
pub(crate) struct Output {
    is_json: bool,
    pub(crate) is_terminal: bool,
}

impl Output {
    pub(crate) const fn new(is_json: bool, is_terminal: bool) -> Self {
        Self { is_json, is_terminal }
    }

    /// Writes a document, or what people read of it.
    pub(crate) fn show(&self, document: &Value, text: impl FnOnce(&Value) -> String) -> Result<(), Failure> {
        if self.is_json { line(&document.to_string()) } else { line(&text(document)) }
    }

    /// Writes what is for people only.
    pub(crate) fn note(&self, text: &str) -> Result<(), Failure> {
        if self.is_json { Ok(()) } else { line(text) }
    }

    /// Returns whether people look at a terminal, which shows a bar that moves.
    pub(crate) const fn is_live(&self) -> bool {
        self.is_terminal && !self.is_json
    }

    /// Writes why a command fails, beside the results.
    pub(crate) fn failure(&self, failure: &Failure) {
        let text = if self.is_json {
            failure.to_json().to_string()
        } else {
            format!("order-engine: {}", visible(&failure.to_string()))
        };
        // Who does not listen needs no answer.
        let _ = writeln!(io::stderr(), "{text}");
    }
}

/// Writes text, and a line's end.
pub(crate) fn line(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    writeln!(out, "{text}")?;
    Ok(out.flush()?)
}

/// Writes text as it is.
pub(crate) fn raw(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    Ok(out.flush()?)
}

/// Writes a remark beside the results.
pub(crate) fn remark(text: &str) {
    // Who does not listen needs no remark.
    let _ = writeln!(io::stderr(), "order-engine: {}", visible(text));
}

/// Returns a field of a document as people read it. What the server sends moves no cursor and colours nothing.
pub(crate) fn field(document: &Value, name: &str) -> String {
    match &document[name] {
        Value::Null => "-".to_owned(),
        Value::String(text) => visible(text),
        other => other.to_string(),
    }
}

fn visible(text: &str) -> String {
    text.chars().map(|c| if c.is_control() && c != '\n' { '\u{fffd}' } else { c }).collect()
}

/// Returns lines with a name and a value each, the values under each other.
pub(crate) fn pairs(rows: &[(&str, String)]) -> String {
    let width = rows.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    let lines: Vec<String> = rows.iter().map(|(name, value)| format!("{name:<width$}  {value}")).collect();
    lines.join("\n")
}

/// Returns a table with a head.
pub(crate) fn table(head: &[&str], rows: &[Vec<String>]) -> String {
    let head: Vec<String> = head.iter().map(|name| (*name).to_owned()).collect();
    let all = || std::iter::once(&head).chain(rows);
    let width =
        |column: usize| all().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max();
    let widths: Vec<usize> = (0..head.len()).map(|column| width(column).unwrap_or(0)).collect();
    let line = |row: &Vec<String>| {
        let cells: Vec<String> =
            row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        cells.join("  ").trim_end().to_owned()
    };
    all().map(line).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_server_moves_no_cursor() {
        let document = json!({ "message": "a\u{1b}[2Jb\rc", "none": null, "number": 7 });
        assert_eq!(field(&document, "message"), "a\u{fffd}[2Jb\u{fffd}c");
        assert_eq!((field(&document, "none"), field(&document, "number")), ("-".into(), "7".into()));
    }

    #[test]
    fn columns_stand_under_each_other() {
        let rows = [vec!["1".to_owned(), "é".to_owned()], vec!["22".to_owned(), "x".to_owned()]];
        assert_eq!(table(&["A", "BB"], &rows), "A   BB\n1   é\n22  x");
        assert_eq!(pairs(&[("a", "1".into()), ("bb", "2".into())]), "a   1\nbb  2");
    }
}
