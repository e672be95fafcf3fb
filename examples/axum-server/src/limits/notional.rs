//! What the orders of a user may be worth in 24 hours.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use axum::http::StatusCode;
use chrono::{DateTime, TimeDelta, Utc};
use order_engine_core::{Engine, Order, OrderId, OrderQuery, OrderRequest, Sort, Status, StoreError, UserId};

use crate::limits::prices::{Prices, Worth};
use crate::limits::turns::Turn;
use crate::wire::problem::Problem;
use crate::wire::status::id_of;

/// For how long an order counts.
const DAY: TimeDelta = TimeDelta::days(1);
/// How much older than the newest order known another one may be that is new in the store: processes take their time, and
/// their clocks differ.
const OVERLAP: TimeDelta = TimeDelta::minutes(1);
/// How many orders are read at a time.
const PAGE: u32 = 500;
/// Of how many users the orders are remembered. Those of others are read again.
const USERS_MAX: usize = 10_000;

/// A limit on what the orders of a user are worth that were placed within 24 hours and have not failed.
///
/// The store is what counts, so the limit holds over restarts, and for several processes but for what they accept at
/// the same moment. What was read of it is remembered, and only what may have changed since is read again.
#[derive(Debug)]
pub(crate) struct Notional {
    max: Worth,
    prices: Option<Prices>,
    ledgers: Mutex<HashMap<UserId, Ledger>>,
}

/// What a user has sold within a day, by the orders.
#[derive(Debug, Default)]
struct Ledger(BTreeMap<OrderId, Sale>);

#[derive(Debug)]
struct Sale {
    request: Arc<OrderRequest>,
    /// It may still fail, and count no more.
    is_open: bool,
}

impl Notional {
    pub(crate) fn new(max: Worth, prices: Option<Prices>) -> Self {
        Self { max, prices, ledgers: Mutex::default() }
    }

    /// Refuses an order with which its user would trade too much in a day.
    pub(crate) async fn admit(
        &self,
        engine: &Engine,
        request: &OrderRequest,
        _turn: &Turn,
    ) -> Result<(), Problem> {
        let worth = self.worth(request)?;
        if worth > self.max {
            let message = format!("The order is worth {worth}, and a day's may be worth {}.", self.max);
            return Err(Problem::unacceptable("amount", "notional-too-large", message));
        }
        let now = Utc::now();
        // The ledger is read again from the beginning if the request ends before it is put back.
        let mut ledger = self.ledgers().remove(&request.user_id).unwrap_or_default();
        ledger.refresh(engine, &request.user_id, now).await?;
        let room_at = self.room_at(&ledger, worth);
        self.keep(request.user_id.clone(), ledger);
        match room_at? {
            None => Ok(()),
            Some(room_at) => Err(self.exceeded(worth, room_at - now)),
        }
    }

    /// Returns when enough of a user's orders count no more for another of this worth, unless it has room at once.
    fn room_at(&self, ledger: &Ledger, worth: Worth) -> Result<Option<DateTime<Utc>>, Problem> {
        let mut sum = worth;
        // The newest orders count the longest.
        for (id, sale) in ledger.0.iter().rev() {
            sum = sum.plus(self.worth(&sale.request)?);
            if sum > self.max {
                return Ok(Some(id.accepted_at() + DAY));
            }
        }
        Ok(None)
    }

    fn exceeded(&self, worth: Worth, wait: TimeDelta) -> Problem {
        let detail = format!(
            "The user's orders of 24 hours may be worth {} together, and with this one, which is worth {worth}, they would be \
             worth more.",
            self.max
        );
        let wait_s = u64::try_from(wait.num_seconds()).unwrap_or(0) + 1;
        Problem::new(StatusCode::TOO_MANY_REQUESTS, "daily-notional-exceeded", detail)
            .with_retry_after(wait_s)
    }

    fn worth(&self, request: &OrderRequest) -> Result<Worth, Problem> {
        let token = &request.input;
        let worth = self.prices.as_ref().and_then(|prices| prices.worth(token, request.amount));
        worth.ok_or_else(|| {
            let message = format!("The host has no price of {}.", token.symbol);
            Problem::unacceptable("tokenIn", "no-price", message)
        })
    }

    fn keep(&self, user: UserId, ledger: Ledger) {
        let mut ledgers = self.ledgers();
        if ledgers.len() >= USERS_MAX {
            let begin = Utc::now() - DAY;
            ledgers.retain(|_, ledger| ledger.newest().is_some_and(|newest| newest.accepted_at() > begin));
        }
        if ledgers.len() < USERS_MAX {
            ledgers.insert(user, ledger);
        }
    }

    fn ledgers(&self) -> std::sync::MutexGuard<'_, HashMap<UserId, Ledger>> {
        self.ledgers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ledger {
    fn newest(&self) -> Option<OrderId> {
        self.0.keys().next_back().copied()
    }

    /// Reads from the store what may have changed, and forgets what counts no more.
    async fn refresh(
        &mut self,
        engine: &Engine,
        user: &UserId,
        now: DateTime<Utc>,
    ) -> Result<(), StoreError> {
        let day_begin = now - DAY;
        self.0 = self.0.split_off(&OrderId::new(day_begin, 0));
        let oldest_open = self.0.iter().find(|(_, sale)| sale.is_open).map(|(id, _)| *id);
        let unsettled = oldest_open.into_iter().chain(self.newest()).min();
        let begin = unsettled.map_or(day_begin, |id| day_begin.max(id.accepted_at() - OVERLAP));
        let mut query = OrderQuery::new(PAGE).with_user_id(user.clone()).with_sort(Sort::OldestFirst);
        query = query.with_after(OrderId::new(begin, 0));
        loop {
            let page = engine.orders(&query).await?;
            let last = page.last().map(id_of);
            let is_last = page.len() < PAGE as usize;
            // Those that cannot be decoded call for an operator, and are not counted.
            page.into_iter().flatten().for_each(|order| self.note(order));
            let Some(last) = last.filter(|_| !is_last) else { return Ok(()) };
            query = query.past(last);
        }
    }

    fn note(&mut self, order: Order) {
        let status = order.status();
        if status == Status::Failed {
            self.0.remove(&order.id);
            return;
        }
        self.0.insert(order.id, Sale { request: order.request, is_open: !status.is_terminal() });
    }
}
