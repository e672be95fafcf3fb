//! Orders are placed once, whatever happens to requests and answers.

use hyper::HeaderMap;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::answers::{Cancellation, Order, Placed};
use crate::client::{Client, read, write};
use crate::error::{Error, Problem};
use crate::forms::OrderForm;
use crate::http::Answer;

const PATH: &str = "/api/orders/execute";

impl Client {
    /// Places an order, once.
    ///
    /// A form without a `clientOrderId` gets one before it is sent. A request whose answer is lost or in doubt is repeated with it, and so
    /// is one that the server cannot serve now.
    ///
    /// # Errors
    ///
    /// [`Error::InDoubt`] if nobody said whether the order was placed; it has the key. A program that must know what it placed after
    /// a crash of its own gives each form a name that it has stored before.
    pub async fn place(&self, form: &OrderForm) -> Result<Placed, Error> {
        let named = Named::of(form.clone());
        let body = write(&named.form)?;
        let mut repeats = self.repeats();
        let mut is_in_doubt = false;
        loop {
            let answered = self.post_once(PATH, &body).await.and_then(|answer| placed(&answer, &named.key));
            let error = match answered {
                Ok(placed) => return Ok(placed),
                Err(error) => error,
            };
            is_in_doubt |= error.leaves_doubt();
            if !repeats.wait(&error).await {
                return self.settle(&named, is_in_doubt, error).await;
            }
        }
    }

    /// Places up to 50 orders by one request, each once and by itself, and returns a result for each, in their order. Those of which
    /// the answer is lost or in doubt, or that the server cannot take now, are repeated.
    pub async fn place_all(&self, forms: &[OrderForm]) -> Vec<Result<Placed, Error>> {
        let mut open: Vec<Open> = forms.iter().cloned().map(Named::of).enumerate().map(Open::new).collect();
        let mut results: Vec<Option<Result<Placed, Error>>> = forms.iter().map(|_| None).collect();
        let mut repeats = self.repeats();
        while !open.is_empty() {
            let answers = self.place_batch(&open).await;
            let mut wait_for = None;
            let mut again = Vec::new();
            for (mut order, answer) in open.into_iter().zip(answers) {
                match answer {
                    Ok(placed) => results[order.index] = Some(Ok(placed)),
                    Err(error) => {
                        order.is_in_doubt |= error.leaves_doubt();
                        if error.is_repeated() {
                            wait_for.get_or_insert_with(|| copy(&error));
                            again.push((order, error));
                        } else {
                            let settled = self.settle(&order.named, order.is_in_doubt, error).await;
                            results[order.index] = Some(settled);
                        }
                    }
                }
            }
            let goes_on = match &wait_for {
                Some(error) => repeats.wait(error).await,
                None => false,
            };
            open = Vec::new();
            for (order, error) in again {
                if goes_on {
                    open.push(order);
                } else {
                    results[order.index] = Some(self.settle(&order.named, order.is_in_doubt, error).await);
                }
            }
        }
        results.into_iter().flatten().collect()
    }

