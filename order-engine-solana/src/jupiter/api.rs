//! Jupiter's swap API: its options, its calls and the shapes of its answers, as its documentation has them.

use std::fmt;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use order_engine_chain::{Answer, Http};
use order_engine_core::{Failure, FailureCode, StepError};
use serde::Deserialize;
use serde_json::{Value, json};
use solana_instruction::{AccountMeta, Instruction};
use solana_pubkey::Pubkey;

/// The header of the key of an account with the service.
const KEY_HEADER: &str = "x-api-key";

/// Where and how Jupiter is asked.
#[derive(Clone)]
#[non_exhaustive]
pub struct JupiterOptions {
    /// The URL before `/quote` and `/swap-instructions`. It appears in no log and no `Debug`.
    pub url: String,
    /// The key of an account with the service, if it needs one. It appears in no log and no `Debug`.
    pub api_key: Option<String>,
    /// The longest time of one call.
    pub timeout: Duration,
    /// About how many accounts a route may name, because the transaction names others besides.
    pub max_accounts: u32,
}

impl fmt::Debug for JupiterOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JupiterOptions")
            .field("timeout", &self.timeout)
            .field("max_accounts", &self.max_accounts)
            .finish_non_exhaustive()
    }
}

impl JupiterOptions {
    /// Returns options for the API at this URL: no key, five seconds a call, and 48 accounts.
    pub fn new(url: impl Into<String>) -> Self {
        let url = url.into().trim_end_matches('/').to_owned();
        Self { url, api_key: None, timeout: Duration::from_secs(5), max_accounts: 48 }
    }

    /// Sets [`api_key`](Self::api_key).
    #[must_use]
    pub fn with_api_key(self, key: impl Into<String>) -> Self {
        Self { api_key: Some(key.into()), ..self }
    }

    /// Sets [`timeout`](Self::timeout).
    #[must_use]
    pub fn with_timeout(self, timeout: Duration) -> Self {
        Self { timeout, ..self }
    }

    /// Sets [`max_accounts`](Self::max_accounts).
    #[must_use]
    pub fn with_max_accounts(self, max_accounts: u32) -> Self {
        Self { max_accounts, ..self }
    }
}

/// A client of the API. It tries each call once.
pub(super) struct Api {
    http: Http,
    options: JupiterOptions,
}

impl fmt::Debug for Api {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Api").field("options", &self.options).finish_non_exhaustive()
    }
}

/// What is asked for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted<'a> {
    pub(super) input_mint: &'a str,
    pub(super) output_mint: &'a str,
    pub(super) amount: u64,
    pub(super) slippage_bps: u16,
}

