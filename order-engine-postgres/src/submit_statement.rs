//! Orders within the transactions of a host that has another driver.

use order_engine_core::backend::NewOrderColumns;
use order_engine_core::{ItemRejected, NewOrder};

use crate::store::PostgresStore;
use crate::write::bind_new;

/// The statement that accepts an order, for the driver of the host.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
#[must_use = "the order exists once the host has run the statement and committed"]
pub struct SubmitStatement {
    /// The text, which is the same for all orders of a store, so that a driver may keep it prepared. Its parameters
    /// are `$1`, `$2`, …, each of the type `text`.
    pub sql: String,
    /// The values of the parameters, in their order; none is NULL.
    pub parameters: Vec<Option<String>>,
}

impl PostgresStore {
    /// Returns the statement with which a host accepts an order within a transaction of its own driver, such as
    /// tokio-postgres or diesel. It writes the same as [`submit_in`](Self::submit_in).
    ///
    /// The host [drafts](order_engine_core::Engine::draft) the order, and runs the statement once in a transaction of
    /// the database that the engine's store is in. What follows depends on the number of rows that it returns:
    ///
    /// - **One**, with the `order_id`: the order is accepted if the host commits. After the commit the host
    ///   [announces](order_engine_core::Uncommitted::announce) it, as below; without that, workers find it at their
    ///   next poll.
    /// - **None**: nothing is written, because the user has used the client order id (or because the very same draft
    ///   was accepted before). The host does not debit its user, and rolls back. Which order has the
    ///   name is in the table: `SELECT order_id FROM order_engine.orders WHERE user_id = $1 AND client_order_id =
    ///   $2`. It is the same request as the draft if [`Engine::order`](order_engine_core::Engine::order) has an equal
    ///   `request`.
    ///
    /// The statement waits, fails and commits as `submit_in` does: the same locks, the same serialization
    /// failures (SQLSTATE `40001`, after which the host repeats the transaction; the draft may be used again), and a
    /// commit that waits for the disk.
    ///
    /// # Errors
    /// If the order cannot be stored, such as with a NUL character in an id.
    ///
    /// ```ignore
    /// let new = engine.draft(request)?;
    /// let statement = store.submit_statement(&new)?;
    /// let parameters: Vec<&(dyn ToSql + Sync)> = statement.parameters.iter().map(|text| text as _).collect();
    ///
    /// let transaction = client.transaction().await?; // of tokio-postgres
    /// let accepted = transaction.query(&statement.sql, &parameters).await?;
    /// if accepted.is_empty() {
    ///     transaction.rollback().await?;
    ///     return Ok(Accepted::Before); // Look the order up by its client order id.
    /// }
    /// transaction.execute("UPDATE accounts SET balance = balance - 1 WHERE owner = 'alice'", &[]).await?;
    /// transaction.commit().await?;
    /// Uncommitted::new(&engine, ()).with_created(&new).announce();
    /// ```
    pub fn submit_statement(&self, new: &NewOrder) -> Result<SubmitStatement, ItemRejected> {
        let columns = NewOrderColumns::new(new)?;
        let mut parameters: Vec<Option<String>> = Vec::new();
        bind_new(&columns, &mut parameters).map_err(|error| ItemRejected { message: error.to_string() })?;
        Ok(SubmitStatement { sql: self.sessions().sql().orders.create_in_texts.to_string(), parameters })
    }
}
