//! Keys that follow from a seed.

use ed25519_dalek::{
    Signer as _, SigningKey,
    hazmat::{ExpandedSecretKey, raw_sign},
};
use sha2::Sha512;
use weighbridge_manifest::{KeyName, NoteSignature, Signature, Vkey};

/// A key pair under a name. One seed is one key, under every name.
#[derive(Clone)]
pub struct Key {
    name: KeyName,
    secret: SigningKey,
}

impl Key {
    pub fn new(name: &str, seed: u8) -> Self {
        Self::of(name, [seed; 32])
    }

    pub fn of(name: &str, seed: [u8; 32]) -> Self {
        Self { name: KeyName::parse(name).unwrap(), secret: SigningKey::from_bytes(&seed) }
    }

    pub fn vkey(&self) -> Vkey {
        Vkey::new(self.name.clone(), self.secret.verifying_key().as_bytes()).unwrap()
    }

    pub fn sign(&self, message: impl AsRef<[u8]>) -> Signature {
        Signature::new(self.secret.sign(message.as_ref()).to_bytes())
    }

    /// A line that claims to be by this key.
    pub fn claim(&self, signature: impl Into<Vec<u8>>) -> NoteSignature {
        NoteSignature::new(self.name.clone(), self.vkey().id(), Signature::new(signature))
    }

    /// The signature line under a text.
    pub fn line(&self, text: &str) -> NoteSignature {
        self.claim(self.sign(text).as_bytes())
    }

    /// Another valid line for each nonce. Only the owner of a key can make them.
    pub fn line_with_nonce(&self, text: &str, nonce: u8) -> NoteSignature {
        let mut expanded = ExpandedSecretKey::from(&self.secret.to_bytes());
        expanded.hash_prefix = [nonce; 32];
        self.claim(raw_sign::<Sha512>(&expanded, text.as_bytes(), &self.secret.verifying_key()).to_bytes())
    }
}
