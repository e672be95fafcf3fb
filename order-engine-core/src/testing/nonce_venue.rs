use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::domain::amount::Amount;
use crate::domain::failure::{Failure, FailureCode};
use crate::domain::ids::{AccountId, OrderId, TxId};
use crate::domain::transaction::{
    AccountNonce, AccountView, Certainty, ChainView, Fill, NonceValue, Observation, OpaqueNonce, SignedTx,
    TxRef, Validity,
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
///
/// Nonces are numbers, or [opaque values](Self::with_opaque_values). Of those nobody can foretell the next one: it depends
/// on the block, so that it is another one after a fork.
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
    /// The values that each account has had, the present one last, if they are opaque.
    values: Option<BTreeMap<AccountId, Vec<String>>>,
    /// How many values there ever were.
    coined: u64,
    /// How many blocks the node is behind that is asked about accounts.
    lag: usize,
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
            values: None,
            coined: 0,
            lag: 0,
        };
        Self { chain: Mutex::new(chain) }
    }

    /// Makes the nonces opaque values instead of numbers. An order then takes any account whose value nobody has.
    #[must_use]
    pub fn with_opaque_values(self) -> Self {
        {
            let mut chain = self.chain();
            chain.values = Some(BTreeMap::new());
            for account in chain.accounts.clone() {
                chain.coin(&account);
            }
        }
        self
    }

    /// Sets how many blocks the node is behind that is asked about accounts.
    pub fn set_lag(&self, blocks: usize) {
        self.chain().lag = blocks;
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
        let next = (account.clone(), chain.next(account, chain.blocks.len()));
        let is_next = |tx: &&SignedTx| chain.place(tx).as_ref() == Some(&next);
        chain.kept.iter().filter(is_next).map(|tx| tx.id.clone()).collect()
    }

    /// Adds a block with one of the [candidates](Self::candidates) alone, whatever fee it pays. Returns whether it
    /// is one.
    pub fn land(&self, id: &TxId) -> bool {
        let mut chain = self.chain();
        let kept = chain.kept.iter().find(|tx| tx.id == *id).cloned();
        let Some(((account, number), tx)) = kept.and_then(|tx| Some((chain.place(&tx)?, tx))) else {
            return false;
        };
        let is_next = chain.next(&account, chain.blocks.len()) == number;
        if is_next {
            chain.push(&account, number, Some(tx));
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
                chain.forget_values_after(&account, nonce);
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

    /// Returns the how-manieth nonce of its account this is, from 0; nothing if the account does not have it.
    pub fn number_of(&self, nonce: &AccountNonce) -> Option<u64> {
        self.chain().number_of(nonce)
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
                let is_valid = self.place(tx).is_some_and(|(_, number)| number == nonce);
                if !is_valid || content(tx).fee < self.least_fee {
                    break;
                }
                let tx = self.pool.remove(&(account.clone(), nonce));
                block.push(Landed { account: account.clone(), nonce, tx });
                self.coin(&account);
                nonce += 1;
            }
        }
        self.blocks.push(block);
    }

    /// Adds a block in which an account's next nonce is used.
    fn push(&mut self, account: &AccountId, nonce: u64, tx: Option<SignedTx>) {
        self.pool.remove(&(account.clone(), nonce));
        self.blocks.push(vec![Landed { account: account.clone(), nonce, tx }]);
        self.coin(account);
    }

    /// Gives an account its next value, if values are opaque.
    fn coin(&mut self, account: &AccountId) {
        let text = format!("{account}:{:x}", self.coined.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        if let Some(values) = &mut self.values {
            values.entry(account.clone()).or_default().push(text);
            self.coined += 1;
        }
    }

    /// Gives an account back the value that it had when it had used so many.
    fn forget_values_after(&mut self, account: &AccountId, used: u64) {
        let of_account = self.values.as_mut().and_then(|values| values.get_mut(account));
        if let (Some(of_account), Ok(used)) = (of_account, usize::try_from(used)) {
            of_account.truncate(used + 1);
        }
    }

    /// Returns the account of a transaction, and the how-manieth one of it that it can be, from 0. Nothing if it can never
    /// land.
    fn place(&self, tx: &SignedTx) -> Option<(AccountId, u64)> {
        let nonce = tx.validity.nonce()?;
        Some((nonce.account.clone(), self.number_of(nonce)?))
    }

    fn number_of(&self, AccountNonce { account, value }: &AccountNonce) -> Option<u64> {
        let number = match value {
            NonceValue::Number(number) => *number,
            NonceValue::Opaque(OpaqueNonce { text, .. }) => {
                self.values.as_ref()?.get(account)?.iter().position(|known| known == text)? as u64
            }
        };
        Some(number)
    }

    /// Returns an account's nonce after so many blocks.
    fn nonce(&self, account: &AccountId, blocks: usize) -> NonceValue {
        let number = self.next(account, blocks);
        let of_account = self.values.as_ref().and_then(|values| values.get(account));
        let text =
            of_account.zip(usize::try_from(number).ok()).and_then(|(values, number)| values.get(number));
        text.map_or(number.into(), |text| NonceValue::opaque(text, blocks as u64))
    }

    fn take(&mut self, tx: &SignedTx) -> SubmitReport {
        self.sent.push(tx.id.clone());
        let Some((account, value)) = self.place(tx) else {
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
        let (account, latest, values) = {
            let chain = self.chain();
            let turn = usize::try_from(chain.signed).unwrap_or(0) % chain.accounts.len();
            let account = chain.accounts[turn].clone();
            let latest = chain.next(&account, chain.blocks.len());
            let nonce = |account: &AccountId| {
                AccountNonce::new(account.clone(), chain.nonce(account, chain.finalized()))
            };
            let values: Option<Vec<AccountNonce>> =
                chain.values.is_some().then(|| chain.accounts.iter().map(nonce).collect());
            (account, latest, values)
        };
        let nonce = match values {
            Some(values) => request.nonces.choose(values).await?,
            None => {
                let number = request.nonces.next(&account, latest).await?;
                AccountNonce::new(account, number)
            }
        };
        let swap = (request.route.amount_in, request.route.amount_out.max(request.min_amount_out));
        let mut chain = self.chain();
        let tx = chain.sign(request.order.id, nonce, Some(swap), FEE);
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
        let behind = |blocks: usize| blocks.saturating_sub(chain.lag);
        let view = |account| {
            let (latest, finalized) = (behind(chain.blocks.len()), behind(chain.finalized()));
            AccountView::new(chain.nonce(account, latest), chain.nonce(account, finalized), finalized as u64)
        };
        Ok(accounts.iter().map(view).collect())
    }

    async fn find(&self, order: OrderId) -> Result<Vec<TxId>, VenueError> {
        let chain = self.chain();
        let landed = chain.blocks[..chain.finalized()].iter().flatten();
        let of_order = |tx: &&SignedTx| content(tx).order == order;
        Ok(landed.filter_map(|landed| landed.tx.as_ref()).filter(of_order).map(|tx| tx.id.clone()).collect())
    }

    async fn observe(&self, txs: &[TxRef<'_>]) -> Result<Vec<Observation>, VenueError> {
        let chain = self.chain();
        Ok(txs.iter().map(|tx| chain.search(tx.id)).collect())
    }
}
