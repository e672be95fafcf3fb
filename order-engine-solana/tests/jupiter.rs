//! Jupiter's API on the shapes of its public documentation, and what the venue checks of instructions that somebody else built. The
//! live service is never asked.

mod common;

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use axum::extract::State;
use axum::http::{StatusCode, Uri};
use axum::{Json, Router};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use common::desk::Desk;
use common::orders::{World, token};
use order_engine_core::{
    Amount, CandidateOutcome, DexRouter as _, FailureClass, FailureCode, Leg, QuoteRequest, StepError,
};
use order_engine_solana::instructions::token::create_associated;
use order_engine_solana::programs::{JUPITER, TOKEN, WRAPPED_SOL};
use order_engine_solana::{
    Instruction, JupiterOptions, JupiterRouter, Pubkey, SolanaVenue, Swap, SwapBuilder, SwapRequest,
};
use serde_json::{Value, json};
use tokio::task::JoinHandle;

const USDC: &str = "EPjFWdd5AufqSSqeM2qN1xzybapC8G4wEGGkZwyTDt1v";
const WALLET: Pubkey = Pubkey::new_from_array([1; 32]);
const SOURCE: Pubkey = Pubkey::new_from_array([2; 32]);
const DESTINATION: Pubkey = Pubkey::new_from_array([3; 32]);
const TABLE: Pubkey = Pubkey::new_from_array([4; 32]);

type Answer = Box<dyn FnMut(&str, &Value) -> (u16, Value) + Send>;

/// A service that answers as a test says, and remembers what it was asked.
struct Service {
    url: String,
    asked: Arc<Mutex<Vec<String>>>,
    task: JoinHandle<()>,
}

