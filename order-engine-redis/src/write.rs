//! The writes: each a few scripts with many items each, sent at once.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use chrono::{DateTime, Utc};
use order_engine_core::{
    Append, AppendError, Claim, ClaimRequest, ClaimScope, Claims, CreateError, Creation, ItemRejected, Lease,
    NewOrder, OrderId, PurgeRequest, Purged, Release,
};
use redis::{Cmd, FromRedisValue, Value};

use crate::error::Error;
use crate::link::{self, Link};
use crate::rows::{self, Field};
use crate::script::{self, Script};

/// The most items of one run of a script. Other clients wait while it runs, which is about a
/// millisecond with so many; larger runs are hardly cheaper an item.
const ITEMS: usize = 64;
/// The most orders that one run leases, forgets or rouses.
const PAGE: u32 = 256;

/// The calls of a script over items, and which items it refused before anything was sent.
struct Calls {
    calls: Vec<Cmd>,
    refused: Vec<Option<ItemRejected>>,
}

impl Calls {
    /// Calls a script over items, each added by `add`; `begin` adds what comes before them.
    fn over<T>(
        items: &[T],
        begin: impl Fn() -> Cmd,
        add: impl Fn(&T, &mut Cmd) -> Result<(), ItemRejected>,
    ) -> Self {
        let (mut calls, mut refused) = (Vec::new(), Vec::with_capacity(items.len()));
        for chunk in items.chunks(ITEMS) {
            let mut call = begin();
            let mut is_empty = true;
            for item in chunk {
                let added = add(item, &mut call);
                is_empty &= added.is_err();
                refused.push(added.err());
            }
            if !is_empty {
                calls.push(call);
            }
        }
        Self { calls, refused }
    }

    /// Runs them: one reply for each item that was not refused.
    async fn run<T: FromRedisValue>(self, link: &Link) -> Result<Vec<Result<T, ItemRejected>>, Error> {
        let mut replies = link::items(link.send(self.calls).await?)?.into_iter();
        let result = |refused: Option<ItemRejected>| match refused {
            Some(refused) => Ok(Err(refused)),
            None => replies.next().map(Ok).ok_or_else(|| Error::Reply("an item has no answer".to_owned())),
        };
        self.refused.into_iter().map(result).collect()
    }
}

/// Calls a script over items of which none is refused.
pub(crate) fn calls<T>(items: &[T], begin: impl Fn() -> Cmd, add: impl Fn(&T, &mut Cmd)) -> Vec<Cmd> {
    let infallible = |item: &T, call: &mut Cmd| {
        add(item, call);
        Ok(())
    };
    Calls::over(items, begin, infallible).calls
}

impl Link {
    /// A call of a script under this store's prefix.
    pub(crate) fn call(&self, script: &Script) -> Cmd {
        script.call(&self.options().key_prefix())
    }
}

pub(crate) async fn create(
    link: &Link,
    orders: &[NewOrder],
) -> Result<Vec<Result<Creation, CreateError>>, Error> {
    let calls = Calls::over(orders, || link.call(&script::CREATE), rows::add_order);
    let replies = calls.run::<Vec<Value>>(link).await?;
    replies.into_iter().map(|reply| reply.map_or_else(|refused| Ok(Err(refused.into())), creation)).collect()
}

fn creation(reply: Vec<Value>) -> Result<Result<Creation, CreateError>, Error> {
    let mut reply = reply.into_iter();
    let mut next = || reply.next().unwrap_or_default();
    match link::reply::<String>(next())?.as_str() {
        "created" => Ok(Ok(Creation::Created)),
        "refused" => Ok(Err(ItemRejected { message: link::reply(next())? }.into())),
        "existing" => {
            let (id, fields): (Vec<u8>, Vec<Field>) = (link::reply(next())?, link::reply(next())?);
            // An order that this program cannot read fails its own item only.
            Ok(match rows::order_id(&id).and_then(|id| rows::order(id, &fields)) {
                Ok(Some(order)) => Ok(Creation::Existing(Box::new(order))),
                Ok(None) => Err(ItemRejected { message: "the order of this name is gone".to_owned() }.into()),
                Err(error) => Err(ItemRejected { message: error.to_string() }.into()),
            })
        }
        other => Err(Error::Reply(other.to_owned())),
    }
}

