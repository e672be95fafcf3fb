//! A websocket on which a node tells that accounts have changed.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::{SinkExt as _, StreamExt as _};
use serde::Deserialize;
use serde_json::{Value, json};
use solana_pubkey::Pubkey;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::error::UrlError;
use tokio_tungstenite::tungstenite::{self, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

use order_engine_chain::RpcError;

/// What a node tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Notice {
    /// From now on it tells of this account.
    Subscribed(Pubkey),
    /// The account has changed, as it says in this slot.
    Changed(Pubkey, u64),
    /// The connection lives, and nothing else.
    Alive,
}

/// A connection, and the accounts of which the node tells on it.
pub(crate) struct Notices {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    next_id: u64,
    /// The accounts of calls that are not answered yet, by the numbers of the calls.
    asked: BTreeMap<u64, Pubkey>,
    /// The accounts by the node's numbers for the subscriptions.
    told: BTreeMap<u64, Pubkey>,
}

/// Any message of a node.
#[derive(Deserialize)]
struct Incoming {
    id: Option<u64>,
    result: Option<Value>,
    error: Option<Value>,
    params: Option<Params>,
}

#[derive(Deserialize)]
struct Params {
    subscription: u64,
    result: Changed,
}

#[derive(Deserialize)]
struct Changed {
    context: Context,
}

#[derive(Deserialize)]
struct Context {
    slot: u64,
}

impl Notices {
    /// Connects to a node.
    pub(crate) async fn connect(url: &str) -> Result<Self, RpcError> {
        let (socket, _) = connect_async(url).await.map_err(not_connected)?;
        Ok(Self { socket, next_id: 0, asked: BTreeMap::new(), told: BTreeMap::new() })
    }

    /// Asks the node to tell of these accounts, and of no others any more.
    pub(crate) async fn tell_of(&mut self, accounts: &BTreeSet<Pubkey>) -> Result<(), RpcError> {
        let is_gone = |(_, account): &(&u64, &Pubkey)| !accounts.contains(*account);
        let gone: Vec<u64> = self.told.iter().filter(is_gone).map(|(number, _)| *number).collect();
        for number in gone {
            self.told.remove(&number);
            self.call("accountUnsubscribe", json!([number])).await?;
        }
        let known: BTreeSet<Pubkey> = self.told.values().chain(self.asked.values()).copied().collect();
        for account in accounts.difference(&known) {
            // Nothing of the account is believed from here, so nothing of it is asked for.
            let settings = json!({
                "encoding": "base64", "commitment": "confirmed", "dataSlice": { "offset": 0, "length": 0 },
            });
            let id = self.call("accountSubscribe", json!([account.to_string(), settings])).await?;
            self.asked.insert(id, *account);
        }
        Ok(())
    }

    async fn call(&mut self, method: &str, params: Value) -> Result<u64, RpcError> {
        let id = self.next_id;
        self.next_id += 1;
        let call = json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params });
        self.send(Message::text(call.to_string())).await?;
        Ok(id)
    }

    /// Asks the node for a sign of life.
    pub(crate) async fn ping(&mut self) -> Result<(), RpcError> {
        self.send(Message::Ping(Vec::new().into())).await
    }

    async fn send(&mut self, message: Message) -> Result<(), RpcError> {
        self.socket.send(message).await.map_err(|_| lost("nothing can be sent"))
    }

    /// Returns what the node tells next. Safe to drop.
    pub(crate) async fn next(&mut self) -> Result<Notice, RpcError> {
        match self.socket.next().await {
            None | Some(Ok(Message::Close(_)) | Err(_)) => Err(lost("the connection ended")),
            Some(Ok(Message::Text(text))) => self.read(text.as_str()),
            Some(Ok(_)) => Ok(Notice::Alive),
        }
    }

    fn read(&mut self, text: &str) -> Result<Notice, RpcError> {
        let incoming: Incoming = serde_json::from_str(text).map_err(RpcError::malformed)?;
        if let Some(params) = incoming.params {
            let account = self.told.get(&params.subscription);
            let slot = params.result.context.slot;
            return Ok(account.map_or(Notice::Alive, |account| Notice::Changed(*account, slot)));
        }
        let Some(account) = incoming.id.and_then(|id| self.asked.remove(&id)) else {
            return Ok(Notice::Alive);
        };
        match incoming.result.as_ref().and_then(Value::as_u64) {
            Some(number) => {
                self.told.insert(number, account);
                Ok(Notice::Subscribed(account))
            }
            None => Err(refused(incoming.error.as_ref())),
        }
    }
}

/// Returns why there is no connection, without the URL, which some of the library's errors name.
fn not_connected(error: tungstenite::Error) -> RpcError {
    match error {
        tungstenite::Error::Io(error) => RpcError::Transport(error.into()),
        tungstenite::Error::Http(response) => {
            RpcError::Status { status: response.status().as_u16(), retry_after_s: None }
        }
        tungstenite::Error::Url(UrlError::TlsFeatureNotEnabled) => {
            RpcError::Client("wss:// needs a TLS feature of tokio-tungstenite".into())
        }
        _ => lost("it does not connect"),
    }
}

fn lost(reason: &'static str) -> RpcError {
    RpcError::Transport(reason.into())
}

fn refused(error: Option<&Value>) -> RpcError {
    let message = error.and_then(|error| error.get("message")).and_then(Value::as_str);
    let code = error.and_then(|error| error.get("code")).and_then(Value::as_i64);
    let message = message.unwrap_or("it is not told why").to_owned();
    RpcError::Refused { code: code.unwrap_or_default(), message, data: None, may_pass: false }
}

#[cfg(test)]
mod tests {
    use order_engine_core::telemetry::chain;

    use super::*;

    #[tokio::test]
    async fn why_there_is_no_connection_is_told_without_the_url() {
        for url in ["ws://127.0.0.1:1/secret", "nonsense://secret", "secret"] {
            let Err(error) = Notices::connect(url).await else { panic!("{url} is nobody's") };
            let told = chain(&error).to_string();
            assert!(!told.contains("secret") && !told.contains("127.0.0.1"), "{told}");
        }
    }
}
