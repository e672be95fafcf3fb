//! A server in this process, over a network that fails on request.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use apalis::prelude::{Monitor, WorkerBuilder};
use order_engine_client::{Client, OrderQuery, Settings};
use order_engine_core::testing::{Intercept, InterceptedStore, Proxy};
use order_engine_core::{Engine, MemoryStore, OrderStore, Runtime, execute_order};
use order_engine_server::{AppState, Options, TokenRegistry, serve};
use order_engine_sim::{Rate, SimConfig, Simulator};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::lossy::Lossy;

/// What outlives a server: its orders, its chain, its address, and the network in front of it.
pub(crate) struct Site {
    store: Arc<dyn OrderStore>,
    simulator: Simulator,
    address: SocketAddr,
    options: Options,
    pub(crate) network: Proxy,
}

/// A server in this process.
pub(crate) struct Server {
    pub(crate) app: AppState,
    stop: oneshot::Sender<()>,
    serving: JoinHandle<()>,
}

impl Site {
    pub(crate) async fn new() -> (Self, Server) {
        Self::of(Arc::new(MemoryStore::new()), Options::default()).await
    }

    pub(crate) async fn intercepted(intercept: Arc<dyn Intercept>) -> (Self, Server) {
        let store = InterceptedStore::new(Arc::new(MemoryStore::new()), intercept);
        Self::of(Arc::new(store), Options::default()).await
    }

    pub(crate) async fn of(store: Arc<dyn OrderStore>, options: Options) -> (Self, Server) {
        let sim = SimConfig { step_delay: Duration::ZERO, fail_rate: Rate::NEVER, ..SimConfig::default() };
        let simulator = Simulator::open(sim, Runtime::tokio()).await.unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let network = Proxy::start(address).await.unwrap();
        let site = Self { store, simulator, address, options, network };
        let server = site.serve(listener).await;
        (site, server)
    }

    /// Starts a server again.
    pub(crate) async fn restart(&self) -> Server {
        self.serve(TcpListener::bind(self.address).await.unwrap()).await
    }

    /// Starts a server whose orders stay pending until it works.
    async fn serve(&self, listener: TcpListener) -> Server {
        let engine = Engine::builder()
            .store(Arc::clone(&self.store))
            .router(self.simulator.router())
            .venue(self.simulator.venue())
            .build()
            .await
            .unwrap();
        let app = AppState::new(engine, TokenRegistry::default(), self.address, self.options.clone());
        let (stop, stopped) = oneshot::channel();
        let serving = tokio::spawn(serve(listener, app.clone(), async {
            let _ = stopped.await;
        }));
        Server { app, stop, serving }
    }

    /// Returns settings of a client behind the network.
    pub(crate) fn settings(&self) -> Settings {
        Settings::new(format!("http://{}", self.network.address()))
    }

    pub(crate) fn client(&self) -> Client {
        Client::new(&self.settings()).unwrap()
    }

    /// Returns a network in front of the server that loses so many answers, and a client behind it.
    pub(crate) async fn losing(&self, answers: u32) -> (Lossy, Client) {
        let network = Lossy::start(self.address, answers).await;
        let client = Client::new(&Settings::new(format!("http://{}", network.address))).unwrap();
        (network, client)
    }

    /// Returns how many orders there are. It asks past the network.
    pub(crate) async fn orders(&self) -> usize {
        let client = Client::new(&Settings::new(format!("http://{}", self.address))).unwrap();
        client.orders(&OrderQuery::default().with_limit(200)).await.unwrap().orders.len()
    }
}

impl Server {
    pub(crate) fn work(&self) {
        let engine = self.app.engine().clone();
        let monitor = Monitor::new().register(move |n| {
            WorkerBuilder::new(format!("worker-{n}")).backend(engine.backend(4)).build(execute_order)
        });
        tokio::spawn(monitor.run());
    }

    /// Ends the server, its streams and its engine.
    pub(crate) async fn end(self) {
        self.stop.send(()).unwrap();
        self.serving.await.unwrap();
        self.app.engine().shutdown(Duration::from_secs(10)).await.unwrap();
    }
}