pub(crate) async fn append(link: &Link, appends: &[Append]) -> Result<Vec<Result<(), AppendError>>, Error> {
    let calls = Calls::over(appends, || link.call(&script::APPEND), rows::add_append);
    let replies = calls.run::<Vec<String>>(link).await?;
    replies
        .into_iter()
        .map(|reply| reply.map_or_else(|refused| Ok(Err(refused.into())), |reply| appended(&reply)))
        .collect()
}

fn appended(reply: &[String]) -> Result<Result<(), AppendError>, Error> {
    let words: Vec<&str> = reply.iter().map(String::as_str).collect();
    Ok(match words[..] {
        ["written"] => Ok(()),
        ["unknown"] => Err(AppendError::NotFound),
        ["too-late"] => Err(AppendError::TooLate),
        ["stale-fence"] => Err(AppendError::StaleFence),
        ["stale-revision", actual] => Err(AppendError::StaleRevision { actual: rows::parse(actual, "seq")? }),
        ["refused", message] => Err(ItemRejected { message: message.to_owned() }.into()),
        _ => return Err(Error::Reply(words.join(" "))),
    })
}

/// A leased order: its id, epoch and fruitless claims (nothing where they cannot be read), its fields, and
/// whether its history reaches to it.
type ClaimRow = (Vec<u8>, Option<String>, Option<u32>, Vec<Field>, bool);
/// The store's time in microseconds, when the next order is due in milliseconds, and the leased orders.
type ClaimReply = (u64, Option<f64>, Vec<ClaimRow>);

pub(crate) async fn claim(link: &Link, request: &ClaimRequest) -> Result<Claims, Error> {
    let ids = match &request.scope {
        ClaimScope::Any => None,
        ClaimScope::Order(id) => Some(longest_due_first(link, request, std::slice::from_ref(id)).await?),
    };
    let mut pages = ids.as_ref().map(|ids| ids.chunks(PAGE as usize));
    let mut claims: Vec<Claim> = Vec::new();
    let mut as_of = None;
    loop {
        let left = request.limit.saturating_sub(u32::try_from(claims.len()).unwrap_or(u32::MAX));
        let page = pages.as_mut().map(|pages| pages.next().unwrap_or_default());
        let (now, next_due_in, taken) = match claim_page(link, request, left.min(PAGE), page).await {
            Ok(taken) => taken,
            // What was leased before must not wait for its leases to run out.
            Err(error) if !claims.is_empty() => {
                tracing::warn!(%error, "fewer orders were claimed than are due");
                return Ok(Claims {
                    claims,
                    as_of: as_of.unwrap_or_default(),
                    next_due_in: Some(Duration::ZERO),
                });
            }
            Err(error) => return Err(error),
        };
        let as_of = *as_of.get_or_insert(now);
        let is_over = match &pages {
            None => taken.is_empty() || next_due_in != Some(Duration::ZERO),
            Some(pages) => pages.len() == 0,
        };
        // With leases that end at once, a page may have orders of the page before: the later lease counts.
        let again: HashSet<OrderId> = taken.iter().map(|claim| claim.lease.order_id).collect();
        claims.retain(|claim| !again.contains(&claim.lease.order_id));
        claims.extend(taken);
        if is_over || claims.len() >= request.limit as usize {
            return Ok(Claims { claims, as_of, next_due_in });
        }
    }
}

/// One run of the script: the store's time, when the next order is due, and those that it leased.
async fn claim_page(
    link: &Link,
    request: &ClaimRequest,
    limit: u32,
    ids: Option<&[OrderId]>,
) -> Result<(DateTime<Utc>, Option<Duration>, Vec<Claim>), Error> {
    let mut call = link.call(&script::CLAIM);
    call.arg(request.lane.as_str()).arg(rows::owner_text(request.owner));
    call.arg(rows::wait_ms(request.duration)).arg(limit).arg(if ids.is_some() { "ids" } else { "any" });
    for id in ids.unwrap_or_default() {
        call.arg(id.to_string());
    }
    let (now_us, next_ms, found): ClaimReply = link::only(link.send(vec![call]).await?)?;
    let mut claims = Vec::with_capacity(found.len());
    for row in found {
        let id = row.0.clone();
        match claimed(row, request.owner) {
            Ok(claim) => claims.push(claim),
            Err(error) => {
                let id = String::from_utf8_lossy(&id);
                tracing::error!(order.id = %id, %error, "an order that cannot be leased is left alone");
            }
        }
    }
    Ok((rows::moment(now_us)?, next_ms.map(|next_ms| rows::until(now_us, next_ms)), claims))
}

