//! The settings that all clients share: of the environment, and of a file.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::error::Error;
use crate::secret::Secret;
use crate::settings::Settings;

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

impl Settings {
    /// Reads `ORDER_ENGINE_URL` and `ORDER_ENGINE_KEY`, and what they leave open from the TOML file that `ORDER_ENGINE_CONFIG` names,
    /// or from `order-engine/cli.toml` in `$XDG_CONFIG_HOME` or `~/.config`, if it is there.
    ///
    /// The file may have `url`, and `key` or `key_file`. A file with a key must be its owner's alone.
    pub fn from_env() -> Result<Self, Error> {
        let text = |name: &str| std::env::var(name).ok();
        Self::read(
            text("ORDER_ENGINE_URL"),
            text("ORDER_ENGINE_KEY").map(|key| Secret::new(&key)),
            variable("ORDER_ENGINE_CONFIG").as_deref(),
        )
    }

    /// Returns settings of a URL and a key, where they are given, and of the file: the named one, or the usual one if it is there.
    pub fn read(url: Option<String>, key: Option<Secret>, config: Option<&Path>) -> Result<Self, Error> {
        let file = match config {
            Some(path) => read_file(path)?,
            None => default_path()
                .filter(|path| path.exists())
                .map_or_else(|| Ok(File::default()), |path| read_file(&path))?,
        };
        let url = url.filter(|text| !text.trim().is_empty()).or(file.url);
        let key = key.filter(|key| !key.is_empty()).or(file.key);
        Ok(Self { key, ..url.map(Self::new).unwrap_or_default() })
    }
}

fn variable(name: &str) -> Option<PathBuf> {
    std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from)
}

fn default_path() -> Option<PathBuf> {
    let folder = variable("XDG_CONFIG_HOME").or_else(|| Some(variable("HOME")?.join(".config")))?;
    Some(folder.join("order-engine/cli.toml"))
}

fn read_file(path: &Path) -> Result<File, Error> {
    let failed = |error: io::Error| Error::Settings(format!("cannot read {}: {error}", path.display()));
    let text = fs::read_to_string(path).map_err(failed)?;
    // The parser's own message would show the line, which may have the key.
    let mut file: File = toml::from_str(&text).map_err(|_| {
        Error::Settings(format!("{} must have url, and key or key_file, and nothing else", path.display()))
    })?;
    if file.key.is_some() {
        check_private(path)?;
    }
    if let Some(key_file) = file.key_from.take() {
        if file.key.is_some() {
            return Err(Error::Settings(format!("{} has both key and key_file", path.display())));
        }
        let key_file = path.parent().map_or_else(|| key_file.clone(), |folder| folder.join(&key_file));
        let failed = |error| Error::Settings(format!("cannot read {}: {error}", key_file.display()));
        let key = fs::read_to_string(&key_file).map_err(failed)?;
        check_private(&key_file)?;
        file.key = Some(Secret::new(&key));
    }
    Ok(file)
}

/// Checks that only its owner reads a file that has a key, where files have such owners.
#[cfg(not(unix))]
#[allow(clippy::unnecessary_wraps, reason = "elsewhere it may fail")]
fn check_private(_: &Path) -> Result<(), Error> {
    Ok(())
}

/// Checks that only its owner reads a file that has a key.
#[cfg(unix)]
fn check_private(path: &Path) -> Result<(), Error> {
    use std::os::unix::fs::PermissionsExt as _;

    let failed = |error| Error::Settings(format!("cannot read {}: {error}", path.display()));
    let mode = fs::metadata(path).map_err(failed)?.permissions().mode();
    let of_others = 0o077;
    if mode & of_others == 0 {
        return Ok(());
    }
    let path = path.display();
    Err(Error::Settings(format!("{path} has a key, and others may read it: chmod 600 {path}")))
}

#[cfg(all(test, unix))]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn write(path: &Path, text: &str, mode: u32) {
        fs::write(path, text).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn what_is_given_comes_before_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("cli.toml");
        write(&path, "url = \"http://there:1\"\nkey_file = \"key\"\n", 0o644);
        write(&folder.path().join("key"), "oek_file\n", 0o600);
        let settings = Settings::read(None, None, Some(&path)).unwrap();
        assert_eq!((settings.url(), settings.key().unwrap().reveal()), ("http://there:1", "oek_file"));
        let settings = Settings::read(Some("http://here:2".to_owned()), None, Some(&path)).unwrap();
        assert_eq!((settings.url(), settings.key().unwrap().reveal()), ("http://here:2", "oek_file"));
        let settings = Settings::read(Some(" ".to_owned()), Some(Secret::new("oek_x")), Some(&path)).unwrap();
        assert_eq!((settings.url(), settings.key().unwrap().reveal()), ("http://there:1", "oek_x"));
    }

    #[test]
    fn a_key_that_others_may_read_is_refused_and_never_shown() {
        const KEY: &str = "oek_planted-canary";
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("cli.toml");
        let read = || Settings::read(None, None, Some(&path));
        for (text, mode) in [
            (format!("key = \"{KEY}\""), 0o644),
            (format!("key = \"{KEY}"), 0o600),
            (format!("kei = \"{KEY}\""), 0o600),
            (format!("key = \"{KEY}\"\nkey_file = \"x\""), 0o600),
        ] {
            write(&path, &text, mode);
            let error = read().unwrap_err();
            assert!(matches!(error, Error::Settings(_)));
            assert!(!format!("{error} {error:?}").contains(KEY), "{error}");
        }
        write(&path, &format!("key = \"{KEY}\""), 0o600);
        let settings = read().unwrap();
        assert!(!format!("{settings:?}").contains(KEY));
        assert_eq!(settings.key().unwrap().reveal(), KEY);
    }
}
