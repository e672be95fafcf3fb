//! The settings of authentication.

use std::path::PathBuf;

use clap::builder::BoolishValueParser;

use crate::auth::jwks::JwksLocation;
use crate::auth::secret_text::SecretText;
use crate::secret_url::SecretUrl;

/// Who may use the server. Without any of it, everybody may who reaches it.
#[derive(Clone, Debug, Default, clap::Args)]
#[non_exhaustive]
pub struct AuthSettings {
    /// A file of API keys, which `keys create` makes. It is read again when it changes.
    #[arg(long, env = "API_KEYS", value_name = "FILE", global = true)]
    pub api_keys: Option<PathBuf>,

    /// The secret of bearer tokens that are signed by HS256, of 32 bytes at least. Others see the flags of a process, so set it
    /// in the environment.
    #[arg(long, env = "JWT_SECRET", hide_env_values = true, value_name = "SECRET", value_parser = SecretUrl::<SecretText>::parser())]
    pub jwt_secret: Option<SecretText>,

    /// The public keys of bearer tokens that are signed by RS256 or `EdDSA`: a JSON Web Key Set in a file or at a URL.
    #[arg(long, env = "JWKS", hide_env_values = true, value_name = "FILE|URL", value_parser = SecretUrl::<JwksLocation>::parser())]
    pub jwks: Option<JwksLocation>,

    /// Who makes the tokens: their claim `iss`.
    #[arg(long, env = "JWT_ISSUER", value_name = "NAME")]
    pub jwt_issuer: Option<String>,

    /// For whom the tokens are: one of their claim `aud`.
    #[arg(long, env = "JWT_AUDIENCE", value_name = "NAME")]
    pub jwt_audience: Option<String>,

    /// How far the clocks of the provider and of this server may be apart, in seconds [default: 30].
    #[arg(long, env = "JWT_LEEWAY", value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(..=600))]
    pub jwt_leeway: Option<u64>,

    /// The secret that signs executable quotes, and the tickets by which browsers open sockets; the same in all processes that share
    /// the work. Set it in the environment [default: each process makes its own].
    #[arg(long, env = "SIGNING_SECRET", hide_env_values = true, value_name = "SECRET", value_parser = SecretUrl::<SecretText>::parser())]
    pub signing_secret: Option<SecretText>,

    /// Show the metrics to everybody. They name no order and no user.
    #[arg(long, env = "OPEN_METRICS", value_parser = BoolishValueParser::new())]
    pub open_metrics: bool,
}
