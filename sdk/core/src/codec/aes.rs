//! Encryption as Temporal's samples define it, so that their codec servers and the web interface can read it too.
//!
//! A payload becomes one of encoding `binary/encrypted` with the key's name in `encryption-key-id`; its data is a nonce
//! of 12 bytes, then the serialized payload encrypted by AES-256-GCM, tag at the end.

use std::{collections::BTreeMap, fmt};

use bytes::Bytes;
use prost::Message;
use ring::{
    aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey},
    rand::{SecureRandom, SystemRandom},
};

use crate::{
    codec::{Codec, CodecCx},
    payload::{Payload, PayloadError},
};

const ENCODING: &str = "binary/encrypted";
const KEY_ID: &str = "encryption-key-id";

/// Encrypts payloads with the ring's current key and decrypts with any key of the ring.
///
/// ```
/// use mainspring_sdk::{DataConverter, codec::{Aes256Gcm, KeyRing}};
///
/// # fn main() -> Result<(), mainspring_sdk::payload::PayloadError> {
/// let ring = KeyRing::new("2025", &[7; 32])?.old("2024", &[6; 32])?;
/// let converter = DataConverter::json().codec(Aes256Gcm::new(ring)).encrypt_failures();
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Aes256Gcm {
    ring: KeyRing,
    bound: bool,
}

/// Keys by their names: one that encrypts, and older ones that still decrypt.
///
/// To change the key, first give every process a ring with the new one as [`old`](KeyRing::old), then make it the current
/// one everywhere: nobody meets a key that it does not have. Change it before 2^32 payloads are encrypted with it.
pub struct KeyRing {
    current: String,
    keys: BTreeMap<String, LessSafeKey>,
}

impl KeyRing {
    /// With the key that encrypts.
    ///
    /// # Errors
    /// When the key has not 32 bytes.
    pub fn new(id: impl Into<String>, key: &[u8]) -> Result<KeyRing, PayloadError> {
        let current = id.into();
        KeyRing { current: current.clone(), keys: BTreeMap::new() }.old(current, key)
    }

    /// Adds a key that only decrypts.
    ///
    /// # Errors
    /// When the key has not 32 bytes.
    pub fn old(mut self, id: impl Into<String>, key: &[u8]) -> Result<KeyRing, PayloadError> {
        let id = id.into();
        let cipher = UnboundKey::new(&AES_256_GCM, key)
            .map_err(|_| PayloadError::new(format!("key {id:?} has {} bytes; AES-256 takes 32", key.len())))?;
        self.keys.insert(id, LessSafeKey::new(cipher));
        Ok(self)
    }
}

/// Names, never keys.
impl fmt::Debug for KeyRing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ids: Vec<&String> = self.keys.keys().collect();
        f.debug_struct("KeyRing").field("current", &self.current).field("ids", &ids).finish_non_exhaustive()
    }
}

impl Aes256Gcm {
    /// With these keys.
    pub fn new(ring: KeyRing) -> Aes256Gcm {
        Aes256Gcm { ring, bound: false }
    }

    /// Binds each payload to its namespace and workflow id, as authenticated data: one that was copied into another
    /// workflow does not decrypt there.
    ///
    /// Temporal's samples and their codec servers do not do this and cannot read such payloads. Nor can a workflow that
    /// is reached without its id: an activity completed by its token, a result handed on to another workflow as it is.
    #[must_use]
    pub fn bound_to_workflow(mut self) -> Aes256Gcm {
        self.bound = true;
        self
    }

    fn authenticated(&self, cx: &CodecCx<'_>) -> Vec<u8> {
        // A length first, so that no two pairs of names look the same.
        if self.bound {
            format!("{}:{}/{}", cx.namespace.len(), cx.namespace, cx.workflow_id).into()
        } else {
            Vec::new()
        }
    }

    fn seal(&self, cx: &CodecCx<'_>, payload: &Payload) -> Result<Payload, PayloadError> {
        let id = &self.ring.current;
        let key = self.ring.keys.get(id).ok_or_else(|| PayloadError::new(format!("the ring has no key {id:?}")))?;
        let mut data = Vec::with_capacity(NONCE_LEN + payload.as_bytes().len() + AES_256_GCM.tag_len());
        let nonce = fresh_nonce()?;
        data.extend_from_slice(&nonce);
        let mut sealed = payload.as_bytes().to_vec();
        key.seal_in_place_append_tag(
            Nonce::assume_unique_for_key(nonce),
            Aad::from(self.authenticated(cx)),
            &mut sealed,
        )
        .map_err(|_| PayloadError::new("the payload is too large to encrypt"))?;
        data.extend_from_slice(&sealed);
        let metadata = [
            ("encoding".to_owned(), Bytes::from_static(ENCODING.as_bytes())),
            (KEY_ID.to_owned(), Bytes::copy_from_slice(id.as_bytes())),
        ];
        Ok(Payload::from_parts(metadata.into(), data.into()))
    }

    fn open(&self, cx: &CodecCx<'_>, metadata: &BTreeMap<String, Bytes>, data: &[u8]) -> Result<Payload, PayloadError> {
        let id = String::from_utf8_lossy(metadata.get(KEY_ID).map(|id| id.as_ref()).unwrap_or_default());
        let key = self.ring.keys.get(id.as_ref()).ok_or_else(|| {
            PayloadError::new(format!("the payload is encrypted with key {id:?}, which is not in the ring"))
        })?;
        let (nonce, sealed) = data
            .split_first_chunk::<NONCE_LEN>()
            .ok_or_else(|| PayloadError::new("the encrypted payload is cut short"))?;
        let mut opened = sealed.to_vec();
        let opened = key
            .open_in_place(Nonce::assume_unique_for_key(*nonce), Aad::from(self.authenticated(cx)), &mut opened)
            .map_err(|_| PayloadError::new(format!("the payload does not decrypt with key {id:?}: {}", self.hint())))?;
        Payload::decode(&*opened).map_err(PayloadError::new)
    }

