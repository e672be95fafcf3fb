//! The texts of statements: the names of tables, and lists of parameters.

use std::sync::Arc;

use crate::rows::Column;

/// Writes the schema where the text has an `@`.
pub(crate) fn qualified(schema: &str, text: &str) -> Arc<str> {
    text.replace('@', &format!("\"{schema}\".")).into()
}

/// Returns the lists as one set of rows, their parameters numbered from `first`.
pub(super) fn unnest(alias: &str, first: usize, lists: &[&[Column]]) -> String {
    let columns = || lists.iter().copied().flatten();
    let parameters: Vec<String> =
        (first..).zip(columns()).map(|(number, (_, array))| format!("${number}::{array}")).collect();
    let names: Vec<&str> = columns().map(|(name, _)| *name).collect();
    format!("unnest({}) AS {alias} ({})", parameters.join(", "), names.join(", "))
}

/// Returns the names of the columns, separated by commas, each with a prefix.
pub(super) fn names(prefix: &str, lists: &[&[Column]]) -> String {
    let names: Vec<String> =
        lists.iter().copied().flatten().map(|(name, _)| format!("{prefix}{name}")).collect();
    names.join(", ")
}

/// How a statement takes its parameters.
#[derive(Clone, Copy)]
pub(super) enum Parameters {
    /// Each in the type of its column.
    Typed,
    /// Each as a text, which every driver can bind.
    Texts,
}

impl Parameters {
    /// Returns a parameter for each column, as one value, numbered from `first`.
    pub(super) fn scalars(self, first: usize, columns: &[Column]) -> String {
        let parameters: Vec<String> =
            (first..).zip(columns).map(|(number, column)| self.scalar(number, column)).collect();
        parameters.join(", ")
    }

    fn scalar(self, number: usize, (_, array): &Column) -> String {
        let of = array.trim_start_matches("text[]::").trim_end_matches("[]");
        match self {
            Self::Texts if of != "text" => format!("${number}::text::{of}"),
            Self::Texts | Self::Typed => format!("${number}::{of}"),
        }
    }
}

/// Returns how many columns the lists have.
pub(super) fn width(lists: &[&[Column]]) -> usize {
    lists.iter().map(|columns| columns.len()).sum()
}
