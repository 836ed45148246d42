//! Public keys as C2SP vkey lines.
//!
//! A [`Vkey`] is fully checked when it is loaded. So every Ed25519 implementation agrees about its signatures.

use alloc::{format, string::String, vec::Vec};
use core::fmt;

use base64ct::{Base64, Encoding};
use ed25519_dalek::VerifyingKey;
use sha2::{Digest, Sha256};
use weighbridge_tree::{Coded, ErrorCode};

/// The 32 bytes of an Ed25519 public key. Signers are counted by this value.
pub type PublicKey = [u8; 32];

/// A key's name in signed notes: not empty, no Unicode white space, no control character, no `+`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyName(String);

impl KeyName {
    /// Checks a name.
    ///
    /// # Errors
    /// [`VkeyError::Malformed`] if the name is empty, or has Unicode white space, a control character or `+`.
    pub fn parse(text: &str) -> Result<Self, VkeyError> {
        let foreign = |c: char| c.is_whitespace() || c.is_control() || c == '+';
        if text.is_empty() || text.contains(foreign) {
            Err(VkeyError::Malformed)
        } else {
            Ok(Self(text.into()))
        }
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A named Ed25519 public key: canonical, of prime order, and with the key id that follows from its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vkey {
    name: KeyName,
    id: [u8; 4],
    key: VerifyingKey,
}

impl Vkey {
    /// Reads a vkey line `NAME+ID+KEY`, without a line ending.
    ///
    /// # Errors
    /// [`VkeyError`], the first in the order of `spec/head.md`.
    ///
    /// # Cost
    /// About one signature check, for the test of the point for torsion.
    pub fn parse(line: &str) -> Result<Self, VkeyError> {
        let (name, rest) = line.split_once('+').ok_or(VkeyError::Malformed)?;
        let (id, encoded) = rest.split_once('+').ok_or(VkeyError::Malformed)?;
        let name = KeyName::parse(name)?;
        let lower_hex = |b: u8| b.is_ascii_digit() || matches!(b, b'a'..=b'f');
        if id.len() != 8 || !id.bytes().all(lower_hex) {
            return Err(VkeyError::Malformed);
        }
        let typed = Base64::decode_vec(encoded).map_err(|_| VkeyError::Malformed)?;
        let [kind, key @ ..] = typed.as_slice() else { return Err(VkeyError::Malformed) };
        let key: &PublicKey = key.try_into().map_err(|_| VkeyError::Malformed)?;
        if *kind != ED25519 {
            return Err(VkeyError::Type { found: *kind });
        }
        if id != hex(key_id(&name, key)) {
            return Err(VkeyError::Id);
        }
        Self::new(name, key)
    }

    /// Gives a public key a name.
    ///
    /// # Errors
    /// [`VkeyError::Encoding`], [`VkeyError::Weak`] or [`VkeyError::Torsion`] if verifiers could disagree about the key.
    pub fn new(name: KeyName, key: &PublicKey) -> Result<Self, VkeyError> {
        let id = key_id(&name, key);
        let key = VerifyingKey::from_bytes(key).map_err(|_| VkeyError::Encoding).and_then(|parsed| {
            // dalek accepts y-coordinates beyond the field (ZIP 215); OpenSSL refuses them.
            if parsed.to_edwards().compress().as_bytes() == key {
                Ok(parsed)
            } else {
                Err(VkeyError::Encoding)
            }
        })?;
        if key.is_weak() {
            return Err(VkeyError::Weak);
        }
        if !key.to_edwards().is_torsion_free() {
            return Err(VkeyError::Torsion);
        }
        Ok(Self { name, id, key })
    }

    /// The key's name.
    #[must_use]
    pub fn name(&self) -> &KeyName {
        &self.name
    }

    /// The key's id. It finds the signature lines that may be by this key, and proves nothing.
    #[must_use]
    pub fn id(&self) -> [u8; 4] {
        self.id
    }

    /// The key itself.
    #[must_use]
    pub fn public_key(&self) -> &PublicKey {
        self.key.as_bytes()
    }

    /// The length in bytes of every signature by this key.
    #[must_use]
    pub fn signature_len(&self) -> usize {
        ed25519_dalek::SIGNATURE_LENGTH
    }

    /// Whether `signature` is a valid signature by this key over `text`, by the strict rules. A signature of another
    /// length is not valid.
    #[must_use]
    pub fn has_signed(&self, text: &[u8], signature: &Signature) -> bool {
        let Ok(signature) = ed25519_dalek::Signature::from_slice(signature.as_bytes()) else { return false };
        self.key.verify_strict(text, &signature).is_ok()
    }
}

impl fmt::Display for Vkey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let typed: Vec<u8> = [ED25519].into_iter().chain(*self.public_key()).collect();
        write!(f, "{}+{}+{}", self.name.as_str(), hex(self.id), Base64::encode_string(&typed))
    }
}

