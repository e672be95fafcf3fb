//! To which trace a piece of work belongs, as the W3C's Trace Context names it.
//!
//! The trace of an order has the bytes of the order's id as its id, in whichever process and after however many restarts
//! somebody works for the order, so nothing has to be stored. A host opens the trace of a request with
//! [`TraceContext::scope`]. Who calls another program reads [`TraceContext::current`] and sends it along as `traceparent`.

use std::fmt;
use std::num::{NonZeroU64, NonZeroU128};
use std::str::FromStr;

use crate::domain::ids::OrderId;

tokio::task_local! {
    static CURRENT: TraceContext;
}

/// The name of the header that carries a [`TraceContext`].
pub const TRACEPARENT: &str = "traceparent";

/// The flag that says that the caller may have recorded its span.
const SAMPLED: u8 = 1;

/// A trace, and the span in it that the work belongs to. Its text is the value of the header `traceparent`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceContext {
    trace_id: NonZeroU128,
    span_id: NonZeroU64,
    is_sampled: bool,
}

/// The error for a text that is no `traceparent`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no traceparent")]
pub struct InvalidTraceparent;

impl TraceContext {
    /// Returns a span of a trace, which is not recorded.
    pub const fn new(trace_id: NonZeroU128, span_id: NonZeroU64) -> Self {
        Self { trace_id, span_id, is_sampled: false }
    }

    /// Returns the trace of an order, whose id is the order's.
    pub fn of_order(id: OrderId) -> Self {
        Self::of_id(id.as_uuid().as_u128())
    }

    /// Returns the trace with this id, and in it a span that has the id's last half as its own. No id of either may be zero:
    /// 1 is taken instead.
    pub fn of_id(id: u128) -> Self {
        let trace_id = NonZeroU128::new(id).unwrap_or(NonZeroU128::MIN);
        Self::new(trace_id, NonZeroU64::new(low_half(id)).unwrap_or(NonZeroU64::MIN))
    }

    /// Returns the id of the trace. Its text has 32 hexadecimal digits.
    pub const fn trace_id(&self) -> TraceId {
        TraceId(self.trace_id)
    }

    /// Returns the id of the span.
    pub const fn span_id(&self) -> NonZeroU64 {
        self.span_id
    }

    /// Returns whether the span may be recorded somewhere.
    pub const fn is_sampled(&self) -> bool {
        self.is_sampled
    }

    /// Returns the trace to which the running task belongs at the moment, if it belongs to one. A task that is spawned belongs
    /// to none.
    pub fn current() -> Option<Self> {
        CURRENT.try_with(|current| *current).ok()
    }

    /// Runs work that belongs to this trace.
    pub async fn scope<F: Future>(self, work: F) -> F::Output {
        CURRENT.scope(self, work).await
    }

    /// Does at once what belongs to this trace.
    pub fn sync_scope<T>(self, work: impl FnOnce() -> T) -> T {
        CURRENT.sync_scope(self, work)
    }
}

impl fmt::Display for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let flags = if self.is_sampled { SAMPLED } else { 0 };
        write!(f, "00-{}-{:016x}-{flags:02x}", self.trace_id(), self.span_id)
    }
}

impl FromStr for TraceContext {
    type Err = InvalidTraceparent;

    /// Reads a `traceparent` of version 00, or the same part of one of a later version.
    fn from_str(text: &str) -> Result<Self, InvalidTraceparent> {
        let mut parts = text.split('-');
        let mut digits = |count| parts.next().and_then(|part| hexadecimal(part, count));
        let version = digits(2).filter(|version| *version != 0xff).ok_or(InvalidTraceparent)?;
        let trace_id = digits(32).and_then(NonZeroU128::new).ok_or(InvalidTraceparent)?;
        let span_id = digits(16).and_then(|id| NonZeroU64::new(low_half(id))).ok_or(InvalidTraceparent)?;
        let flags = digits(2).ok_or(InvalidTraceparent)?;
        if version == 0 && parts.next().is_some() {
            return Err(InvalidTraceparent);
        }
        Ok(Self { trace_id, span_id, is_sampled: flags & u128::from(SAMPLED) != 0 })
    }
}

/// The id of a trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceId(NonZeroU128);

impl TraceId {
    /// Returns the id as a number.
    pub const fn get(self) -> u128 {
        self.0.get()
    }
}

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

/// Reads so many hexadecimal digits, of which letters are small.
fn hexadecimal(text: &str, count: usize) -> Option<u128> {
    let is_digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    let is_whole = text.len() == count && text.bytes().all(is_digit);
    u128::from_str_radix(text, 16).ok().filter(|_| is_whole)
}

#[allow(clippy::cast_possible_truncation)] // The other half is not wanted.
const fn low_half(id: u128) -> u64 {
    id as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of the specification.
    const EXAMPLE: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    #[test]
    fn a_traceparent_is_read_and_written() {
        let context: TraceContext = EXAMPLE.parse().unwrap();
        assert_eq!(context.to_string(), EXAMPLE);
        assert_eq!(context.trace_id().to_string(), "0af7651916cd43dd8448eb211c80319c");
        assert!(context.is_sampled());
        let later = EXAMPLE.replacen("00", "cc", 1) + "-what-comes-later";
        assert_eq!(later.parse(), Ok(context));
        let unrecorded = EXAMPLE.replace("-01", "-fe");
        assert_eq!(unrecorded.parse::<TraceContext>().unwrap().to_string(), EXAMPLE.replace("-01", "-00"));
    }

    #[test]
    fn what_is_no_traceparent_is_refused() {
        let zero_trace = format!("00-{:032x}-b7ad6b7169203331-01", 0);
        let zero_span = format!("00-0af7651916cd43dd8448eb211c80319c-{:016x}-01", 0);
        let capital = EXAMPLE.to_uppercase();
        let longer = format!("{EXAMPLE}-00");
        let reserved = EXAMPLE.replacen("00", "ff", 1);
        let signed = EXAMPLE.replace("-0af", "-+af");
        for text in
            ["", "00", &zero_trace, &zero_span, &capital, &longer, &reserved, &signed, &EXAMPLE[..54], "00-é"]
        {
            assert_eq!(text.parse::<TraceContext>(), Err(InvalidTraceparent), "{text}");
        }
    }

    #[tokio::test]
    async fn the_trace_of_an_order_is_found_by_the_orders_id() {
        let id: OrderId = "0190163d-8694-739b-aea5-966c26f8ad91".parse().unwrap();
        let context = TraceContext::of_order(id);
        assert_eq!(context.to_string(), "00-0190163d8694739baea5966c26f8ad91-aea5966c26f8ad91-00");
        assert_eq!(context.to_string().parse(), Ok(context));
        let least = format!("00-{:032x}-{:016x}-00", 1, 1);
        assert_eq!(TraceContext::of_id(0).to_string(), least, "no id is zero");

        assert_eq!(TraceContext::current(), None);
        assert_eq!(context.scope(async { TraceContext::current() }).await, Some(context));
        assert_eq!(context.sync_scope(TraceContext::current), Some(context));
    }
}
