//! The audit log: who did what as an operator, one JSON line each, in a file that only grows and in the log.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::net::IpAddr;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use order_engine_core::telemetry::chain;
use serde::Serialize;
use serde_json::Value;
use tokio::time::timeout;
use uuid::Uuid;

use crate::wire::serialize_time;

/// How long a disk may take. One that hangs is one that cannot be written, so it does not hold the kill switch up.
const WRITE_TIME_MAX: Duration = Duration::from_secs(1);

/// Where acts of operators are recorded. Its clones are cheap.
#[derive(Clone, Debug, Default)]
pub struct AuditLog {
    /// Nothing if no file is kept; then there are the lines of the log only.
    path: Option<Arc<Path>>,
}

/// The audit log cannot be written.
#[derive(Debug, thiserror::Error)]
#[error("cannot write the audit log {}", path.display())]
pub struct AuditError {
    path: PathBuf,
    source: io::Error,
}

/// Who acts. What is not known is left out.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Who {
    /// The user of the credential; none at a server without authentication.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) user: Option<String>,
    /// The id of the API key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) key: Option<String>,
    /// From where the request came.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) address: Option<IpAddr>,
    /// The number of the system's user who runs a command.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) system_user: Option<u32>,
}

/// How far an act has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Outcome {
    /// It is about to be done. Without a second line of the same id it is not known whether it was.
    Begun,
    /// It was done.
    Done,
    /// It was not done, and has changed nothing.
    Refused,
    /// It failed, and may have been done all the same.
    Unknown,
}

/// An act, which has a line for each step that is recorded.
#[derive(Clone, Debug)]
pub(crate) struct Record {
    log: AuditLog,
    id: Uuid,
    act: &'static str,
    pub(crate) who: Who,
    pub(crate) request_id: Option<String>,
    pub(crate) target: Option<String>,
    pub(crate) parameters: Value,
}

/// A line of the log.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Line<'a> {
    #[serde(serialize_with = "serialize_time")]
    time: DateTime<Utc>,
    /// The act's own: the same in all its lines.
    id: Uuid,
    #[serde(flatten)]
    who: &'a Who,
    act: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    target: Option<&'a str>,
    #[serde(skip_serializing_if = "is_empty")]
    parameters: &'a Value,
    outcome: Outcome,
    /// The code of the problem that the request was answered with.
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    request_id: Option<&'a str>,
}

fn is_empty(parameters: &Value) -> bool {
    parameters.is_null() || parameters.as_object().is_some_and(serde_json::Map::is_empty)
}

impl AuditLog {
    /// Returns the log in a file, which is created if it is missing, or one without a file.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn open(path: Option<PathBuf>) -> Result<Self, AuditError> {
        let Some(path) = path else { return Ok(Self::default()) };
        append(&path, b"").map_err(|source| AuditError { path: path.clone(), source })?;
        Ok(Self { path: Some(path.into()) })
    }

    /// Returns the record of an act.
    pub(crate) fn record(&self, act: &'static str, who: Who) -> Record {
        let log = self.clone();
        Record { log, id: Uuid::new_v4(), act, who, request_id: None, target: None, parameters: Value::Null }
    }
}

impl Record {
    /// Writes a line. Once this returns, the file has it, whatever happens to the machine.
    pub(crate) async fn write(&self, outcome: Outcome, code: Option<&'static str>) -> Result<(), AuditError> {
        let record = self.clone();
        let writing = tokio::task::spawn_blocking(move || record.write_now(outcome, code));
        match timeout(WRITE_TIME_MAX, writing).await {
            Ok(written) => written.unwrap_or_else(|error| Err(self.failed(io::Error::other(error)))),
            Err(_) => Err(self.failed(io::ErrorKind::TimedOut.into())),
        }
    }

    /// Writes a line, and waits for the disk.
    pub(crate) fn write_now(&self, outcome: Outcome, code: Option<&'static str>) -> Result<(), AuditError> {
        let line = self.line(outcome, code);
        self.log_line(&line);
        let Some(path) = &self.log.path else { return Ok(()) };
        let mut bytes = serde_json::to_vec(&line).map_err(|error| self.failed(error.into()))?;
        bytes.push(b'\n');
        append(path, &bytes).map_err(|source| self.failed(source))
    }

    /// Writes the line to the log of the process only: what anybody can cause must not fill a disk.
    pub(crate) fn log_only(&self, outcome: Outcome, code: Option<&'static str>) {
        self.log_line(&self.line(outcome, code));
    }

