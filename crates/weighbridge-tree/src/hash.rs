//! 32-byte values, with one type for each meaning, so that a value of one kind cannot be used as another.

use core::cmp::Ordering;
use core::fmt;
use core::hash::{Hash, Hasher};

use blake3::hazmat::HasherExt as _;

use crate::error_code::{Coded, ErrorCode};

/// Defines a newtype over `blake3::Hash`, whose equality takes constant time.
macro_rules! hash_type {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        ///
        /// Equality takes constant time. There is no `Default`. Conversion to bytes is always an explicit method call.
        #[derive(Clone, Copy, PartialEq, Eq)]
        #[must_use]
        pub struct $name(blake3::Hash);

        impl $name {
            /// Wraps 32 bytes as this value, without checking them.
            pub const fn from_bytes(bytes: [u8; 32]) -> Self {
                Self(blake3::Hash::from_bytes(bytes))
            }

            /// The 32 bytes. Compare values, not bytes: comparing bytes does not take constant time.
            #[must_use]
            pub const fn as_bytes(&self) -> &[u8; 32] {
                self.0.as_bytes()
            }

            /// Reads exactly 64 lower-case hexadecimal digits.
            ///
            /// # Errors
            /// [`HashError`] (1703), upper-case digits included.
            pub fn from_hex(text: &str) -> Result<Self, HashError> {
                parse_hex(text).map(Self::from_bytes)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.0.to_hex().as_str())
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self)
            }
        }

        impl core::str::FromStr for $name {
            type Err = HashError;

            fn from_str(text: &str) -> Result<Self, HashError> {
                Self::from_hex(text)
            }
        }

        /// Orders by bytes, for maps. Not in constant time: these values are public.
        impl Ord for $name {
            fn cmp(&self, other: &Self) -> Ordering {
                self.as_bytes().cmp(other.as_bytes())
            }
        }

        impl PartialOrd for $name {
            fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
                Some(self.cmp(other))
            }
        }

        /// Hashes the bytes, for maps. Not in constant time: these values are public.
        impl Hash for $name {
            fn hash<H: Hasher>(&self, state: &mut H) {
                self.as_bytes().hash(state);
            }
        }
    };
}

hash_type! {
    /// The BLAKE3 hash of a file's bytes: what `b3sum` prints. Only this value decides whether the bytes are accepted
    /// (rule 13).
    FileRoot
}

hash_type! {
    /// The BLAKE3 hash of a tensor's bytes alone. It serves to find and compare tensors, never to accept them
    /// (rule 13).
    TensorHash
}

hash_type! {
    /// The value of a subtree of a file that is smaller than the whole file's tree.
    ChainingValue
}

hash_type! {
    /// A leaf of a list's tree: the hash of one line of the list.
    EntryHash
}

hash_type! {
    /// A hash of a proof that is not computed from the proof's entries: the hash of a leaf or of an inner node.
    SiblingHash
}

hash_type! {
    /// The top node of a list's tree. It does not bind the number of entries; [`ModelRoot`] and [`TensorsRoot`] do.
    TreeHash
}

hash_type! {
    /// The value of a head's line `root`. It binds the file list, its count, and the sum of sizes.
    ModelRoot
}

hash_type! {
    /// The value of a head's line `tensors-root`. It binds the tensor list and its count.
    TensorsRoot
}

hash_type! {
    /// The identity of one release: a hash of its head's text, never of the signatures.
    HeadId
}

hash_type! {
    /// 32 bytes that an auditor draws at random for one challenge and never reuses.
    Nonce
}

hash_type! {
    /// The hash of a challenge's text.
    ChallengeHash
}

hash_type! {
    /// The hash of a response to a challenge, without its signature.
    ResponseHash
}

impl FileRoot {
    /// The root of a file of these bytes.
    pub fn of(bytes: &[u8]) -> Self {
        Self(blake3::hash(bytes))
    }
}

impl TensorHash {
    /// The hash of a tensor of these bytes.
    pub fn of(bytes: &[u8]) -> Self {
        Self(blake3::hash(bytes))
    }
}

impl EntryHash {
    /// The leaf of a line. The line is given without its LF.
    pub fn of_line(line: &[u8]) -> Self {
        Self(Context::ENTRY.hash(&[line]))
    }
}

impl ChallengeHash {
    /// The hash of a challenge's text, its final LF included.
    pub fn of_text(text: &[u8]) -> Self {
        Self(Context::AUDIT_CHALLENGE.hash(&[text]))
    }
}

impl ResponseHash {
    /// The hash of a response without its signature.
    pub fn of_body(body: &[u8]) -> Self {
        Self(Context::AUDIT_RESPONSE.hash(&[body]))
    }
}

/// The id of the head with this text, its final LF included.
///
/// The text is hashed as given. The caller makes sure that the text is a head and is signed.
pub fn head_id(text: &[u8]) -> HeadId {
    HeadId(Context::HEAD_ID.hash(&[text]))
}

/// The reason why a text was not read as a hash.
#[non_exhaustive]
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum HashError {
    /// The text does not have 64 digits.
    WrongLength {
        /// The length of the text in bytes.
        actual: usize,
    },
    /// A byte of the text is not a lower-case hexadecimal digit.
    NotADigit {
        /// The position of that byte, from 0.
        at: usize,
    },
}

