//! The replies of scripts and commands.

use redis::{FromRedisValue, ParsingError, Value};

use crate::error::Error;

/// Declares structs that are decoded from arrays: the fields in the order in which a script returns them.
macro_rules! reply {
    ($($(#[$doc:meta])* $name:ident { $($(#[$field_doc:meta])* $field:ident: $type:ty),+ $(,)? })+) => {$(
        $(#[$doc])*
        #[derive(Debug)]
        pub(crate) struct $name {
            $($(#[$field_doc])* pub(crate) $field: $type),+
        }

        impl $crate::replies::Reply for $name {
            const FIELDS: &'static [&'static str] = &[$(stringify!($field)),+];
        }

        impl redis::FromRedisValue for $name {
            fn from_redis_value(value: redis::Value) -> Result<Self, redis::ParsingError> {
                let mut values = $crate::replies::values::<Self>(value)?.into_iter();
                Ok(Self { $($field: $crate::replies::next(&mut values)?),+ })
            }
        }
    )+};
}
pub(crate) use reply;

/// A reply with named fields.
pub(crate) trait Reply {
    /// The names of the fields, in the order of the reply.
    const FIELDS: &'static [&'static str];
}

/// Returns the values of a reply, as many as it has fields.
pub(crate) fn values<R: Reply>(value: Value) -> Result<Vec<Value>, ParsingError> {
    let values = Vec::<Value>::from_redis_value(value)?;
    if values.len() == R::FIELDS.len() {
        Ok(values)
    } else {
        Err(format!("{} values instead of {}", values.len(), R::FIELDS.join(", ")).into())
    }
}

/// Returns the next field of a reply.
pub(crate) fn next<T: FromRedisValue>(values: &mut std::vec::IntoIter<Value>) -> Result<T, ParsingError> {
    T::from_redis_value(values.next().unwrap_or_default())
}

/// Decodes a reply.
pub(crate) fn decode<T: FromRedisValue>(value: Value) -> Result<T, Error> {
    Ok(T::from_redis_value(value)?)
}

/// Decodes the replies to all calls of a script that gives one reply an item.
pub(crate) fn decode_items<T: FromRedisValue>(replies: Vec<Value>) -> Result<Vec<T>, Error> {
    let mut items = Vec::new();
    for reply in replies {
        items.extend(decode::<Vec<T>>(reply)?);
    }
    Ok(items)
}

#[cfg(test)]
mod tests {
    use order_engine_core::telemetry::chain;

    use super::*;

    reply! {
        Walk {
            count: u32,
            next: Option<String>,
        }
    }

    #[test]
    fn fields_are_decoded_in_their_order() {
        let walk: Walk = decode(Value::Array(vec![Value::Int(3), Value::Nil])).unwrap();
        assert_eq!((walk.count, walk.next), (3, None));
    }

    #[test]
    fn a_reply_with_another_number_of_values_is_refused() {
        let error = decode::<Walk>(Value::Array(vec![Value::Int(3)])).unwrap_err();
        assert!(chain(&error).to_string().contains("1 values instead of count, next"), "{error}");
    }
}