    fn line(&self, outcome: Outcome, code: Option<&'static str>) -> Line<'_> {
        Line {
            time: Utc::now(),
            id: self.id,
            who: &self.who,
            act: self.act,
            target: self.target.as_deref(),
            parameters: &self.parameters,
            outcome,
            code,
            request_id: self.request_id.as_deref(),
        }
    }

    fn log_line(&self, line: &Line<'_>) {
        let Who { user, key, address, system_user } = &self.who;
        tracing::info!(
            target: "audit",
            { audit.id = %line.id,
            audit.act = line.act,
            audit.subject = line.target,
            audit.parameters = %line.parameters,
            audit.outcome = ?line.outcome,
            audit.code = line.code,
            audit.user = user,
            audit.key = key,
            audit.address = address.map(tracing::field::display),
            audit.system_user = system_user,
            request.id = line.request_id },
            "an operator's act"
        );
    }

    fn failed(&self, source: io::Error) -> AuditError {
        let path = self.log.path.as_deref().unwrap_or_else(|| Path::new(""));
        let error = AuditError { path: path.to_owned(), source };
        tracing::error!(audit.id = %self.id, error = %chain(&error), "the audit log lacks a line");
        error
    }
}

/// Adds a line to a file and waits until the disk has it.
///
/// The file is opened for each line. Acts are rare, and so it may be moved away at any time, and several processes of a
/// machine may share it.
fn append(path: &Path, line: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().read(true).append(true).create(true).mode(0o600).open(path)?;
    file.lock()?;
    let length = file.seek(SeekFrom::End(0))?;
    // A process that died within a line, or a full disk, left no end of it.
    if length > 0 && !ends_a_line(&mut file)? {
        file.write_all(b"\n")?;
    }
    file.write_all(line)?;
    file.sync_data()?;
    if length == 0 {
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        File::open(folder.unwrap_or_else(|| Path::new(".")))?.sync_all()?;
    }
    Ok(())
}

fn ends_a_line(file: &mut File) -> io::Result<bool> {
    let mut last = [0];
    file.seek(SeekFrom::End(-1))?;
    file.read_exact(&mut last)?;
    Ok(last == *b"\n")
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn lines(path: &Path) -> Vec<Value> {
        let text = fs::read_to_string(path).unwrap();
        assert!(text.ends_with('\n'), "{text}");
        text.lines().map(|line| serde_json::from_str(line).unwrap_or(Value::Null)).collect()
    }

    #[test]
    fn an_act_has_a_line_for_each_step_in_a_file_of_its_owner() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.jsonl");
        let log = AuditLog::open(Some(path.clone())).unwrap();
        let user = Some("olga".to_owned());
        let mut record = log.record("halt", Who { user, ..Who::default() });
        record.parameters = serde_json::json!({"reason": "a test"});
        record.write_now(Outcome::Begun, None).unwrap();
        record.write_now(Outcome::Unknown, Some("store-unavailable")).unwrap();
        let lines = lines(&path);
        assert_eq!(lines.len(), 2);
        assert_eq!(lines[0]["id"], lines[1]["id"]);
        assert_eq!((&lines[0]["outcome"], &lines[1]["outcome"]), (&"begun".into(), &"unknown".into()));
        for line in &lines {
            assert_eq!((&line["user"], &line["act"]), (&"olga".into(), &"halt".into()));
            assert_eq!(line["parameters"]["reason"], "a test");
        }
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_torn_line_spoils_no_other() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.jsonl");
        fs::write(&path, "{\"time\":\"2026-").unwrap();
        let log = AuditLog::open(Some(path.clone())).unwrap();
        log.record("purge", Who::default()).write_now(Outcome::Done, None).unwrap();
        let lines = lines(&path);
        assert_eq!((lines.len(), &lines[0], &lines[1]["act"]), (2, &Value::Null, &"purge".into()));
    }

    #[test]
    fn lines_that_are_written_at_once_stay_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.jsonl");
        let log = AuditLog::open(Some(path.clone())).unwrap();
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| log.record("retry", Who::default()).write_now(Outcome::Done, None).unwrap());
            }
        });
        let lines = lines(&path);
        assert_eq!((lines.len(), lines.iter().all(|line| line["act"] == "retry")), (8, true));
    }

    #[test]
    fn a_file_that_is_moved_away_is_begun_anew() {
        let folder = tempfile::tempdir().unwrap();
        let (path, moved) = (folder.path().join("audit.jsonl"), folder.path().join("audit.1.jsonl"));
        let log = AuditLog::open(Some(path.clone())).unwrap();
        log.record("retry", Who::default()).write_now(Outcome::Done, None).unwrap();
        fs::rename(&path, &moved).unwrap();
        log.record("purge", Who::default()).write_now(Outcome::Done, None).unwrap();
        assert_eq!((&lines(&moved)[0]["act"], &lines(&path)[0]["act"]), (&"retry".into(), &"purge".into()));
        assert!(AuditLog::open(Some(folder.path().join("missing/audit.jsonl"))).is_err());
    }
}