impl Coded for HashError {
    fn error_code(&self) -> ErrorCode {
        ErrorCode::HASH_MALFORMED
    }
}

impl fmt::Display for HashError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::WrongLength { actual } => {
                write!(f, "a hash has 64 hexadecimal digits, this has {actual}")
            }
            Self::NotADigit { at } => {
                write!(f, "a hash has lower-case hexadecimal digits only, this has another byte at {at}")
            }
        }
    }
}

impl core::error::Error for HashError {}

fn parse_hex(text: &str) -> Result<[u8; 32], HashError> {
    let (pairs, []) = text.as_bytes().as_chunks::<2>() else {
        return Err(HashError::WrongLength { actual: text.len() });
    };
    let pairs: &[[u8; 2]; 32] =
        pairs.try_into().map_err(|_| HashError::WrongLength { actual: text.len() })?;
    if let Some(at) = text.bytes().position(|byte| digit(byte).is_none()) {
        return Err(HashError::NotADigit { at });
    }
    Ok(pairs.map(|[high, low]| (digit(high).unwrap_or(0) << 4) | digit(low).unwrap_or(0)))
}

/// Accepts lower case only, unlike `char::to_digit`.
fn digit(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => byte.checked_sub(b'0'),
        b'a'..=b'f' => byte.checked_sub(b'a' - 10),
        _ => None,
    }
}

/// The key of a BLAKE3 derive_key context. The context string is already hashed, so each use costs only the
/// compressions of its input.
///
/// The constants are `blake3::hazmat::hash_derive_key_context` of the string beside them; a test recomputes them. No
/// two meanings share a context, so a hash of one kind never passes as a hash of another.
pub(crate) struct Context(blake3::hazmat::ContextKey);

impl Context {
    /// `weighbridge 2026-11-20 v1 entry`
    pub(crate) const ENTRY: Self = Self([
        0x32, 0x72, 0xee, 0x2e, 0xcd, 0x92, 0x26, 0xfb, 0x15, 0xc2, 0x2c, 0xc1, 0x75, 0x36, 0x3d,
        0xb5, //
        0x83, 0x66, 0x0a, 0x92, 0xd4, 0xe2, 0x83, 0x11, 0xb6, 0x51, 0x80, 0x40, 0xc2, 0xb1, 0xe2, 0x51,
    ]);
    /// `weighbridge 2026-11-20 v1 node`
    pub(crate) const NODE: Self = Self([
        0xa2, 0xfe, 0x14, 0xb5, 0xb2, 0xac, 0x12, 0x96, 0xdc, 0x9c, 0x4b, 0xa7, 0x57, 0xfa, 0xc7,
        0x77, //
        0x30, 0xb3, 0x93, 0xe8, 0xd2, 0x34, 0x85, 0xe9, 0xac, 0x08, 0x41, 0x3c, 0x67, 0xfe, 0xec, 0xf4,
    ]);
    /// `weighbridge 2026-11-20 v1 model root`
    pub(crate) const MODEL_ROOT: Self = Self([
        0x83, 0xf7, 0x5f, 0x70, 0xdb, 0x84, 0xac, 0xdf, 0x19, 0xa5, 0xee, 0xdb, 0x4b, 0x69, 0x91,
        0x27, //
        0x38, 0x06, 0x7f, 0xa0, 0x29, 0xb6, 0x06, 0x11, 0x6c, 0x19, 0x3f, 0x71, 0x67, 0x8b, 0xeb, 0xf1,
    ]);
    /// `weighbridge 2026-11-20 v1 tensors root`
    pub(crate) const TENSORS_ROOT: Self = Self([
        0xef, 0x46, 0x3d, 0x9f, 0x83, 0x37, 0x63, 0x76, 0xa0, 0xac, 0xb0, 0x61, 0xb4, 0x98, 0xf6,
        0x60, //
        0x69, 0x86, 0x06, 0x60, 0xb4, 0xd1, 0x07, 0xd3, 0x07, 0xcc, 0x13, 0x9d, 0x0a, 0x83, 0xad, 0x97,
    ]);
    /// `weighbridge 2026-11-20 v1 head id`
    const HEAD_ID: Self = Self([
        0x2b, 0x5b, 0x95, 0x07, 0x3a, 0x28, 0xd1, 0x46, 0x7d, 0x4b, 0x89, 0x97, 0xeb, 0x49, 0xa7,
        0xc8, //
        0x50, 0xed, 0x0a, 0x92, 0x85, 0x83, 0xb9, 0x2b, 0x80, 0x2b, 0x46, 0xde, 0xf8, 0x59, 0xbf, 0x1e,
    ]);
    /// `weighbridge 2026-11-20 v1 audit samples`
    pub(crate) const AUDIT_SAMPLES: Self = Self([
        0xd0, 0xe5, 0x04, 0x4b, 0xc6, 0xd3, 0xfc, 0xf9, 0x51, 0x9f, 0xec, 0x7b, 0x24, 0x84, 0x79,
        0x46, //
        0xa9, 0xed, 0x4d, 0x9a, 0x65, 0xba, 0x2f, 0x18, 0x1a, 0x72, 0x06, 0x3d, 0x4d, 0xbf, 0x61, 0x58,
    ]);
    /// `weighbridge 2026-11-20 v1 audit challenge`
    const AUDIT_CHALLENGE: Self = Self([
        0x12, 0xa6, 0xb7, 0x89, 0x04, 0x51, 0x40, 0x39, 0xad, 0x0a, 0x74, 0x63, 0x8e, 0x0e, 0x16,
        0x68, //
        0x9c, 0x07, 0x76, 0xe1, 0xfe, 0x9c, 0xfb, 0xd8, 0x28, 0x26, 0xef, 0xad, 0x18, 0xba, 0xc3, 0xdf,
    ]);
    /// `weighbridge 2026-11-20 v1 audit response`
    const AUDIT_RESPONSE: Self = Self([
        0x61, 0x0a, 0x45, 0xa4, 0x72, 0xe2, 0x4c, 0x1d, 0x08, 0x7e, 0xa8, 0x8f, 0x3b, 0xf6, 0xab,
        0x91, //
        0x89, 0xc9, 0x58, 0x16, 0x18, 0x88, 0x7a, 0x32, 0x66, 0x6b, 0xde, 0xd2, 0x9b, 0x2c, 0x96, 0x4c,
    ]);

