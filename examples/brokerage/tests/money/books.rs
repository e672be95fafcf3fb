//! The broker's books and the engine's orders, read from the database, and what must hold of them.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use order_engine_core::OrderId;
use order_engine_sim::Execution;
use sqlx::{Connection as _, PgConnection, Row};
use uuid::Uuid;

/// How often the database is asked whether everything is settled.
const POLL: Duration = Duration::from_millis(100);

/// An account: a user and a token.
type Account = (String, String);

/// A line of the ledger.
struct Line {
    cause_id: Uuid,
    account: Account,
    amount: i128,
    reason: String,
}

/// An order, as the engine has it.
struct OrderRow {
    id: Uuid,
    user_id: String,
    input: String,
    output: String,
    amount: i128,
    status: String,
}

/// Everything, as it is in the end.
pub(crate) struct Books {
    orders: Vec<OrderRow>,
    lines: Vec<Line>,
    balances: BTreeMap<Account, i128>,
}

/// What came of the orders.
pub(crate) struct Summary {
    confirmed: usize,
    failed: usize,
    lines: usize,
    accounts: usize,
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { confirmed, failed, lines, accounts } = self;
        write!(f, "{confirmed} confirmed, {failed} failed, {lines} entries, {accounts} accounts exact")
    }
}

impl Books {
    /// Waits until every order has ended and is settled.
    pub(crate) async fn when_settled(url: &str) -> Self {
        let sql = "SELECT count(*) FROM order_engine.orders o WHERE NOT EXISTS (
            SELECT FROM brokerage.ledger l WHERE l.cause_id = o.order_id AND l.reason IN ('fill', 'refund'))";
        let mut connection = PgConnection::connect(url).await.unwrap();
        while sqlx::query_scalar::<_, i64>(sql).fetch_one(&mut connection).await.unwrap() > 0 {
            tokio::time::sleep(POLL).await;
        }
        Self::read(&mut connection).await
    }

    async fn read(connection: &mut PgConnection) -> Self {
        let orders = "SELECT order_id, user_id, input_token, output_token, amount::text, status
            FROM order_engine.orders";
        let orders = sqlx::query(orders).fetch_all(&mut *connection).await.unwrap();
        let lines = "SELECT cause_id, user_id, token, amount::text, reason FROM brokerage.ledger";
        let lines = sqlx::query(lines).fetch_all(&mut *connection).await.unwrap();
        let accounts = "SELECT user_id, token, balance::text FROM brokerage.accounts";
        let accounts = sqlx::query(accounts).fetch_all(connection).await.unwrap();
        let amount = |text: String| text.parse::<i128>().unwrap();
        Self {
            orders: orders
                .iter()
                .map(|row| OrderRow {
                    id: row.get(0),
                    user_id: row.get(1),
                    input: row.get(2),
                    output: row.get(3),
                    amount: amount(row.get(4)),
                    status: row.get(5),
                })
                .collect(),
            lines: lines
                .iter()
                .map(|row| Line {
                    cause_id: row.get(0),
                    account: (row.get(1), row.get(2)),
                    amount: amount(row.get(3)),
                    reason: row.get(4),
                })
                .collect(),
            balances: accounts.iter().map(|row| ((row.get(0), row.get(1)), amount(row.get(2)))).collect(),
        }
    }

    /// Returns what a user has of a token.
    pub(crate) fn balance(&self, user: &str, token: &str) -> i128 {
        self.balances.get(&(user.to_owned(), token.to_owned())).copied().unwrap_or_default()
    }

    /// Compares everything with what the chain executed, and with what users were answered.
    pub(crate) fn check(&self, chain: &[Execution], answers: &BTreeMap<OrderId, String>) -> Summary {
        let of_orders: BTreeMap<Uuid, String> =
            self.orders.iter().map(|order| (order.id, order.user_id.clone())).collect();
        let answered = answers.iter().map(|(id, user)| (*id.as_uuid(), user.clone())).collect();
        assert_eq!(of_orders, answered, "exactly the answered orders exist");
        // What every account must have, from the deposits and the chain alone.
        let mut expected: BTreeMap<Account, i128> = BTreeMap::new();
        for deposit in self.lines.iter().filter(|line| line.reason == "deposit") {
            *expected.entry(deposit.account.clone()).or_default() += deposit.amount;
        }
        let mut executed: BTreeMap<Uuid, Vec<&Execution>> = BTreeMap::new();
        for execution in chain.iter().filter(|execution| execution.executed) {
            executed.entry(*execution.order_id.as_uuid()).or_default().push(execution);
        }
        for order in &self.orders {
            let executions = executed.remove(&order.id).unwrap_or_default();
            let is_confirmed = order.status == "confirmed";
            assert!(is_confirmed || order.status == "failed", "{}: {}", order.id, order.status);
            assert_eq!(executions.len(), usize::from(is_confirmed), "{}: {executions:?}", order.id);
            self.check_entries(order, is_confirmed);
            for execution in executions {
                let units = |amount: order_engine_core::Amount| i128::try_from(amount.base_units()).unwrap();
                *expected.entry((order.user_id.clone(), order.input.clone())).or_default() -=
                    units(execution.amount_in);
                *expected.entry((order.user_id.clone(), order.output.clone())).or_default() +=
                    units(execution.amount_out);
            }
        }
        assert!(executed.is_empty(), "the chain executed what nobody ordered: {executed:?}");
        assert_eq!(self.balances, expected, "every account has what the chain says, to the unit");
        let mut sums: BTreeMap<Account, i128> = BTreeMap::new();
        for line in &self.lines {
            *sums.entry(line.account.clone()).or_default() += line.amount;
        }
        assert_eq!(sums, expected, "every balance is the sum of its ledger");
        let confirmed = self.orders.iter().filter(|order| order.status == "confirmed").count();
        Summary {
            confirmed,
            failed: self.orders.len() - confirmed,
            lines: self.lines.len(),
            accounts: self.balances.len(),
        }
    }

    /// Checks that an order was debited once, and refunded once exactly if it failed.
    fn check_entries(&self, order: &OrderRow, is_confirmed: bool) {
        let of = |reason: &str| -> Vec<i128> {
            let lines = self.lines.iter().filter(|line| line.cause_id == order.id && line.reason == reason);
            lines.map(|line| line.amount).collect()
        };
        assert_eq!(of("order"), [-order.amount], "{}: debited once", order.id);
        let refunds = if is_confirmed { vec![] } else { vec![order.amount] };
        assert_eq!(of("refund"), refunds, "{}: refunded exactly if it failed", order.id);
        assert_eq!(of("fill").len(), usize::from(is_confirmed), "{}", order.id);
    }
}
