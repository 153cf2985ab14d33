//! Signed assertions by which a client proves to a token endpoint who it is: JSON Web Tokens (RFC 7519) for
//! `private_key_jwt` (RFC 7523, OpenID Connect Core section 9).

use aws_lc_rs::rand::{SecureRandom, SystemRandom};
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, RSA_PKCS1_SHA256, RsaKeyPair};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Value, json};

/// An assertion is good for so long: a token is fetched at once, and clocks differ.
const LIFE_S: u64 = 300;

enum Key {
    Rsa(Box<RsaKeyPair>),
    P256(Box<EcdsaKeyPair>),
}

/// Signs assertions with a private key. It is never shown: it has no `Debug`.
pub(super) struct Signer {
    key: Key,
    id: Option<String>,
}

impl Signer {
    /// # Errors
    /// What is wrong with the key, without a word of it.
    pub(super) fn new(pem: &str, id: Option<String>) -> Result<Self, String> {
        let der = der_of(pem)?;
        let rsa = || RsaKeyPair::from_pkcs8(&der).ok().map(|key| Key::Rsa(Box::new(key)));
        let p256 = || {
            let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &der);
            key.ok().map(|key| Key::P256(Box::new(key)))
        };
        let key =
            rsa().or_else(p256).ok_or("it is neither RSA of 2048 bits or more nor of the curve P-256")?;
        Ok(Signer { key, id })
    }

    /// What says that this client asks this endpoint at this moment.
    pub(super) fn assertion(&self, client_id: &str, endpoint: &str, now_s: u64) -> Result<String, String> {
        let mut header = json!({"alg": self.algorithm(), "typ": "JWT"});
        if let Some(id) = &self.id {
            header["kid"] = json!(id);
        }
        let claims = json!({
            "iss": client_id, "sub": client_id, "aud": endpoint, "iat": now_s, "exp": now_s + LIFE_S, "jti": once()?,
        });
        let signed = format!("{}.{}", encoded(&header), encoded(&claims));
        let signature = self.sign(signed.as_bytes())?;
        Ok(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }

    fn algorithm(&self) -> &'static str {
        match self.key {
            Key::Rsa(_) => "RS256",
            Key::P256(_) => "ES256",
        }
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, String> {
        let failed = |_| "the private key of the client cannot sign".to_owned();
        let random = SystemRandom::new();
        match &self.key {
            Key::Rsa(key) => {
                let mut signature = vec![0; key.public_modulus_len()];
                key.sign(&RSA_PKCS1_SHA256, &random, message, &mut signature).map_err(failed)?;
                Ok(signature)
            }
            Key::P256(key) => Ok(key.sign(&random, message).map_err(failed)?.as_ref().to_vec()),
        }
    }
}

/// A text that no other assertion has.
fn once() -> Result<String, String> {
    let mut bytes = [0; 16];
    SystemRandom::new().fill(&mut bytes).map_err(|_| "there is no randomness".to_owned())?;
    Ok(URL_SAFE_NO_PAD.encode(bytes))
}

fn encoded(part: &Value) -> String {
    URL_SAFE_NO_PAD.encode(part.to_string())
}

/// The one private key of a PEM file.
fn der_of(pem: &str) -> Result<Vec<u8>, String> {
    const BEGIN: &str = "-----BEGIN PRIVATE KEY-----";
    const END: &str = "-----END PRIVATE KEY-----";
    let inner = pem.split_once(BEGIN).and_then(|(_, rest)| rest.split_once(END));
    let (text, _) = inner.ok_or("no \"BEGIN PRIVATE KEY\" stands in it: it must be PEM, in PKCS #8")?;
    let text: String = text.split_whitespace().collect();
    STANDARD.decode(text).map_err(|_| "what stands in it is no base64".to_owned())
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::encoding::AsDer;
    use aws_lc_rs::rsa::KeySize;
    use aws_lc_rs::signature::{
        ECDSA_P256_SHA256_FIXED, KeyPair, RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey,
        VerificationAlgorithm,
    };

    use super::*;

    fn pem(der: &[u8]) -> String {
        format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", STANDARD.encode(der))
    }

    fn check(signer: &Signer, algorithm: &'static dyn VerificationAlgorithm, public: &[u8], name: &str) {
        let assertion = signer.assertion("app-1", "https://h/token", 1_700_000_000).unwrap();
        let (signed, signature) = assertion.rsplit_once('.').unwrap();
        let signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
        UnparsedPublicKey::new(algorithm, public).verify(signed.as_bytes(), &signature).unwrap();
        let (header, claims) = signed.split_once('.').unwrap();
        let read =
            |part: &str| -> Value { serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap() };
        assert_eq!(read(header), json!({"alg": name, "typ": "JWT", "kid": "k-1"}));
        let claims = read(claims);
        assert_eq!((&claims["iss"], &claims["sub"]), (&json!("app-1"), &json!("app-1")));
        assert_eq!((&claims["aud"], &claims["exp"]), (&json!("https://h/token"), &json!(1_700_000_300)));
        let other = signer.assertion("app-1", "https://h/token", 1_700_000_000).unwrap();
        assert!(
            !other.contains(claims["jti"].as_str().unwrap()) && other != assertion,
            "each is one of its own"
        );
    }

    #[test]
    fn an_assertion_is_signed_by_its_key_and_never_the_same() {
        let rsa = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
        let signer = Signer::new(&pem(rsa.as_der().unwrap().as_ref()), Some("k-1".into())).unwrap();
        check(&signer, &RSA_PKCS1_2048_8192_SHA256, rsa.public_key().as_ref(), "RS256");
        let p256 = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
        let signer = Signer::new(&pem(p256.to_pkcs8v1().unwrap().as_ref()), Some("k-1".into())).unwrap();
        check(&signer, &ECDSA_P256_SHA256_FIXED, p256.public_key().as_ref(), "ES256");
    }

    #[test]
    fn what_is_no_key_is_told_without_a_word_of_it() {
        let wrong = |pem: &str| Signer::new(pem, None).err().unwrap();
        assert!(wrong("hunter2").contains("must be PEM, in PKCS #8"));
        assert!(wrong(&pem(b"hunter2")).starts_with("it is neither RSA"));
        let broken = "-----BEGIN PRIVATE KEY-----\nhunter2!\n-----END PRIVATE KEY-----";
        assert_eq!(wrong(broken), "what stands in it is no base64");
    }
}
