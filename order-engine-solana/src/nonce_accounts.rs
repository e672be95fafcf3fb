//! A wallet's nonce accounts: where they are, and how they are made.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;
use solana_instruction::Instruction;
use solana_pubkey::Pubkey;

use crate::account::LayoutError;
use crate::draft::{Draft, DraftError, Lifetime};
use crate::instructions::compute_budget::set_unit_price;
use crate::instructions::system;
use crate::keys::WalletSigner;
use crate::nonce::{DurableNonce, NONCE_ACCOUNT_BYTES};
use crate::programs::SYSTEM;
use crate::rpc::wire::{ACCOUNTS_MAX, LatestBlockhash, SendSettings, WithContext};
use crate::rpc::{Cluster, RpcError};

/// How many accounts one transaction makes, so that it fits into a packet.
const MADE_AT_ONCE: usize = 5;
/// How often it is looked whether accounts are there: longer than a blockhash lives.
const LOOKS: u32 = 200;
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Why a wallet's nonce accounts are not there.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NonceAccountError {
    /// The nodes do not answer, or refuse the transactions.
    #[error("a call of the nodes failed")]
    Rpc(#[from] RpcError),
    /// The transactions cannot be signed.
    #[error("the accounts cannot be made")]
    Draft(#[from] DraftError),
    /// There is something else at the address of one.
    #[error("there is something else where a nonce account should be")]
    Layout(#[from] LayoutError),
    /// One has another authority than the wallet.
    #[error("the nonce account {0} has another authority than the wallet")]
    ForeignAuthority(Pubkey),
    /// The transactions did not land. Those that did are not made again by another call.
    #[error("{missing} nonce accounts were not made in time")]
    NotMade {
        /// How many are missing.
        missing: usize,
    },
}

/// Returns the addresses of a wallet's first nonce accounts, whether they are there or not: the wallet and their numbers
/// give them.
pub fn nonce_account_addresses(wallet: Pubkey, count: usize) -> Vec<Pubkey> {
    (0..count).map(|number| system::seeded_address(wallet, &seed(number), SYSTEM)).collect()
}

/// Makes a wallet's first nonce accounts, as far as they are not there, for
/// [`SolanaVenueOptions::nonce_accounts`](crate::SolanaVenueOptions::nonce_accounts). The wallet pays the rent of each, some 0.0015
/// SOL, and is their authority. Returns their addresses once all are there: within two minutes, or never.
///
/// It can be called at each start, and again after an error: the addresses are always the same.
///
/// # Errors
/// If they are not all there at the end.
pub async fn create_nonce_accounts(
    cluster: &Cluster,
    signer: &dyn WalletSigner,
    count: usize,
    unit_price_micro_lamports: u64,
) -> Result<Vec<Pubkey>, NonceAccountError> {
    let wallet = signer.address();
    let addresses = nonce_account_addresses(wallet, count);
    let missing = missing(cluster, wallet, &addresses).await?;
    if missing.is_empty() {
        return Ok(addresses);
    }
    let rent = cluster.query("getMinimumBalanceForRentExemption", json!([NONCE_ACCOUNT_BYTES])).await?;
    for numbers in missing.chunks(MADE_AT_ONCE) {
        let made = numbers.iter().flat_map(|number| create(wallet, *number, rent));
        let instructions: Vec<Instruction> =
            std::iter::once(set_unit_price(unit_price_micro_lamports)).chain(made).collect();
        send(cluster, signer, &Draft::new(wallet, instructions)).await?;
    }
    let mut left = missing.len();
    for _ in 0..LOOKS {
        left = self::missing(cluster, wallet, &addresses).await?.len();
        if left == 0 {
            return Ok(addresses);
        }
        cluster.sleep(LOOK_EVERY).await;
    }
    Err(NonceAccountError::NotMade { missing: left })
}

fn seed(number: usize) -> String {
    format!("order-engine/{number}")
}

fn create(wallet: Pubkey, number: usize, lamports: u64) -> [Instruction; 2] {
    let seed = seed(number);
    let account = system::seeded_address(wallet, &seed, SYSTEM);
    [
        system::create_account_with_seed(wallet, &seed, lamports, NONCE_ACCOUNT_BYTES, SYSTEM),
        system::initialize_nonce(account, wallet),
    ]
}

/// Returns the numbers of the accounts that are not there.
async fn missing(
    cluster: &Cluster,
    wallet: Pubkey,
    addresses: &[Pubkey],
) -> Result<Vec<usize>, NonceAccountError> {
    let mut missing = Vec::new();
    for (part, addresses) in addresses.chunks(ACCOUNTS_MAX).enumerate() {
        let accounts = cluster.accounts(addresses).await?.accounts;
        for (index, (address, account)) in addresses.iter().zip(accounts).enumerate() {
            match account {
                None => missing.push(part * ACCOUNTS_MAX + index),
                Some(account) if DurableNonce::decode(*address, &account)?.authority != wallet => {
                    return Err(NonceAccountError::ForeignAuthority(*address));
                }
                Some(_) => {}
            }
        }
    }
    Ok(missing)
}

async fn send(cluster: &Cluster, signer: &dyn WalletSigner, draft: &Draft) -> Result<(), NonceAccountError> {
    let params = json!([{ "commitment": "confirmed" }]);
    let latest: WithContext<LatestBlockhash> = cluster.query("getLatestBlockhash", params).await?;
    let hash = latest.value.blockhash.parse();
    let hash = hash.map_err(|_| RpcError::malformed("the blockhash is no hash"))?;
    let transaction = draft.compile(Lifetime::Blockhash(hash))?.sign(&[signer]).await?;
    let params = json!([STANDARD.encode(&transaction.bytes), SendSettings::RAW]);
    let answers: Vec<Result<String, RpcError>> = cluster.ask_all("sendTransaction", &params).await;
    let mut failed = None;
    for answer in answers {
        match answer {
            Ok(_) => return Ok(()),
            Err(error) => failed = Some(error),
        }
    }
    failed.map_or(Ok(()), |error| Err(error.into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::draft::TRANSACTION_BYTES_MAX;

    #[test]
    fn the_addresses_follow_from_the_wallet_and_their_numbers() {
        let (one, other) = (Pubkey::new_from_array([1; 32]), Pubkey::new_from_array([2; 32]));
        let addresses = nonce_account_addresses(one, 3);
        assert_eq!(addresses[..2], nonce_account_addresses(one, 2));
        assert!(!nonce_account_addresses(other, 3).iter().any(|address| addresses.contains(address)));
        assert!(seed(999_999).len() <= 32, "the chain takes no longer seed");
    }

    #[test]
    fn as_many_as_are_made_at_once_fit_into_a_packet() {
        let wallet = Pubkey::new_from_array([1; 32]);
        let made = (0..MADE_AT_ONCE).flat_map(|number| create(wallet, 1_000_000 + number, 1));
        let instructions = std::iter::once(set_unit_price(u64::MAX)).chain(made).collect();
        let unsigned =
            Draft::new(wallet, instructions).compile(Lifetime::Blockhash(solana_hash::Hash::default()));
        assert!(unsigned.unwrap().size() <= TRANSACTION_BYTES_MAX);
    }
}
