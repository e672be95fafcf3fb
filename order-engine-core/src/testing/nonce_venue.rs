use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::domain::amount::Amount;
use crate::domain::failure::{Failure, FailureCode};
use crate::domain::ids::{AccountId, OrderId, TxId};
use crate::domain::transaction::{
    AccountNonce, AccountView, Certainty, ChainView, Fill, Observation, SignedTx, Validity,
};
use crate::ports::router::StepError;
use crate::ports::venue::{
    FillRequest, PrepareRequest, ReplaceRequest, SubmitReport, Venue, VenueCapabilities, VenueError,
};

/// The fee of a transaction that replaces nothing.
const FEE: u128 = 100;
/// By how many percent of the old fee a node replaces a transaction.
const REPLACEMENT_PERCENT: u128 = 110;

/// A venue whose transactions have nonces: a wallet of some accounts on a chain that grows only when a test makes it.
///
/// A node keeps submitted transactions until a block takes them: one of each account and nonce, the one with the
/// highest fee. A block takes those whose nonce is the account's next one and whose fee is at least the least fee.
#[derive(Debug)]
pub struct NonceVenue {
    chain: Mutex<Chain>,
}

#[derive(Debug)]
struct Chain {
    accounts: Vec<AccountId>,
    /// The blocks from height 1 on.
    blocks: Vec<Vec<Landed>>,
    /// How many of them are not final.
    depth: usize,
    /// What nodes keep, by account and nonce.
    pool: BTreeMap<(AccountId, u64), SignedTx>,
    /// What they kept at some time, in the order of arrival.
    kept: Vec<SignedTx>,
    least_fee: u128,
    is_losing: bool,
    sent: Vec<TxId>,
    signed: u64,
}

#[derive(Clone, Debug)]
struct Landed {
    account: AccountId,
    nonce: u64,
    /// The transaction; none if somebody else made it.
    tx: Option<SignedTx>,
}

/// What the bytes of a transaction say.
#[derive(Debug, Serialize, Deserialize)]
struct Content {
    order: OrderId,
    number: u64,
    /// What it swaps; nothing if it does nothing.
    swap: Option<(Amount, Amount)>,
    fee: u128,
}

impl NonceVenue {
    /// Returns a venue with these accounts, whose blocks are final at once. Orders use the accounts in turns.
    pub fn new<A: Into<AccountId>>(accounts: impl IntoIterator<Item = A>) -> Self {
        let chain = Chain {
            accounts: accounts.into_iter().map(Into::into).collect(),
            blocks: Vec::new(),
            depth: 0,
            pool: BTreeMap::new(),
            kept: Vec::new(),
            least_fee: 0,
            is_losing: false,
            sent: Vec::new(),
            signed: 0,
        };
        Self { chain: Mutex::new(chain) }
    }

    fn chain(&self) -> MutexGuard<'_, Chain> {
        self.chain.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sets how many of the newest blocks are not final.
    pub fn set_depth(&self, blocks: usize) {
        self.chain().depth = blocks;
    }

    /// Sets the fee below which no block takes a transaction.
    pub fn set_least_fee(&self, fee: u128) {
        self.chain().least_fee = fee;
    }

    /// Lets nodes lose what is submitted from now on, or keep it again. The replies are the same.
    pub fn set_losing(&self, is_losing: bool) {
        self.chain().is_losing = is_losing;
    }

    /// Adds so many blocks.
    pub fn mine(&self, blocks: usize) {
        let mut chain = self.chain();
        for _ in 0..blocks {
            chain.mine();
        }
    }

    /// Adds a block in which somebody else uses the next nonce of an account.
    pub fn use_elsewhere(&self, account: &AccountId) {
        let mut chain = self.chain();
        let nonce = chain.next(account, chain.blocks.len());
        chain.push(account, nonce, None);
    }

    /// Returns the ids of the transactions with an account's next nonce that nodes kept at some time, in the order
    /// in which they came. Each of them may land: some node may have kept it when the others replaced it.
    pub fn candidates(&self, account: &AccountId) -> Vec<TxId> {
        let chain = self.chain();
        let next = AccountNonce { account: account.clone(), value: chain.next(account, chain.blocks.len()) };
        chain.kept.iter().filter(|tx| tx.validity.nonce() == Some(&next)).map(|tx| tx.id.clone()).collect()
    }

    /// Adds a block with one of the [candidates](Self::candidates) alone, whatever fee it pays. Returns whether it
    /// is one.
    pub fn land(&self, id: &TxId) -> bool {
        let mut chain = self.chain();
        let kept = chain.kept.iter().find(|tx| tx.id == *id).cloned();
        let Some((nonce, tx)) = kept.and_then(|tx| Some((tx.validity.nonce()?.clone(), tx))) else {
            return false;
        };
        let is_next = chain.next(&nonce.account, chain.blocks.len()) == nonce.value;
        if is_next {
            chain.push(&nonce.account, nonce.value, Some(tx));
        }
        is_next
    }

