//! The store that lives in this process's memory, and what every store checks.

mod check;
mod memory;

pub use memory::MemoryStore;
