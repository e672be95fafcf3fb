//! A key in this process's memory.

use std::fmt;
use std::path::Path;

use async_trait::async_trait;
use order_engine_chain::{read_secret_file, read_secret_variable};
use solana_keypair::{Keypair, Signer as _};
use solana_pubkey::Pubkey;
use solana_signature::Signature;
use zeroize::Zeroizing;

use crate::keys::{KeyError, SignError, WalletSigner};

/// The bytes of a keypair: the secret, and the address that follows from it.
const KEYPAIR_BYTES: usize = 64;

/// Signs with a key that this process holds. Its memory is overwritten when it is dropped.
pub struct KeypairSigner {
    keypair: Keypair,
}

impl KeypairSigner {
    /// Returns a new wallet with a random key, which exists nowhere else.
    pub fn random() -> Self {
        Self { keypair: Keypair::new() }
    }

    /// Reads a key from a file as `solana-keygen` writes it: a JSON list of 64 bytes. Base58 is understood as well.
    ///
    /// # Errors
    /// If the file cannot be read, if others may read it, or if it is no key.
    pub fn from_file(path: impl AsRef<Path>) -> Result<Self, KeyError> {
        Self::from_text(&read_secret_file(path)?)
    }

    /// Reads a key from an environment variable: base58, or a JSON list of 64 bytes. Other processes of the same user can
    /// read it there; prefer a file or an external signer.
    ///
    /// # Errors
    /// If the variable is missing or is no key.
    pub fn from_env(variable: &str) -> Result<Self, KeyError> {
        Self::from_text(&read_secret_variable(variable)?)
    }

    /// Reads a key from a JSON list of 64 bytes or from base58.
    ///
    /// # Errors
    /// If it is no key.
    pub fn from_text(text: &str) -> Result<Self, KeyError> {
        let text = text.trim();
        let mut bytes = Zeroizing::new(Vec::with_capacity(KEYPAIR_BYTES));
        if let Some(list) = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            for number in list.split(',') {
                if bytes.len() == KEYPAIR_BYTES {
                    return Err(KeyError::Malformed);
                }
                bytes.push(number.trim().parse().map_err(|_| KeyError::Malformed)?);
            }
        } else {
            bytes.resize(KEYPAIR_BYTES, 0);
            let decoded = bs58::decode(text).onto(bytes.as_mut_slice());
            if decoded.ok() != Some(KEYPAIR_BYTES) {
                return Err(KeyError::Malformed);
            }
        }
        let keypair = Keypair::try_from(bytes.as_slice()).map_err(|_| KeyError::Malformed)?;
        Ok(Self { keypair })
    }
}

#[async_trait]
impl WalletSigner for KeypairSigner {
    fn address(&self) -> Pubkey {
        self.keypair.pubkey()
    }

    async fn sign(&self, message: &[u8]) -> Result<Signature, SignError> {
        Ok(self.keypair.sign_message(message))
    }
}

/// Shows the address only.
impl fmt::Debug for KeypairSigner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeypairSigner")
            .field("address", &format_args!("{}", self.keypair.pubkey()))
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The key whose secret is 32 times the number one, and its address.
    fn known() -> ([u8; 64], Pubkey) {
        let keypair = Keypair::new_from_array([1; 32]);
        (keypair.to_bytes(), keypair.pubkey())
    }

    #[test]
    fn a_key_is_read_from_json_and_from_base58() {
        let (bytes, address) = known();
        let json = serde_json::to_string(&bytes.to_vec()).unwrap();
        for text in [json.clone(), format!(" {json}\n"), bs58::encode(bytes).into_string()] {
            assert_eq!(KeypairSigner::from_text(&text).unwrap().address(), address);
        }
    }

    #[test]
    fn what_is_no_key_is_refused_without_being_shown() {
        let (mut bytes, _) = known();
        bytes[63] ^= 1;
        let mismatched = serde_json::to_string(&bytes.to_vec()).unwrap();
        let long = format!("[{}]", ["1"; 65].join(","));
        for text in ["", "[]", "[1,2]", "[1,,2]", "abc", "[256]", &mismatched, &long] {
            let error = KeypairSigner::from_text(text).unwrap_err();
            assert_eq!(error.to_string(), "the key is malformed");
            assert!(std::error::Error::source(&error).is_none());
        }
    }

    #[cfg(unix)]
    #[test]
    fn a_file_that_others_may_read_is_refused() {
        use std::os::unix::fs::PermissionsExt as _;

        let (bytes, address) = known();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("wallet.json");
        std::fs::write(&path, serde_json::to_string(&bytes.to_vec()).unwrap()).unwrap();
        for (mode, is_accepted) in [(0o600, true), (0o400, true), (0o640, false), (0o604, false)] {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            match KeypairSigner::from_file(&path) {
                Ok(signer) => assert!(is_accepted && signer.address() == address, "{mode:o}"),
                Err(error) => assert!(!is_accepted && matches!(error, KeyError::Exposed { .. }), "{mode:o}"),
            }
        }
        let missing = KeypairSigner::from_file(folder.path().join("none")).unwrap_err();
        assert!(matches!(missing, KeyError::Unreadable(_)), "{missing}");
    }

    #[tokio::test]
    async fn a_signature_is_valid_and_debug_shows_the_address_only() {
        let (bytes, address) = known();
        let signer = KeypairSigner::from_text(&bs58::encode(bytes).into_string()).unwrap();
        let signature = signer.sign(b"message").await.unwrap();
        assert!(signature.verify(address.as_ref(), b"message"));
        assert_eq!(format!("{signer:?}"), format!("KeypairSigner {{ address: {address}, .. }}"));
    }
}
