//! Secrets from files and the environment.

use std::path::Path;

use zeroize::Zeroizing;

use crate::keys::KeyError;

/// Reads a secret from a file that nobody but its owner may read. The memory is overwritten when it is dropped.
///
/// # Errors
/// If the file cannot be read or is not text, or if others may read it. Where files have no such permissions, they are not checked.
pub fn read_secret_file(path: impl AsRef<Path>) -> Result<Zeroizing<String>, KeyError> {
    let path = path.as_ref();
    check_mode(path)?;
    std::fs::read_to_string(path).map(Zeroizing::new).map_err(KeyError::Unreadable)
}

/// Reads a secret from an environment variable. Other processes of the same user can read it there; prefer a file or an external
/// signer.
///
/// # Errors
/// If the variable is missing or is not text.
pub fn read_secret_variable(variable: &str) -> Result<Zeroizing<String>, KeyError> {
    std::env::var(variable).map(Zeroizing::new).map_err(|_| KeyError::NoVariable(variable.to_owned()))
}

#[cfg(unix)]
fn check_mode(path: &Path) -> Result<(), KeyError> {
    use std::os::unix::fs::PermissionsExt as _;

    let mode = std::fs::metadata(path).map_err(KeyError::Unreadable)?.permissions().mode() & 0o777;
    let of_others = mode % 0o100;
    if of_others == 0 { Ok(()) } else { Err(KeyError::Exposed { mode }) }
}

#[cfg(not(unix))]
fn check_mode(_path: &Path) -> Result<(), KeyError> {
    Ok(())
}

#[cfg(all(test, unix))]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_file_that_others_may_read_is_no_secret() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(&file, "secret").unwrap();
        for (mode, is_read) in [(0o600, true), (0o400, true), (0o640, false), (0o604, false), (0o610, false)]
        {
            std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).unwrap();
            match read_secret_file(&file) {
                Ok(secret) => assert!(is_read && *secret == "secret", "{mode:o}"),
                Err(KeyError::Exposed { mode: found }) => assert!(!is_read && found == mode, "{mode:o}"),
                Err(error) => panic!("{error}"),
            }
        }
        let missing = read_secret_file(file.path().join("missing")).unwrap_err();
        assert!(matches!(missing, KeyError::Unreadable(_)), "{missing}");
    }

    #[test]
    fn a_missing_variable_is_named() {
        let error = read_secret_variable("ORDER_ENGINE_NO_SUCH_SECRET").unwrap_err();
        assert!(error.to_string().contains("ORDER_ENGINE_NO_SUCH_SECRET"));
    }
}
