//! Snapshots with arbitrary contents are refused with the wrong field, or quoted without a panic.

use order_engine_routing::Curve;
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::arbitrary::pool;
use crate::probe::probe;

/// Generates values for any field of a snapshot.
fn scalar() -> impl Strategy<Value = Value> {
    prop_oneof![
        any::<u128>().prop_map(|number| json!(number.to_string())),
        any::<i128>().prop_map(|number| json!(number.to_string())),
        (any::<u64>(), 0..64_u32).prop_map(|(number, shift)| json!(number >> shift)),
        (any::<i64>(), 0..64_u32).prop_map(|(number, shift)| json!(number >> shift)),
        Just(json!("0")),
        Just(json!(0)),
        Just(json!(u128::MAX.to_string())),
        Just(json!(null)),
    ]
}

/// Replaces the leaf with the number `chosen`.
fn replace(value: &mut Value, chosen: &mut usize, replacement: &Value) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(|item| replace(item, chosen, replacement)),
        Value::Object(fields) => fields.values_mut().for_each(|field| replace(field, chosen, replacement)),
        leaf => {
            if *chosen == 0 {
                *leaf = replacement.clone();
            }
            *chosen = chosen.wrapping_sub(1);
        }
    }
}

fn leaves(value: &Value) -> usize {
    match value {
        Value::Array(items) => items.iter().map(leaves).sum(),
        Value::Object(fields) => fields.values().map(leaves).sum(),
        _ => 1,
    }
}

proptest! {
    #[test]
    fn a_snapshot_with_any_values_is_refused_or_quoted(
        pool in pool(), replaced in prop::collection::vec((any::<usize>(), scalar()), 1..4),
        amount: u128, shift in 0..128_u32, at: u64,
    ) {
        let mut document = serde_json::to_value(&pool.curve).unwrap();
        for (position, replacement) in replaced {
            let mut chosen = position % leaves(&document);
            replace(&mut document, &mut chosen, &replacement);
        }
        let json = serde_json::to_vec(&document).unwrap();
        prop_assert_eq!(probe(&json, amount >> shift, at), serde_json::from_slice::<Curve>(&json).is_ok());
    }

    #[test]
    fn a_damaged_snapshot_is_refused_or_quoted(
        pool in pool(), damage in prop::collection::vec((any::<usize>(), any::<u8>()), 1..4), amount: u128,
    ) {
        let mut json = serde_json::to_vec(&pool.curve).unwrap();
        for (position, byte) in damage {
            let position = position % json.len();
            json[position] = byte;
        }
        prop_assert_eq!(probe(&json, amount, 0), serde_json::from_slice::<Curve>(&json).is_ok());
    }
}

#[test]
fn an_impossible_snapshot_is_refused_with_the_field_that_is_wrong() {
    let json = json!({
        "kind": "constant_product",
        "reserve_a": "0",
        "reserve_b": "1",
        "fee": { "numerator": 25, "denominator": 10_000 },
    });
    let error = serde_json::from_value::<Curve>(json).unwrap_err();
    assert_eq!(error.to_string(), "reserve_a must be greater than zero");
}
