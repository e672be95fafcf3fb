//! What store backends share: the columns of what they write, and how what they read becomes core's
//! types again.
//!
//! Nothing here knows a database. A backend adds how its rows hold ids, times and texts, and the
//! statements.

mod columns;
mod decode;
mod deliveries;
mod history;
mod integers;
mod leases;
mod nonces;
mod pool;
mod queries;
mod writes;

pub use columns::{RequestColumns, StateColumns};
pub use decode::{Decoded, StoredHead, StoredOrder, existing_order};
pub use deliveries::{ClaimedEntries, ClaimedEntry};
pub use history::{FailureColumns, HistoryColumns, StoredHistory};
pub use integers::{count, count_u32, decode_u64, encode_epoch, encode_u64};
pub use leases::{AckColumns, CurrentRow, GuardColumns, ReleaseColumns, UNDECODABLE};
pub use nonces::ReservationColumns;
pub use pool::PoolUse;
pub use queries::{StatusConditions, set_lane_backlog};
pub use writes::{AppendColumns, NewOrderColumns};
