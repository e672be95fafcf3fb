//! The cryptography of tokens, by `ring`, which TLS uses anyway: `jsonwebtoken` brings a second library for it, or none.

use std::sync::Once;

use jsonwebtoken::crypto::{CryptoProvider, JwtVerifier, KeyUtils};
use jsonwebtoken::errors::{Error, ErrorKind};
use jsonwebtoken::{Algorithm, DecodingKey};
use ring::hmac;
use ring::signature::{ED25519, RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};
use signature::Verifier;

/// It verifies, by the algorithms that keys are pinned to. It signs nothing.
static PROVIDER: CryptoProvider = CryptoProvider {
    signer_factory: |_, _| Err(unsupported()),
    verifier_factory: |algorithm, key| match algorithm {
        Algorithm::HS256 | Algorithm::RS256 | Algorithm::EdDSA if key.family() == algorithm.family() => {
            Ok(Box::new(RingVerifier { algorithm: *algorithm, key: key.clone() }))
        }
        _ => Err(unsupported()),
    },
    key_utils: KeyUtils::new_unimplemented(),
};

fn unsupported() -> Error {
    ErrorKind::InvalidAlgorithm.into()
}

/// Has the process verify with `ring`, unless the host has chosen another provider.
pub(super) fn install() {
    static INSTALLED: Once = Once::new();
    INSTALLED.call_once(|| {
        // An error means that there is another one, which verifies as well.
        let _ = PROVIDER.install_default();
    });
}

struct RingVerifier {
    algorithm: Algorithm,
    key: DecodingKey,
}

impl JwtVerifier for RingVerifier {
    fn algorithm(&self) -> Algorithm {
        self.algorithm
    }
}

impl Verifier<Vec<u8>> for RingVerifier {
    fn verify(&self, message: &[u8], signature: &Vec<u8>) -> Result<(), signature::Error> {
        let key = self.key.try_get_as_bytes().map_err(signature::Error::from_source)?;
        let is_valid = match self.algorithm {
            Algorithm::HS256 => hmac::verify(&hmac::Key::new(hmac::HMAC_SHA256, key), message, signature),
            Algorithm::EdDSA => UnparsedPublicKey::new(&ED25519, key).verify(message, signature),
            Algorithm::RS256 => {
                UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, key).verify(message, signature)
            }
            _ => return Err(signature::Error::new()),
        };
        is_valid.map_err(|_| signature::Error::new())
    }
}

/// Returns a public key of RSA as `ring` reads it: `RSAPublicKey` of PKCS #1 in DER, of its modulus and its exponent.
pub(super) fn rsa_der(modulus: &[u8], exponent: &[u8]) -> Vec<u8> {
    let numbers = [unsigned(modulus), unsigned(exponent)].concat();
    element(0x30, &numbers)
}

/// Returns a number that is not negative: its highest bit must not be set, and no zeros stand before it.
fn unsigned(big_endian: &[u8]) -> Vec<u8> {
    let zeros = big_endian.iter().take_while(|byte| **byte == 0).count();
    let digits = &big_endian[zeros..];
    let has_sign_bit = digits.first().is_none_or(|first| *first >= 0x80);
    let value = if has_sign_bit { [&[0], digits].concat() } else { digits.to_vec() };
    element(0x02, &value)
}

fn element(tag: u8, value: &[u8]) -> Vec<u8> {
    let length = value.len().to_be_bytes();
    let length = &length[length.iter().take_while(|byte| **byte == 0).count()..];
    let mut element = vec![tag];
    match length {
        [] => element.push(0),
        [short] if *short < 0x80 => element.push(*short),
        // A length has eight bytes at most.
        long => {
            #[allow(clippy::cast_possible_truncation)]
            element.push(0x80 | long.len() as u8);
            element.extend_from_slice(long);
        }
    }
    element.extend_from_slice(value);
    element
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_rsa_key_is_encoded_as_der() {
        assert_eq!(rsa_der(&[0, 0x7f], &[1, 0, 1]), [0x30, 8, 2, 1, 0x7f, 2, 3, 1, 0, 1]);
        assert_eq!(rsa_der(&[0x80], &[3]), [0x30, 7, 2, 2, 0, 0x80, 2, 1, 3]);
        let long = rsa_der(&[0xff; 256], &[1, 0, 1]);
        assert_eq!(long[..8], [0x30, 0x82, 1, 10, 2, 0x82, 1, 1]);
        assert_eq!(element(4, &[9; 200])[..3], [4, 0x81, 200]);
    }
}
