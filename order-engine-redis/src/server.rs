//! What a server says of itself.

use std::collections::HashMap;

use order_engine_core::Durability;
use redis::aio::MultiplexedConnection;
use redis::{ErrorKind, RedisError, ServerErrorKind};

use crate::error::Error;

/// The oldest version with the commands and the script flags that are used.
const OLDEST_MAJOR_VERSION: u32 = 7;

/// The settings on which durability rests, and what each must be for a write to survive a loss of power.
const FULL: [(&str, &str, &str); 3] = [
    ("appendonly", "yes", "writes are in no file"),
    ("appendfsync", "always", "writes are told before they are on the disk"),
    // With it, nothing is synced while a background save runs, not even under `appendfsync always`.
    ("no-appendfsync-on-rewrite", "no", "writes are told before they are on the disk during a rewrite"),
];

/// The commands after which a server may write its first append-only file: until that is whole, the list of
/// files does not name it. `SHUTDOWN` and a start with other settings need no word here, as they write it first.
const INTERVENTIONS: [&str; 5] = ["config|set", "config|resetstat", "replicaof", "slaveof", "psync"];

/// A moment at which a server promised everything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sighting {
    /// Tells this run of the server from others.
    run_id: String,
    /// How often one of the [`INTERVENTIONS`] was called until then.
    interventions: u64,
}

/// What a server told.
#[derive(Debug)]
pub(crate) struct Server {
    info: HashMap<String, String>,
    /// The settings; none where reading them is forbidden.
    config: Option<HashMap<String, String>>,
}

impl Server {
    /// Asks a server.
    pub(crate) async fn ask(connection: &mut MultiplexedConnection) -> Result<Self, Error> {
        let mut ask = redis::cmd("CONFIG");
        ask.arg("GET");
        for (setting, ..) in FULL {
            ask.arg(setting);
        }
        let config = match ask.query_async(connection).await {
            Ok(config) => Some(config),
            Err(error) if is_forbidden(&error) => None,
            Err(error) => return Err(error.into()),
        };
        // After the settings, so that at least one command is counted.
        let info: String =
            redis::cmd("INFO").arg("default").arg("commandstats").query_async(connection).await?;
        Ok(Self { info: parse_info(&info), config })
    }

    fn info(&self, name: &str) -> &str {
        self.info.get(name).map_or("", String::as_str)
    }

    /// Checks that orders can be kept there at all.
    pub(crate) fn check(&self) -> Result<(), Error> {
        let version = self.info("redis_version");
        let major = version.split('.').next().and_then(|major| major.parse::<u32>().ok());
        if major.is_none_or(|major| major < OLDEST_MAJOR_VERSION) {
            return Err(Error::Misconfigured(format!(
                "it has version '{version}', and Redis 7.0 or Valkey is needed"
            )));
        }
        if self.info("cluster_enabled") == "1" {
            return Err(Error::Misconfigured(
                "it is part of a cluster, and orders need one Redis server: set 'cluster-enabled no'"
                    .to_owned(),
            ));
        }
        // Any other policy is refused whatever `maxmemory` is, which can be changed while nobody looks.
        let policy = self.info("maxmemory_policy");
        if policy != "noeviction" {
            return Err(Error::Misconfigured(format!(
                "with 'maxmemory-policy {policy}' it may drop orders: set 'maxmemory-policy noeviction'"
            )));
        }
        self.check_is_primary()
    }

    /// Checks that the server takes writes.
    pub(crate) fn check_is_primary(&self) -> Result<(), Error> {
        if self.info("role") == "slave" { Err(Error::Replica) } else { Ok(()) }
    }

    /// How often a command was called that can begin a first append-only file; nothing where calls are not
    /// counted.
    fn interventions(&self) -> Option<u64> {
        let calls = |command: &str| {
            let counted = self.info(&format!("cmdstat_{command}")).strip_prefix("calls=")?;
            counted.split(',').next()?.parse::<u64>().ok()
        };
        calls("config|get")?;
        Some(INTERVENTIONS.iter().filter_map(|command| calls(command)).sum())
    }

    /// Whether the first append-only file may still be written. The server tells that a rewrite runs, but not
    /// which: it is an ordinary one only if nothing could begin a first one since the start of the server, or
    /// since it was last seen sound.
    fn may_lack_its_file(&self, sound: Option<&Sighting>) -> bool {
        let is_rewritten =
            self.info("aof_rewrite_in_progress") != "0" || self.info("aof_rewrite_scheduled") != "0";
        let is_ordinary = self.interventions() == Some(0)
            || sound.is_some_and(|sound| self.sighting().as_ref() == Some(sound));
        is_rewritten && !is_ordinary
    }

    /// This moment, to be remembered if the server promises everything now.
    pub(crate) fn sighting(&self) -> Option<Sighting> {
        let run_id = self.info("run_id").to_owned();
        self.interventions().map(|interventions| Sighting { run_id, interventions })
    }