    fn hint(&self) -> &'static str {
        if self.bound {
            "it was changed, or encrypted with another key, or for another workflow or namespace"
        } else {
            "it was changed, or encrypted with another key, or is bound to its workflow"
        }
    }
}

/// Twelve random bytes. NIST allows 2^32 payloads with one key for such nonces.
fn fresh_nonce() -> Result<[u8; NONCE_LEN], PayloadError> {
    let mut nonce = [0; NONCE_LEN];
    SystemRandom::new().fill(&mut nonce).map_err(|_| PayloadError::new("the system gives no random bytes"))?;
    Ok(nonce)
}

impl Codec for Aes256Gcm {
    async fn encode(&self, cx: &CodecCx<'_>, payloads: &mut [Payload]) -> Result<(), PayloadError> {
        for payload in payloads {
            *payload = self.seal(cx, payload)?;
        }
        Ok(())
    }

    async fn decode(&self, cx: &CodecCx<'_>, payloads: &mut [Payload]) -> Result<(), PayloadError> {
        for payload in payloads {
            let (metadata, data) = payload.parts().map_err(PayloadError::new)?;
            if metadata.get("encoding").is_some_and(|encoding| encoding == ENCODING.as_bytes()) {
                *payload = self.open(cx, &metadata, &data)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::payload::ToPayload;

    fn codec(current: &str) -> Aes256Gcm {
        let other = if current == "new" { ("old", [6; 32]) } else { ("new", [7; 32]) };
        let key = if current == "new" { [7; 32] } else { [6; 32] };
        Aes256Gcm::new(KeyRing::new(current, &key).unwrap().old(other.0, &other.1).unwrap())
    }

    const HERE: CodecCx<'static> = CodecCx { namespace: "default", workflow_id: "w" };

    #[tokio::test]
    async fn what_is_sealed_is_opened_also_after_the_key_changed() {
        let secret = "secret".to_payload().unwrap();
        let mut payloads = [secret.clone(), 5.to_payload().unwrap()];
        codec("old").encode(&HERE, &mut payloads).await.unwrap();
        assert_eq!(payloads[0].metadata("encryption-key-id").unwrap(), "old");
        assert!(!payloads[0].as_bytes().windows(6).any(|window| window == b"secret"));
        codec("new").decode(&HERE, &mut payloads).await.unwrap();
        assert_eq!(payloads[0], secret);
    }

    /// What `AESGCM(key).encrypt(nonce, payload.SerializeToString(), None)` of Python's `cryptography` gives, put
    /// together as Temporal's encryption sample does.
    #[tokio::test]
    async fn what_pythons_sample_sealed_is_opened() {
        let sealed = b"\x00\x01\x02\x03\x04\x05\x06\x07\x08\t\n\x0b\x12\x97\xe3xxg\xba&\x13\xdb\x8b\xfb\xf0R\x06\x89\x8eR\x99\xfet\
            \x03\x1e_\x04\xc6A\xc9\xeb\xb4\x1f`\xaaM}>Jb\x85\x8a\xdd\xf6.\x9a\x7f\xeft\x12\xb6?";
        let mut payloads = [Payload::new(ENCODING, sealed).with_metadata(KEY_ID, b"new")];
        codec("new").decode(&HERE, &mut payloads).await.unwrap();
        assert_eq!(payloads, ["secret".to_payload().unwrap()]);
    }

    #[tokio::test]
    async fn payloads_in_clear_pass() {
        let mut payloads = [5.to_payload().unwrap()];
        codec("new").decode(&HERE, &mut payloads).await.unwrap();
        assert_eq!(payloads, [5.to_payload().unwrap()]);
    }

    #[tokio::test]
    async fn a_bound_payload_opens_in_its_own_workflow_only() {
        let bound = || codec("new").bound_to_workflow();
        let mut payloads = [5.to_payload().unwrap()];
        bound().encode(&HERE, &mut payloads).await.unwrap();
        let elsewhere = CodecCx::new("default", "v");
        assert!(bound().decode(&elsewhere, &mut payloads.clone()).await.is_err());
        assert!(codec("new").decode(&HERE, &mut payloads.clone()).await.is_err());
        bound().decode(&HERE, &mut payloads).await.unwrap();
        assert_eq!(payloads, [5.to_payload().unwrap()]);
    }

    #[tokio::test]
    async fn damage_and_unknown_keys_are_told_apart() {
        let mut payloads = [5.to_payload().unwrap()];
        codec("new").encode(&HERE, &mut payloads).await.unwrap();
        let other = Aes256Gcm::new(KeyRing::new("third", &[1; 32]).unwrap());
        let error = other.decode(&HERE, &mut payloads.clone()).await.unwrap_err().to_string();
        assert!(error.contains("not in the ring"), "{error}");
        let (metadata, data) = payloads[0].parts().unwrap();
        let mut changed = data.to_vec();
        changed[15] ^= 1;
        payloads[0] = Payload::from_parts(metadata, changed.into());
        let error = codec("new").decode(&HERE, &mut payloads).await.unwrap_err().to_string();
        assert!(error.contains("does not decrypt"), "{error}");
    }

    #[test]
    fn keys_of_a_wrong_length_are_refused() {
        assert!(KeyRing::new("short", &[0; 16]).unwrap_err().to_string().contains("16 bytes"));
    }
}