/// A signature as it was made or received, of any length and not yet checked. [`Vkey::has_signed`] tells whether it is
/// valid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signature(Vec<u8>);

impl Signature {
    /// Takes the bytes as they are, without a check.
    #[must_use]
    pub fn new(bytes: impl Into<Vec<u8>>) -> Self {
        Self(bytes.into())
    }

    /// The bytes alone, as they follow a key id in a note or end a response.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

fn key_id(name: &KeyName, key: &PublicKey) -> [u8; 4] {
    let digest =
        Sha256::new().chain_update(name.as_str()).chain_update([b'\n', ED25519]).chain_update(key).finalize();
    let [a, b, c, d, ..] = <[u8; 32]>::from(digest);
    [a, b, c, d]
}

fn hex(id: [u8; 4]) -> String {
    let [a, b, c, d] = id;
    format!("{a:02x}{b:02x}{c:02x}{d:02x}")
}

/// The number of Ed25519 among the signature types of the signed-note specification.
const ED25519: u8 = 0x01;

/// The reason why a public key was not loaded.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VkeyError {
    /// The line is not `NAME+ID+KEY` with a key of 32 bytes.
    Malformed,
    /// The id does not follow from name and key: one of the three was altered.
    Id,
    /// The key is not an Ed25519 key.
    Type {
        /// The type byte.
        found: u8,
    },
    /// The bytes are not the canonical encoding of a point.
    Encoding,
    /// The point is of small order: signatures by it mean nothing.
    Weak,
    /// The point has a torsion component: implementations disagree about its signatures.
    Torsion,
}

impl Coded for VkeyError {
    fn error_code(&self) -> ErrorCode {
        match self {
            Self::Malformed => ErrorCode::VKEY_MALFORMED,
            Self::Id => ErrorCode::VKEY_ID,
            Self::Type { .. } => ErrorCode::VKEY_TYPE,
            Self::Encoding => ErrorCode::KEY_ENCODING,
            Self::Weak => ErrorCode::KEY_WEAK,
            Self::Torsion => ErrorCode::KEY_TORSION,
        }
    }
}

impl fmt::Display for VkeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed => f.write_str("a vkey is NAME+ID+KEY, as keygen writes it"),
            Self::Id => f.write_str("the vkey's id is not that of its name and key"),
            Self::Type { found } => write!(f, "the vkey is of type {found:#04x}, known is 0x01 (Ed25519)"),
            Self::Encoding => f.write_str("the key is no canonical encoding of a curve point"),
            Self::Weak => f.write_str("the key is weak (a point of small order)"),
            Self::Torsion => f.write_str("the key has a torsion component"),
        }
    }
}