/// A quote, as far as it is read here, and the whole of it, which the service wants back.
#[derive(Clone, Debug)]
pub(super) struct Quote {
    pub(super) out_amount: u64,
    pub(super) least_amount: u64,
    pub(super) exchanges: Vec<String>,
    pub(super) whole: Value,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct QuoteJson {
    input_mint: String,
    in_amount: String,
    output_mint: String,
    out_amount: String,
    other_amount_threshold: String,
    swap_mode: String,
    route_plan: Vec<StepJson>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct StepJson {
    swap_info: SwapInfoJson,
}

#[derive(Deserialize)]
struct SwapInfoJson {
    #[serde(default)]
    label: Option<String>,
}

/// The instructions of a quote.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct InstructionsJson {
    #[serde(default)]
    pub(super) token_ledger_instruction: Option<InstructionJson>,
    #[serde(default)]
    pub(super) other_instructions: Vec<InstructionJson>,
    #[serde(default)]
    pub(super) setup_instructions: Vec<InstructionJson>,
    pub(super) swap_instruction: InstructionJson,
    #[serde(default)]
    pub(super) address_lookup_table_addresses: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct InstructionJson {
    program_id: String,
    accounts: Vec<AccountJson>,
    data: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct AccountJson {
    pubkey: String,
    is_signer: bool,
    is_writable: bool,
}

/// Why the service gave nothing.
#[derive(Debug, thiserror::Error)]
pub(super) enum ApiError {
    #[error("the service did not answer")]
    Transport(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("the service answered with status {0}")]
    Status(u16),
    #[error("the service refused: {0}")]
    Refused(String),
    #[error("the answer is not what was asked for: {0}")]
    Other(&'static str),
    #[error("the answer cannot be read")]
    Malformed(#[source] serde_json::Error),
}

impl From<ApiError> for StepError {
    fn from(error: ApiError) -> Self {
        let message = order_engine_core::telemetry::chain(&error).to_string();
        match error {
            ApiError::Transport(_) | ApiError::Status(_) => {
                Self::unavailable(Failure::new(FailureCode::VENUE_UNAVAILABLE, message))
            }
            ApiError::Refused(_) | ApiError::Other(_) | ApiError::Malformed(_) => {
                Self::requote(Failure::new(FailureCode::NO_ROUTE, message))
            }
        }
    }
}

impl Api {
    pub(super) fn new(options: JupiterOptions) -> Result<Self, crate::RpcError> {
        let mut http = Http::new(&options.url, options.timeout, None).map_err(crate::RpcError::Client)?;
        if let Some(key) = &options.api_key {
            http = http.with_header(KEY_HEADER, key).map_err(crate::RpcError::Client)?;
        }
        Ok(Self { http, options })
    }

    /// Asks for the best route for an exact input.
    pub(super) async fn quote(&self, wanted: Wanted<'_>) -> Result<Quote, ApiError> {
        let Wanted { input_mint, output_mint, amount, slippage_bps } = wanted;
        let max_accounts = self.options.max_accounts;
        let path = format!(
            "/quote?inputMint={input_mint}&outputMint={output_mint}&amount={amount}&slippageBps={slippage_bps}\
             &swapMode=ExactIn&maxAccounts={max_accounts}&instructionVersion=V1"
        );
        let whole = answered(self.http.get(&path).await)?;
        let quote = QuoteJson::deserialize(&whole).map_err(ApiError::Malformed)?;
        let is_asked = quote.input_mint == input_mint
            && quote.output_mint == output_mint
            && quote.in_amount == amount.to_string()
            && quote.swap_mode == "ExactIn";
        if !is_asked {
            return Err(ApiError::Other("a quote for another trade"));
        }
        let number = |text: &str| text.parse().map_err(|_| ApiError::Other("an amount that is no number"));
        let exchanges = quote.route_plan.into_iter().filter_map(|step| step.swap_info.label).collect();
        Ok(Quote {
            out_amount: number(&quote.out_amount)?,
            least_amount: number(&quote.other_amount_threshold)?,
            exchanges,
            whole,
        })
    }

    /// Asks for the instructions of a quote. SOL is wrapped by the venue.
    pub(super) async fn instructions(
        &self,
        quote: &Quote,
        wallet: Pubkey,
    ) -> Result<InstructionsJson, ApiError> {
        let body = json!({
            "quoteResponse": quote.whole, "userPublicKey": wallet.to_string(), "wrapAndUnwrapSol": false,
            "asLegacyTransaction": false, "useTokenLedger": false, "dynamicComputeUnitLimit": false,
        });
        let answer = answered(self.http.post("/swap-instructions", &body).await)?;
        serde_json::from_value(answer).map_err(ApiError::Malformed)
    }
}

/// Returns the JSON of an answer, unless it tells an error.
fn answered(answer: Result<Answer, Box<dyn std::error::Error + Send + Sync>>) -> Result<Value, ApiError> {
    let answer = answer.map_err(ApiError::Transport)?;
    let status = answer.status;
    if status == 429 || status >= 500 || (300..400).contains(&status) {
        return Err(ApiError::Status(status));
    }
    let answer: Value = match serde_json::from_slice(answer.body()) {
        Ok(answer) => answer,
        Err(_) if status != 200 => return Err(ApiError::Status(status)),
        Err(error) => return Err(ApiError::Malformed(error)),
    };
    let told = answer.get("error").or_else(|| answer.get("simulationError")).filter(|told| !told.is_null());
    match told {
        Some(told) => Err(ApiError::Refused(told.as_str().map_or_else(|| told.to_string(), str::to_owned))),
        None if status != 200 => Err(ApiError::Status(status)),
        None => Ok(answer),
    }
}

impl InstructionJson {
    pub(super) fn decode(&self) -> Result<Instruction, ApiError> {
        let address = |text: &str| text.parse().map_err(|_| ApiError::Other("an address that is none"));
        let account = |account: &AccountJson| {
            let pubkey = address(&account.pubkey)?;
            let (is_signer, is_writable) = (account.is_signer, account.is_writable);
            Ok(AccountMeta { pubkey, is_signer, is_writable })
        };
        let data = STANDARD.decode(&self.data).map_err(|_| ApiError::Other("data that is no base64"))?;
        let accounts = self.accounts.iter().map(account).collect::<Result<_, ApiError>>()?;
        Ok(Instruction { program_id: address(&self.program_id)?, accounts, data })
    }
}
