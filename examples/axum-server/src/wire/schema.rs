//! Schemas of what the engine's own types look like on the wire.

use order_engine_core::Status;
use serde_json::Value;
use utoipa::openapi::schema::{SchemaType, Type};
use utoipa::openapi::{Object, ObjectBuilder, OneOfBuilder, Schema};

/// The statuses of an order.
pub(crate) fn status() -> Object {
    let names = Status::ALL.iter().map(|status| status.as_str());
    ObjectBuilder::new()
        .schema_type(Type::String)
        .description(Some("Where the order stands."))
        .enum_values(Some(names))
        .build()
}

/// An amount in base units: whole, and beyond what a number of JSON can hold exactly.
pub(crate) fn base_units() -> Object {
    digits(SchemaType::new(Type::String))
}

/// The same, or nothing yet.
pub(crate) fn optional_base_units() -> Object {
    digits(SchemaType::from_iter([Type::String, Type::Null]))
}

/// An amount in units of a token, as a client gives it.
pub(crate) fn human_amount() -> Schema {
    human(OneOfBuilder::new())
}

/// The same, or nothing.
pub(crate) fn optional_human_amount() -> Schema {
    human(OneOfBuilder::new().item(ObjectBuilder::new().schema_type(Type::Null)))
}

fn human(one_of: OneOfBuilder) -> Schema {
    let text = ObjectBuilder::new().schema_type(Type::String).pattern(Some("^[0-9]+([.][0-9]+)?$"));
    let number = ObjectBuilder::new().schema_type(Type::Number).exclusive_minimum(Some(0.0));
    one_of
        .description(Some("An amount in units of the token, as a decimal text or a number."))
        .item(text)
        .item(number)
        .into()
}

/// The types of orders.
pub(crate) fn order_type() -> Object {
    names(&["market"], "What kind of order it is.")
}

/// What bounds the price of an order.
pub(crate) fn price_protection() -> Object {
    names(&["first-quote", "each-quote"], "Whose quote bounds the price.")
}

fn names(names: &[&str], description: &str) -> Object {
    let or_null = names.iter().map(|name| Value::from(*name)).chain([Value::Null]);
    ObjectBuilder::new()
        .schema_type(SchemaType::from_iter([Type::String, Type::Null]))
        .description(Some(description))
        .enum_values(Some(or_null))
        .build()
}

fn digits(schema_type: SchemaType) -> Object {
    ObjectBuilder::new()
        .schema_type(schema_type)
        .description(Some("An amount in base units, as decimal digits."))
        .pattern(Some("^[0-9]+$"))
        .build()
}
