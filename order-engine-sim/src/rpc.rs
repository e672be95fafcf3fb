//! The simulated chain behind JSON-RPC 2.0, in the shapes that public Solana nodes use; what has to do with nonces in
//! those of nodes of the EVM.
//!
//! The feature `rpc-server` has the server, which the program `sim-venue` runs. The feature `rpc-client` has
//! a venue and a router that call it, for any number of processes that trade on one chain.
//!
//! | method | as on Solana | differences |
//! |---|---|---|
//! | `sendTransaction` | yes, base58 and base64 | a lost reply closes the connection without an answer |
//! | `getSignatureStatuses` | yes, up to 256 | `context` has the newest slot that the node can see and its newest final slot, `finalizedSlot`; each status has the execution in `sim` |
//! | `getLatestBlockhash`, `isBlockhashValid`, `getBlockHeight`, `getSlot`, `getHealth` | yes | a slot is a height |
//! | `simulateTransaction` | yes | errors are `{"InstructionError":[0,{"Custom":n}]}` with 6001 for slippage and 6002 for a swap that cannot execute |
//! | `simPools` | | the pools as they are now |
//! | `simLedger` | | the executions of one order or of all |
//! | `simWallet` | | the key that signs transactions, the chain's only wallet |
//!
//! | method | as on the EVM | differences |
//! |---|---|---|
//! | `eth_accounts` | yes | none if transactions expire at a height |
//! | `eth_gasPrice` | yes | what a transaction offers, not the price of a unit of gas |
//! | `eth_getTransactionCount` | `latest`, `safe` and `finalized` | |
//! | `eth_getBlockByNumber` | the same | only the number |
//! | `eth_sendRawTransaction` | yes, with the usual messages of error -32000 | an id in base58; a lost reply closes the connection without an answer |
//! | `simFind` | | the final transactions with the tag of an order |
//! | `simNonceValues` | accounts | how far they have come, if their nonces are opaque; else `null` |
//! | `simNonces` | | which transactions used the nonces of all accounts for good |
//! | `simWaiting` | | the accounts and nonces of the transactions that wait for a block |

#[cfg(feature = "rpc-client")]
mod accounts;
#[cfg(feature = "rpc-server")]
mod call;
#[cfg(feature = "rpc-client")]
mod client;
#[cfg(feature = "rpc-server")]
mod eth;
mod hex;
#[cfg(feature = "rpc-server")]
mod methods;
#[cfg(feature = "rpc-client")]
mod router;
#[cfg(feature = "rpc-server")]
mod server;
#[cfg(feature = "rpc-client")]
mod venue;
mod wire;

#[cfg(feature = "rpc-client")]
pub use client::{RpcClient, RpcError, RpcOptions};
#[cfg(feature = "rpc-client")]
pub use router::RpcRouter;
#[cfg(feature = "rpc-server")]
pub use server::serve;
#[cfg(feature = "rpc-client")]
pub use venue::RpcVenue;