    /// Returns who used an account's nonces, from the first on: the ids of transactions that were signed here, and
    /// nothing for those of somebody else.
    pub fn landed(&self, account: &AccountId) -> Vec<Option<TxId>> {
        let chain = self.chain();
        let of_account = chain.blocks.iter().flatten().filter(|landed| landed.account == *account);
        of_account.map(|landed| landed.tx.as_ref().map(|tx| tx.id.clone())).collect()
    }

    /// Undoes the newest blocks, as far as they are not final, and puts as many empty ones in their place. Their
    /// transactions are back in the nodes, except those of somebody else, which are gone.
    pub fn fork(&self, blocks: usize) {
        let mut chain = self.chain();
        let undone = blocks.min(chain.depth).min(chain.blocks.len());
        for _ in 0..undone {
            for Landed { account, nonce, tx } in chain.blocks.pop().unwrap_or_default() {
                if let Some(tx) = tx {
                    chain.pool.insert((account, nonce), tx);
                }
            }
        }
        chain.blocks.extend(std::iter::repeat_with(Vec::new).take(undone));
    }

    /// Returns how often an order was executed.
    pub fn executions(&self, order: OrderId) -> usize {
        let chain = self.chain();
        let landed = chain.blocks.iter().flatten().filter_map(|landed| landed.tx.as_ref());
        landed.map(content).filter(|content| content.order == order && content.swap.is_some()).count()
    }

    /// Returns the account's next nonce.
    pub fn next_nonce(&self, account: &AccountId) -> u64 {
        let chain = self.chain();
        chain.next(account, chain.blocks.len())
    }

    /// Returns the ids of all transactions that were submitted, in order.
    pub fn sent(&self) -> Vec<TxId> {
        self.chain().sent.clone()
    }
}

impl Chain {
    /// Returns an account's next nonce after so many blocks.
    fn next(&self, account: &AccountId, blocks: usize) -> u64 {
        self.blocks[..blocks].iter().flatten().filter(|landed| landed.account == *account).count() as u64
    }

    fn finalized(&self) -> usize {
        self.blocks.len().saturating_sub(self.depth)
    }

    fn mine(&mut self) {
        let mut block = Vec::new();
        for account in self.accounts.clone() {
            let mut nonce = self.next(&account, self.blocks.len());
            while let Some(tx) = self.pool.get(&(account.clone(), nonce)) {
                if content(tx).fee < self.least_fee {
                    break;
                }
                let tx = self.pool.remove(&(account.clone(), nonce));
                block.push(Landed { account: account.clone(), nonce, tx });
                nonce += 1;
            }
        }
        self.blocks.push(block);
    }

    /// Adds a block in which an account's next nonce is used.
    fn push(&mut self, account: &AccountId, nonce: u64, tx: Option<SignedTx>) {
        self.pool.remove(&(account.clone(), nonce));
        self.blocks.push(vec![Landed { account: account.clone(), nonce, tx }]);
    }

    fn take(&mut self, tx: &SignedTx) -> SubmitReport {
        self.sent.push(tx.id.clone());
        let Some(AccountNonce { account, value }) = tx.validity.nonce().cloned() else {
            return SubmitReport::DefinitelyNotAccepted { message: "no nonce".into() };
        };
        if self.next(&account, self.blocks.len()) > value {
            return SubmitReport::DefinitelyNotAccepted { message: "nonce too low".into() };
        }
        if self.is_losing {
            return SubmitReport::Accepted;
        }
        match self.pool.get(&(account.clone(), value)) {
            Some(known) if known.id == tx.id => return SubmitReport::AlreadyKnown,
            Some(known) if content(tx).fee * 100 < content(known).fee * REPLACEMENT_PERCENT => {
                return SubmitReport::DefinitelyNotAccepted {
                    message: "replacement transaction underpriced".into(),
                };
            }
            _ => {}
        }
        self.pool.insert((account, value), tx.clone());
        if self.kept.iter().all(|kept| kept.id != tx.id) {
            self.kept.push(tx.clone());
        }
        SubmitReport::Accepted
    }

    fn sign(
        &mut self,
        order: OrderId,
        nonce: AccountNonce,
        swap: Option<(Amount, Amount)>,
        fee: u128,
    ) -> SignedTx {
        self.signed += 1;
        let content = Content { order, number: self.signed, swap, fee };
        let bytes = serde_json::to_vec(&content).unwrap_or_default();
        let min_amount_out = swap.map(|(_, amount_out)| amount_out).unwrap_or_default();
        let id = format!("{}-{}-{}", nonce.account, nonce.value, self.signed);
        SignedTx::new(id, bytes, Validity::Nonce(nonce), min_amount_out).with_max_fee(Amount::new(fee))
    }

