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

use crate::agreement::quorum_th;
use crate::draft::{Draft, DraftError, Lifetime, Unsigned};
use crate::fees::ComputeBudget;
use crate::instructions::compute_budget::{UNITS_MAX, set_unit_limit, set_unit_price};
use crate::keys::SignError;
use crate::program_error;
use crate::rpc::RpcError;
use crate::rpc::wire::{EpochInfo, LatestBlockhash, RecentFee, Simulation, WithContext};
use crate::venue::SolanaVenue;
use crate::venue::build;
use crate::venue_error::unavailable;

/// For how many heights after its block a hash is valid.
const VALID_HEIGHTS: u64 = 150;

/// The hash of a recent block, and what follows from it.
struct Recent {
    hash: Hash,
    valid_until_height: u64,
    /// A slot that was there before the transaction.
    slot: u64,
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
    pub async fn lookup_tables(&self) -> Result<Vec<AddressLookupTableAccount>, StepError> {
        self.tables.get(&self.cluster).await
    }

    pub(super) async fn prepare_transaction(
        &self,
        request: &PrepareRequest<'_>,
    ) -> Result<SignedTx, StepError> {
        let wallet = self.signer.address();
        let parts = (&*self.cluster, &self.mints, &*self.builder);
        let instructions =
            build::instructions(parts, request, wallet, self.options.hop_tolerance_bps).await?;
        let tables = self.tables.get(&self.cluster).await?;
        let body = Body { wallet, instructions, tables };
        let budget = self.budget(&body).await.inspect_err(|_| self.tables.forget())?;
        let recent = self.recent_blockhash().await?;
        let unsigned = body.compile(budget, recent.hash)?;
        let signed = unsigned.sign(&[&*self.signer]).await.map_err(|error| not_built(&error))?;
        let id = TxId::new(signed.id.to_string());
        self.searcher.note_birth(&id, recent.slot);
        let signatures = u64::try_from(unsigned.signatures()).unwrap_or(u64::MAX);
        let max_fee = Amount::new(u128::from(budget.fee_lamports(signatures)));
        let validity = Validity::UntilHeight(recent.valid_until_height);
        Ok(SignedTx::new(id, signed.bytes, validity, request.min_amount_out).with_max_fee(max_fee))
    }

    /// Remembers when a transaction was signed at the earliest, by the last height at which it can land. Slots are never
    /// below heights, and the last height is at most twice the life of a hash after the signing.
    pub(super) fn note_validity(&self, id: &TxId, until_height: u64) {
        self.searcher.note_birth_unless_known(id, until_height.saturating_sub(2 * VALID_HEIGHTS));
    }

    /// Chooses the compute budget by a simulation and the recent fees of the written accounts.
    async fn budget(&self, body: &Body) -> Result<ComputeBudget, StepError> {
        let most = ComputeBudget { unit_limit: UNITS_MAX, unit_price_micro_lamports: 0 };
        let unsigned = body.compile(most, Hash::default())?;
        let written: Vec<String> = unsigned.written_accounts().iter().map(Pubkey::to_string).collect();
        let recent = self.cluster.query("getRecentPrioritizationFees", json!([written]));
        let (units, recent) = tokio::join!(self.simulate(&unsigned), recent);
        let recent: Vec<RecentFee> = recent.map_err(unavailable)?;
        let prices: Vec<u64> = recent.iter().map(|fee| fee.prioritization_fee).collect();
        Ok(self.options.fees.budget(units?, &prices))
    }

    /// Returns how many compute units a transaction uses now.
    async fn simulate(&self, unsigned: &Unsigned) -> Result<u64, StepError> {
        let settings = json!({
            "encoding": "base64", "sigVerify": false, "replaceRecentBlockhash": true, "commitment": "confirmed",
        });
        let params = json!([STANDARD.encode(unsigned.to_unsigned_bytes()), settings]);
        let simulated: WithContext<Simulation> =
            self.cluster.query("simulateTransaction", params).await.map_err(unavailable)?;
        let Simulation { err, logs, units_consumed } = simulated.value;
        match err.filter(|err| !err.is_null()) {
            None => Ok(units_consumed.unwrap_or_else(|| u64::from(UNITS_MAX))),
            Some(err) => Err(failed(&err, &logs.unwrap_or_default(), unsigned)),
        }
    }

    /// Returns a recent blockhash. The height until which it is valid is not taken from the node alone: one that told too low a
    /// height would let a transaction count as expired that can still land.
    async fn recent_blockhash(&self) -> Result<Recent, StepError> {
        let params = json!([{ "commitment": "confirmed" }]);
        let latest: WithContext<LatestBlockhash> =
            self.cluster.query("getLatestBlockhash", params).await.map_err(unavailable)?;
        let processed = json!([{ "commitment": "processed" }]);
        let infos: Vec<EpochInfo> =
            self.cluster.ask_all("getEpochInfo", &processed).await.into_iter().flatten().collect();
        let hash = latest.value.blockhash.parse();
        let hash = hash.map_err(|_| unavailable(RpcError::malformed("the blockhash is no hash")))?;
        let quorum = self.cluster.quorum();
        let slot = quorum_th(infos.iter().map(|info| info.absolute_slot), quorum);
        Ok(Recent {
            hash,
            valid_until_height: latest
                .value
                .last_valid_block_height
                .max(newest(&infos, quorum).saturating_add(VALID_HEIGHTS)),
            slot: slot.unwrap_or(0).min(latest.context.slot),
        })
    }
}

/// Returns the newest height that a node has seen, unless it claims to be ahead of a quorum by more than the whole life of
/// a hash.
fn newest(infos: &[EpochInfo], quorum: usize) -> u64 {
    let heights = || infos.iter().map(|info| info.block_height);
    let agreed = quorum_th(heights(), quorum).unwrap_or(0);
    heights().filter(|height| *height <= agreed.saturating_add(VALID_HEIGHTS)).max().unwrap_or(0)
}

impl Body {
    fn compile(&self, budget: ComputeBudget, hash: Hash) -> Result<Unsigned, StepError> {
        let all = [set_unit_limit(budget.unit_limit), set_unit_price(budget.unit_price_micro_lamports)];
        let all = all.into_iter().chain(self.instructions.iter().cloned()).collect();
        let draft = Draft::new(self.wallet, all).with_tables(self.tables.clone());
        draft.compile(Lifetime::Blockhash(hash)).map_err(|error| not_built(&error))
    }
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

fn not_built(error: &DraftError) -> StepError {
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
    fn a_node_that_is_impossibly_far_ahead_is_not_believed() {
        let at = |block_height| EpochInfo { absolute_slot: 0, block_height };
        assert_eq!(newest(&[at(100), at(103), at(99)], 2), 103);
        assert_eq!(newest(&[at(100), at(1_000_000), at(99)], 2), 100);
        assert_eq!(newest(&[], 1), 0);
        assert_eq!(newest(&[at(u64::MAX)], 1), u64::MAX, "a single node is believed, and nothing overflows");
    }
}
