//! Paths of the interface.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

/// What an order's id has stays as it is.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.');

/// Returns a text as one part of a path, or as one value of a query.
///
/// ```
/// assert_eq!(order_engine_client::segment("../x?y#z é"), "..%2Fx%3Fy%23z%20%C3%A9");
/// assert_eq!(order_engine_client::segment("0190163d-8694-739b"), "0190163d-8694-739b");
/// ```
pub fn segment(text: &str) -> String {
    utf8_percent_encode(text, ESCAPED).to_string()
}
