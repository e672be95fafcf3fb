//! The commands that make, list and revoke API keys.

use std::io::{self, Write};
use std::path::PathBuf;
use std::str::FromStr;

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use clap::Subcommand;
use serde_json::json;

use crate::audit::{AuditError, AuditLog, Outcome, Record, Who};
use crate::auth::key_file::{ApiKey, KeyFile, KeyFileError};
use crate::auth::scope::Scopes;

/// What the program does instead of serving.
#[derive(Clone, Debug, Subcommand)]
#[non_exhaustive]
pub enum Command {
    /// Makes, lists and revokes the API keys of `--api-keys`.
    Keys {
        #[allow(missing_docs)] // It would stand in the help.
        #[command(subcommand)]
        command: KeyCommand,
    },
    /// Asks the server of `--host` and `--port` on this machine whether it lives, and fails if not. For the health check of a
    /// container.
    Check,
}

/// What is done with API keys.
#[derive(Clone, Debug, Subcommand)]
#[non_exhaustive]
pub enum KeyCommand {
    /// Makes a key, and shows it. It is shown once: the file has a hash of it.
    Create {
        /// The user whose orders the key sees and places.
        #[arg(long)]
        user: String,
        /// What it allows: `read`, `trade` and `operate`, with commas between them.
        #[arg(long, default_value = "read,trade")]
        scopes: Scopes,
        /// Until when it is valid: a time (RFC 3339), or days from now, `90d` for instance [default: until it is revoked].
        #[arg(long, value_name = "TIME")]
        expires: Option<Expiry>,
    },
    /// Shows all keys, without their secrets.
    List,
    /// Revokes a key: a server that reads the file refuses it within seconds.
    Revoke {
        /// The id of the key: what stands between the two `_`.
        id: String,
    },
}

/// Until when a key is valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expiry(DateTime<Utc>);

/// The error for a text that is no time in the future.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be a time in the future such as 2030-01-31T00:00:00Z, or a number of days such as 90d")]
pub struct InvalidExpiry;

impl FromStr for Expiry {
    type Err = InvalidExpiry;

    fn from_str(text: &str) -> Result<Self, InvalidExpiry> {
        let now = Utc::now();
        let in_days = text.strip_suffix('d').and_then(|days| days.parse::<u32>().ok());
        let at = match in_days {
            Some(days) => now.checked_add_signed(TimeDelta::days(days.into())),
            None => DateTime::parse_from_rfc3339(text).ok().map(|at| at.with_timezone(&Utc)),
        };
        at.filter(|at| *at > now).map(Self).ok_or(InvalidExpiry)
    }
}

