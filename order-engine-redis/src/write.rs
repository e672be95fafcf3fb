//! The writes of orders: each a few calls of a script, sent at once.

use std::collections::HashSet;
use std::time::Duration;

use order_engine_core::store::{
    Append, AppendError, Claim, ClaimRequest, ClaimScope, Claims, CreateError, Creation, Lease, PurgeRequest,
    Purged, Release,
};
use order_engine_core::telemetry::chain;
use order_engine_core::{DecodeError, ItemRejected, NewOrder, OrderId};
use redis::Value;

use crate::batch::{self, Batch};
use crate::error::Error;
use crate::replies::{self, reply};
use crate::rows::{self, OrderRow};
use crate::scripts;
use crate::session::Session;

/// The most orders that one call leases or looks at for deletion.
const PAGE: u32 = 256;

pub(crate) async fn create(
    session: &Session,
    orders: &[NewOrder],
) -> Result<Vec<Result<Creation, CreateError>>, Error> {
    let batch = Batch::new(orders, || session.script(&scripts::CREATE), rows::add_create);
    let replies = batch.write::<Vec<Value>>(session).await?;
    replies
        .into_iter()
        .map(|reply| reply.map_or_else(|rejected| Ok(Err(rejected.into())), creation))
        .collect()
}

fn creation(reply: Vec<Value>) -> Result<Result<Creation, CreateError>, Error> {
    let mut values = reply.into_iter();
    let mut next = || values.next().unwrap_or_default();
    match replies::decode::<String>(next())?.as_str() {
        "created" => Ok(Ok(Creation::Created)),
        "rejected" => Ok(Err(ItemRejected { message: replies::decode(next())? }.into())),
        "existing" => {
            let (id, row): (Vec<u8>, OrderRow) = (replies::decode(next())?, replies::decode(next())?);
            Ok(existing(&id, &row).map_err(CreateError::from))
        }
        other => Err(Error::Reply(other.to_owned())),
    }
}

/// Decodes the order that has a name already. One that cannot be decoded fails its own item only.
fn existing(id: &[u8], row: &OrderRow) -> Result<Creation, ItemRejected> {
    let rejected = |error: DecodeError| ItemRejected { message: error.to_string() };
    let order = rows::order_id(id).and_then(|id| rows::order(id, row)).map_err(rejected)?;
    let gone = || ItemRejected { message: "the order of this name is gone".to_owned() };
    Ok(Creation::Existing(Box::new(order.ok_or_else(gone)?)))
}

pub(crate) async fn append(
    session: &Session,
    appends: &[Append],
) -> Result<Vec<Result<(), AppendError>>, Error> {
    let batch = Batch::new(appends, || session.script(&scripts::APPEND), rows::add_append);
    let replies = batch.write::<Vec<String>>(session).await?;
    replies
        .into_iter()
        .map(|reply| reply.map_or_else(|rejected| Ok(Err(rejected.into())), |reply| appended(&reply)))
        .collect()
}

fn appended(reply: &[String]) -> Result<Result<(), AppendError>, Error> {
    let words: Vec<&str> = reply.iter().map(String::as_str).collect();
    Ok(match words[..] {
        ["written"] => Ok(()),
        ["not-found"] => Err(AppendError::NotFound),
        ["too-late"] => Err(AppendError::TooLate),
        ["stale-fence"] => Err(AppendError::StaleFence),
        ["stale-revision", actual] => Err(AppendError::StaleRevision { actual: rows::parse(actual, "seq")? }),
        ["nonce-taken", free] => Err(AppendError::NonceTaken { free: rows::parse(free, "nonce")? }),
        ["rejected", message] => Err(ItemRejected { message: message.to_owned() }.into()),
        _ => return Err(Error::Reply(words.join(" "))),
    })
}

reply! {
    ClaimReply {
        now_us: u64,
        /// When the next order of the lane is due.
        next_due_ms: Option<f64>,
        claims: Vec<ClaimRow>,
    }

    /// A leased order. The epoch, the claims and the row are missing if the order cannot be leased.
    ClaimRow {
        id: Vec<u8>,
        epoch: Option<String>,
        claims_without_progress: Option<u32>,
        row: Option<OrderRow>,
        /// Whether the history has all events of the order.
        has_history: bool,
    }
}

pub(crate) async fn claim(session: &Session, request: &ClaimRequest) -> Result<Claims, Error> {
    match request.scope {
        ClaimScope::Any => claim_pages(session, request).await,
        ClaimScope::Order(id) => claim_once(session, request, request.limit.min(1), Some(id)).await,
    }
}

/// Leases due orders page by page, so that no call makes other clients wait long.
async fn claim_pages(session: &Session, request: &ClaimRequest) -> Result<Claims, Error> {
    let mut claimed = claim_once(session, request, request.limit.min(PAGE), None).await?;
    let mut may_have_more = !claimed.claims.is_empty();
    while may_have_more && claimed.next_due_in == Some(Duration::ZERO) {
        let taken = u32::try_from(claimed.claims.len()).unwrap_or(u32::MAX);
        let limit = request.limit.saturating_sub(taken).min(PAGE);
        if limit == 0 {
            break;
        }
        match claim_once(session, request, limit, None).await {
            Ok(page) => {
                may_have_more = !page.claims.is_empty();
                add_page(&mut claimed, page);
            }
            // The orders of the pages before are leased, and must not wait until their leases end.
            Err(error) => {
                tracing::warn!(error = %chain(&error), "fewer orders were claimed than are due");
                break;
            }
        }
    }
    Ok(claimed)
}

