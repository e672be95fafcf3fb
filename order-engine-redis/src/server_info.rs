//! What a server reports about itself.

use std::collections::HashMap;

use order_engine_core::Durability;
use redis::aio::MultiplexedConnection;
use redis::{ErrorKind, RedisError, ServerErrorKind};

use crate::error::Error;

/// The oldest version with the commands and the script flags that are used.
const OLDEST_MAJOR_VERSION: u32 = 7;

/// A setting that a write needs to survive a loss of power.
#[derive(Clone, Copy, Debug)]
struct Setting {
    name: &'static str,
    value: &'static str,
    /// What happens with another value.
    otherwise: &'static str,
}

const DURABLE_SETTINGS: [Setting; 3] = [
    Setting { name: "appendonly", value: "yes", otherwise: "writes are in no file" },
    Setting {
        name: "appendfsync",
        value: "always",
        otherwise: "writes are answered before they are on the disk",
    },
    // With another value nothing is synced while a background save runs, not even under `appendfsync always`.
    Setting {
        name: "no-appendfsync-on-rewrite",
        value: "no",
        otherwise: "writes are answered before they are on the disk during a rewrite",
    },
];

/// The commands after which a server may write its first append-only file. Until that file is complete, the
/// list of files does not name it. `SHUTDOWN` and a start with other settings are not among them, because they
/// complete the file first.
const INTERVENTIONS: [&str; 5] = ["config|set", "config|resetstat", "replicaof", "slaveof", "psync"];

/// The state of a server that was fully durable, by which a later look sees whether an intervention came
/// since.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Baseline {
    /// Distinguishes this run of the server from others.
    run_id: String,
    /// How many [`INTERVENTIONS`] there were until then.
    interventions: u64,
}

/// What a write survives.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct FoundDurability {
    pub(crate) durability: Durability,
    /// Why a write may not survive everything, and what to do about it.
    pub(crate) weakness: Option<String>,
}

/// What a server reports about itself.
#[derive(Debug)]
pub(crate) struct ServerInfo {
    info: HashMap<String, String>,
    /// The settings; none if the user may not read them.
    config: Option<HashMap<String, String>>,
}

impl ServerInfo {
    /// Reads what a server reports.
    pub(crate) async fn read(connection: &mut MultiplexedConnection) -> Result<Self, Error> {
        let mut get = redis::cmd("CONFIG");
        get.arg("GET").arg(&DURABLE_SETTINGS.map(|setting| setting.name));
        let config = match get.query_async(connection).await {
            Ok(config) => Some(config),
            Err(error) if is_forbidden(&error) => None,
            Err(error) => return Err(error.into()),
        };
        // This comes after the settings, so that at least one command is counted.
        let info: String =
            redis::cmd("INFO").arg("default").arg("commandstats").query_async(connection).await?;
        Ok(Self { info: parse_info(&info), config })
    }

    /// Returns a field of INFO, which is empty if it is missing.
    fn info(&self, name: &str) -> &str {
        self.info.get(name).map_or("", String::as_str)
    }

    /// Checks that the server can keep orders at all.
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
        // Any other policy is refused even without `maxmemory`, which can be set at any time.
        let policy = self.info("maxmemory_policy");
        if policy != "noeviction" {
            return Err(Error::Misconfigured(format!(
                "with 'maxmemory-policy {policy}' it may drop orders: set 'maxmemory-policy noeviction'"
            )));
        }
        if self.info("role") == "slave" { Err(Error::Replica) } else { Ok(()) }
    }

    /// Returns how many [`INTERVENTIONS`] there were, or nothing if the server does not count calls.
    fn interventions(&self) -> Option<u64> {
        let calls = |command: &str| {
            let counted = self.info(&format!("cmdstat_{command}")).strip_prefix("calls=")?;
            counted.split(',').next()?.parse::<u64>().ok()
        };
        calls("config|get")?;
        Some(INTERVENTIONS.iter().filter_map(|command| calls(command)).sum())
    }

    /// Returns whether the first append-only file may not be complete yet. The server reports that a rewrite
    /// runs, but not which one. It is an ordinary one only if nothing can have begun a first one since the
    /// start of the server, or since the baseline.
    fn may_lack_its_file(&self, baseline: Option<&Baseline>) -> bool {
        let is_rewritten =
            self.info("aof_rewrite_in_progress") != "0" || self.info("aof_rewrite_scheduled") != "0";
        let is_ordinary = self.interventions() == Some(0)
            || baseline.is_some_and(|baseline| self.baseline().as_ref() == Some(baseline));
        is_rewritten && !is_ordinary
    }

    /// Returns the state of the server, for a later look if the server is fully durable now.
    pub(crate) fn baseline(&self) -> Option<Baseline> {
        let run_id = self.info("run_id").to_owned();
        self.interventions().map(|interventions| Baseline { run_id, interventions })
    }

    /// Returns what a write survives. The baseline is the server as it was when it was last fully durable.
    pub(crate) fn durability(&self, baseline: Option<&Baseline>) -> FoundDurability {
        let weaknesses = self.weaknesses(baseline);
        if weaknesses.is_empty() {
            FoundDurability { durability: Durability::Full, weakness: None }
        } else {
            let weakness = Some(weaknesses.join("; "));
            FoundDurability { durability: Durability::BoundedLoss, weakness }
        }
    }

    fn weaknesses(&self, baseline: Option<&Baseline>) -> Vec<String> {
        let Some(config) = &self.config else {
            return vec![
                "CONFIG GET is forbidden, so it is unknown whether writes are on the disk".to_owned(),
            ];
        };
        let is_wrong =
            |setting: &&Setting| config.get(setting.name).is_none_or(|found| found != setting.value);
        let mut weaknesses: Vec<String> = DURABLE_SETTINGS
            .iter()
            .filter(is_wrong)
            .map(|Setting { name, value, otherwise }| format!("{otherwise}: set '{name} {value}'"))
            .collect();
        if self.info("connected_slaves") != "0" {
            weaknesses
                .push("a replica that is promoted lacks the last writes: detach its replicas".to_owned());
        }
        if weaknesses.is_empty() && self.may_lack_its_file(baseline) {
            weaknesses.push(
                "the append-only file may be written for the first time, and counts only when it is complete: \
                 wait until the rewrite is over ('aof_rewrite_in_progress' of INFO is 0)"
                    .to_owned(),
            );
        }
        weaknesses
    }
}

