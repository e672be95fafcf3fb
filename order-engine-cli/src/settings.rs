//! Where the server is, and the key: from flags, the environment, and a file.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::args::Connection;
use crate::failure::Failure;
use crate::secret::Secret;

const URL_DEFAULT: &str = "http://127.0.0.1:3000";

/// What a client needs to know.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) url: String,
    pub(crate) key: Option<Secret>,
    pub(crate) may_send_key_in_the_clear: bool,
}

/// What the file may have.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    url: Option<String>,
    key: Option<Secret>,
    /// A file with the key alone, beside this one if the path is relative.
    #[serde(rename = "key_file")]
    key_from: Option<PathBuf>,
}

/// Reads the settings. clap has read the flags, and the environment where there are none.
pub(crate) fn read(connection: &Connection) -> Result<Settings, Failure> {
    let file = match &connection.config {
        Some(path) => read_file(path)?,
        None => default_path()
            .filter(|path| path.exists())
            .map_or_else(|| Ok(File::default()), |path| read_file(&path))?,
    };
    let set = |text: &String| !text.trim().is_empty();
    let url = connection.url.clone().filter(set).or(file.url);
    let key = connection.key.clone().filter(|key| !key.is_empty()).or(file.key);
    Ok(Settings {
        url: url.unwrap_or_else(|| URL_DEFAULT.to_owned()),
        key,
        may_send_key_in_the_clear: connection.insecure_http,
    })
}

fn default_path() -> Option<PathBuf> {
    let set = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let folder = set("XDG_CONFIG_HOME").or_else(|| Some(set("HOME")?.join(".config")))?;
    Some(folder.join("order-engine/cli.toml"))
}

fn read_file(path: &Path) -> Result<File, Failure> {
    let failed = |error: io::Error| Failure::Usage(format!("cannot read {}: {error}", path.display()));
    let text = fs::read_to_string(path).map_err(failed)?;
    // The parser's own message would show the line, which may have the key.
    let mut file: File = toml::from_str(&text).map_err(|_| {
        Failure::Usage(format!("{} must have url, and key or key_file, and nothing else", path.display()))
    })?;
    if file.key.is_some() {
        check_private(path)?;
    }
    if let Some(key_file) = file.key_from.take() {
        if file.key.is_some() {
            return Err(Failure::Usage(format!("{} has both key and key_file", path.display())));
        }
        let key_file = path.parent().map_or_else(|| key_file.clone(), |folder| folder.join(&key_file));
        let failed = |error| Failure::Usage(format!("cannot read {}: {error}", key_file.display()));
        let key = fs::read_to_string(&key_file).map_err(failed)?;
        check_private(&key_file)?;
        file.key = Some(Secret::new(&key));
    }
    Ok(file)
}

/// Checks that only its owner reads a file that has a key.
fn check_private(path: &Path) -> Result<(), Failure> {
    let failed = |error| Failure::Usage(format!("cannot read {}: {error}", path.display()));
    let mode = fs::metadata(path).map_err(failed)?.permissions().mode();
    let of_others = 0o077;
    if mode & of_others == 0 {
        return Ok(());
    }
    let path = path.display();
    Err(Failure::Usage(format!("{path} has a key, and others may read it: chmod 600 {path}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connection(path: &Path) -> Connection {
        Connection { config: Some(path.to_owned()), ..Connection::default() }
    }

    fn write(path: &Path, text: &str, mode: u32) {
        fs::write(path, text).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn flags_come_before_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("cli.toml");
        write(&path, "url = \"http://there:1\"\nkey_file = \"key\"\n", 0o644);
        write(&folder.path().join("key"), "oek_file\n", 0o600);
        let settings = read(&connection(&path)).unwrap();
        assert_eq!((settings.url.as_str(), settings.key.unwrap().reveal()), ("http://there:1", "oek_file"));
        let url = Some("http://here:2".to_owned());
        let settings = read(&Connection { url, ..connection(&path) }).unwrap();
        assert_eq!((settings.url.as_str(), settings.key.unwrap().reveal()), ("http://here:2", "oek_file"));
    }

    #[test]
    fn a_key_that_others_may_read_is_refused_and_never_shown() {
        const KEY: &str = "oek_planted-canary";
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("cli.toml");
        for (text, mode) in [
            (format!("key = \"{KEY}\""), 0o644),
            (format!("key = \"{KEY}"), 0o600),
            (format!("kei = \"{KEY}\""), 0o600),
            (format!("key = \"{KEY}\"\nkey_file = \"x\""), 0o600),
        ] {
            write(&path, &text, mode);
            let failure = read(&connection(&path)).unwrap_err();
            assert_eq!(failure.exit_code(), 2);
            assert!(!format!("{failure} {failure:?}").contains(KEY), "{failure}");
        }
        write(&path, &format!("key = \"{KEY}\""), 0o600);
        let settings = read(&connection(&path)).unwrap();
        assert!(!format!("{settings:?}").contains(KEY));
        assert_eq!(settings.key.unwrap().reveal(), KEY);
    }
}
