//! The values of rows, the same for both drivers.

use std::fmt;
use std::sync::Arc;

use sqlx::sqlite::{SqliteArguments, SqliteRow};
use sqlx::{Arguments as _, Decode, Sqlite, Type};

/// What a column holds.
#[derive(Clone, PartialEq)]
pub(crate) enum Value {
    Null,
    Integer(i64),
    Text(String),
    /// What no column of the store's tables holds, unless it is damaged.
    Other,
}

/// Shows no text, which may have the bytes of a signed transaction.
impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("NULL"),
            Self::Integer(number) => write!(f, "{number}"),
            Self::Text(_) => f.write_str("TEXT"),
            Self::Other => f.write_str("OTHER"),
        }
    }
}

/// The values that a statement is run with: those that were encoded before, and those that are added to them.
#[derive(Debug, Default)]
pub(crate) struct Arguments<'a> {
    encoded: &'a [Value],
    added: Vec<Value>,
}

impl Arguments<'_> {
    /// Returns these values, to which others may be added. They are not copied.
    pub(crate) fn and_others(&self) -> Arguments<'_> {
        debug_assert!(self.encoded.is_empty(), "what is borrowed is lent once");
        Arguments { encoded: &self.added, added: Vec::new() }
    }

    pub(crate) fn add(&mut self, value: impl Into<Value>) {
        self.added.push(value.into());
    }

    pub(crate) fn reserve(&mut self, values: usize) {
        self.added.reserve(values);
    }

    pub(crate) fn with(mut self, value: impl Into<Value>) -> Self {
        self.add(value);
        self
    }

    pub(crate) fn values(&self) -> impl Iterator<Item = &Value> {
        self.encoded.iter().chain(&self.added)
    }

    /// Returns them as sqlx has them.
    pub(crate) fn into_sqlx(self) -> Result<SqliteArguments, sqlx::Error> {
        let mut arguments = SqliteArguments::default();
        for value in self.encoded.iter().cloned().chain(self.added) {
            let added = match value {
                Value::Integer(number) => arguments.add(number),
                Value::Text(text) => arguments.add(text),
                Value::Null | Value::Other => arguments.add(None::<i64>),
            };
            added.map_err(sqlx::Error::Encode)?;
        }
        Ok(arguments)
    }
}

macro_rules! value_of {
    ($($type:ty => |$from:ident| $value:expr;)+) => {
        $(impl From<$type> for Value {
            fn from($from: $type) -> Self {
                $value
            }
        })+
    };
}

value_of! {
    i64 => |number| Self::Integer(number);
    i32 => |number| Self::Integer(number.into());
    i16 => |number| Self::Integer(number.into());
    u32 => |number| Self::Integer(number.into());
    bool => |is_so| Self::Integer(is_so.into());
    String => |text| Self::Text(text);
    &str => |text| Self::Text(text.to_owned());
}

impl<T: Into<Self>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

impl rusqlite::ToSql for Value {
    fn to_sql(&self) -> rusqlite::Result<rusqlite::types::ToSqlOutput<'_>> {
        use rusqlite::types::ValueRef;
        Ok(rusqlite::types::ToSqlOutput::Borrowed(match self {
            Self::Null | Self::Other => ValueRef::Null,
            Self::Integer(number) => ValueRef::Integer(*number),
            Self::Text(text) => ValueRef::Text(text.as_bytes()),
        }))
    }
}

impl From<rusqlite::types::ValueRef<'_>> for Value {
    fn from(value: rusqlite::types::ValueRef<'_>) -> Self {
        use rusqlite::types::ValueRef;
        match value {
            ValueRef::Null => Self::Null,
            ValueRef::Integer(number) => Self::Integer(number),
            ValueRef::Text(text) => {
                std::str::from_utf8(text).map_or(Self::Other, |text| Self::Text(text.to_owned()))
            }
            ValueRef::Real(_) | ValueRef::Blob(_) => Self::Other,
        }
    }
}

/// A type that a column's value has.
pub(crate) trait Column<'r>: Decode<'r, Sqlite> + Type<Sqlite> {
    /// Returns the value; nothing if it is of another type.
    fn of(value: &'r Value) -> Option<Self>;
}

impl<'r> Column<'r> for i64 {
    fn of(value: &'r Value) -> Option<Self> {
        if let Value::Integer(number) = value { Some(*number) } else { None }
    }
}

impl<'r> Column<'r> for bool {
    fn of(value: &'r Value) -> Option<Self> {
        i64::of(value).map(|number| number != 0)
    }
}

impl<'r> Column<'r> for &'r str {
    fn of(value: &'r Value) -> Option<Self> {
        if let Value::Text(text) = value { Some(text) } else { None }
    }
}

