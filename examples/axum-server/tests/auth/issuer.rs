//! An identity provider: it has keys of each kind, and signs whatever a test wants.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use chrono::Utc;
use order_engine_server::AuthSettings;
use ring::hmac;
use ring::rand::SystemRandom;
use ring::rsa::PublicKeyComponents;
use ring::signature::{Ed25519KeyPair, KeyPair as _, RSA_PKCS1_SHA256, RsaKeyPair};
use serde_json::{Value, json};

/// The secret of HS256.
pub(crate) const SECRET: &str = "planted-canary-secret-of-hs256-tokens";
pub(crate) const ISSUER: &str = "https://id.example";
pub(crate) const AUDIENCE: &str = "order-engine";

/// A key of the tests. It protects nothing.
const RSA: &str = include_str!("rsa.pk8.base64");

pub(crate) struct Issuer {
    rsa: RsaKeyPair,
    ed: Ed25519KeyPair,
}

impl Issuer {
    pub(crate) fn new() -> Self {
        let rsa = STANDARD.decode(RSA.replace('\n', "")).unwrap();
        let ed = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
        Self {
            rsa: RsaKeyPair::from_pkcs8(&rsa).unwrap(),
            ed: Ed25519KeyPair::from_pkcs8(ed.as_ref()).unwrap(),
        }
    }

    /// Returns the public keys.
    pub(crate) fn jwks(&self) -> Value {
        let PublicKeyComponents { n, e } = self.rsa_public();
        json!({"keys": [
            {"kty": "RSA", "kid": "rsa", "alg": "RS256", "use": "sig", "n": encode(&n), "e": encode(&e)},
            {"kty": "OKP", "kid": "ed", "crv": "Ed25519", "x": encode(self.ed.public_key().as_ref())},
        ]})
    }

    pub(crate) fn rsa_public(&self) -> PublicKeyComponents<Vec<u8>> {
        self.rsa.public().into()
    }

    /// Returns settings that take the tokens of this provider, whose public keys are in a file of the folder.
    pub(crate) fn settings(&self, folder: &std::path::Path) -> AuthSettings {
        let jwks = folder.join("jwks.json");
        std::fs::write(&jwks, self.jwks().to_string()).unwrap();
        let mut settings = AuthSettings::default();
        settings.jwt_secret = Some(SECRET.parse().unwrap());
        settings.jwks = Some(jwks.to_str().unwrap().parse().unwrap());
        settings.jwt_issuer = Some(ISSUER.to_owned());
        settings.jwt_audience = Some(AUDIENCE.to_owned());
        settings.jwt_leeway = Some(0);
        settings
    }

    /// Returns a token of a user.
    pub(crate) fn token(&self, user: &str, scope: &str) -> String {
        self.sign("EdDSA", &claims(user, scope))
    }

    /// Signs claims by an algorithm.
    pub(crate) fn sign(&self, algorithm: &str, claims: &Value) -> String {
        let kid = match algorithm {
            "RS256" => "rsa",
            "EdDSA" => "ed",
            _ => "none",
        };
        self.sign_as(&json!({"typ": "JWT", "alg": algorithm, "kid": kid}), claims)
    }

    /// Signs claims under a header, by the algorithm that it names.
    pub(crate) fn sign_as(&self, header: &Value, claims: &Value) -> String {
        let message = message(header, claims);
        let signature = match header["alg"].as_str().unwrap() {
            "RS256" => {
                let mut signature = vec![0; self.rsa.public().modulus_len()];
                let random = SystemRandom::new();
                self.rsa.sign(&RSA_PKCS1_SHA256, &random, message.as_bytes(), &mut signature).unwrap();
                signature
            }
            "EdDSA" => self.ed.sign(message.as_bytes()).as_ref().to_vec(),
            "HS256" => hs256(SECRET.as_bytes(), &message),
            _ => Vec::new(),
        };
        format!("{message}.{}", encode(&signature))
    }
}

/// Signs claims by HS256 with any secret, for instance with a key that everybody knows.
pub(crate) fn sign_with(secret: &[u8], header: &Value, claims: &Value) -> String {
    let message = message(header, claims);
    format!("{message}.{}", encode(&hs256(secret, &message)))
}

fn hs256(secret: &[u8], message: &str) -> Vec<u8> {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), message.as_bytes()).as_ref().to_vec()
}

fn message(header: &Value, claims: &Value) -> String {
    format!("{}.{}", encode(header.to_string().as_bytes()), encode(claims.to_string().as_bytes()))
}

pub(crate) fn encode(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// Returns the claims of a token that holds for an hour.
pub(crate) fn claims(user: &str, scope: &str) -> Value {
    let exp = Utc::now().timestamp() + 3_600;
    json!({"sub": user, "scope": scope, "iss": ISSUER, "aud": AUDIENCE, "exp": exp})
}

/// Returns these claims with one of them changed, or without it if it is null.
pub(crate) fn changed(mut claims: Value, name: &str, value: Value) -> Value {
    if value.is_null() {
        claims.as_object_mut().unwrap().remove(name);
    } else {
        claims[name] = value;
    }
    claims
}