/// Adds a page to the pages before it. With leases that end at once, a page may have orders of an earlier
/// page again, and then the later lease is the current one.
fn add_page(claimed: &mut Claims, page: Claims) {
    let again: HashSet<OrderId> = page.claims.iter().map(|claim| claim.lease.order_id).collect();
    claimed.claims.retain(|claim| !again.contains(&claim.lease.order_id));
    claimed.claims.extend(page.claims);
    claimed.next_due_in = page.next_due_in;
}

/// Calls the script once: for any due orders, or for one.
async fn claim_once(
    session: &Session,
    request: &ClaimRequest,
    limit: u32,
    only: Option<OrderId>,
) -> Result<Claims, Error> {
    let mut call = session.script(&scripts::CLAIM);
    call.arg(request.lane.as_str()).arg(rows::owner_text(request.owner));
    call.arg(rows::wait_ms(request.duration)).arg(limit);
    call.arg(only.map_or(String::new(), |id| id.to_string()));
    let reply: ClaimReply = session.write(call).await?;
    let claims = reply.claims.iter().filter_map(|row| claimed_order(row, request.owner)).collect();
    let next_due_in = reply.next_due_ms.map(|due_ms| rows::until(reply.now_us, due_ms));
    Ok(Claims::new(claims, rows::moment(reply.now_us)?).with_next_due_in(next_due_in))
}

/// Returns the claim of an order, unless the order is so damaged that it cannot be leased.
fn claimed_order(row: &ClaimRow, owner: u128) -> Option<Claim> {
    let report = |error: &Error| {
        let id = String::from_utf8_lossy(&row.id);
        tracing::error!(order.id = %id, error = %chain(error), "an order that cannot be leased is skipped");
    };
    decode_claim(row, owner).inspect_err(report).ok()
}

fn decode_claim(row: &ClaimRow, owner: u128) -> Result<Claim, Error> {
    let ClaimRow { id, epoch: Some(epoch), claims_without_progress: Some(claims), row: Some(order), .. } =
        row
    else {
        return Err(Error::Reply("its lease cannot be decoded".to_owned()));
    };
    let lease = rows::lease(id, epoch, owner)?;
    let order = match rows::order(lease.order_id, order) {
        Ok(Some(order)) if row.has_history => Ok(order.into()),
        Ok(Some(order)) => Err(rows::lost_history(order.seq)),
        Ok(None) => return Err(Error::Reply("it is gone".to_owned())),
        Err(error) => Err(error),
    };
    Ok(Claim::new(lease, *claims, order))
}

pub(crate) async fn renew(
    session: &Session,
    leases: &[Lease],
    duration: Duration,
) -> Result<Vec<bool>, Error> {
    let begin = || {
        let mut call = session.script(&scripts::RENEW);
        call.arg(rows::wait_ms(duration));
        call
    };
    replies::decode_items(session.write_all(batch::calls(leases, begin, rows::add_lease)).await?)
}

pub(crate) async fn release(session: &Session, releases: &[Release]) -> Result<(), Error> {
    let begin = || session.script(&scripts::RELEASE);
    session.write_all(batch::calls(releases, begin, rows::add_release)).await.map(drop)
}

pub(crate) async fn make_due(session: &Session, id: OrderId) -> Result<(), Error> {
    let mut call = session.script(&scripts::MAKE_DUE);
    call.arg(id.to_string());
    session.write(call).await
}

reply! {
    PurgeReply {
        deleted: u64,
        /// How many orders the step has looked at.
        seen: u32,
        /// The last of them.
        last: Option<Vec<u8>>,
    }
}

pub(crate) async fn purge(session: &Session, request: &PurgeRequest) -> Result<Purged, Error> {
    let (mut purged, mut left) = (Purged::new(0, request.after), request.limit);
    while left > 0 {
        let limit = left.min(PAGE);
        let mut call = session.script(&scripts::PURGE);
        call.arg(purged.next.map_or(String::new(), |id| id.to_string())).arg(limit);
        call.arg(rows::before_ms(request.ended_before)).arg(rows::before_ms(request.named_ended_before));
        let step: PurgeReply = session.write(call).await?;
        purged.orders += step.deleted;
        // An id that cannot be decoded ends the walk: no id that this program wrote comes after it.
        purged.next = step.last.filter(|_| step.seen == limit).and_then(|last| rows::order_id(&last).ok());
        if purged.next.is_none() {
            break;
        }
        left -= limit;
    }
    Ok(purged)
}

pub(crate) async fn check(session: &Session) -> Result<(), Error> {
    session.check().await?;
    session.write(session.script(&scripts::CHECK)).await
}
