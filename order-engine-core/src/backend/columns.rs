//! The readable columns of orders and events, and the payloads beside them.

use std::fmt;
use std::time::Duration;

use chrono::{DateTime, Utc};

use crate::backend::integers::encode_u64;
use crate::domain::codec::{self, ItemRejected, PAYLOAD_VERSION};
use crate::domain::event::Status;
use crate::domain::ids::{ClientOrderId, OrderId, Tag, TxId};
use crate::domain::order::Order;
use crate::domain::state::Attention;
use crate::domain::state::step::Lane;
use crate::ports::order_store::write::NewOrder;

/// The only type of order that there is.
const ORDER_TYPE: &str = "market";

/// The columns of an order that never change.
#[derive(Debug)]
pub struct RequestColumns<'a> {
    /// The order.
    pub order_id: OrderId,
    /// Its user.
    pub user_id: &'a str,
    /// The user's own name for it.
    pub client_order_id: Option<&'a str>,
    /// The order that it repeats.
    pub origin: Option<OrderId>,
    /// Always `market`.
    pub order_type: &'static str,
    /// The address of the token to sell.
    pub input_token: &'a str,
    /// Its short name.
    pub input_symbol: &'a str,
    /// Its digits behind the decimal point.
    pub input_decimals: i16,
    /// The address of the token to buy.
    pub output_token: &'a str,
    /// Its short name.
    pub output_symbol: &'a str,
    /// Its digits behind the decimal point.
    pub output_decimals: i16,
    /// The amount to sell in base units, as decimal text.
    pub amount: String,
    /// The slippage that the user accepts.
    pub slippage_bps: i32,
    /// The deadline.
    pub expires_at: Option<DateTime<Utc>>,
    /// Before which moment nothing is done: the order is due then at the earliest.
    pub not_before: Option<DateTime<Utc>>,
    /// The priority.
    pub priority: &'static str,
    /// How much earlier than its due time the order's turn comes, in microseconds.
    pub head_start_us: i64,
    /// How long after its acceptance the order's turn comes at the earliest, in microseconds.
    pub handicap_us: i64,
    /// The owner of the lease that is taken with the order, if one is: its epoch is 1, and it is the first claim.
    pub lease_owner: Option<u128>,
    /// How long that lease lasts, in microseconds.
    pub lease_us: Option<i64>,
    /// The host's own mark.
    pub tag: Option<&'a str>,
    /// What the host attaches, as a JSON object; none if that is nothing.
    pub metadata: Option<String>,
    /// When the order was accepted.
    pub created_at: DateTime<Utc>,
    /// The version of `request`.
    pub request_version: i64,
    /// The encoded request.
    pub request: String,
}

impl<'a> RequestColumns<'a> {
    /// Returns the columns of a new order.
    ///
    /// # Errors
    /// If the request cannot be encoded, or an id or the tag contains a NUL character. Databases cut texts
    /// off at a NUL or refuse it, and ids are compared, so that two different ones could look alike.
    pub fn new(new: &'a NewOrder) -> Result<Self, ItemRejected> {
        let order = &*new.order;
        let request = &*order.request;
        let client_order_id = request.client_order_id.as_ref().map(ClientOrderId::as_str);
        Ok(Self {
            order_id: order.id,
            user_id: without_nul(request.user_id.as_str())?,
            client_order_id: client_order_id.map(without_nul).transpose()?,
            origin: order.origin,
            order_type: ORDER_TYPE,
            input_token: &request.input.mint,
            input_symbol: &request.input.symbol,
            input_decimals: i16::from(request.input.decimals),
            output_token: &request.output.mint,
            output_symbol: &request.output.symbol,
            output_decimals: i16::from(request.output.decimals),
            amount: request.amount.to_string(),
            slippage_bps: i32::from(request.slippage_bps),
            expires_at: order.expires_at(),
            not_before: request.not_before,
            priority: request.priority.as_str(),
            head_start_us: micros(request.priority.head_start()),
            handicap_us: micros(new.handicap),
            lease_owner: new.lease.map(|lease| lease.owner),
            lease_us: new.lease.map(|lease| micros(lease.duration)),
            tag: request.tag.as_ref().map(Tag::as_str).map(without_nul).transpose()?,
            metadata: (!request.metadata.is_empty()).then(|| request.metadata.to_json()),
            created_at: order.created_at,
            request_version: i64::from(PAYLOAD_VERSION),
            request: codec::encode(request)?,
        })
    }
}

fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

/// Returns an id that has no NUL character.
pub(super) fn without_nul(id: &str) -> Result<&str, ItemRejected> {
    if id.contains('\0') {
        return Err(ItemRejected { message: "an id contains a NUL character".to_owned() });
    }
    Ok(id)
}

/// The columns of an order that its events change.
pub struct StateColumns<'a> {
    /// The status.
    pub status: &'static str,
    /// The number of the attempt.
    pub attempt: i64,
    /// How many attempts the order has.
    pub max_attempts: i64,
    /// The exchange of the chosen route.
    pub chosen_dex: Option<&'a str>,
    /// The id of the newest transaction.
    pub tx_hash: Option<&'a str>,
    /// The price of a confirmed order, as decimal text.
    pub execution_price: Option<String>,
    /// The output of a confirmed order in base units, as decimal text.
    pub amount_out: Option<String>,
    /// Why the order failed; only once it has failed for good.
    pub error_code: Option<&'a str>,
    /// The same in words.
    pub error_message: Option<&'a str>,
    /// Why an operator should look at the order.
    pub attention: Option<&'static str>,
    /// When the last event happened.
    pub updated_at: DateTime<Utc>,
    /// The number of the last event: the order's revision.
    pub seq: i64,
    /// The version of `state`.
    pub state_version: i64,
    /// The encoded state.
    pub state: String,
    /// Which workers take the order when it is due; none if none does.
    pub lane: Option<&'static str>,
}

/// Shows no encoded state, which may have the bytes of a signed transaction.
impl fmt::Debug for StateColumns<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StateColumns")
            .field("seq", &self.seq)
            .field("status", &self.status)
            .field("attempt", &self.attempt)
            .field("lane", &self.lane)
            .finish_non_exhaustive()
    }
}

impl<'a> StateColumns<'a> {
    /// Returns the columns of an order.
    ///
    /// # Errors
    /// If the state cannot be encoded, or the revision does not fit into 63 bits.
    pub fn new(order: &'a Order) -> Result<Self, ItemRejected> {
        let state = &order.state;
        // An attempt that failed is no failure of the order.
        let failure = state.failure().filter(|_| state.status() == Status::Failed);
        Ok(Self {
            status: state.status().as_str(),
            attempt: i64::from(state.attempt()),
            max_attempts: i64::from(state.max_attempts()),
            chosen_dex: state.chosen_dex(),
            tx_hash: state.tx_id().map(TxId::as_str),
            execution_price: order.execution_price(),
            amount_out: state.fill().map(|fill| fill.amount_out.to_string()),
            error_code: failure.map(|failure| failure.code.as_str()),
            error_message: failure.map(|failure| failure.message.as_str()),
            attention: state.attention().map(Attention::as_str),
            updated_at: order.updated_at,
            seq: encode_u64(order.seq)?,
            state_version: i64::from(PAYLOAD_VERSION),
            state: codec::encode(state)?,
            lane: state.lane().map(Lane::as_str),
        })
    }
}