/// Returns whether the user may not call a command, or the operator renamed or removed it.
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

    fn server(info: &[(&str, &str)], config: Option<&[(&str, &str)]>) -> ServerInfo {
        let healthy = "# Server\r\nredis_version:7.0.15\r\nrole:master\r\nmaxmemory_policy:noeviction\r\n\
            cluster_enabled:0\r\nrun_id:a\r\nconnected_slaves:0\r\naof_rewrite_in_progress:0\r\n\
            aof_rewrite_scheduled:0\r\ncmdstat_config|get:calls=1,usec=1\r\n";
        let lines = info.iter().map(|(name, value)| format!("{name}:{value}\r\n"));
        let text: String = std::iter::once(healthy.to_owned()).chain(lines).collect();
        let config = config.map(|settings| {
            settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
        });
        ServerInfo { info: parse_info(&text), config }
    }

    fn full_settings() -> [(&'static str, &'static str); 3] {
        DURABLE_SETTINGS.map(|setting| (setting.name, setting.value))
    }

    #[test]
    fn a_healthy_server_is_accepted() {
        assert!(server(&[], None).check().is_ok());
    }

    #[test]
    fn a_refusal_names_the_setting_to_change() {
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
        let full = full_settings();
        let fully_durable = FoundDurability { durability: Durability::Full, weakness: None };
        assert_eq!(server(&[], Some(&full)).durability(None), fully_durable);
        for n in 0..full.len() {
            let mut settings = full;
            settings[n].1 = "everysec";
            let FoundDurability { durability, weakness } = server(&[], Some(&settings)).durability(None);
            assert_eq!(durability, Durability::BoundedLoss);
            let advice = format!("set '{} {}'", full[n].0, full[n].1);
            assert!(weakness.as_ref().unwrap().contains(&advice), "{weakness:?}");
        }
        let FoundDurability { durability, weakness } = server(&[], None).durability(None);
        assert_eq!(durability, Durability::BoundedLoss);
        assert!(weakness.unwrap().contains("CONFIG GET is forbidden"));
    }

    #[test]
    fn replicas_weaken_durability() {
        let full = full_settings();
        let FoundDurability { durability, weakness } =
            server(&[("connected_slaves", "1")], Some(&full)).durability(None);
        assert_eq!(durability, Durability::BoundedLoss);
        assert!(weakness.as_ref().unwrap().contains("detach its replicas"), "{weakness:?}");
    }

    #[test]
    fn a_rewrite_weakens_durability_unless_it_cannot_be_the_first() {
        let full = full_settings();
        let found = |info: &[(&str, &str)], baseline: Option<&Baseline>| {
            server(info, Some(&full)).durability(baseline).durability
        };
        let set = ("cmdstat_config|set", "calls=2,usec=5");
        let baseline = server(&[set], Some(&full)).baseline();
        assert_eq!(found(&[set], None), Durability::Full);
        for rewrite in [("aof_rewrite_in_progress", "1"), ("aof_rewrite_scheduled", "1")] {
            assert_eq!(found(&[rewrite], None), Durability::Full);
            assert_eq!(found(&[rewrite, set], None), Durability::BoundedLoss);
            assert_eq!(found(&[rewrite, set], baseline.as_ref()), Durability::Full);
            let again = ("cmdstat_config|set", "calls=3,usec=5");
            let counted_anew = ("cmdstat_config|resetstat", "calls=1,usec=5");
            let restarted = ("run_id", "b");
            let promoted = ("cmdstat_replicaof", "calls=1,usec=5");
            let uncounted = ("cmdstat_config|get", "");
            for changed in [again, counted_anew, restarted, promoted, uncounted] {
                assert_eq!(found(&[rewrite, set, changed], baseline.as_ref()), Durability::BoundedLoss);
            }
        }
    }
}
