//! Which orders are accepted at all, before anything of them is stored.

use std::num::NonZeroU32;

use order_engine_core::{Engine, OrderRequest};

use crate::limits::open_orders::{OpenOrders, Turn};
use crate::limits::overload::Overload;
use crate::limits::settings::LimitSettings;
use crate::wire::problem::Problem;

/// The limits on orders.
#[derive(Debug, Default)]
pub(crate) struct Admission {
    open_orders: Option<OpenOrders>,
    overload: Option<Overload>,
}

/// An order that may be stored. Keep it until it is.
#[derive(Debug)]
#[must_use = "another order of the user may come before this one is stored"]
pub(crate) struct Admitted(#[allow(dead_code)] Option<Turn>);

impl Admission {
    pub(crate) fn new(settings: &LimitSettings) -> Self {
        Self {
            open_orders: settings.max_open_orders.and_then(NonZeroU32::new).map(OpenOrders::new),
            overload: settings.max_due_orders.map(Overload::new),
        }
    }

    /// Admits an order, or says why not.
    pub(crate) async fn admit(&self, engine: &Engine, request: &OrderRequest) -> Result<Admitted, Problem> {
        let turn = match &self.open_orders {
            Some(open_orders) => Some(open_orders.admit(engine, request).await?),
            None => None,
        };
        if let Some(overload) = &self.overload {
            overload.admit(engine).await?;
        }
        Ok(Admitted(turn))
    }
}