impl core::error::Error for VkeyError {}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    /// The example of the signed-note specification.
    const EXAMPLE: &str = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";

    #[test]
    fn reads_the_example_of_the_signed_note_specification() {
        let key = Vkey::parse(EXAMPLE).unwrap();
        assert_eq!(key.name().as_str(), "PeterNeumann");
        assert_eq!(key.to_string(), EXAMPLE);
    }

    #[test]
    fn refuses_every_altered_character() {
        for i in 0..EXAMPLE.len() {
            let mut bytes = EXAMPLE.as_bytes().to_vec();
            bytes[i] ^= 1;
            let altered = String::from_utf8(bytes).unwrap();
            assert!(Vkey::parse(&altered).is_err(), "{altered}");
        }
        for wrong in
            ["", "a", "a+b", "a+c74f20a3+", "a b+c74f20a3+AR", "+c74f20a3+AR", &EXAMPLE[..EXAMPLE.len() - 4]]
        {
            assert_eq!(Vkey::parse(wrong), Err(VkeyError::Malformed), "{wrong}");
        }
    }

    fn load(key: PublicKey) -> Result<Vkey, VkeyError> {
        Vkey::new(KeyName::parse("k").unwrap(), &key)
    }

    /// Does the same as [`load`], through a vkey line with the right id.
    fn load_line(kind: u8, key: &[u8]) -> Result<Vkey, VkeyError> {
        let id = <[u8; 32]>::from(Sha256::digest([b"k\n".as_slice(), &[kind], key].concat()));
        let encoded = Base64::encode_string(&[&[kind], key].concat());
        Vkey::parse(&format!("k+{}+{encoded}", hex([id[0], id[1], id[2], id[3]])))
    }

    /// The eight points whose order divides 8; their orders are 1, 8, 4, 8, 2, 8, 4, 8. Computed without any library.
    fn torsion() -> [PublicKey; 8] {
        [
            "0100000000000000000000000000000000000000000000000000000000000000",
            "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
            "0000000000000000000000000000000000000000000000000000000000000080",
            "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
            "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
            "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85",
            "0000000000000000000000000000000000000000000000000000000000000000",
            "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
        ]
        .map(|text| *weighbridge_tree::FileRoot::from_hex(text).unwrap().as_bytes())
    }

    /// Uses the first test vector of RFC 8032: a signature over an empty text.
    #[test]
    fn a_signature_has_exactly_the_length_that_its_key_says() {
        let bytes = |hex: &str| -> Vec<u8> {
            hex.as_bytes()
                .chunks(2)
                .map(|digits| u8::from_str_radix(core::str::from_utf8(digits).unwrap(), 16).unwrap())
                .collect()
        };
        let key = load(
            bytes("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a").try_into().unwrap(),
        )
        .unwrap();
        let good = bytes(
            "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd\
             25bf5f0595bbe24655141438e7a100b",
        );
        assert_eq!(key.signature_len(), good.len());
        for len in 0..=good.len() {
            assert_eq!(key.has_signed(b"", &Signature::new(&good[..len])), len == good.len(), "{len} bytes");
        }
        assert!(!key.has_signed(b"", &Signature::new([good.as_slice(), &[0]].concat())));
        assert!(!key.has_signed(b"a", &Signature::new(good)));
    }

    #[test]
    fn refuses_all_eight_points_of_small_order() {
        for key in torsion() {
            assert_eq!(load(key), Err(VkeyError::Weak), "{key:02x?}");
            assert_eq!(load_line(ED25519, &key), Err(VkeyError::Weak));
        }
    }

    #[test]
    fn refuses_a_good_key_moved_by_a_point_of_small_order() {
        let good = *Vkey::parse(EXAMPLE).unwrap().public_key();
        let point = |key: &PublicKey| VerifyingKey::from_bytes(key).unwrap().to_edwards();
        for (i, small) in torsion().iter().enumerate() {
            let moved = (point(&good) + point(small)).compress().to_bytes();
            let expected = if i == 0 { None } else { Some(VkeyError::Torsion) };
            assert_eq!(load(moved).err(), expected, "{moved:02x?}");
            assert_eq!(load_line(ED25519, &moved).err(), expected);
        }
    }

    #[test]
    fn refuses_every_encoding_that_is_not_the_canonical_one() {
        // A y from p to 2^255 - 1 encodes the point of y - p in a form that only some libraries accept (ZIP 215). Some
        // of these points are of small order, but the encoding is the reason for refusal. The other sign is refused
        // too.
        for excess in 0..19 {
            let mut key = [0xff; 32];
            key[0] = 0xed + excess;
            for sign in [0x7f, 0xff] {
                key[31] = sign;
                assert_eq!(load(key), Err(VkeyError::Encoding), "{key:02x?}");
                assert_eq!(load_line(ED25519, &key), Err(VkeyError::Encoding));
            }
        }
        // Zero has no negative form: the points of order 1 and 2 both have x = 0.
        for i in [0, 4] {
            let mut negative_zero = torsion()[i];
            negative_zero[31] |= 0x80;
            assert_eq!(load(negative_zero), Err(VkeyError::Encoding), "{negative_zero:02x?}");
        }
        // No point has y = 2.
        let mut off_the_curve = [0; 32];
        off_the_curve[0] = 2;
        assert_eq!(load(off_the_curve), Err(VkeyError::Encoding));
    }

    #[test]
    fn checks_form_then_type_then_id_then_the_point() {
        let good = *Vkey::parse(EXAMPLE).unwrap().public_key();
        assert!(load_line(ED25519, &good).is_ok());
        assert_eq!(load_line(0x02, &good), Err(VkeyError::Type { found: 2 }));
        assert_eq!(load_line(ED25519, &good[..31]), Err(VkeyError::Malformed));
        assert_eq!(load_line(0x06, &[7; 1312]), Err(VkeyError::Malformed), "33 bytes are part of the form");
        // The type is checked before the id, and the id before the point.
        let line = |kind: u8, key: &PublicKey| {
            Vkey::parse(&format!("k+00000000+{}", Base64::encode_string(&[&[kind], key.as_slice()].concat())))
        };
        assert_eq!(line(0x02, &good), Err(VkeyError::Type { found: 2 }));
        assert_eq!(line(ED25519, &torsion()[0]), Err(VkeyError::Id));
    }

    #[test]
    fn key_names_can_stand_in_a_note_and_be_shown() {
        for good in ["k", "example.com/k", "—", "名", "a\u{301}", "a@b"] {
            assert!(KeyName::parse(good).is_ok(), "{good:?}");
        }
        for bad in
            ["", " ", "a b", "a+b", "a\u{a0}b", "a\u{3000}", "a\n", "a\u{1b}[31m", "a\u{7f}", "a\u{9b}"]
        {
            assert_eq!(KeyName::parse(bad), Err(VkeyError::Malformed), "{bad:?}");
        }
    }
}
