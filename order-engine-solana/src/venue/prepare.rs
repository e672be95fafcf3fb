//! Building, simulating and signing an order's transaction.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use order_engine_core::telemetry::chain;
use order_engine_core::{Amount, Failure, FailureCode, PrepareRequest, SignedTx, StepError, TxId, Validity};
use serde_json::{Value, json};
use solana_hash::Hash;
use solana_instruction::Instruction;
use solana_message::AddressLookupTableAccount;
use solana_pubkey::Pubkey;

use crate::account::Account;
use crate::agreement::quorum_th;
use crate::draft::{Draft, DraftError, Lifetime, Unsigned};
use crate::fees::ComputeBudget;
use crate::instructions::compute_budget::{UNITS_MAX, set_unit_limit, set_unit_price};
use crate::instructions::token;
use crate::keys::SignError;
use crate::program_error;
use crate::rpc::RpcError;
use crate::rpc::wire::{EpochInfo, LatestBlockhash, RecentFee, Simulation, WithContext};
use crate::search::VALID_HEIGHTS;
use crate::venue::SolanaVenue;
use crate::venue::build::{self, Built, Payment};
use crate::venue_error::unavailable;

/// What bounds a transaction.
pub(super) struct Bound {
    pub(super) lifetime: Lifetime,
    pub(super) validity: Validity,
}

/// What a transaction does, apart from what it pays and how long it lives.
struct Body {
    wallet: Pubkey,
    instructions: Vec<Instruction>,
    tables: Vec<AddressLookupTableAccount>,
}

impl SolanaVenue {
    /// Returns the lookup tables of the venue's transactions: those that are named and active, and that a quorum of nodes
    /// tells alike. [`PoolDirectory::set_lookup_tables`](crate::PoolDirectory::set_lookup_tables) takes them.
    ///
    /// # Errors
    /// If too few nodes answer.
    pub async fn lookup_tables(&self) -> Result<Vec<AddressLookupTableAccount>, RpcError> {
        self.tables.get(&self.cluster).await
    }

    pub(super) async fn prepare_transaction(
        &self,
        request: &PrepareRequest<'_>,
    ) -> Result<SignedTx, StepError> {
        let wallet = self.signer.address();
        // First, because an order for which no account is free need not be built.
        let nonce = self.choose_nonce(request.nonces).await?;
        let parts = (&*self.cluster, &self.mints, &*self.builder);
        let Built { instructions, lookup_tables, payment } =
            build::instructions(parts, request, wallet, self.options.hop_tolerance_bps).await?;
        let mut tables = self.tables.get(&self.cluster).await.map_err(unavailable)?;
        tables.extend(self.tables.also(&self.cluster, &lookup_tables).await.map_err(unavailable)?);
        let body = Body { wallet, instructions, tables };
        let simulated = nonce.as_ref().map_or(Lifetime::Blockhash(Hash::default()), |nonce| nonce.lifetime);
        let budget = self.budget(&body, simulated).await.inspect_err(|_| self.tables.forget())?;
        if let Some(payment) = payment {
            self.check_payment(&body, payment).await?;
        }
        let bound = match nonce {
            Some(nonce) => nonce,
            None => self.recent_blockhash().await?,
        };
        let unsigned = body.compile(budget, bound.lifetime)?;
        self.sign(&unsigned, budget, bound, request.min_amount_out).await
    }

    /// Signs a transaction.
    pub(super) async fn sign(
        &self,
        unsigned: &Unsigned,
        budget: ComputeBudget,
        bound: Bound,
        min_amount_out: Amount,
    ) -> Result<SignedTx, StepError> {
        let signed = unsigned.sign(&[&*self.signer]).await.map_err(|error| not_built(&error))?;
        let id = TxId::new(signed.id.to_string());
        let max_fee = Amount::new(u128::from(budget.fee_lamports(signatures(unsigned))));
        Ok(SignedTx::new(id, signed.bytes, bound.validity, min_amount_out).with_max_fee(max_fee))
    }

    /// Chooses the compute budget by a simulation and the recent fees of the written accounts.
    async fn budget(&self, body: &Body, lifetime: Lifetime) -> Result<ComputeBudget, StepError> {
        let most = ComputeBudget { unit_limit: UNITS_MAX, unit_price_micro_lamports: 0 };
        let unsigned = body.compile(most, lifetime)?;
        let written: Vec<String> = unsigned.written_accounts().iter().map(Pubkey::to_string).collect();
        let recent = self.cluster.query("getRecentPrioritizationFees", json!([written]));
        let (units, recent) = tokio::join!(self.simulate(&unsigned, lifetime), recent);
        let recent: Vec<RecentFee> = recent.map_err(unavailable)?;
        let prices: Vec<u64> = recent.iter().map(|fee| fee.prioritization_fee).collect();
        Ok(self.options.fees.budget(units?, &prices))
    }

