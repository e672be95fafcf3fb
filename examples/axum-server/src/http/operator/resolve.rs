//! `POST /api/operator/orders/{orderId}/resolve`: an operator's word on an outcome that the engine does not know.

use axum::http::StatusCode;
use axum::response::Response;
use order_engine_core::{Amount, Fill, Order, OrderId, Resolution, Resolved};
use serde::Serialize;

use super::act::{Act, Asked, Kind};
use super::order::{change, conflict, load, shown};
use crate::app::AppState;
use crate::wire::fields::{Fields, ValueError, plain};
use crate::wire::literal::Literal;
use crate::wire::name::read_name;
use crate::wire::order_form::{base_unit_amount, human_amount};
use crate::wire::problem::Problem;

/// The longest note, in characters.
const NOTE_CHARS_MAX: usize = 500;

/// The outcome of an order's transaction, as an operator knows it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Resolve {
    #[serde(skip)]
    id: OrderId,
    outcome: Outcome,
    note: String,
    /// What an executed transaction did.
    #[serde(flatten)]
    fill: Option<FillBody>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Outcome {
    Executed,
    NotExecuted,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct FillBody {
    amount_in_base_units: Amount,
    amount_out_base_units: Amount,
    height: u64,
}

impl Act for Resolve {
    const NAME: &'static str = "resolve";
    const KIND: Kind = Kind::Change;

    async fn read(app: &AppState, mut asked: Asked) -> Result<Self, Problem> {
        let id = asked.order()?;
        let order = load(app, id).await?;
        let fields = &mut asked.fields;
        let outcome = required(fields, "outcome", read_outcome);
        let note =
            required(fields, "note", |value| read_name(&plain::<String>(value, "a string")?, NOTE_CHARS_MAX));
        let fill = match outcome {
            Some(Outcome::Executed) => read_fill(fields, &order),
            _ => None,
        };
        asked.finish()?;
        // What is missing has an error, so there is none missing here.
        let missing = || Problem::invalid(Vec::new());
        Ok(Self { id, outcome: outcome.ok_or_else(missing)?, note: note.ok_or_else(missing)?, fill })
    }

    fn target(&self) -> Option<String> {
        Some(self.id.to_string())
    }

    async fn perform(self, app: &AppState) -> Result<Response, Problem> {
        let resolution = match &self.fill {
            Some(fill) => Resolution::Executed(Fill::new(
                fill.amount_in_base_units,
                fill.amount_out_base_units,
                fill.height,
            )),
            None => Resolution::NotExecuted,
        };
        match change(app, Box::pin(app.engine.resolve(self.id, &resolution, &self.note))).await? {
            Resolved::Done(order) => Ok(shown(&order)),
            Resolved::NotUnknown(order) => {
                let detail = "The outcome is not unknown, so the engine decides.";
                Err(conflict("outcome-not-unknown", detail, &order))
            }
            Resolved::StillPossible(_) => {
                let detail = "The transaction has a nonce that nobody has used, so it can still land. Cancel the order: \
                              then the nonce is used, and the chain decides.";
                Err(Problem::new(StatusCode::CONFLICT, "still-possible", detail))
            }
        }
    }
}

fn required<T>(
    fields: &mut Fields,
    name: &str,
    read: impl FnOnce(&serde_json::value::RawValue) -> Result<T, ValueError>,
) -> Option<T> {
    if !fields.has(name) {
        fields.reject(name, "required", "The field is required.");
    }
    fields.read(name, read)
}

fn read_outcome(value: &serde_json::value::RawValue) -> Result<Outcome, ValueError> {
    match plain::<String>(value, "a string")?.as_str() {
        "executed" => Ok(Outcome::Executed),
        "not-executed" => Ok(Outcome::NotExecuted),
        _ => Err(ValueError::invalid("Must be executed or not-executed.")),
    }
}

/// Reads what an executed transaction did. All of the order's amount was sold unless the operator says otherwise.
fn read_fill(fields: &mut Fields, order: &Order) -> Option<FillBody> {
    let request = &order.request;
    let sold = read_amount(fields, ["amountIn", "amountInBaseUnits"], request.input.decimals);
    if !fields.has("amountOut") && !fields.has("amountOutBaseUnits") {
        fields.reject("amountOut", "required", "Give amountOut or amountOutBaseUnits.");
    }
    let bought = read_amount(fields, ["amountOut", "amountOutBaseUnits"], request.output.decimals);
    let whole = |value: &_| Literal::from_json(value).and_then(|literal| literal.whole());
    let height = required(fields, "height", |value| {
        whole(value).ok_or_else(|| ValueError::invalid("Must be a whole number."))
    });
    Some(FillBody {
        amount_in_base_units: sold.unwrap_or(request.amount),
        amount_out_base_units: bought?,
        height: height?,
    })
}

fn read_amount(fields: &mut Fields, [human, base_units]: [&str; 2], decimals: u8) -> Option<Amount> {
    if fields.has(human) && fields.has(base_units) {
        fields.reject(base_units, "conflict", format!("Give either {human} or {base_units}."));
    }
    let in_human_units = fields.read(human, |value| human_amount(value, Some(decimals)));
    let in_base_units = fields.read(base_units, base_unit_amount);
    in_human_units.or(in_base_units)
}