fn claimed(row: ClaimRow, owner: u128) -> Result<Claim, Error> {
    let (id, epoch, claims_without_progress, fields, has_history) = row;
    let (Some(epoch), Some(claims_without_progress)) = (epoch, claims_without_progress) else {
        return Err(Error::Reply("its lease cannot be read".to_owned()));
    };
    let lease = rows::lease(&id, &epoch, owner)?;
    let order = match rows::order(lease.order_id, &fields) {
        Ok(Some(order)) if has_history => Ok(order.into()),
        Ok(Some(order)) => Err(rows::lost_history(order.seq)),
        Ok(None) => return Err(Error::Reply("it is gone".to_owned())),
        Err(error) => Err(error),
    };
    Ok(Claim { lease, claims_without_progress, order })
}

/// Sorts more ids than one run of the script takes by when their orders are due; it sorts fewer by itself.
async fn longest_due_first(
    link: &Link,
    request: &ClaimRequest,
    ids: &[OrderId],
) -> Result<Vec<OrderId>, Error> {
    if ids.len() <= PAGE as usize {
        return Ok(ids.to_vec());
    }
    let key = format!("{}:due:{}", link.options().key_prefix(), request.lane.as_str());
    let begin = || {
        let mut scores = redis::cmd("ZMSCORE");
        scores.arg(&key);
        scores
    };
    let scores = calls(ids, begin, |id, call| {
        call.arg(id.to_string());
    });
    let scores: Vec<Option<f64>> = link::items(link.send(scores).await?)?;
    let mut due: HashMap<OrderId, f64> = HashMap::new();
    due.extend(ids.iter().zip(scores).filter_map(|(id, score)| Some((*id, score?))));
    let mut due: Vec<(OrderId, f64)> = due.into_iter().collect();
    due.sort_by(|one, other| one.1.total_cmp(&other.1).then(one.0.cmp(&other.0)));
    Ok(due.into_iter().map(|(id, _)| id).collect())
}

pub(crate) async fn renew(link: &Link, leases: &[Lease], duration: Duration) -> Result<Vec<bool>, Error> {
    let begin = || {
        let mut call = link.call(&script::RENEW);
        call.arg(rows::wait_ms(duration));
        call
    };
    link::items(link.send(calls(leases, begin, rows::add_lease)).await?)
}

pub(crate) async fn release(link: &Link, releases: &[Release]) -> Result<(), Error> {
    link.send(calls(releases, || link.call(&script::RELEASE), rows::add_release)).await.map(drop)
}

pub(crate) async fn make_due(link: &Link, ids: &[OrderId]) -> Result<(), Error> {
    let add = |id: &OrderId, call: &mut Cmd| {
        call.arg(id.to_string());
    };
    link.send(calls(ids, || link.call(&script::MAKE_DUE), add)).await.map(drop)
}

pub(crate) async fn purge(link: &Link, request: &PurgeRequest) -> Result<Purged, Error> {
    let (mut purged, mut left) = (Purged { orders: 0, next: request.after }, request.limit);
    while left > 0 {
        let limit = left.min(PAGE);
        let mut call = link.call(&script::PURGE);
        call.arg(purged.next.map_or(String::new(), |id| id.to_string())).arg(limit);
        call.arg(rows::before_ms(request.ended_before)).arg(rows::before_ms(request.named_ended_before));
        let (orders, seen, last): (u64, u32, Option<Vec<u8>>) = link::only(link.send(vec![call]).await?)?;
        purged.orders += orders;
        // An id that cannot be read ends the walk: nothing this program wrote comes after it.
        purged.next = last.filter(|_| seen == limit).and_then(|last| rows::order_id(&last).ok());
        if purged.next.is_none() {
            break;
        }
        left -= limit;
    }
    Ok(purged)
}

pub(crate) async fn check(link: &Link) -> Result<(), Error> {
    link.check().await?;
    link.send(vec![link.call(&script::CHECK)]).await.map(drop)
}
