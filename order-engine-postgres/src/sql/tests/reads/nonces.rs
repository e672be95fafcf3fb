//! Nonces.

use super::{Read, Tables};

impl Tables {
    /// Reserves nonces of an account for one order.
    async fn reserve(&mut self, account: &str, first: u64, last: u64) {
        self.execute(&format!(
            "INSERT INTO @account_nonces
            SELECT 'main', '{account}', value, gen_random_uuid() FROM generate_series({first}, {last}) AS value"
        ))
        .await;
    }

    /// Returns the free nonce from one on, and what it takes to find that another one is not free.
    async fn free(&mut self, first: u64) -> Read {
        let text = self.sql.nonces.reserve_nonces.to_string();
        let arguments = format!("'{{main}}', '{{a}}', '{{0}}', '{{{first}}}', ARRAY[gen_random_uuid()]");
        self.read(&text, &arguments, "free", "account_nonces").await
    }
}

#[tokio::test]
async fn the_free_nonce_is_found_whatever_else_is_reserved() {
    let mut tables = Tables::new().await;
    tables.reserve("a", 1_000, 1_004).await;
    let (few, none) = (tables.free(1_000).await, tables.free(900).await);
    assert_eq!((&*few.values, &*none.values), (&["1005".to_owned()][..], &["900".to_owned()][..]));
    for (account, first, last) in [("b", 0, 2_000), ("a", 0, 800), ("a", 1_006, 3_000)] {
        tables.reserve(account, first, last).await;
    }
    assert_eq!((tables.free(1_000).await, tables.free(900).await), (few, none));
}
