//! The simulated chain behind JSON-RPC 2.0, in the shapes that public Solana nodes use.
//!
//! The feature `rpc-server` has the server, of which `sim-venue` is the program; the feature
//! `rpc-client` a venue and a router over it, for any number of processes that trade on one chain.
//!
//! | method | as on Solana | differs |
//! |---|---|---|
//! | `sendTransaction` | yes, base58 and base64 | a lost reply closes the connection without an answer |
//! | `getSignatureStatuses` | yes, up to 256 | `context` names the slots that the node can see and, as `finalizedSlot`, how far they are final for it; each status has the execution in `sim` |
//! | `getLatestBlockhash`, `isBlockhashValid`, `getBlockHeight`, `getSlot`, `getHealth` | yes | a slot is a height |
//! | `simulateTransaction` | yes | errors are `{"InstructionError":[0,{"Custom":n}]}` with 6001 for slippage and 6002 for a swap that cannot be carried out |
//! | `simPools` | | the pools as they are now |
//! | `simLedger` | | what landed, of one order or of all |
//! | `simWallet` | | the key with which transactions are signed; the chain's only wallet |

#[cfg(feature = "rpc-client")]
mod client;
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
