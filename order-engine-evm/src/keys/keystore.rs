//! Encrypted key files: Web3 Secret Storage, version 3.
//!
//! The password becomes a key by scrypt or PBKDF2; its second half authenticates the cipher text, its first half decrypts it by
//! AES-128 in counter mode.

use aes::Aes128;
use aes::cipher::{KeyIvInit as _, StreamCipher as _};
use alloy_primitives::{Bytes, keccak256};
use serde::Deserialize;
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::keys::KeyError;

/// The bytes of a key.
pub(super) const KEY_BYTES: usize = 32;
/// The most memory that a derivation may ask for, in bytes: four times what `geth` writes. A file may come from somebody else.
const SCRYPT_BYTES_MAX: u64 = 1 << 30;
/// The most iterations that a derivation may ask for: forty times what others write.
const ITERATIONS_MAX: u32 = 10_485_760;

#[derive(Deserialize)]
struct File {
    version: u32,
    #[serde(alias = "Crypto")]
    crypto: Crypto,
}

#[derive(Deserialize)]
struct Crypto {
    cipher: String,
    ciphertext: Bytes,
    cipherparams: CipherParams,
    #[serde(flatten)]
    derivation: Derivation,
    mac: Bytes,
}

#[derive(Deserialize)]
struct CipherParams {
    iv: Bytes,
}

#[derive(Deserialize)]
#[serde(tag = "kdf", content = "kdfparams", rename_all = "lowercase")]
enum Derivation {
    Scrypt { n: u64, r: u32, p: u32, dklen: usize, salt: Bytes },
    Pbkdf2 { c: u32, prf: String, dklen: usize, salt: Bytes },
}

/// Returns the key in a file.
pub(super) fn decrypt(text: &str, password: &[u8]) -> Result<Zeroizing<[u8; KEY_BYTES]>, KeyError> {
    let file: File =
        serde_json::from_str(text).map_err(|_| KeyError::OtherFormat("it is no encrypted key"))?;
    if file.version != 3 {
        return Err(KeyError::OtherFormat("its version is not 3"));
    }
    let Crypto { cipher, ciphertext, cipherparams: CipherParams { iv }, derivation, mac } = file.crypto;
    if cipher != "aes-128-ctr" || iv.len() != 16 || ciphertext.len() != KEY_BYTES {
        return Err(KeyError::OtherFormat("it is not encrypted by AES-128 in counter mode"));
    }
    let derived = derivation.derive(password)?;
    if keccak256([&derived[16..32], &ciphertext].concat()).as_slice() != &mac[..] {
        return Err(KeyError::WrongPassword);
    }
    let mut key = Zeroizing::new([0_u8; KEY_BYTES]);
    key.copy_from_slice(&ciphertext);
    let cipher = ctr::Ctr128BE::<Aes128>::new_from_slices(&derived[..16], &iv);
    cipher.map_err(|_| KeyError::Malformed)?.apply_keystream(&mut *key);
    Ok(key)
}

impl Derivation {
    fn derive(&self, password: &[u8]) -> Result<Zeroizing<[u8; 32]>, KeyError> {
        let mut derived = Zeroizing::new([0_u8; 32]);
        let other = || KeyError::OtherFormat("its key derivation is not known, or too costly");
        match self {
            Self::Scrypt { n, r, p, dklen: 32, salt } if n.is_power_of_two() => {
                let bytes = n.saturating_mul(128).saturating_mul(u64::from(*r).saturating_mul((*p).into()));
                let log_n = u8::try_from(n.trailing_zeros()).map_err(|_| other())?;
                if bytes > SCRYPT_BYTES_MAX {
                    return Err(other());
                }
                let params = scrypt::Params::new(log_n, *r, *p, 32).map_err(|_| other())?;
                scrypt::scrypt(password, salt, &params, &mut *derived).map_err(|_| other())?;
            }
            Self::Pbkdf2 { c, prf, dklen: 32, salt } if prf == "hmac-sha256" && *c <= ITERATIONS_MAX => {
                pbkdf2::pbkdf2_hmac::<Sha256>(password, salt, *c, &mut *derived);
            }
            _ => return Err(other()),
        }
        Ok(derived)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A test vector of the format's specification.
    const PBKDF2: &str = r#"{"crypto":{"cipher":"aes-128-ctr","cipherparams":{"iv":"6087dab2f9fdbbfaddc31a909735c1e6"},
        "ciphertext":"5318b4d5bcd28de64ee5559e671353e16f075ecae9f99c7a79a38af5f869aa46","kdf":"pbkdf2","kdfparams":{"c":262144,
        "dklen":32,"prf":"hmac-sha256","salt":"ae3cd4e7013836a3df6bd7241b12db061dbe2c6785853cce422d148a624ce0bd"},
        "mac":"517ead924a9d0dc3124507e3393d175ce3ff7c1e96529c6c555ce9e51205e9b2"},
        "id":"3198bc9c-6672-5ab3-d995-4942343ae5b6","version":3}"#;
    /// Made with OpenSSL and Python.
    pub(in crate::keys) const SCRYPT: &str = r#"{"crypto":{"cipher":"aes-128-ctr","cipherparams":{"iv":"83dbcc02d8ccb40e466191a123791e0e"},
        "ciphertext":"308c28e3102862adca9cf5736e6f0e77c82e94e3430b3b36f0867755b8878047","kdf":"scrypt","kdfparams":{"dklen":32,
        "n":1024,"p":2,"r":8,"salt":"ab0c7876052600dd703518d6fc3fe8984592145b591fc8fb5c6d43190334ba19"},
        "mac":"9e3723c6680c123b32139cb62530d2f2c66582029d29a3e11b7e89455b5a80db"},"version":3}"#;
    const KEY: &str = "7a28b5ba57c53603b0b07b56bba752f7784bf506fa95edc395f5cf6c7514fe9d";

    #[test]
    fn files_that_others_made_are_opened() {
        for text in [PBKDF2, SCRYPT] {
            let key = decrypt(text, b"testpassword").unwrap();
            assert_eq!(alloy_primitives::hex::encode(*key), KEY);
        }
    }

    #[test]
    fn a_wrong_password_and_a_changed_file_open_nothing() {
        assert!(matches!(decrypt(SCRYPT, b"testpasswore"), Err(KeyError::WrongPassword)));
        let changed = SCRYPT.replace("308c28e3", "308c28e2");
        assert!(matches!(decrypt(&changed, b"testpassword"), Err(KeyError::WrongPassword)));
    }

    #[test]
    fn other_formats_and_costly_derivations_are_refused() {
        for (from, to) in [
            ("\"version\":3", "\"version\":2"),
            ("aes-128-ctr", "aes-128-cbc"),
            ("\"n\":1024", "\"n\":1023"),
            ("\"n\":1024", "\"n\":1099511627776"),
            ("\"dklen\":32", "\"dklen\":16"),
            ("scrypt", "bcrypt"),
        ] {
            let changed = SCRYPT.replacen(from, to, 1);
            let error = decrypt(&changed, b"testpassword").unwrap_err();
            assert!(matches!(error, KeyError::OtherFormat(_)), "{to}: {error:?}");
        }
        assert!(matches!(decrypt("{}", b""), Err(KeyError::OtherFormat(_))));
    }
}