    /// What a write survives, and if that is not everything, why. Who has seen the server promise everything
    /// before says when.
    pub(crate) fn durability(&self, sound: Option<&Sighting>) -> (Durability, Option<String>) {
        let Some(config) = &self.config else {
            let why = "CONFIG GET is forbidden, so nobody knows whether writes are on the disk";
            return (Durability::BoundedLoss, Some(why.to_owned()));
        };
        let is_wrong = |(setting, wanted, _): &&(&str, &str, &str)| {
            config.get(*setting).is_none_or(|found| found != wanted)
        };
        let mut wrong: Vec<String> = FULL
            .iter()
            .filter(is_wrong)
            .map(|(setting, wanted, why)| format!("{why}: set '{setting} {wanted}'"))
            .collect();
        if self.info("connected_slaves") != "0" {
            wrong.push("a replica that is promoted lacks the last writes: detach its replicas".to_owned());
        }
        if wrong.is_empty() && self.may_lack_its_file(sound) {
            wrong.push(
                "the append-only file may be written for the first time, and counts only when it is whole: \
                 wait until the rewrite is over ('aof_rewrite_in_progress' of INFO is 0)"
                    .to_owned(),
            );
        }
        if wrong.is_empty() {
            (Durability::Full, None)
        } else {
            (Durability::BoundedLoss, Some(wrong.join("; ")))
        }
    }
}

/// Whether a command is not allowed, or was renamed or removed by whoever runs the server.
fn is_forbidden(error: &RedisError) -> bool {
    match error.kind() {
        ErrorKind::Server(ServerErrorKind::NoPerm) => true,
        ErrorKind::Server(ServerErrorKind::ResponseError) => {
            error.detail().is_some_and(|detail| detail.starts_with("unknown command"))
        }
        _ => false,
    }
}

fn parse_info(text: &str) -> HashMap<String, String> {
    let fields = text.lines().filter_map(|line| line.split_once(':'));
    fields.map(|(name, value)| (name.to_owned(), value.trim_end().to_owned())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(info: &[(&str, &str)], config: Option<&[(&str, &str)]>) -> Server {
        let sound = "# Server\r\nredis_version:7.0.15\r\nrole:master\r\nmaxmemory_policy:noeviction\r\n\
            cluster_enabled:0\r\nrun_id:a\r\nconnected_slaves:0\r\naof_rewrite_in_progress:0\r\n\
            aof_rewrite_scheduled:0\r\ncmdstat_config|get:calls=1,usec=1\r\n";
        let lines = info.iter().map(|(name, value)| format!("{name}:{value}\r\n"));
        let text: String = std::iter::once(sound.to_owned()).chain(lines).collect();
        let config = config.map(|settings| {
            settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
        });
        Server { info: parse_info(&text), config }
    }

    #[test]
    fn a_sound_server_is_taken() {
        assert!(server(&[], None).check().is_ok());
    }

    #[test]
    fn what_is_wrong_with_a_server_is_said_with_what_to_set() {
        for (name, value, words) in [
            ("redis_version", "6.2.14", "Redis 7.0"),
            ("cluster_enabled", "1", "cluster-enabled no"),
            ("maxmemory_policy", "allkeys-lru", "maxmemory-policy noeviction"),
            ("maxmemory_policy", "volatile-ttl", "maxmemory-policy noeviction"),
        ] {
            let error = server(&[(name, value)], None).check().unwrap_err();
            assert!(matches!(&error, Error::Misconfigured(message) if message.contains(words)), "{error}");
        }
        assert!(matches!(server(&[("role", "slave")], None).check(), Err(Error::Replica)));
    }

    #[test]
    fn durability_is_full_only_if_every_setting_says_so() {
        let full = FULL.map(|(setting, wanted, _)| (setting, wanted));
        assert_eq!(server(&[], Some(&full)).durability(None), (Durability::Full, None));
        for n in 0..full.len() {
            let mut settings = full;
            settings[n].1 = "everysec";
            let (durability, why) = server(&[], Some(&settings)).durability(None);
            assert_eq!(durability, Durability::BoundedLoss);
            let advice = format!("set '{} {}'", full[n].0, full[n].1);
            assert!(why.as_ref().unwrap().contains(&advice), "{why:?}");
        }
        let (durability, why) = server(&[], None).durability(None);
        assert_eq!(durability, Durability::BoundedLoss);
        assert!(why.unwrap().contains("CONFIG GET is forbidden"));
    }
    #[test]
    fn replicas_weaken_the_promise() {
        let full = FULL.map(|(setting, wanted, _)| (setting, wanted));
        let (durability, why) = server(&[("connected_slaves", "1")], Some(&full)).durability(None);
        assert_eq!(durability, Durability::BoundedLoss);
        assert!(why.as_ref().unwrap().contains("detach its replicas"), "{why:?}");
    }

    #[test]
    fn a_rewrite_weakens_the_promise_unless_it_cannot_be_the_first() {
        let full = FULL.map(|(setting, wanted, _)| (setting, wanted));
        let found =
            |info: &[(&str, &str)], sound: Option<&Sighting>| server(info, Some(&full)).durability(sound).0;
        let set = ("cmdstat_config|set", "calls=2,usec=5");
        let sound = server(&[set], Some(&full)).sighting();
        assert_eq!(found(&[set], None), Durability::Full);
        for rewrite in [("aof_rewrite_in_progress", "1"), ("aof_rewrite_scheduled", "1")] {
            assert_eq!(found(&[rewrite], None), Durability::Full);
            assert_eq!(found(&[rewrite, set], None), Durability::BoundedLoss);
            assert_eq!(found(&[rewrite, set], sound.as_ref()), Durability::Full);
            let again = ("cmdstat_config|set", "calls=3,usec=5");
            let counted_anew = ("cmdstat_config|resetstat", "calls=1,usec=5");
            let restarted = ("run_id", "b");
            let promoted = ("cmdstat_replicaof", "calls=1,usec=5");
            let uncounted = ("cmdstat_config|get", "");
            for changed in [again, counted_anew, restarted, promoted, uncounted] {
                assert_eq!(found(&[rewrite, set, changed], sound.as_ref()), Durability::BoundedLoss);
            }
        }
    }
}