    /// Returns how many compute units a transaction uses now.
    async fn simulate(&self, unsigned: &Unsigned, lifetime: Lifetime) -> Result<u64, StepError> {
        // A hash is chosen when the transaction is signed; a nonce is chosen before, and has to be the right one.
        let replaces_hash = matches!(lifetime, Lifetime::Blockhash(_));
        let settings = json!({
            "encoding": "base64", "sigVerify": false, "replaceRecentBlockhash": replaces_hash, "commitment": "confirmed",
        });
        let params = json!([STANDARD.encode(unsigned.to_unsigned_bytes()), settings]);
        let simulated: WithContext<Simulation> =
            self.cluster.query("simulateTransaction", params).await.map_err(unavailable)?;
        let Simulation { err, logs, units_consumed, .. } = simulated.value;
        match err.filter(|err| !err.is_null()) {
            None => Ok(units_consumed.unwrap_or_else(|| u64::from(UNITS_MAX))),
            Some(err) => Err(failed(&err, &logs.unwrap_or_default(), unsigned)),
        }
    }

    /// Checks by a simulation that the wallet gets what the order promises and gives no more than it sells, where somebody else
    /// built the swap.
    async fn check_payment(&self, body: &Body, payment: Payment) -> Result<(), StepError> {
        let accounts: Vec<Pubkey> = [payment.destination].into_iter().chain(payment.source).collect();
        let before = self.cluster.accounts(&accounts).await.map_err(unavailable)?;
        let most = ComputeBudget { unit_limit: UNITS_MAX, unit_price_micro_lamports: 0 };
        let instructions = body.instructions[..payment.instructions].to_vec();
        let body = Body { wallet: body.wallet, instructions, tables: body.tables.clone() };
        let unsigned = body.compile(most, Lifetime::Blockhash(Hash::default()))?;
        let named: Vec<String> = accounts.iter().map(Pubkey::to_string).collect();
        let settings = json!({
            "encoding": "base64", "sigVerify": false, "replaceRecentBlockhash": true, "commitment": "confirmed",
            "accounts": { "encoding": "base64", "addresses": named },
        });
        let params = json!([STANDARD.encode(unsigned.to_unsigned_bytes()), settings]);
        let simulated: WithContext<Simulation> =
            self.cluster.query("simulateTransaction", params).await.map_err(unavailable)?;
        let Simulation { err, logs, accounts: after, .. } = simulated.value;
        if let Some(err) = err.filter(|err| !err.is_null()) {
            return Err(failed(&err, &logs.unwrap_or_default(), &unsigned));
        }
        let after = after.unwrap_or_default();
        let after: Vec<Option<Account>> =
            after.iter().map(|account| account.as_ref().and_then(|account| account.decode().ok())).collect();
        paid(&payment, &before.accounts, &after)
    }

    /// Returns a recent blockhash. The height until which it is valid is not taken from the node alone: one that told too low a
    /// height would let a transaction count as expired that can still land, and one that told too high a height would let
    /// nodes prove its absence whose history begins after its signing.
    async fn recent_blockhash(&self) -> Result<Bound, StepError> {
        let params = json!([{ "commitment": "confirmed" }]);
        let latest: WithContext<LatestBlockhash> =
            self.cluster.query("getLatestBlockhash", params).await.map_err(unavailable)?;
        let processed = json!([{ "commitment": "processed" }]);
        let infos: Vec<EpochInfo> =
            self.cluster.ask_all("getEpochInfo", &processed).await.into_iter().flatten().collect();
        let hash = latest.value.blockhash.parse();
        let hash = hash.map_err(|_| unavailable(RpcError::malformed("the blockhash is no hash")))?;
        let quorum = self.cluster.quorum();
        let last_height = last_height(&infos, quorum, latest.value.last_valid_block_height);
        let last_height = last_height
            .ok_or_else(|| unavailable(RpcError::malformed("the blockhash is valid for too long")))?;
        Ok(Bound { lifetime: Lifetime::Blockhash(hash), validity: Validity::UntilHeight(last_height) })
    }
}

/// Returns the last height at which a transaction may land whose hash is valid until a height that one node told; nothing if
/// that is more than twice the life of a hash after what a quorum has seen.
fn last_height(infos: &[EpochInfo], quorum: usize, told: u64) -> Option<u64> {
    let agreed = quorum_th(infos.iter().map(|info| info.block_height), quorum)?;
    let last = told.max(newest(infos, quorum).saturating_add(VALID_HEIGHTS));
    (last <= agreed.saturating_add(2 * VALID_HEIGHTS)).then_some(last)
}

/// Returns the newest height that a node has seen, unless it claims to be ahead of a quorum by more than the whole life of
/// a hash.
fn newest(infos: &[EpochInfo], quorum: usize) -> u64 {
    let heights = || infos.iter().map(|info| info.block_height);
    let agreed = quorum_th(heights(), quorum).unwrap_or(0);
    heights().filter(|height| *height <= agreed.saturating_add(VALID_HEIGHTS)).max().unwrap_or(0)
}

