//! Orders as durable workflows of DBOS: the steps are checkpointed, and a workflow resumes after the last one.

use std::sync::Arc;

use dbos::{Config, DBOS, StartOptions, WorkflowRef, step};
use order_engine_rivals::hub::{CONFIRMED, Hub};
use order_engine_rivals::server::{Settings, System, serve};
use order_engine_rivals::{Error, Order, exchange};
use tokio::sync::Semaphore;
use uuid::Uuid;

/// The step after which an order is confirmed.
const CONFIRM: &str = "confirm";

struct Dbos {
    dbos: DBOS,
    workflow: WorkflowRef<Order, String>,
}

impl System for Dbos {
    async fn accept(&self, order: Order) -> Result<(), Error> {
        let id = order.id.to_string();
        let options = StartOptions { workflow_id: Some(&id), ..StartOptions::default() };
        self.workflow.start_with(order, options).await?;
        Ok(())
    }

    async fn status(&self, id: Uuid) -> Result<Option<String>, Error> {
        let steps = self.dbos.list_workflow_steps(&id.to_string()).await?;
        let is_confirmed = steps.iter().any(|step| step.step_name == CONFIRM);
        Ok(is_confirmed.then(|| CONFIRMED.to_owned()))
    }
}

/// Executes an order. What needs no checkpoint has none: the choice of the quote is always the same.
async fn execute(order: Order, hub: &Hub) -> dbos::Result<String> {
    let request = &order.request;
    hub.publish(order.id, "routing");
    let (raydium, meteora) = tokio::join!(
        step("quote_raydium", async || Ok(exchange::raydium(request).await)),
        step("quote_meteora", async || Ok(exchange::meteora(request).await)),
    );
    let quote = exchange::best(raydium?, meteora?);
    hub.publish(order.id, "building");
    let transaction = step("build", async || Ok(exchange::build(request, &quote).await)).await?;
    // A crash after the submission and before its checkpoint submits once more.
    let signature = step("submit", async || Ok(exchange::submit(&transaction).await)).await?;
    hub.publish(order.id, "submitted");
    step(CONFIRM, async || {
        exchange::confirm(&signature).await;
        Ok(())
    })
    .await?;
    hub.publish(order.id, CONFIRMED);
    Ok(signature)
}

#[tokio::main]
async fn main() -> Result<(), Error> {
    let Settings { database_url, slots, connections } = Settings::read()?;
    let dbos = DBOS::new(Config {
        max_connections: connections,
        app_version: Some("1".to_owned()),
        ..Config::new("rival", database_url)
    });
    let (hub, slots) = (Arc::<Hub>::default(), Arc::new(Semaphore::new(slots)));
    let workflow = dbos.register_workflow("execute", {
        let hub = Arc::clone(&hub);
        move |order: Order| {
            let (hub, slots) = (Arc::clone(&hub), Arc::clone(&slots));
            async move {
                let _slot = slots.acquire().await;
                execute(order, &hub).await
            }
        }
    })?;
    dbos.launch().await?;
    serve(Dbos { dbos: dbos.clone(), workflow }, hub).await?;
    dbos.shutdown().await;
    Ok(())
}
