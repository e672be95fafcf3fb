//! Why a store cannot answer.

use std::error::Error;
use std::fmt;
use std::sync::Arc;

/// A store that cannot answer. Its clones are one failure, which several calls may share.
#[derive(Clone, Debug)]
pub struct StoreError {
    kind: StoreErrorKind,
    failure: Failure,
}

/// What an error says, and its cause.
#[derive(Clone, Debug)]
enum Failure {
    Words {
        message: String,
        source: Option<Arc<dyn Error + Send + Sync>>,
    },
    /// What another error says, with the cause of that error.
    Other(Arc<dyn Error + Send + Sync>),
}

/// What kind of failure a [`StoreError`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum StoreErrorKind {
    /// The store does not answer, is full or is busy; it may recover by itself.
    Unavailable,
    /// The data was written by a newer version of this software, or by another one.
    Incompatible,
    /// The store is set up so that it cannot keep its promise.
    Misconfigured,
    /// A defect in the store or its data.
    Internal,
}

impl StoreError {
    /// Returns an error of a kind, in words.
    pub fn new(kind: StoreErrorKind, message: impl Into<String>) -> Self {
        Self { kind, failure: Failure::Words { message: message.into(), source: None } }
    }

    /// Returns an error of a kind that says what a backend's own error says. Its source is the source of that
    /// error, so that a chain of causes says nothing twice.
    pub fn of(kind: StoreErrorKind, error: impl Error + Send + Sync + 'static) -> Self {
        Self { kind, failure: Failure::Other(Arc::new(error)) }
    }

    /// Returns the same error with what caused it, which its message does not repeat.
    pub fn with_source(self, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        let (message, source) = (self.to_string(), Some(source.into().into()));
        Self { failure: Failure::Words { message, source }, ..self }
    }

    /// Returns the kind.
    pub const fn kind(&self) -> StoreErrorKind {
        self.kind
    }

    /// Whether the same call may succeed later.
    pub const fn is_transient(&self) -> bool {
        matches!(self.kind, StoreErrorKind::Unavailable)
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.failure {
            Failure::Words { message, .. } => f.write_str(message),
            Failure::Other(error) => error.fmt(f),
        }
    }
}

impl Error for StoreError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match &self.failure {
            Failure::Words { source, .. } => source.as_deref().map(|source| source as _),
            Failure::Other(error) => error.source(),
        }
    }
}