impl Body {
    fn compile(&self, budget: ComputeBudget, lifetime: Lifetime) -> Result<Unsigned, StepError> {
        let all = [set_unit_limit(budget.unit_limit), set_unit_price(budget.unit_price_micro_lamports)];
        let all = all.into_iter().chain(self.instructions.iter().cloned()).collect();
        let draft = Draft::new(self.wallet, all).with_tables(self.tables.clone());
        draft.compile(lifetime).map_err(|error| not_built(&error))
    }
}

/// Returns how many signatures a transaction has.
pub(super) fn signatures(unsigned: &Unsigned) -> u64 {
    u64::try_from(unsigned.signatures()).unwrap_or(u64::MAX)
}

fn failed(err: &Value, logs: &[String], unsigned: &Unsigned) -> StepError {
    use order_engine_core::FailureClass::{Permanent, Requote, Transient, Unavailable};

    let (failure, class) = program_error::failure(err, logs, |index| unsigned.program(index));
    match class {
        Unavailable => StepError::unavailable(failure),
        Transient => StepError::transient(failure),
        Requote => StepError::requote(failure),
        Permanent => StepError::permanent(failure),
    }
}

/// Compares what the accounts of a payment hold before and after it.
fn paid(payment: &Payment, before: &[Option<Account>], after: &[Option<Account>]) -> Result<(), StepError> {
    let tokens = |accounts: &[Option<Account>], number: usize| {
        let account = accounts.get(number).and_then(Option::as_ref);
        account.and_then(|account| token::amount(&account.data)).map_or(0, i128::from)
    };
    let change = |number| tokens(after, number) - tokens(before, number);
    let refuse = |message: &str| Err(StepError::requote(Failure::new(FailureCode::SLIPPAGE, message)));
    if change(0) < i128::from(payment.least) {
        return refuse("The simulation pays less than the least output of the order");
    }
    if payment.source.is_some() && -change(1) > i128::from(payment.most) {
        return refuse("The simulation takes more than the order sells");
    }
    Ok(())
}

pub(super) fn not_built(error: &DraftError) -> StepError {
    let failure = |code| Failure::new(code, chain(error).to_string());
    match error {
        DraftError::Sign(SignError::Unavailable(_)) => {
            StepError::unavailable(failure(FailureCode::VENUE_UNAVAILABLE))
        }
        // Another route may have fewer legs.
        DraftError::TooLarge { .. } | DraftError::TooManyAccounts { .. } | DraftError::Uncompilable(_) => {
            StepError::requote(failure(FailureCode::NO_ROUTE))
        }
        _ => StepError::permanent(failure(FailureCode::REJECTED)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_simulation_pays_is_compared_with_the_order() {
        let holding = |amount: u64| {
            let mut data = vec![0; 165];
            data[64..72].copy_from_slice(&amount.to_le_bytes());
            Some(Account { owner: crate::programs::TOKEN, lamports: 1, data })
        };
        let [destination, source] = [[1; 32], [2; 32]].map(Pubkey::new_from_array);
        let payment = Payment { instructions: 0, destination, least: 50, source: Some(source), most: 10 };
        let of = |before: [Option<Account>; 2], after: [Option<Account>; 2]| paid(&payment, &before, &after);
        assert!(of([holding(5), holding(20)], [holding(55), holding(10)]).is_ok());
        assert!(of([None, holding(20)], [holding(50), holding(10)]).is_ok(), "the account is made");
        assert!(of([holding(5), holding(20)], [holding(54), holding(10)]).is_err(), "a unit too little");
        assert!(
            of([holding(5), holding(20)], [holding(55), holding(9)]).is_err(),
            "a unit too much is taken"
        );
        assert!(of([holding(5), holding(20)], [None, holding(10)]).is_err(), "nothing is shown");
        assert!(of([holding(5), holding(20)], [holding(55), None]).is_err());
        let of_sol = Payment { source: None, ..payment };
        assert!(paid(&of_sol, &[None], &[holding(50)]).is_ok());
    }

    #[test]
    fn a_node_that_is_impossibly_far_ahead_is_not_believed() {
        let at = |block_height| EpochInfo { absolute_slot: 0, block_height };
        assert_eq!(newest(&[at(100), at(103), at(99)], 2), 103);
        assert_eq!(newest(&[at(100), at(1_000_000), at(99)], 2), 100);
        assert_eq!(newest(&[], 1), 0);
        assert_eq!(newest(&[at(u64::MAX)], 1), u64::MAX, "a single node is believed, and nothing overflows");
    }

    #[test]
    fn a_transaction_is_valid_for_no_more_than_twice_the_life_of_a_hash() {
        let at = |block_height| EpochInfo { absolute_slot: 0, block_height };
        let infos = [at(1_000), at(1_003), at(999)];
        assert_eq!(last_height(&infos, 2, 1), Some(1_153), "one node tells too low a height");
        assert_eq!(last_height(&infos, 2, 1_160), Some(1_160));
        assert_eq!(last_height(&infos, 2, 1_301), None, "one node tells too high a height");
        assert_eq!(last_height(&infos[..1], 2, 1_150), None, "too few nodes tell theirs");
    }
}
