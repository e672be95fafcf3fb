//! The values of a statement's parameters: as the driver takes them, or as texts for any other driver.

use std::borrow::Cow;

use chrono::{DateTime, Datelike as _, Utc};
use sqlx::error::BoxDynError;
use sqlx::postgres::PgArguments;
use sqlx::{Arguments, Encode, Postgres, Type};
use uuid::Uuid;

/// What takes the values of a statement's parameters, in their order.
pub(crate) trait Values {
    /// Adds the value of the next parameter.
    fn add_value<'v, V>(&mut self, value: V) -> Result<(), BoxDynError>
    where
        V: Encode<'v, Postgres> + Type<Postgres> + AsText;
}

impl Values for PgArguments {
    fn add_value<'v, V>(&mut self, value: V) -> Result<(), BoxDynError>
    where
        V: Encode<'v, Postgres> + Type<Postgres> + AsText,
    {
        self.add(value)
    }
}

/// Takes each value as a text, and NULL as nothing.
impl Values for Vec<Option<String>> {
    fn add_value<'v, V>(&mut self, value: V) -> Result<(), BoxDynError>
    where
        V: Encode<'v, Postgres> + Type<Postgres> + AsText,
    {
        self.push(value.as_text());
        Ok(())
    }
}

/// A value that PostgreSQL reads from a text, whatever the settings of the session are.
pub(crate) trait AsText {
    /// Returns the text; nothing for NULL.
    fn as_text(&self) -> Option<String>;
}

macro_rules! as_displayed {
    ($($type:ty),+) => {
        $(impl AsText for $type {
            fn as_text(&self) -> Option<String> {
                Some(self.to_string())
            }
        })+
    };
}

as_displayed!(&str, Cow<'_, str>, Uuid, bool, i16, i32, i64);

impl<V: AsText> AsText for Option<V> {
    fn as_text(&self) -> Option<String> {
        self.as_ref().and_then(AsText::as_text)
    }
}

/// As ISO 8601 with the time zone, which means the same under each `DateStyle` and `TimeZone`; but with years that
/// PostgreSQL reads: without a sign, and counted back from 1 BC.
impl AsText for DateTime<Utc> {
    fn as_text(&self) -> Option<String> {
        let (is_ad, year) = self.year_ce();
        let era = if is_ad { "" } else { " BC" };
        Some(format!("{year:04}-{}{era}", self.format("%m-%dT%H:%M:%S%.6fZ")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(moment: &str) -> Option<String> {
        moment.parse::<DateTime<Utc>>().unwrap().as_text()
    }

    #[test]
    fn moments_are_texts_that_postgresql_reads() {
        assert_eq!(text("2026-11-21T09:05:07.123456789Z").as_deref(), Some("2026-11-21T09:05:07.123456Z"));
        assert_eq!(text("+12026-11-21T09:05:07Z").as_deref(), Some("12026-11-21T09:05:07.000000Z"));
        assert_eq!(text("0000-01-01T00:00:00Z").as_deref(), Some("0001-01-01T00:00:00.000000Z BC"));
        assert_eq!(text("-0043-03-15T00:00:00Z").as_deref(), Some("0044-03-15T00:00:00.000000Z BC"));
    }

    #[test]
    fn null_is_nothing() {
        let mut values: Vec<Option<String>> = Vec::new();
        values.add_value(None::<i64>).unwrap();
        values.add_value(Some(-7_i64)).unwrap();
        values.add_value("").unwrap();
        assert_eq!(values, [None, Some("-7".to_owned()), Some(String::new())]);
    }
}