    /// Signs a sibling of a transaction.
    fn sibling(&mut self, request: &ReplaceRequest<'_>, does_nothing: bool) -> Result<SignedTx, StepError> {
        let Some(nonce) = request.tx.validity.nonce() else {
            let failure = Failure::new(FailureCode::REJECTED, "It has no nonce");
            return Err(StepError::permanent(failure));
        };
        let Content { order, swap, fee, .. } = content(request.tx);
        let fee = (fee * u128::from(request.fee_percent)).div_ceil(100);
        Ok(self.sign(order, nonce.clone(), swap.filter(|_| !does_nothing), fee))
    }

    fn search(&self, id: &TxId) -> Observation {
        let found = self.blocks.iter().zip(1..).find_map(|(block, height)| {
            let of_id = |landed: &&Landed| landed.tx.as_ref().is_some_and(|tx| tx.id == *id);
            Some((block.iter().find(of_id)?.tx.as_ref()?, height))
        });
        let (seen, finalized) = (self.blocks.len(), self.finalized());
        match found {
            Some((tx, height)) => {
                let (amount_in, amount_out) = content(tx).swap.unwrap_or_default();
                let certainty = if height <= finalized { Certainty::Finalized } else { Certainty::Processed };
                Observation::Landed { certainty, fill: Fill::new(amount_in, amount_out, height as u64) }
            }
            None => Observation::NotFound {
                searched_through: Some(finalized as u64),
                seen_through: Some(seen as u64),
            },
        }
    }
}

/// # Panics
/// If the transaction was not signed here.
fn content(tx: &SignedTx) -> Content {
    serde_json::from_slice(&tx.bytes).expect("it was signed here")
}

#[async_trait]
impl Venue for NonceVenue {
    fn capabilities(&self) -> VenueCapabilities {
        VenueCapabilities::by_nonce().with_finds_by_tag(true)
    }

    async fn prepare(&self, request: PrepareRequest<'_>) -> Result<SignedTx, StepError> {
        let (account, latest) = {
            let chain = self.chain();
            let turn = usize::try_from(chain.signed).unwrap_or(0) % chain.accounts.len();
            let account = chain.accounts[turn].clone();
            let latest = chain.next(&account, chain.blocks.len());
            (account, latest)
        };
        let value = request.nonces.next(&account, latest).await?;
        let swap = (request.route.amount_in, request.route.amount_out.max(request.min_amount_out));
        let mut chain = self.chain();
        let tx = chain.sign(request.order.id, AccountNonce { account, value }, Some(swap), FEE);
        Ok(SignedTx { min_amount_out: request.min_amount_out, ..tx })
    }

    async fn replace(&self, request: ReplaceRequest<'_>) -> Result<SignedTx, StepError> {
        let tx = self.chain().sibling(&request, false)?;
        Ok(SignedTx { min_amount_out: request.tx.min_amount_out, ..tx })
    }

    async fn cancel_transaction(&self, request: ReplaceRequest<'_>) -> Result<SignedTx, StepError> {
        self.chain().sibling(&request, true)
    }

    async fn fill_nonce(&self, request: FillRequest<'_>) -> Result<SignedTx, StepError> {
        Ok(self.chain().sign(request.order.id, request.nonce.clone(), None, FEE))
    }

    async fn submit(&self, tx: &SignedTx) -> SubmitReport {
        self.chain().take(tx)
    }

    async fn view(&self) -> Result<ChainView, VenueError> {
        let chain = self.chain();
        let (seen, finalized) = (chain.blocks.len() as u64, chain.finalized() as u64);
        Ok(ChainView::new(seen, finalized, finalized))
    }

    async fn accounts(&self, accounts: &[AccountId]) -> Result<Vec<AccountView>, VenueError> {
        let chain = self.chain();
        let view = |account| {
            let finalized = chain.finalized();
            let (latest, at_finality) =
                (chain.next(account, chain.blocks.len()), chain.next(account, finalized));
            AccountView::new(latest, at_finality, finalized as u64)
        };
        Ok(accounts.iter().map(view).collect())
    }

    async fn find(&self, order: OrderId) -> Result<Vec<TxId>, VenueError> {
        let chain = self.chain();
        let landed = chain.blocks[..chain.finalized()].iter().flatten();
        let of_order = |tx: &&SignedTx| content(tx).order == order;
        Ok(landed.filter_map(|landed| landed.tx.as_ref()).filter(of_order).map(|tx| tx.id.clone()).collect())
    }

    async fn observe(&self, tx_ids: &[TxId]) -> Result<Vec<Observation>, VenueError> {
        let chain = self.chain();
        Ok(tx_ids.iter().map(|id| chain.search(id)).collect())
    }
}