#[derive(Clone)]
struct Behind {
    answer: Arc<Mutex<Answer>>,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Service {
    async fn start(answer: impl FnMut(&str, &Value) -> (u16, Value) + Send + 'static) -> Self {
        let asked = Arc::new(Mutex::new(Vec::new()));
        let behind = Behind { answer: Arc::new(Mutex::new(Box::new(answer))), asked: Arc::clone(&asked) };
        let router = Router::new().fallback(reply).with_state(behind);
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let url = format!("http://{}/swap/v1", listener.local_addr().unwrap());
        let task = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { url, asked, task }
    }

    fn router(&self) -> JupiterRouter {
        JupiterRouter::new(JupiterOptions::new(&self.url).with_api_key("secret")).unwrap()
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn reply(State(behind): State<Behind>, uri: Uri, body: String) -> (StatusCode, Json<Value>) {
    behind.asked.lock().unwrap().push(uri.to_string());
    let body = serde_json::from_str(&body).unwrap_or_default();
    let (status, answer) = (behind.answer.lock().unwrap())(uri.path(), &body);
    (StatusCode::from_u16(status).unwrap(), Json(answer))
}

/// A quote in the shape of the documentation of `GET /quote`.
fn quote(out: u64, least: u64) -> Value {
    json!({
        "inputMint": WRAPPED_SOL.to_string(),
        "inAmount": "1000000000",
        "outputMint": USDC,
        "outAmount": out.to_string(),
        "otherAmountThreshold": least.to_string(),
        "swapMode": "ExactIn",
        "slippageBps": 50,
        "platformFee": null,
        "priceImpactPct": "0.0002",
        "routePlan": [{
            "swapInfo": {
                "ammKey": "HXpGFJGCEEFdV31tDmjDBaJMEB1fKLiAoKoWr3Fnonid",
                "label": "Meteora DLMM",
                "inputMint": WRAPPED_SOL.to_string(),
                "outputMint": USDC,
                "inAmount": "1000000000",
                "outAmount": out.to_string(),
                "feeAmount": "26475",
                "feeMint": USDC
            },
            "percent": 100,
            "bps": 10_000
        }],
        "contextSlot": 324_307_186,
        "timeTaken": 0.012
    })
}

fn as_json(instruction: &Instruction) -> Value {
    let accounts = instruction.accounts.iter().map(|meta| {
        json!({ "pubkey": meta.pubkey.to_string(), "isSigner": meta.is_signer, "isWritable": meta.is_writable })
    });
    json!({
        "programId": instruction.program_id.to_string(),
        "accounts": accounts.collect::<Vec<_>>(),
        "data": STANDARD.encode(&instruction.data),
    })
}

/// The program's instruction `route`, with these last arguments.
fn route(amount: u64, quoted: u64, slippage_bps: u16) -> Instruction {
    let kind = [229, 23, 203, 151, 122, 227, 173, 42];
    let end = [&amount.to_le_bytes()[..], &quoted.to_le_bytes(), &slippage_bps.to_le_bytes(), &[0]].concat();
    let meta =
        |pubkey, is_signer, is_writable| order_engine_solana::AccountMeta { pubkey, is_signer, is_writable };
    Instruction {
        program_id: JUPITER,
        accounts: vec![meta(WALLET, true, false), meta(SOURCE, false, true), meta(DESTINATION, false, true)],
        data: [&kind[..], &[1, 0, 0, 0, 7, 100, 0, 1], &end].concat(),
    }
}

/// Instructions in the shape of the documentation of `POST /swap-instructions`.
fn instructions(swap: &Instruction) -> Value {
    let create = create_associated(WALLET, WALLET, USDC.parse().unwrap(), TOKEN);
    json!({
        "tokenLedgerInstruction": null,
        "computeBudgetInstructions": [{
            "programId": "ComputeBudget111111111111111111111111111111", "accounts": [], "data": "AsBcFQA="
        }],
        "setupInstructions": [as_json(&create)],
        "swapInstruction": as_json(swap),
        "cleanupInstruction": null,
        "otherInstructions": [],
        "addressLookupTableAddresses": [TABLE.to_string()],
        "prioritizationFeeLamports": 0
    })
}

fn request() -> QuoteRequest {
    let tokens = [WRAPPED_SOL, USDC.parse().unwrap()].map(token);
    let [input, output] = tokens;
    QuoteRequest::new(input, output, Amount::new(1_000_000_000))
}

fn leg(out: u64) -> Leg {
    let (input, amount) = (WRAPPED_SOL.to_string(), Amount::new(1_000_000_000));
    Leg::new("Jupiter", "Jupiter", (input, amount), (USDC, Amount::new(out.into())))
}

async fn swap(router: &JupiterRouter, quoted: u64, least: u64) -> Result<Swap, StepError> {
    let leg = leg(quoted);
    router.swap(SwapRequest::new(&leg, WALLET, (SOURCE, DESTINATION), (1_000_000_000, least))).await
}

#[tokio::test]
async fn a_quote_becomes_a_route_of_one_leg() {
    let service = Service::start(|_, _| (200, quote(17_650_000, 17_650_000))).await;
    let candidates = service.router().quote(&request()).await.unwrap();
    let [candidate] = candidates.as_slice() else { panic!("{candidates:?}") };
    let route = candidate.route().unwrap();
    assert_eq!(route.legs, [leg(17_650_000)]);
    assert_eq!((route.dex.as_str(), route.amount_out), ("Jupiter (Meteora DLMM)", Amount::new(17_650_000)));
    assert_eq!(
        service.asked(),
        [format!(
            "/swap/v1/quote?inputMint={WRAPPED_SOL}&outputMint={USDC}&amount=1000000000&slippageBps=0\
             &swapMode=ExactIn&maxAccounts=48&instructionVersion=V1"
        )]
    );
    let shown = format!("{:?}", service.router());
    assert!(!shown.contains("secret") && !shown.contains("127.0.0.1"), "{shown}");
}

#[tokio::test]
async fn without_a_route_the_reason_is_told_and_an_outage_is_one() {
    let refused = async |status: u16, answer: Value, request: &QuoteRequest| {
        let service = Service::start(move |_, _| (status, answer.clone())).await;
        match service.router().quote(request).await.unwrap().remove(0).outcome {
            CandidateOutcome::Rejected(failure) => failure.message.clone(),
            CandidateOutcome::Quoted(route) => panic!("{route:?}"),
        }
    };
    let none = json!({ "error": "Could not find any route", "errorCode": "COULD_NOT_FIND_ANY_ROUTE" });
    assert_eq!(refused(400, none, &request()).await, "the service refused: Could not find any route");
    let mut other = quote(1, 1);
    other["inAmount"] = "999999999".into();
    assert!(refused(200, other, &request()).await.contains("another trade"));
    assert!(refused(200, json!({ "outAmount": 5 }), &request()).await.contains("cannot be read"));
    let limited = request().with_max_price_impact_bps(100);
    assert_eq!(refused(200, quote(1, 1), &limited).await, "Its price impact is not known");
    for status in [429, 500, 503] {
        let service = Service::start(move |_, _| (status, json!({}))).await;
        let error = service.router().quote(&request()).await.unwrap_err();
        assert_eq!(error.class, FailureClass::Unavailable, "{status}");
    }
}

#[tokio::test]
async fn the_instructions_are_checked_before_they_are_the_swap() {
    let service = Service::start(|path, body| {
        if path.ends_with("/quote") {
            return (200, quote(1_000, 990));
        }
        assert_eq!(body["quoteResponse"], quote(1_000, 990), "the service gets its own quote back");
        assert_eq!(
            (&body["userPublicKey"], &body["wrapAndUnwrapSol"]),
            (&json!(WALLET.to_string()), &json!(false))
        );
        (200, instructions(&route(1_000_000_000, 1_000, 100)))
    })
    .await;
    let built = swap(&service.router(), 1_000, 990).await.unwrap();
    assert_eq!(built.instructions.len(), 2, "a token account, and the swap; no compute budget");
    assert_eq!(built.instructions[1], route(1_000_000_000, 1_000, 100));
    assert_eq!(built.lookup_tables, [TABLE]);
    assert!(built.is_payment_checked);
    assert!(service.asked()[0].contains("&slippageBps=100&"));

    let answering = async |change: fn(&mut Value)| {
        let service = Service::start(move |path, _| {
            if path.ends_with("/quote") {
                return (200, quote(1_000, 990));
            }
            let mut told = instructions(&route(1_000_000_000, 1_000, 100));
            change(&mut told);
            (200, told)
        })
        .await;
        swap(&service.router(), 1_000, 990).await
    };
    assert!(answering(|_| {}).await.is_ok());
    let pays_less = |told: &mut Value| told["swapInstruction"] = as_json(&route(1_000_000_000, 1_000, 101));
    let sells_more = |told: &mut Value| told["swapInstruction"] = as_json(&route(1_000_000_001, 1_000, 0));
    let tips = |told: &mut Value| told["otherInstructions"] = json!([told["swapInstruction"]]);
    let sets_up = |told: &mut Value| told["setupInstructions"] = json!([told["swapInstruction"]]);
    for change in [pays_less as fn(&mut Value), sells_more, tips, sets_up] {
        let error = answering(change).await.unwrap_err();
        assert_eq!((error.class, &error.failure.code), (FailureClass::Requote, &FailureCode::NO_ROUTE));
    }
}

#[tokio::test]
async fn a_price_that_fell_is_quoted_again_and_never_below_the_floor() {
    // The first quote is lower than the one of the route, and still above the least output.
    let service = Service::start(|path, body| {
        if path.ends_with("/quote") {
            return (200, quote(995, 985));
        }
        let least = body["quoteResponse"]["otherAmountThreshold"].as_str().unwrap().to_owned();
        panic!("no instructions are asked for a least output of {least}");
    })
    .await;
    let error = swap(&service.router(), 1_000, 990).await.unwrap_err();
    assert_eq!(error.failure.code, FailureCode::SLIPPAGE);
    assert_eq!(service.asked().len(), 3);
    assert!(service.asked()[1].contains("&slippageBps=50&"), "computed from the quote that fell");
    let below = Service::start(|_, _| (200, quote(980, 980))).await;
    assert_eq!(swap(&below.router(), 1_000, 990).await.unwrap_err().failure.code, FailureCode::SLIPPAGE);
    assert_eq!(below.asked().len(), 1, "there is nothing to ask for");
}

/// A builder that says it may be wrong, and is: it pays less than the order's least output.
#[derive(Debug)]
struct Stingy {
    desk: Arc<Desk>,
    keeps: u128,
}

#[async_trait]
impl SwapBuilder for Stingy {
    async fn swap(&self, request: SwapRequest<'_>) -> Result<Swap, StepError> {
        let mut leg = request.leg.clone();
        leg.amount_out = Amount::new(leg.amount_out.base_units() - self.keeps);
        let SwapRequest { wallet, source, destination, amount_in, .. } = request;
        let less = SwapRequest::new(&leg, wallet, (source, destination), (amount_in, 0));
        Ok(self.desk.swap(less).await?.with_payment_checked())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_simulation_does_not_pay_is_not_signed() {
    let world = World::new().await;
    let venue = |keeps| {
        let builder = Arc::new(Stingy { desk: Arc::clone(&world.desk), keeps });
        SolanaVenue::new(world.chain.cluster(), world.wallet.clone(), builder, world.options())
    };
    world.prepare(&venue(0), (world.x, 10), (world.y, 20)).await.expect("it pays what is promised");
    let error = world.prepare(&venue(1), (world.x, 10), (world.y, 20)).await.unwrap_err();
    assert_eq!(error.failure.code, FailureCode::SLIPPAGE);
    assert!(error.failure.message.contains("simulation pays less"), "{}", error.failure.message);
}
