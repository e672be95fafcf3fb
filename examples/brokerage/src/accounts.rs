//! The broker's own tables: what each user has, and why.

use std::collections::BTreeMap;

use order_engine_core::{Amount, Token, UserId};
use sqlx::{PgConnection, Row};
use uuid::Uuid;

/// Why an account changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The user paid in.
    Deposit,
    /// An order was placed; its input was taken.
    Order,
    /// The order was executed; its output was paid.
    Fill,
    /// The order was executed with less than its input; the rest was given back.
    Unused,
    /// The order failed; its input was given back.
    Refund,
}

impl Reason {
    /// Returns the text in the ledger.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Deposit => "deposit",
            Self::Order => "order",
            Self::Fill => "fill",
            Self::Unused => "unused",
            Self::Refund => "refund",
        }
    }
}

/// A line of the ledger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry<'a> {
    /// The order, or the deposit.
    pub cause_id: Uuid,
    /// Whose account changes.
    pub user_id: &'a UserId,
    /// In which token.
    pub token: &'a Token,
    /// By how much, in base units.
    pub amount: Amount,
    /// Why.
    pub reason: Reason,
}

/// Creates the tables, unless they exist.
pub async fn migrate(connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    // Without parameters PostgreSQL runs all statements in one transaction.
    sqlx::raw_sql(include_str!("schema.sql")).execute(connection).await?;
    Ok(())
}

/// Adds an amount to an account, once for each cause, reason and token. Returns whether it was the first time.
pub async fn credit(transaction: &mut PgConnection, entry: &Entry<'_>) -> Result<bool, sqlx::Error> {
    let amount = entry.amount.to_string();
    // The entry comes first: whoever repeats it waits here for the end of the other transaction.
    if !record(transaction, entry, &amount).await? {
        return Ok(false);
    }
    let sql = "INSERT INTO brokerage.accounts (user_id, token, balance) VALUES ($1, $2, $3::text::numeric)
        ON CONFLICT (user_id, token) DO UPDATE SET balance = accounts.balance + excluded.balance";
    let query = sqlx::query(sql).bind(entry.user_id.as_str()).bind(&entry.token.mint).bind(amount);
    query.execute(transaction).await?;
    Ok(true)
}

/// Takes an amount from an account. Returns false if the account has less, or gave it for this cause before; the
/// caller then rolls back.
pub async fn debit(transaction: &mut PgConnection, entry: &Entry<'_>) -> Result<bool, sqlx::Error> {
    let sql = "UPDATE brokerage.accounts SET balance = balance - $3::text::numeric
        WHERE user_id = $1 AND token = $2 AND balance >= $3::text::numeric";
    let amount = entry.amount.to_string();
    let query = sqlx::query(sql).bind(entry.user_id.as_str()).bind(&entry.token.mint).bind(&amount);
    let is_taken = query.execute(&mut *transaction).await?.rows_affected() == 1;
    Ok(is_taken && record(transaction, entry, &format!("-{amount}")).await?)
}

async fn record(
    transaction: &mut PgConnection,
    entry: &Entry<'_>,
    amount: &str,
) -> Result<bool, sqlx::Error> {
    let sql = "INSERT INTO brokerage.ledger (cause_id, user_id, token, amount, reason)
        VALUES ($1, $2, $3, $4::text::numeric, $5) ON CONFLICT (cause_id, reason, token) DO NOTHING";
    let query = sqlx::query(sql).bind(entry.cause_id).bind(entry.user_id.as_str());
    let query = query.bind(&entry.token.mint).bind(amount).bind(entry.reason.as_str());
    Ok(query.execute(transaction).await?.rows_affected() == 1)
}

/// Returns what a user has, in base units by mint.
pub async fn balances(
    connection: &mut PgConnection,
    user_id: &UserId,
) -> Result<BTreeMap<String, Amount>, sqlx::Error> {
    let sql = "SELECT token, balance::text FROM brokerage.accounts WHERE user_id = $1";
    let rows = sqlx::query(sql).bind(user_id.as_str()).fetch_all(connection).await?;
    let balance = |row: sqlx::postgres::PgRow| {
        let amount: String = row.try_get("balance")?;
        let amount = amount.parse().map_err(|error| sqlx::Error::Decode(Box::new(error)))?;
        Ok((row.try_get("token")?, amount))
    };
    rows.into_iter().map(balance).collect()
}
