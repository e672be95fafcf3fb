//! A key in this process's memory.

use std::fmt;
use std::path::Path;

use alloy_primitives::{Address, Signature, keccak256};
use async_trait::async_trait;
use k256::ecdsa::SigningKey;
use order_engine_chain::{read_secret_file, read_secret_variable};
use zeroize::Zeroizing;

use crate::keys::keystore::{self, KEY_BYTES};
use crate::keys::{KeyError, SignError, WalletSigner};

/// Signs with a key that this process holds. Its memory is overwritten when it is dropped.
pub struct LocalSigner {
    key: SigningKey,
    address: Address,
}

impl LocalSigner {
    /// Reads a key from an encrypted file as `geth` and others write it (Web3 Secret Storage, version 3). It takes about a second of
    /// processor time, on purpose of the format.
    ///
    /// # Errors
    /// If the file cannot be read or others may read it, if the password does not open it, or if it has another format.
    pub fn from_keystore(path: impl AsRef<Path>, password: &str) -> Result<Self, KeyError> {
        let text = read_secret_file(path)?;
        Self::from_bytes(&*keystore::decrypt(&text, password.as_bytes())?)
    }

    /// Reads a key from an environment variable: 64 hexadecimal digits. Other processes of the same user can read it there;
    /// prefer a file or an external signer.
    ///
    /// # Errors
    /// If the variable is missing or is no key.
    pub fn from_env(variable: &str) -> Result<Self, KeyError> {
        Self::from_text(&read_secret_variable(variable)?)
    }

    /// Reads a key from 64 hexadecimal digits, with or without `0x` before them.
    ///
    /// # Errors
    /// If it is no key.
    pub fn from_text(text: &str) -> Result<Self, KeyError> {
        let text = text.trim();
        let mut bytes = Zeroizing::new([0_u8; KEY_BYTES]);
        alloy_primitives::hex::decode_to_slice(text, &mut *bytes).map_err(|_| KeyError::Malformed)?;
        Self::from_bytes(&bytes)
    }

    /// Reads a key from its bytes, the highest one first.
    ///
    /// # Errors
    /// If it is zero, or not below the order of the curve.
    pub fn from_bytes(bytes: &[u8; KEY_BYTES]) -> Result<Self, KeyError> {
        let key = SigningKey::from_slice(bytes).map_err(|_| KeyError::Malformed)?;
        let address = Address::from_public_key(key.verifying_key());
        Ok(Self { key, address })
    }
}

#[async_trait]
impl WalletSigner for LocalSigner {
    fn address(&self) -> Address {
        self.address
    }

    async fn sign(&self, message: &[u8]) -> Result<Signature, SignError> {
        let signed = self.key.sign_prehash_recoverable(keccak256(message).as_slice());
        Ok(Signature::from(signed.map_err(|_| SignError::Invalid)?))
    }
}

/// Shows the address only.
impl fmt::Debug for LocalSigner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LocalSigner")
            .field("address", &format_args!("{}", self.address))
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first account of the mnemonic with which every development node starts.
    const KEY: &str = "0xac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80";
    const ADDRESS: &str = "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266";

    #[test]
    fn a_key_is_read_with_or_without_its_prefix() {
        for text in [KEY, &KEY[2..], &format!(" {KEY}\n")] {
            assert_eq!(LocalSigner::from_text(text).unwrap().address().to_string(), ADDRESS);
        }
    }

    #[test]
    fn what_is_no_key_is_refused_without_being_shown() {
        let zero = "0".repeat(64);
        for text in ["", "0x", &KEY[..60], &zero, &"f".repeat(64), "not a key"] {
            let error = LocalSigner::from_text(text).unwrap_err();
            assert!(matches!(error, KeyError::Malformed), "{error:?}");
        }
        let shown = format!("{:?}", LocalSigner::from_text(KEY).unwrap());
        assert!(shown.contains(ADDRESS) && !shown.contains(&KEY[2..10]), "{shown}");
    }

    #[tokio::test]
    async fn a_signature_is_the_wallets_and_in_the_form_that_chains_accept() {
        let signer = LocalSigner::from_text(KEY).unwrap();
        for message in [b"one".as_slice(), b"two", b""] {
            let signature = signer.sign(message).await.unwrap();
            assert!(crate::keys::is_signed_by(signer.address(), message, &signature));
            assert!(!crate::keys::is_signed_by(signer.address(), b"three", &signature));
            assert!(!crate::keys::is_signed_by(Address::ZERO, message, &signature));
        }
    }
}