    /// The extended output of this context over a text.
    pub(crate) fn output(&self, text: &[u8]) -> blake3::OutputReader {
        blake3::Hasher::new_from_context_key(&self.0).update(text).finalize_xof()
    }

    /// The hash of the concatenated parts.
    pub(crate) fn hash(&self, parts: &[&[u8]]) -> blake3::Hash {
        let mut hasher = blake3::Hasher::new_from_context_key(&self.0);
        for part in parts {
            hasher.update(part);
        }
        hasher.finalize()
    }
}

#[cfg(test)]
mod tests {
    use std::string::{String, ToString as _};

    use super::*;

    #[test]
    fn context_keys_are_those_of_their_strings() {
        for (key, context) in [
            (Context::ENTRY, "weighbridge 2026-11-20 v1 entry"),
            (Context::NODE, "weighbridge 2026-11-20 v1 node"),
            (Context::MODEL_ROOT, "weighbridge 2026-11-20 v1 model root"),
            (Context::TENSORS_ROOT, "weighbridge 2026-11-20 v1 tensors root"),
            (Context::HEAD_ID, "weighbridge 2026-11-20 v1 head id"),
            (Context::AUDIT_SAMPLES, "weighbridge 2026-11-20 v1 audit samples"),
            (Context::AUDIT_CHALLENGE, "weighbridge 2026-11-20 v1 audit challenge"),
            (Context::AUDIT_RESPONSE, "weighbridge 2026-11-20 v1 audit response"),
        ] {
            assert_eq!(key.0, blake3::hazmat::hash_derive_key_context(context), "{context}");
            for split in 0..=64 {
                let bytes: [u8; 64] = core::array::from_fn(|i| u8::try_from(i).unwrap());
                let (left, right) = bytes.split_at(split);
                assert_eq!(key.hash(&[left, right]), blake3::derive_key(context, &bytes), "{context}");
            }
        }
    }

    #[test]
    fn hex_goes_there_and_back() {
        let root = FileRoot::of(b"");
        let text = "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262";
        assert_eq!(root.to_string(), text);
        assert_eq!(FileRoot::from_hex(text), Ok(root));
        assert_eq!(text.parse(), Ok(root));
        assert_eq!(std::format!("{root:?}"), std::format!("FileRoot({text})"));
    }

    #[test]
    fn refuses_hex_in_any_other_form() {
        let good: String = "0123456789abcdef".repeat(4);
        assert!(FileRoot::from_hex(&good).is_ok());
        for length in (0..64).chain(65..130) {
            let text: String = "0".repeat(length);
            assert_eq!(FileRoot::from_hex(&text), Err(HashError::WrongLength { actual: length }));
        }
        for byte in 0..=127u8 {
            for at in [0, 1, 31, 62, 63] {
                let mut text = good.clone().into_bytes();
                text[at] = byte;
                let text = String::from_utf8(text).unwrap();
                let is_digit = byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
                let expected = if is_digit { None } else { Some(HashError::NotADigit { at }) };
                assert_eq!(FileRoot::from_hex(&text).err(), expected, "{text}");
            }
        }
        // The text has 63 characters and 64 bytes, since `é` takes two bytes: the length is counted in bytes.
        assert!(FileRoot::from_hex(&std::format!("{}é", &good[..62])).is_err());
    }

    #[test]
    fn one_line_makes_different_hashes_in_different_roles() {
        let bytes = b"{\"file\":\"a\"}";
        let all = [
            *EntryHash::of_line(bytes).as_bytes(),
            *head_id(bytes).as_bytes(),
            *FileRoot::of(bytes).as_bytes(),
        ];
        assert!(all[0] != all[1] && all[1] != all[2] && all[0] != all[2]);
    }
}