/// Why a command fails.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CommandError {
    /// No file is named.
    #[error("the keys need --api-keys or API_KEYS, which names their file")]
    NoFile,
    /// The file cannot be used.
    #[error(transparent)]
    File(#[from] KeyFileError),
    /// It cannot be recorded.
    #[error(transparent)]
    Audit(#[from] AuditError),
    /// What was done cannot be shown.
    #[error("cannot write what was done")]
    Output(#[from] io::Error),
}

impl KeyCommand {
    /// Does what the command says with the keys of a file. Writes a new key to `out`, and what it is about to `notes`.
    ///
    /// # Errors
    /// If the file cannot be used, or a change cannot be recorded; then nothing is changed.
    pub fn run(
        &self,
        file: Option<PathBuf>,
        audit: &AuditLog,
        out: &mut impl Write,
        notes: &mut impl Write,
    ) -> Result<(), CommandError> {
        let file = KeyFile::new(file.ok_or(CommandError::NoFile)?);
        match self {
            Self::Create { user, scopes, expires } => {
                let expires_at = expires.map(|Expiry(at)| at);
                let mut record = audit.record("create-key", this_user());
                record.parameters = json!({ "user": user, "scopes": scopes, "expiresAt": expires_at });
                let create = || file.create(user, *scopes, expires_at);
                let new = recorded(&mut record, create, |new| new.key.id.clone())?;
                let ApiKey { id, user, scopes, .. } = &new.key;
                writeln!(notes, "The key {id} of {user} for {scopes}. It is shown only now:")?;
                writeln!(out, "{}", new.text)?;
            }
            Self::List => list(&file.read()?, out)?,
            Self::Revoke { id } => {
                let mut record = audit.record("revoke-key", this_user());
                record.target = Some(id.clone());
                recorded(&mut record, || file.revoke(id), |()| id.clone())?;
                writeln!(notes, "The key {id} is revoked.")?;
            }
        }
        Ok(())
    }
}

/// Returns who runs the command.
fn this_user() -> Who {
    Who { system_user: Some(rustix::process::getuid().as_raw()), ..Who::default() }
}

/// Makes a change that is recorded before and afterwards.
fn recorded<T>(
    record: &mut Record,
    change: impl FnOnce() -> Result<T, KeyFileError>,
    id: impl FnOnce(&T) -> String,
) -> Result<T, CommandError> {
    record.write_now(Outcome::Begun, None)?;
    let changed = change();
    if let Ok(changed) = &changed {
        record.target = Some(id(changed));
    }
    record.write_now(if changed.is_ok() { Outcome::Done } else { Outcome::Unknown }, None)?;
    Ok(changed?)
}

fn list(keys: &[ApiKey], out: &mut impl Write) -> io::Result<()> {
    writeln!(
        out,
        "{:<16}  {:<22}  {:<20}  {:<20}  {:<8}  USER",
        "ID", "SCOPES", "CREATED", "EXPIRES", "STATE"
    )?;
    let (now, time) = (Utc::now(), |at: DateTime<Utc>| at.to_rfc3339_opts(SecondsFormat::Secs, true));
    for key in keys {
        let state = match key.revoked_at {
            Some(_) => "revoked",
            None if key.is_valid_at(now) => "valid",
            None => "expired",
        };
        let (scopes, created) = (key.scopes.to_string(), time(key.created_at));
        let expires = key.expires_at.map_or_else(|| "never".to_owned(), time);
        writeln!(
            out,
            "{:<16}  {scopes:<22}  {created:<20}  {expires:<20}  {state:<8}  {}",
            key.id, key.user
        )?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_expire_in_the_future() {
        let days = "90d".parse::<Expiry>().unwrap().0 - Utc::now();
        assert!((89..=90).contains(&days.num_days()), "{days}");
        assert!("2999-01-01T00:00:00Z".parse::<Expiry>().is_ok());
        for text in ["", "0d", "-1d", "90", "2020-01-01T00:00:00Z", "2999-01-01", "99999999999d"] {
            assert_eq!(text.parse::<Expiry>(), Err(InvalidExpiry), "{text}");
        }
    }

    #[test]
    fn a_secret_is_shown_when_it_is_made_and_never_again() {
        let folder = tempfile::tempdir().unwrap();
        let file = Some(folder.path().join("keys.json"));
        let run = |command: KeyCommand| {
            let (mut out, mut notes) = (Vec::new(), Vec::new());
            command.run(file.clone(), &AuditLog::default(), &mut out, &mut notes).unwrap();
            String::from_utf8(out).unwrap()
        };
        let scopes = "read,operate".parse().unwrap();
        let text = run(KeyCommand::Create { user: "alice".to_owned(), scopes, expires: None });
        let (id, secret) = text.trim().strip_prefix("oek_").unwrap().split_once('_').unwrap();
        assert_eq!(secret.len(), 43);
        let listed = run(KeyCommand::List);
        assert!(
            listed.contains(id) && listed.contains("read,operate") && listed.contains("valid"),
            "{listed}"
        );
        assert_eq!(run(KeyCommand::Revoke { id: id.to_owned() }), "");
        let listed = run(KeyCommand::List);
        assert!(listed.contains("revoked") && !listed.contains(secret), "{listed}");
        assert!(matches!(
            KeyCommand::List.run(None, &AuditLog::default(), &mut Vec::new(), &mut Vec::new()),
            Err(CommandError::NoFile)
        ));
    }
}
