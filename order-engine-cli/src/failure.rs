//! Why a command fails, and the exit code by which a script knows.

use std::fmt::Write as _;
use std::io;

use order_engine_client::Error;
use serde_json::Value;

/// Why a command fails.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// The server said no.
    #[error("{}", problem_text(*status, problem))]
    Refused { status: u16, problem: Value },
    /// There is no answer.
    #[error("cannot reach {url}: {reason}")]
    Unreachable { url: String, reason: String },
    /// The command waited as long as it should.
    #[error("the order has not ended in time; it goes on")]
    TimedOut,
    /// The order came to its end, and was not executed.
    #[error("the order failed: {0}")]
    OrderFailed(String),
    /// What was asked may have been done, and nobody said so.
    #[error(
        "{reason}\nThe order may have been placed. Run the same command with --client-order-id {key} to be sure: it is placed once."
    )]
    InDoubt { key: String, reason: String },
    /// The command line, or the configuration, is not usable.
    #[error("{0}")]
    Usage(String),
    /// The server answered what it should not.
    #[error("the server answered what this program does not understand: {0}")]
    Unexpected(String),
    /// The output cannot be written.
    #[error("cannot write the output: {0}")]
    Output(#[from] io::Error),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        match error {
            Error::Refused(problem) => Self::Refused {
                status: problem.status,
                problem: serde_json::from_str(problem.json()).unwrap_or_default(),
            },
            Error::Unreachable { url, reason, .. } => Self::Unreachable { url, reason },
            Error::InDoubt { key, source, .. } => {
                Self::InDoubt { key, reason: Self::from(*source).to_string() }
            }
            Error::Settings(message) => Self::Usage(message),
            Error::Unexpected(message) => Self::Unexpected(message),
            other => Self::Unexpected(other.to_string()),
        }
    }
}

impl Failure {
    /// Returns the exit code. They are documented in the help and in `docs/cli.md`.
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Self::Unexpected(_) | Self::Output(_) => 1,
            Self::Usage(_) => 2,
            Self::Refused { problem, .. } if problem["code"] == "outcome-unknown" => 7,
            Self::Refused { status: 401 | 403, .. } => 6,
            Self::Refused { status: 429 | 500.., .. } | Self::Unreachable { .. } | Self::TimedOut => 4,
            Self::Refused { .. } => 3,
            Self::OrderFailed(_) => 5,
            Self::InDoubt { .. } => 7,
        }
    }

    pub(crate) fn is_broken_pipe(&self) -> bool {
        matches!(self, Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe)
    }

    /// Returns whether waiting may help.
    pub(crate) fn is_passing(&self) -> bool {
        self.exit_code() == 4
    }

    /// Returns the failure as JSON.
    pub(crate) fn to_json(&self) -> Value {
        match self {
            Self::Refused { problem, .. } => problem.clone(),
            Self::InDoubt { key, .. } => {
                serde_json::json!({ "detail": self.to_string(), "idempotencyKey": key })
            }
            other => serde_json::json!({ "detail": other.to_string() }),
        }
    }
}

fn problem_text(status: u16, problem: &Value) -> String {
    let text = |name: &str| problem[name].as_str().unwrap_or_default();
    let mut message = format!("{status} {}: {}", text("code"), text("detail"));
    for error in problem["errors"].as_array().into_iter().flatten() {
        let field = |name: &str| error[name].as_str().unwrap_or_default();
        let _ = write!(message, "\n  {}: {}", field("field"), field("message"));
    }
    message
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn scripts_know_by_the_code() {
        let refused = |status, code: &str| Failure::Refused { status, problem: json!({ "code": code }) };
        for (failure, code) in [
            (refused(422, "invalid-request"), 3),
            (refused(404, "order-not-found"), 3),
            (refused(401, "no-credential"), 6),
            (refused(403, "missing-scope"), 6),
            (refused(429, "too-many-requests"), 4),
            (refused(503, "paused"), 4),
            (refused(503, "outcome-unknown"), 7),
            (Failure::OrderFailed("slippage".into()), 5),
            (Failure::TimedOut, 4),
            (Failure::Usage("x".into()), 2),
        ] {
            assert_eq!(failure.exit_code(), code, "{failure}");
        }
    }
}