    /// Cancels up to 50 orders by one request, and returns a result for each, in their order.
    pub async fn cancel_all(&self, order_ids: &[&str]) -> Result<Vec<Result<Cancellation, Error>>, Error> {
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        struct Form<'a> {
            order_ids: &'a [&'a str],
        }
        let answer: Results<Cancellation> =
            self.post_repeatedly("/api/orders/cancel", &Form { order_ids }).await?;
        answer
            .results
            .into_iter()
            .map(OneResult::into_result)
            .map(|result| result.map(|(_, it)| it))
            .map(Ok)
            .collect()
    }

    /// Sends a batch, and returns what became of each order. What became of the request became of all.
    async fn place_batch(&self, open: &[Open]) -> Vec<Result<Placed, Error>> {
        #[derive(Serialize)]
        struct Batch<'a> {
            orders: Vec<&'a OrderForm>,
        }
        let batch = Batch { orders: open.iter().map(|order| &order.named.form).collect() };
        let answer = match write(&batch) {
            Ok(body) => self.post_once("/api/orders/batch", &body).await,
            Err(error) => Err(error),
        };
        let answer = answer.and_then(|answer| read::<Results<Placed>>(&answer.body)).and_then(|answer| {
            let (sent, got) = (open.len(), answer.results.len());
            let wrong = || Error::Unexpected(format!("{got} results for {sent} orders"));
            if sent == got { Ok(answer) } else { Err(wrong()) }
        });
        match answer {
            Ok(answer) => {
                let named = |(one, order): (OneResult<Placed>, &Open)| {
                    one.into_result().map(|(status, placed)| Placed {
                        client_order_id: order.named.key.clone(),
                        is_replay: status == 200,
                        ..placed
                    })
                };
                answer.results.into_iter().zip(open).map(named).collect()
            }
            Err(error) => open.iter().map(|_| Err(copy(&error))).collect(),
        }
    }

    /// Says what became of an order after the last failure. If an earlier request may have placed it, a refusal of the repetition
    /// says nothing of that one, so the server is asked.
    async fn settle(&self, named: &Named, is_in_doubt: bool, error: Error) -> Result<Placed, Error> {
        // A name is one order's: if it is another one's, this one was not placed.
        if !is_in_doubt || error.code() == Some("idempotency-conflict") {
            return Err(error);
        }
        let order_id = error.problem().and_then(|problem| problem.order_id.clone());
        if !error.is_repeated() {
            let found = self.order_named(&named.key, named.form.user_id.as_deref()).await;
            if let Ok(order) = found {
                return Ok(self.found(order, &named.key));
            }
        }
        Err(Error::InDoubt { key: named.key.clone(), order_id, source: Box::new(error) })
    }

    fn found(&self, order: Order, key: &str) -> Placed {
        let socket = self.http().url().replacen("http", "ws", 1);
        Placed {
            ws_url: format!("{socket}/ws/orders/{}", order.order_id),
            order_id: order.order_id,
            status: order.status,
            created_at: order.created_at,
            client_order_id: key.to_owned(),
            is_replay: true,
            json: String::new(),
        }
    }
}

/// A form that has a name.
struct Named {
    form: OrderForm,
    key: String,
}

impl Named {
    fn of(mut form: OrderForm) -> Self {
        let key = form.client_order_id.get_or_insert_with(|| Uuid::new_v4().to_string()).clone();
        Self { form, key }
    }
}

/// An order of a batch of which it is not known yet what becomes.
struct Open {
    index: usize,
    named: Named,
    is_in_doubt: bool,
}

impl Open {
    fn new((index, named): (usize, Named)) -> Self {
        Self { index, named, is_in_doubt: false }
    }
}

#[derive(Deserialize)]
struct Results<T> {
    results: Vec<OneResult<T>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct OneResult<T> {
    http_status: u16,
    order: Option<T>,
    problem: Option<Problem>,
}

impl<T> OneResult<T> {
    fn into_result(self) -> Result<(u16, T), Error> {
        match (self.order, self.problem) {
            (Some(order), _) => Ok((self.http_status, order)),
            (None, Some(problem)) => Err(Error::Refused(Box::new(problem.of_a_batch()))),
            (None, None) => Err(Error::Unexpected("a result without an order and without a problem".into())),
        }
    }
}

fn placed(answer: &Answer, key: &str) -> Result<Placed, Error> {
    let placed: Placed = read(&answer.body)?;
    let json = String::from_utf8_lossy(&answer.body).into_owned();
    Ok(Placed { client_order_id: key.to_owned(), is_replay: is_replay(&answer.headers), json, ..placed })
}

fn is_replay(headers: &HeaderMap) -> bool {
    headers.get("idempotency-replayed").is_some_and(|value| value == "true")
}

/// Returns the same failure for another order of the same request.
fn copy(error: &Error) -> Error {
    match error {
        Error::Refused(problem) => Error::Refused(problem.clone()),
        Error::Unreachable { url, reason, may_have_arrived } => Error::Unreachable {
            url: url.clone(),
            reason: reason.clone(),
            may_have_arrived: *may_have_arrived,
        },
        other => Error::Unexpected(other.to_string()),
    }
}
