//! Durable nonces on a real Solana runtime.

mod common;

use common::orders::ONE_SOL;
use common::surfpool::Surfpool;
use order_engine_solana::instructions::system;
use order_engine_solana::{
    Draft, DurableNonce, KeypairSigner, NONCE_ACCOUNT_BYTES, Pubkey, Signed, WalletSigner as _,
    create_nonce_account,
};
use serde_json::{Value, json};

/// Slots end so often, in milliseconds, that hashes expire in a second and a half.
const SLOT_MS: u32 = 10;
const TARGET: Pubkey = Pubkey::new_from_array([9; 32]);

struct World {
    chain: Surfpool,
    wallet: KeypairSigner,
    nonce_account: Pubkey,
}

impl World {
    /// Starts a chain, and makes and funds a nonce account on it.
    async fn new() -> Self {
        let chain = Surfpool::start(SLOT_MS);
        let (wallet, account) = (KeypairSigner::random(), KeypairSigner::random());
        chain.fund(wallet.address(), 10 * ONE_SOL).await;
        let rent =
            chain.call("getMinimumBalanceForRentExemption", json!([NONCE_ACCOUNT_BYTES])).await.unwrap();
        let made = create_nonce_account(
            wallet.address(),
            account.address(),
            wallet.address(),
            rent.as_u64().unwrap(),
        );
        let signed = chain.sign(&Draft::new(wallet.address(), made.to_vec()), &[&wallet, &account]).await;
        chain.send(&signed).await.unwrap();
        assert_eq!(chain.landed(&signed).await, Value::Null);
        Self { chain, wallet, nonce_account: account.address() }
    }

    async fn nonce(&self) -> DurableNonce {
        let account = self.chain.account(self.nonce_account).await.unwrap();
        let nonce = DurableNonce::decode(self.nonce_account, &account).unwrap();
        assert_eq!(nonce.authority, self.wallet.address());
        nonce
    }

    /// Signs a transfer with the nonce's value as it is now.
    async fn transfer(&self, lamports: u64) -> Signed {
        let draft = Draft::new(
            self.wallet.address(),
            vec![system::transfer(self.wallet.address(), TARGET, lamports)],
        );
        let lifetime = self.nonce().await.lifetime();
        draft.compile(lifetime).unwrap().sign(&[&self.wallet]).await.unwrap()
    }

    /// Uses the nonce's value up by a transaction that does nothing else.
    async fn cancel(&self) {
        let draft = Draft::new(self.wallet.address(), Vec::new());
        let lifetime = self.nonce().await.lifetime();
        let signed = draft.compile(lifetime).unwrap().sign(&[&self.wallet]).await.unwrap();
        self.chain.send(&signed).await.unwrap();
        assert_eq!(self.chain.landed(&signed).await, Value::Null);
    }

    async fn let_hashes_expire(&self) {
        self.chain.wait_for_height(self.chain.height().await + 160).await;
    }
}

#[tokio::test]
async fn a_transaction_with_a_nonce_lands_long_after_every_blockhash_has_expired() {
    let world = World::new().await;
    let (before, signed) = (world.nonce().await, world.transfer(ONE_SOL).await);
    world.let_hashes_expire().await;
    world.chain.send(&signed).await.unwrap();
    assert_eq!(world.chain.landed(&signed).await, Value::Null);
    assert_eq!(world.chain.lamports(TARGET).await, ONE_SOL);
    assert_ne!(world.nonce().await.value, before.value, "it is used");
}

#[tokio::test]
async fn of_two_transactions_with_one_value_one_lands() {
    let world = World::new().await;
    let (one, other) = (world.transfer(ONE_SOL).await, world.transfer(2 * ONE_SOL).await);
    world.chain.send(&other).await.unwrap();
    assert_eq!(world.chain.landed(&other).await, Value::Null);
    let _ = world.chain.send(&one).await;
    world.chain.wait_for_height(world.chain.height().await + 40).await;
    assert_eq!(world.chain.status(&one).await, None);
    assert_eq!(world.chain.lamports(TARGET).await, 2 * ONE_SOL);
}

#[tokio::test]
async fn advancing_the_nonce_cancels_a_transaction_for_good() {
    let world = World::new().await;
    let signed = world.transfer(ONE_SOL).await;
    world.cancel().await;
    let _ = world.chain.send(&signed).await;
    world.chain.wait_for_height(world.chain.height().await + 40).await;
    assert_eq!(world.chain.status(&signed).await, None);
    assert_eq!(world.chain.lamports(TARGET).await, 0);
}

#[tokio::test]
async fn a_failure_names_the_instruction_behind_the_one_that_advances_the_nonce() {
    let world = World::new().await;
    let signed = world.transfer(1_000 * ONE_SOL).await;
    world.chain.send(&signed).await.unwrap();
    assert_eq!(world.chain.landed(&signed).await, json!({ "InstructionError": [1, { "Custom": 1 }] }));
    assert_eq!(world.chain.lamports(TARGET).await, 0);
}

#[tokio::test]
async fn a_nonce_account_gives_its_lamports_back() {
    let world = World::new().await;
    let wallet = world.wallet.address();
    let lamports = world.chain.lamports(world.nonce_account).await;
    let taken = system::withdraw_nonce(world.nonce_account, wallet, TARGET, lamports);
    let signed = world.chain.sign(&Draft::new(wallet, vec![taken]), &[&world.wallet]).await;
    world.chain.send(&signed).await.unwrap();
    assert_eq!(world.chain.landed(&signed).await, Value::Null);
    assert_eq!(world.chain.lamports(TARGET).await, lamports);
    assert_eq!(world.chain.account(world.nonce_account).await.map_or(0, |account| account.lamports), 0);
}
