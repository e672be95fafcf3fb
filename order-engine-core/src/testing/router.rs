use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;

use crate::domain::amount::Amount;
use crate::domain::route::{Candidate, Leg, QuoteRequest, Route};
use crate::ports::router::{DexRouter, StepError};

/// A router with two exchanges, Raydium and Meteora. Meteora always pays a little more.
///
/// A test can script other answers for the next quotes.
#[derive(Debug, Default)]
pub struct ScriptedRouter {
    script: Mutex<VecDeque<Answer>>,
}

#[derive(Debug)]
enum Answer {
    Fail(StepError),
    Panic,
    Never,
}

impl ScriptedRouter {
    /// Returns a router that always quotes.
    pub fn new() -> Self {
        Self::default()
    }

    /// Makes one of the next quotes fail. Scripted answers are used in the order in which they were added.
    pub fn fail_next(&self, error: StepError) {
        self.push(Answer::Fail(error));
    }

    /// Makes one of the next quotes panic.
    pub fn panic_next(&self) {
        self.push(Answer::Panic);
    }

    /// Makes this many of the next quotes panic.
    pub fn panic_for(&self, quotes: usize) {
        for _ in 0..quotes {
            self.panic_next();
        }
    }

    /// Makes one of the next quotes hang.
    pub fn hang_next(&self) {
        self.push(Answer::Never);
    }

    fn push(&self, answer: Answer) {
        self.script.lock().unwrap_or_else(PoisonError::into_inner).push_back(answer);
    }
}

#[async_trait]
impl DexRouter for ScriptedRouter {
    fn dexes(&self) -> Vec<String> {
        vec!["Raydium".into(), "Meteora".into()]
    }

    /// # Panics
    /// If the script contains a panic.
    async fn quote(&self, request: &QuoteRequest) -> Result<Vec<Candidate>, StepError> {
        let answer = self.script.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
        match answer {
            None => Ok(vec![candidate("Raydium", 149, request), candidate("Meteora", 150, request)]),
            Some(Answer::Fail(error)) => Err(error),
            Some(Answer::Panic) => panic!("a scripted panic"),
            Some(Answer::Never) => std::future::pending().await,
        }
    }
}

/// Returns a candidate that pays `rate` base units for 1 000 base units of the input.
fn candidate(dex: &str, rate: u128, request: &QuoteRequest) -> Candidate {
    let amount_out = Amount::new(request.amount.base_units() / 1_000 * rate);
    let (sold, bought) = ((&request.input.mint, request.amount), (&request.output.mint, amount_out));
    let leg = Leg::new(dex, format!("{dex}-pool"), sold, bought);
    Candidate::quoted(dex, Route::new(dex, vec![leg], request.amount, amount_out))
}