impl<'r, T: Column<'r>> Column<'r> for Option<T> {
    fn of(value: &'r Value) -> Option<Self> {
        if *value == Value::Null { Some(None) } else { T::of(value).map(Some) }
    }
}

/// A row of either driver.
pub(crate) trait StoredRow {
    /// Returns the value of a column.
    fn try_get<'r, T: Column<'r>>(&'r self, column: &str) -> Result<T, sqlx::Error>;
}

impl StoredRow for SqliteRow {
    fn try_get<'r, T: Column<'r>>(&'r self, column: &str) -> Result<T, sqlx::Error> {
        sqlx::Row::try_get(self, column)
    }
}

/// A row that a statement of a write has returned.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) columns: Arc<[String]>,
    pub(crate) values: Vec<Value>,
}

impl StoredRow for Row {
    fn try_get<'r, T: Column<'r>>(&'r self, column: &str) -> Result<T, sqlx::Error> {
        // A row has a dozen columns at most.
        let index = self.columns.iter().position(|name| name == column);
        let value = index.and_then(|index| self.values.get(index));
        let value = value.ok_or_else(|| sqlx::Error::ColumnNotFound(column.to_owned()))?;
        T::of(value).ok_or_else(|| sqlx::Error::ColumnDecode {
            index: column.to_owned(),
            source: "the value is of another type".into(),
        })
    }
}

impl Row {
    /// Returns the value of the only column.
    pub(crate) fn only<'r, T: Column<'r>>(&'r self) -> Result<T, sqlx::Error> {
        self.try_get(self.columns.first().map_or("", String::as_str))
    }
}

impl From<&SqliteRow> for Row {
    fn from(row: &SqliteRow) -> Self {
        use sqlx::{Column as _, Row as _};
        Self {
            columns: row.columns().iter().map(|column| column.name().to_owned()).collect(),
            values: (0..row.len()).map(|index| value(row, index)).collect(),
        }
    }
}

/// Returns a value of a row of sqlx.
fn value(row: &SqliteRow, index: usize) -> Value {
    if let Ok(number) = sqlx::Row::try_get::<Option<i64>, _>(row, index) {
        return number.into();
    }
    sqlx::Row::try_get::<String, _>(row, index).map_or(Value::Other, Value::Text)
}

#[cfg(test)]
mod tests {
    use sqlx::{Connection, SqliteConnection};

    use super::*;

    fn row(values: impl IntoIterator<Item = Value>) -> Row {
        let values: Vec<Value> = values.into_iter().collect();
        Row { columns: (0..values.len()).map(|index| format!("c{index}")).collect(), values }
    }

    const VALUES: &str =
        "SELECT NULL AS c0, 7 AS c1, 'a' || char(0) AS c2, 0.5 AS c3, CAST(x'ff' AS TEXT) AS c4";

    #[tokio::test]
    async fn both_drivers_read_the_same_values() {
        let expected =
            [Value::Null, Value::Integer(7), Value::Text("a\0".to_owned()), Value::Other, Value::Other];
        let mut host = SqliteConnection::connect("sqlite::memory:").await.unwrap();
        let found = sqlx::query(VALUES).fetch_one(&mut host).await.unwrap();
        assert_eq!(Row::from(&found).values, expected);
        let own = rusqlite::Connection::open_in_memory().unwrap();
        let value = |row: &rusqlite::Row<'_>, index| row.get_ref(index).map(Value::from);
        let found = own.query_row(VALUES, [], |row| (0..5).map(|index| value(row, index)).collect());
        assert_eq!(found, Ok(expected.to_vec()));
    }

    #[test]
    fn a_value_of_another_type_is_an_error() {
        let row = row([Value::Null, Value::Integer(1), "text".into(), Value::Other]);
        assert_eq!(row.try_get::<Option<i64>>("c0").unwrap(), None);
        assert_eq!((row.try_get("c1").unwrap(), row.try_get("c1").unwrap()), (1, true));
        assert_eq!(row.try_get::<Option<&str>>("c2").unwrap(), Some("text"));
        assert!(row.try_get::<i64>("c0").is_err() && row.try_get::<&str>("c1").is_err());
        assert!(row.try_get::<Option<&str>>("c3").is_err() && row.try_get::<bool>("c9").is_err());
    }

    #[test]
    fn no_text_is_shown() {
        let encoded = Arguments::default().with(1).with("planted-canary").with(None::<i64>);
        let shown = format!("{:?}", encoded.and_others().with("planted-canary"));
        assert_eq!(shown, "Arguments { encoded: [1, TEXT, NULL], added: [TEXT] }");
    }
}
