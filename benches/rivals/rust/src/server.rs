//! The protocol by which the rivals are loaded: orders over HTTP, and a WebSocket for each.

use std::sync::Arc;

use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade};
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::{Value, json};
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use uuid::Uuid;

use crate::hub::{CONFIRMED, Hub};
use crate::{Error, Order, Request};

/// A system that executes orders.
pub trait System: Send + Sync + 'static {
    /// Stores an order, and has it executed.
    fn accept(&self, order: Order) -> impl Future<Output = Result<(), Error>> + Send;

    /// Returns the stored status of an order, or `None` if it has none yet.
    fn status(&self, id: Uuid) -> impl Future<Output = Result<Option<String>, Error>> + Send;
}

struct Shared<S> {
    system: S,
    hub: Arc<Hub>,
}

/// The settings of a rival, from its environment.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The URL of the database.
    pub database_url: String,
    /// How many orders are executed at a time.
    pub slots: usize,
    /// The most connections to the database. Commits of several connections share the syncs of the log.
    pub connections: u32,
}

impl Settings {
    /// Reads them.
    pub fn read() -> Result<Self, Error> {
        let number = |name, default: u32| std::env::var(name).map_or(Ok(default), |number| number.parse());
        Ok(Self {
            database_url: std::env::var("DATABASE_URL")?,
            slots: number("SLOTS", 64)?.try_into()?,
            connections: number("CONNECTIONS", 32)?,
        })
    }
}

/// Serves a system until standard input ends, or the process is terminated.
pub async fn serve<S: System>(system: S, hub: Arc<Hub>) -> Result<(), Error> {
    let app = Router::new()
        .route("/orders", post(accept::<S>))
        .route(
            "/completed",
            get(async |State(shared): State<Arc<Shared<S>>>| shared.hub.confirmed().to_string()),
        )
        .route("/ws/orders/{id}", get(follow::<S>))
        .with_state(Arc::new(Shared { system, hub }));
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("listening on {}", listener.local_addr()?);
    let mut terminated = signal(SignalKind::terminate())?;
    let mut input = Vec::new();
    let mut stdin = tokio::io::stdin();
    tokio::select! {
        served = axum::serve(listener, app).into_future() => Ok(served?),
        _ = stdin.read_to_end(&mut input) => Ok(()),
        _ = terminated.recv() => Ok(()),
    }
}

async fn accept<S: System>(
    State(shared): State<Arc<Shared<S>>>,
    Json(request): Json<Request>,
) -> Result<(StatusCode, Json<Value>), (StatusCode, String)> {
    let id = Uuid::new_v4();
    let accepted = shared.system.accept(Order { id, request }).await;
    accepted.map_err(|error| (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))?;
    Ok((StatusCode::ACCEPTED, Json(json!({ "orderId": id, "status": "pending" }))))
}

async fn follow<S: System>(
    State(shared): State<Arc<Shared<S>>>,
    Path(id): Path<Uuid>,
    upgrade: WebSocketUpgrade,
) -> Response {
    upgrade.on_upgrade(async move |socket| {
        if let Err(error) = relay(&shared, id, socket).await {
            eprintln!("the socket of order {id}: {error}");
        }
    })
}

/// Sends the stored status and then each further one until the order is confirmed.
async fn relay<S: System>(shared: &Shared<S>, id: Uuid, mut socket: WebSocket) -> Result<(), Error> {
    // It follows before it reads, so that it misses nothing in between.
    let mut statuses = shared.hub.follow(id);
    let mut last = shared.system.status(id).await?.unwrap_or_else(|| "pending".to_owned());
    loop {
        socket.send(Message::text(json!({ "orderId": id, "status": last }).to_string())).await?;
        if last == CONFIRMED {
            break;
        }
        statuses.recv().await?.clone_into(&mut last);
    }
    shared.hub.leave(id, statuses);
    socket.send(Message::Close(None)).await?;
    Ok(())
}
