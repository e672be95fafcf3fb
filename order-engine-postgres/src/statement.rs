//! Statements over many rows.
//!
//! A list of rows travels as one array a column, so that a statement takes any number of rows in a
//! fixed number of parameters, and is prepared once.

use std::sync::Arc;

use sqlx::error::BoxDynError;
use sqlx::postgres::PgArguments;

/// A column of a list: its name, and what makes a parameter an array of it.
pub(crate) type Column = (&'static str, &'static str);

/// The lists as one set of rows, their parameters numbered from `first`.
pub(crate) fn unnest(alias: &str, first: usize, lists: &[&[Column]]) -> String {
    let columns = || lists.iter().copied().flatten();
    let parameters: Vec<String> =
        (first..).zip(columns()).map(|(number, (_, array))| format!("${number}::{array}")).collect();
    let names: Vec<&str> = columns().map(|(name, _)| *name).collect();
    format!("unnest({}) AS {alias} ({})", parameters.join(", "), names.join(", "))
}

/// The names of the columns, separated by commas, each with a prefix.
pub(crate) fn names(prefix: &str, lists: &[&[Column]]) -> String {
    let names: Vec<String> =
        lists.iter().copied().flatten().map(|(name, _)| format!("{prefix}{name}")).collect();
    names.join(", ")
}

/// How many columns the lists have.
pub(crate) fn width(lists: &[&[Column]]) -> usize {
    lists.iter().map(|columns| columns.len()).sum()
}

/// Writes the schema where the text has an `@`.
pub(crate) fn qualified(schema: &str, text: &str) -> Arc<str> {
    text.replace('@', &format!("\"{schema}\".")).into()
}

/// Rows of a list.
pub(crate) trait List: Sized {
    /// The columns, in the order of their parameters.
    const COLUMNS: &'static [Column];

    /// Adds the rows' columns to the arguments.
    fn bind(rows: &[&Self], arguments: &mut PgArguments) -> Result<(), BoxDynError>;
}

/// Adds a part of each item to the arguments, as a list.
pub(crate) fn bind_each<T, L: List>(
    arguments: &mut PgArguments,
    items: &[T],
    part: impl Fn(&T) -> &L,
) -> Result<(), BoxDynError> {
    let rows: Vec<&L> = items.iter().map(part).collect();
    L::bind(&rows, arguments)
}

/// Declares a row and how a list of it is bound.
macro_rules! list {
    ($(#[$doc:meta])* $name:ident$(<$life:lifetime>)? { $($column:ident: $type:ty = $array:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug)]
        pub(crate) struct $name$(<$life>)? {
            $(pub(crate) $column: $type),+
        }

        impl$(<$life>)? $crate::statement::List for $name$(<$life>)? {
            const COLUMNS: &'static [$crate::statement::Column] = &[$((stringify!($column), $array)),+];

            fn bind(
                rows: &[&Self],
                arguments: &mut sqlx::postgres::PgArguments,
            ) -> Result<(), sqlx::error::BoxDynError> {
                $(sqlx::Arguments::add(arguments, rows.iter().map(|row| &row.$column).collect::<Vec<_>>())?;)+
                Ok(())
            }
        }
    };
}
pub(crate) use list;

#[cfg(test)]
mod tests {
    use super::*;

    const IDS: &[Column] = &[("order_id", "uuid[]")];
    const REST: &[Column] = &[("seq", "bigint[]"), ("amount", "text[]::numeric[]")];

    #[test]
    fn lists_are_numbered_through() {
        assert_eq!(
            unnest("item", 3, &[IDS, REST]),
            "unnest($3::uuid[], $4::bigint[], $5::text[]::numeric[]) AS item (order_id, seq, amount)"
        );
        assert_eq!(names("item.", &[IDS, REST]), "item.order_id, item.seq, item.amount");
        assert_eq!(width(&[IDS, REST]), 3);
    }

    #[test]
    fn every_table_is_named_with_its_schema() {
        assert_eq!(
            &*qualified("trading", "FROM @orders, @sinks"),
            r#"FROM "trading".orders, "trading".sinks"#
        );
    }
}
