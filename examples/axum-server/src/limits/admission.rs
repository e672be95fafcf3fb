//! Which orders are accepted at all, before anything of them is stored.

use std::num::NonZeroU32;

use order_engine_core::{Engine, OrderRequest};

use crate::limits::notional::Notional;
use crate::limits::open_orders::OpenOrders;
use crate::limits::overload::Overload;
use crate::limits::prices::Prices;
use crate::limits::settings::LimitSettings;
use crate::limits::turns::{Turn, Turns};
use crate::wire::problem::Problem;

/// The limits on orders.
#[derive(Debug, Default)]
pub(crate) struct Admission {
    turns: Turns,
    open_orders: Option<OpenOrders>,
    notional: Option<Notional>,
    overload: Option<Overload>,
}

/// An order that may be stored. Keep it until it is.
#[derive(Debug)]
#[must_use = "another order of the user may come before this one is stored"]
pub(crate) struct Admitted(#[allow(dead_code)] Option<Turn>);

impl Admission {
    pub(crate) fn new(settings: &LimitSettings, prices: Option<Prices>) -> Self {
        let max_open = settings.max_open_orders.and_then(NonZeroU32::new);
        Self {
            turns: Turns::default(),
            open_orders: max_open.map(|max| OpenOrders { max }),
            notional: settings.max_daily_notional.map(|max| Notional::new(max, prices)),
            overload: settings.max_due_orders.map(Overload::new),
        }
    }

    /// Admits an order, or says why not.
    pub(crate) async fn admit(&self, engine: &Engine, request: &OrderRequest) -> Result<Admitted, Problem> {
        let turn = self.admit_user(engine, request).await?;
        if let Some(overload) = &self.overload {
            overload.admit(engine).await?;
        }
        Ok(Admitted(turn))
    }

    /// Admits an order as one of its user's, whose turn it is from then on.
    async fn admit_user(&self, engine: &Engine, request: &OrderRequest) -> Result<Option<Turn>, Problem> {
        if self.open_orders.is_none() && self.notional.is_none() {
            return Ok(None);
        }
        let turn = self.turns.of(&request.user_id).await;
        if let Some(open_orders) = self.open_orders {
            open_orders.admit(engine, &request.user_id, &turn).await?;
        }
        if let Some(notional) = &self.notional {
            notional.admit(engine, request, &turn).await?;
        }
        Ok(Some(turn))
    }
}
