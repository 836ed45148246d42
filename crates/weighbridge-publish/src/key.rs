//! Makes secret keys, keeps them in files, and signs with them.
//!
//! A secret key is PKCS#8 version 1 in PEM, as `spec/head.md` says: OpenSSL opens keys written here, and the other
//! way round. Beside `NAME.key` lies `NAME.vkey`, the public half with the key's name. A secret key is never opened
//! without its vkey: AES-CBC has no authentication, so a damaged file may decrypt to another key, and only the public
//! half shows that.
//!
//! # Absent on purpose
//! No `Clone` and no `Debug` of anything secret. No way to pass an empty passphrase. No key that signs before it was
//! compared with its vkey.

use std::{
    fmt,
    fs::{self, File, OpenOptions},
    io::{self, Read, Write},
    path::{Path, PathBuf},
};

use ed25519_dalek::{Signer, SigningKey};
use pkcs8::{
    AlgorithmIdentifierRef, EncodePrivateKey, EncryptedPrivateKeyInfoRef, LineEnding, ObjectIdentifier,
    PrivateKeyInfoRef, SubjectPublicKeyInfoRef,
    der::{Decode, Reader, SliceReader, asn1::OctetStringRef, pem},
    pkcs5::{self, EncryptionScheme, pbes2, scrypt},
};
use weighbridge_manifest::{KeyName, NoteSignature, PublicKey, Signature, Vkey, VkeyError, response_message};
use weighbridge_tree::{ChallengeHash, ResponseHash};
use zeroize::Zeroizing;

use crate::key_error::{KeyError, PassphraseFault, PemFault, our_fault};

/// A named Ed25519 key that can sign. The secret half is wiped on drop.
///
/// # Example
/// ```
/// use weighbridge_manifest::KeyName;
/// use weighbridge_publish::{KeyError, Passphrase, Protection, SecretKey};
/// # let folder = tempfile::tempdir()?;
///
/// let key = SecretKey::generate(KeyName::parse("example.org")?)?;
/// let passphrase = Passphrase::new(b"correct horse".to_vec().into())?;
/// let files = key.save(folder.path(), Protection::Passphrase(&passphrase))?;
/// assert!(files.secret.ends_with("example.org.key") && files.vkey.ends_with("example.org.vkey"));
///
/// // The passphrase is asked for only if the file needs one.
/// let loaded = SecretKey::load(&files.secret, || Ok(passphrase))?;
/// let line = loaded.sign(b"the text of a head\n");
/// assert!(key.vkey().has_signed(b"the text of a head\n", line.signature()));
///
/// let wrong = SecretKey::load(&files.secret, || Passphrase::new(b"battery staple".to_vec().into()));
/// assert!(matches!(wrong, Err(KeyError::WrongPassphrase)));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct SecretKey {
    vkey: Vkey,
    key: SigningKey,
}

impl SecretKey {
    /// Makes a new key from the system's randomness.
    ///
    /// # Errors
    /// [`KeyError::Random`] if the system gives no randomness.
    pub fn generate(name: KeyName) -> Result<Self, KeyError> {
        let mut seed = Zeroizing::new([0; 32]);
        getrandom::fill(seed.as_mut_slice()).map_err(|e| KeyError::Random(e.into()))?;
        let key = SigningKey::from_bytes(&seed);
        let vkey = Vkey::new(name, key.verifying_key().as_bytes()).map_err(KeyError::Unusable)?;
        Ok(Self { vkey, key })
    }

    /// Opens a secret key: PKCS#8 in PEM, version 1 or 2, plain or encrypted by PBES2 (scrypt or PBKDF2 with SHA-2,
    /// AES).
    ///
    /// `passphrase` is called at most once, and only if the key is encrypted and well-formed, so that a user is not
    /// asked in vain.
    ///
    /// # Guarantee
    /// The returned key is the one whose public half is `vkey`. A damaged file never becomes another key.
    ///
    /// # Errors
    /// [`KeyError::SecretPem`] if `pem` is not exactly one such key (rule 6), [`KeyError::WrongPassphrase`] if it
    /// does not decrypt, [`KeyError::OtherKey`] if the key is not that of `vkey`; and the errors of `passphrase`.
    ///
    /// # Cost
    /// The cost that the file demands, at most 256 MiB and a few seconds (rule 12).
    pub fn from_pem(
        vkey: Vkey,
        pem: &str,
        passphrase: impl FnOnce() -> Result<Passphrase, KeyError>,
    ) -> Result<Self, KeyError> {
        let (label, der) = open_pem(pem, &[PLAIN, ENCRYPTED]).map_err(KeyError::SecretPem)?;
        let key = if label == PLAIN {
            read_private_key(&der).map_err(KeyError::SecretPem)?
        } else {
            decrypt(&der, passphrase)?
        };
        if key.verifying_key().as_bytes() != vkey.public_key() {
            return Err(KeyError::OtherKey);
        }
        Ok(Self { vkey, key })
    }

    /// Writes the key as PEM, without its public half, since OpenSSL refuses version 2 of PKCS#8.
    ///
    /// With a passphrase, each call encrypts anew, so that no two texts are equal.
    ///
    /// # Errors
    /// [`KeyError::Random`] if the system gives no randomness for salt and nonce.
    ///
    /// # Cost
    /// With a passphrase about half a second and 16 MiB.
    pub fn to_pem(&self, protection: Protection<'_>) -> Result<Zeroizing<String>, KeyError> {
        // RFC 8410, section 7: the octet string contains a second octet string, which holds the 32 bytes.
        let mut octets = Zeroizing::new(Vec::with_capacity(34));
        octets.extend_from_slice(&SEED_HEADER);
        octets.extend_from_slice(self.key.as_bytes());
        let info = PrivateKeyInfoRef::new(ED25519, OctetStringRef::new(&octets).map_err(our_fault)?);
        let (label, document) = match protection {
            Protection::Unencrypted => (PLAIN, info.to_pkcs8_der().map_err(our_fault)?),
            Protection::Passphrase(passphrase) => {
                (ENCRYPTED, info.encrypt_with_params(encryption()?, &*passphrase.0).map_err(our_fault)?)
            }
        };
        document.to_pem(label, LineEnding::LF).map_err(our_fault)
    }

    /// Opens the key file at `path`. Its vkey lies beside it under the same name with the extension `vkey`.
    ///
    /// # Errors
    /// The errors of [`from_pem`](Self::from_pem); and [`KeyError::NoVkey`], [`KeyError::VkeyFile`] or
    /// [`KeyError::Io`] if one of the two files cannot be read.
    pub fn load(
        path: &Path,
        passphrase: impl FnOnce() -> Result<Passphrase, KeyError>,
    ) -> Result<Self, KeyError> {
        let vkey = load_vkey(&path.with_extension("vkey"))?;
        let bytes = read_file(path)?.ok_or(KeyError::SecretPem(PemFault::TooLong))?;
        let pem = str::from_utf8(&bytes).map_err(|e| KeyError::SecretPem(PemFault::NotOneBlock(e.into())))?;
        Self::from_pem(vkey, pem, passphrase)
    }

    /// Writes `NAME.key` and `NAME.vkey` into the folder `dir`, with `-` for each `/` in the name.
    ///
    /// On Unix the key file is readable by its owner alone; elsewhere its permissions are those that `dir`
    /// prescribes. When this returns, both files are on the disk.
    ///
    /// # Errors
    /// [`KeyError::Exists`] if either file exists already, [`KeyError::FileName`] if the key's name is no file name
    /// on some system, [`KeyError::Io`] otherwise. After an error no existing file was changed and no new one is
    /// left.
    pub fn save(&self, dir: &Path, protection: Protection<'_>) -> Result<KeyFiles, KeyError> {
        let stem = file_stem(self.vkey.name())?;
        let files =
            KeyFiles { secret: dir.join(format!("{stem}.key")), vkey: dir.join(format!("{stem}.vkey")) };
        let pem = self.to_pem(protection)?;
        // The secret is written last: if another file is in the way, no secret was written that would have to be
        // wiped.
        let vkey = NewFile::create(&files.vkey, 0o644, format!("{}\n", self.vkey).as_bytes())?;
        let secret = NewFile::create(&files.secret, 0o600, pem.as_bytes())?;
        vkey.keep();
        secret.keep();
        // Both files are complete. Some file systems cannot promise that the names outlast a power cut.
        #[cfg(unix)]
        let _ = File::open(dir).and_then(|dir| dir.sync_all());
        Ok(files)
    }

    /// The public half, with the key's name.
    #[must_use]
    pub fn vkey(&self) -> &Vkey {
        &self.vkey
    }

    /// Signs `text` as it is. Signing the same text again gives the same signature.
    #[must_use]
    pub fn sign(&self, text: &[u8]) -> NoteSignature {
        note_signature(&self.vkey, self.signature_of(text))
    }

    /// Signs a response to a challenge; returns the signature that ends the response.
    ///
    /// # Guarantee
    /// The signed message is made here and begins with a first line of its own, so it can be no head and no
    /// statement.
    ///
    /// # Example
    /// ```
    /// use weighbridge_manifest::SignedChallenge;
    /// use weighbridge_verify::{Answered, UnsignedResponse};
    /// # use weighbridge_manifest::{Challenge, KeyName, Time};
    /// # use weighbridge_publish::{SecretKey, sign_challenge};
    /// # use weighbridge_testkit::{Draft, Folder, bytes};
    /// # use weighbridge_tree::{ChunkSize, Nonce};
    /// # let model = [("model.bin", bytes(40_000, 1))];
    /// # let (folder, signed) = (Folder::of(&model), Draft::of(&model, ChunkSize::MIN).sign());
    /// # let files = &signed.files;
    /// # let holding = weighbridge_store::HeldFolder::open(folder.path(), &signed.metadata, files)?;
    /// # let key = SecretKey::generate(KeyName::parse("node")?)?;
    /// # let auditor = SecretKey::generate(KeyName::parse("auditor")?)?;
    /// # let (head, root, nonce) = (signed.head.id(), signed.head.head().root, Nonce::from_bytes([7; 32]));
    /// # let (issued, deadline) = (Time::parse("2026-11-20T18:00:00Z")?, Time::parse("2026-11-20T18:00:30Z")?);
    /// # let challenge = Challenge { head, root, prover: key.vkey().clone(), nonce, issued, deadline, samples: 10 };
    /// # let note = sign_challenge(&challenge, &auditor)?;
    ///
    /// // `key` is the node's, `note` the challenge, and `holding` the model folder.
    /// let challenge = SignedChallenge::parse(note.as_bytes())?.claims()?;
    /// let unsigned = UnsignedResponse::make(&challenge, key.vkey(), files, &holding, None)?;
    /// let signature = key.sign_response(&challenge.hash(), &unsigned.hash());
    /// let response = unsigned.sign(&signature)?;
    /// # let asked = SignedChallenge::parse(note.as_bytes())?.verify(auditor.vkey())?;
    /// # let answered = Answered::check(&asked, files, &response, issued, |_| false)?;
    /// assert_eq!(answered.report().samples, 10, "the auditor accepts it");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn sign_response(&self, challenge: &ChallengeHash, response: &ResponseHash) -> Signature {
        self.signature_of(&response_message(challenge, response))
    }

    fn signature_of(&self, message: &[u8]) -> Signature {
        // dalek hashes the public half that it derived itself, never one from outside: two signatures of one text
        // under two public halves would disclose the secret.
        Signature::new(self.key.sign(message).to_bytes())
    }
}

/// Shows only the public half.
impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SecretKey").field("vkey", &self.vkey).finish_non_exhaustive()
    }
}

/// The passphrase that encrypts a secret key: 1 to [`MAX_PASSPHRASE`] bytes, none of them NUL. Wiped on drop.
///
/// # Example
/// ```
/// use weighbridge_publish::Passphrase;
///
/// let typed = b"correct horse\n".to_vec();
/// let line = typed.strip_suffix(b"\n").unwrap_or(&typed);
/// assert!(Passphrase::new(line.to_vec().into()).is_ok());
/// assert!(Passphrase::new(Vec::new().into()).is_err(), "none is not a passphrase");
/// ```
pub struct Passphrase(Zeroizing<Vec<u8>>);

impl Passphrase {
    /// Takes all of `bytes` as a passphrase. The caller removes a line ending.
    ///
    /// # Errors
    /// [`KeyError::UnfitPassphrase`] if `bytes` is empty, too long, or has a NUL in it. Nothing is ever cut off.
    pub fn new(bytes: Zeroizing<Vec<u8>>) -> Result<Self, KeyError> {
        let fault = match bytes.len() {
            0 => PassphraseFault::Empty,
            length if length > MAX_PASSPHRASE => PassphraseFault::TooLong,
            _ if bytes.contains(&0) => PassphraseFault::Nul,
            _ => return Ok(Self(bytes)),
        };
        Err(KeyError::UnfitPassphrase(fault))
    }
}

/// Shows nothing.
impl fmt::Debug for Passphrase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Passphrase").finish_non_exhaustive()
    }
}

/// The form in which a secret key is written.
#[non_exhaustive]
#[derive(Clone, Copy, Debug)]
pub enum Protection<'a> {
    /// Encrypted by scrypt and AES-256-CBC.
    Passphrase(&'a Passphrase),
    /// In plain text. Anybody who can read the file has the key.
    Unencrypted,
}

/// The files of a saved key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyFiles {
    /// The secret key: `NAME.key`.
    pub secret: PathBuf,
    /// The public key, to be published: `NAME.vkey`.
    pub vkey: PathBuf,
}

/// Reads a public key that another program made: one PEM block `PUBLIC KEY`, as `openssl pkey -pubout` writes it.
///
/// [`Vkey::new`] checks whether the key is a good one.
///
/// # Errors
/// [`KeyError::PublicPem`] if `pem` is not exactly one such block with an Ed25519 key.
///
/// # Example
/// ```
/// use weighbridge_manifest::{KeyName, Vkey};
/// use weighbridge_publish::public_key_from_pem;
///
/// // As `openssl pkey -pubout` writes it.
/// let pem = "-----BEGIN PUBLIC KEY-----\n\
///            MCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=\n\
///            -----END PUBLIC KEY-----\n";
/// let vkey = Vkey::new(KeyName::parse("example.org")?, &public_key_from_pem(pem)?)?;
/// assert!(vkey.to_string().starts_with("example.org+"));
///
/// assert!(public_key_from_pem(&pem.replace("PUBLIC", "PRIVATE")).is_err());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn public_key_from_pem(pem: &str) -> Result<PublicKey, KeyError> {
    let read = || {
        let (_, der) = open_pem(pem, &[PUBLIC])?;
        let info = SubjectPublicKeyInfoRef::from_der(&der).map_err(PemFault::der)?;
        if info.algorithm != ED25519 {
            return Err(PemFault::Algorithm);
        }
        let key = info.subject_public_key.as_bytes().and_then(|bytes| bytes.try_into().ok());
        key.ok_or_else(|| PemFault::der("an Ed25519 public key is 32 bytes"))
    };
    read().map_err(KeyError::PublicPem)
}

/// Takes a signature of `text` that another program made, such as `openssl pkeyutl -sign -rawin`: exactly 64 bytes.
///
/// # Guarantee
/// The returned signature verifies under `vkey` by the strict rules of `spec/head.md`.
///
/// # Errors
/// [`KeyError::SignatureLength`] or [`KeyError::Signature`].
///
/// # Example
/// ```
/// use weighbridge_publish::{Signing, external_signature};
/// # let sample = weighbridge_testkit::Sample::of(&[("model.bin", 40_000)], 1);
/// # let text = sample.list.head().text().to_owned();
/// # let key = weighbridge_testkit::Key::new("example.org", 1);
/// # let (vkey, signature) = (key.vkey(), key.sign(&text).as_bytes().to_vec());
///
/// // `text` was signed elsewhere, with a key that never leaves its device. `signature` are the 64 bytes.
/// let mut signing = Signing::of_text(text)?;
/// let line = external_signature(&vkey, signing.text().as_bytes(), &signature)?;
/// signing.add(&vkey, line)?;
/// assert!(signing.note().is_some());
///
/// // A signature over another text is refused.
/// assert!(external_signature(&vkey, b"another text\n", &signature).is_err());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn external_signature(vkey: &Vkey, text: &[u8], signature: &[u8]) -> Result<NoteSignature, KeyError> {
    if signature.len() != vkey.signature_len() {
        return Err(KeyError::SignatureLength { bytes: signature.len() });
    }
    let signature = Signature::new(signature);
    if !vkey.has_signed(text, &signature) {
        return Err(KeyError::Signature);
    }
    Ok(note_signature(vkey, signature))
}

fn note_signature(vkey: &Vkey, signature: Signature) -> NoteSignature {
    NoteSignature::new(vkey.name().clone(), vkey.id(), signature)
}

/// Returns the label and the content of `text`, which must be one PEM block with one of the `known` labels, and
/// nothing else.
fn open_pem<'p>(text: &'p str, known: &[&str]) -> Result<(&'p str, Zeroizing<Vec<u8>>), PemFault> {
    // RFC 7468, and therefore the library, allows any text before the block. Rule 6 does not.
    if !text.starts_with("-----BEGIN ") {
        return Err(PemFault::NotOneBlock("no BEGIN line at the beginning".into()));
    }
    let fault = |e: pem::Error| PemFault::NotOneBlock(e.into());
    if !known.contains(&pem::decode_label(text.as_bytes()).map_err(fault)?) {
        return Err(PemFault::Label);
    }
    // The buffer is long enough from the start: one that grows would leave copies of the secret behind.
    let mut content = Zeroizing::new(vec![0; text.len()]);
    let (label, decoded) = pem::decode(text.as_bytes(), &mut content).map_err(fault)?;
    let length = decoded.len();
    content.truncate(length);
    Ok((label, content))
}

/// Reads PKCS#8 of either version. A public half in it is compared with the secret half and dropped.
fn read_private_key(der: &[u8]) -> Result<SigningKey, PemFault> {
    let info = PrivateKeyInfoRef::from_der(der).map_err(PemFault::der)?;
    if info.algorithm != ED25519 {
        return Err(PemFault::Algorithm);
    }
    let seed = info.private_key.as_bytes().strip_prefix(&SEED_HEADER).and_then(|seed| seed.try_into().ok());
    let key = SigningKey::from_bytes(seed.ok_or_else(|| PemFault::der("an Ed25519 secret key is 32 bytes"))?);
    match info.public_key {
        Some(public) if public.as_bytes() != Some(key.verifying_key().as_bytes()) => {
            Err(PemFault::PublicHalf)
        }
        _ => Ok(key),
    }
}

fn decrypt(
    der: &[u8],
    passphrase: impl FnOnce() -> Result<Passphrase, KeyError>,
) -> Result<SigningKey, KeyError> {
    let info = EncryptedPrivateKeyInfoRef::from_der(der).map_err(|e| {
        // Tells an unknown encryption from a malformed file: the first type knows the algorithms, the second only the
        // outer form.
        let well_formed = SliceReader::new(der).and_then(|mut reader| {
            reader.sequence(|fields| {
                AlgorithmIdentifierRef::decode(fields)?;
                <&OctetStringRef>::decode(fields)
            })
        });
        KeyError::SecretPem(if well_formed.is_ok() {
            PemFault::Encryption(e.into())
        } else {
            PemFault::der(e)
        })
    })?;
    let scheme = &info.encryption_algorithm;
    check_cost(scheme).map_err(KeyError::SecretPem)?;
    let passphrase = passphrase()?;
    let mut plain = Zeroizing::new(info.encrypted_data.as_bytes().to_vec());
    let decrypted = scheme.decrypt_in_place(&*passphrase.0, &mut plain).map_err(|e| match e {
        pkcs5::Error::DecryptFailed => KeyError::WrongPassphrase,
        e => KeyError::SecretPem(PemFault::Encryption(e.into())),
    })?;
    // One wrong passphrase in 256 leaves a well-formed padding. The bytes before it are noise.
    read_private_key(decrypted).map_err(|fault| match fault {
        PemFault::Der(_) => KeyError::WrongPassphrase,
        fault => KeyError::SecretPem(fault),
    })
}

/// Refuses a file that would take unbounded memory or time, before either is spent (rule 12).
///
/// The library trusts the parameters: with N = 2^60 it aborts the process, with N = 0 it panics.
fn check_cost(scheme: &EncryptionScheme) -> Result<(), PemFault> {
    let Some(parameters) = scheme.pbes2() else {
        return Err(PemFault::Encryption(pkcs5::Error::NoPbes1CryptSupport.into()));
    };
    let bearable = match &parameters.kdf {
        pbes2::Kdf::Scrypt(scrypt) => {
            let n = u128::from(scrypt.cost_parameter);
            let (r, p) = (u128::from(scrypt.block_size), u128::from(scrypt.parallelization));
            scrypt.cost_parameter.is_power_of_two()
                && n > 1
                && r > 0
                && p > 0
                && 128 * r * (n + p) <= MAX_SCRYPT_MEMORY
                && n * r * p <= MAX_SCRYPT_WORK
        }
        pbes2::Kdf::Pbkdf2(pbkdf2) => (1..=MAX_ITERATIONS).contains(&pbkdf2.iteration_count),
        // A key derivation that a later version of the library knows and this function does not.
        _ => false,
    };
    if bearable { Ok(()) } else { Err(PemFault::Cost) }
}

/// Encryption by scrypt with N = 2^14, r = 8, p = 8 and AES-256-CBC: the time of N = 2^17, in the memory that OpenSSL
/// allows.
fn encryption() -> Result<pbes2::Parameters, KeyError> {
    let (mut salt, mut iv) = ([0; 16], [0; 16]);
    getrandom::fill(&mut salt).map_err(|e| KeyError::Random(e.into()))?;
    getrandom::fill(&mut iv).map_err(|e| KeyError::Random(e.into()))?;
    let cost = scrypt::Params::new(14, 8, 8).map_err(our_fault)?;
    pbes2::Parameters::generate_scrypt_aes256cbc(cost, &salt, iv).map_err(our_fault)
}

fn load_vkey(path: &Path) -> Result<Vkey, KeyError> {
    let fault = |source| KeyError::VkeyFile { path: path.into(), source };
    let bytes = read_file(path).map_err(|e| match e {
        KeyError::Io { source, .. } if source.kind() == io::ErrorKind::NotFound => {
            KeyError::NoVkey { path: path.into() }
        }
        e => e,
    })?;
    let text =
        bytes.as_ref().and_then(|bytes| str::from_utf8(bytes).ok()).ok_or(fault(VkeyError::Malformed))?;
    // At most one line ending, LF or CRLF: version control may have changed it.
    let line = text.strip_suffix('\n').map_or(text, |line| line.strip_suffix('\r').unwrap_or(line));
    Vkey::parse(line).map_err(fault)
}

/// Reads a file; `None` if it has more than [`MAX_FILE`] bytes.
fn read_file(path: &Path) -> Result<Option<Zeroizing<Vec<u8>>>, KeyError> {
    let io = |source| KeyError::Io { doing: "reading", path: path.into(), source };
    // The buffer has room for every byte that is read: one that grows would leave copies of a secret behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(2 * MAX_FILE));
    let limit = u64::try_from(MAX_FILE).map_err(our_fault)? + 1;
    File::open(path).and_then(|file| file.take(limit).read_to_end(&mut bytes)).map_err(io)?;
    Ok((bytes.len() <= MAX_FILE).then_some(bytes))
}

/// The key's name as a file name, if no system reads another meaning into it.
fn file_stem(name: &KeyName) -> Result<String, KeyError> {
    let stem = name.as_str().replace('/', "-");
    // Neither hidden, nor an option of a command, nor a path, nor special to a shell or to Windows.
    let begins_well = stem.starts_with(|c: char| c.is_alphanumeric() || c == '_');
    let plain = stem.chars().all(|c| c.is_alphanumeric() || matches!(c, '.' | '_' | '-' | '@'));
    let device = stem.split('.').next().is_some_and(|first| {
        let first = first.to_ascii_uppercase();
        let numbered = first.strip_prefix("COM").or(first.strip_prefix("LPT"));
        matches!(&*first, "CON" | "PRN" | "AUX" | "NUL")
            || numbered.is_some_and(|n| n.chars().count() == 1 && n.chars().all(char::is_numeric))
    });
    if begins_well && plain && !device && stem.len() <= MAX_STEM { Ok(stem) } else { Err(KeyError::FileName) }
}

/// A new file. It is removed on drop unless it was [kept](Self::keep).
struct NewFile<'a>(Option<&'a Path>);

impl<'a> NewFile<'a> {
    /// Writes `bytes` to a new file and syncs it to the disk. `mode` is the file's mode on Unix.
    fn create(path: &'a Path, mode: u32, bytes: &[u8]) -> Result<Self, KeyError> {
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, mode);
        #[cfg(not(unix))]
        let _ = mode;
        let io = |source| KeyError::Io { doing: "writing", path: path.into(), source };
        let mut file = options.open(path).map_err(|e| match e.kind() {
            io::ErrorKind::AlreadyExists => KeyError::Exists { path: path.into() },
            _ => io(e),
        })?;
        let new = Self(Some(path));
        file.write_all(bytes).and_then(|()| file.sync_all()).map_err(io)?;
        Ok(new)
    }

    fn keep(mut self) {
        self.0 = None;
    }
}

impl Drop for NewFile<'_> {
    fn drop(&mut self) {
        if let Some(path) = self.0 {
            // The caller needs the first error; an error of removing the file is dropped.
            let _ = fs::remove_file(path);
        }
    }
}

/// RFC 8410: the object identifier without parameters.
const ED25519: AlgorithmIdentifierRef<'static> =
    AlgorithmIdentifierRef { oid: ObjectIdentifier::new_unwrap("1.3.101.112"), parameters: None };
/// The bytes before the 32 bytes of a secret key: OCTET STRING, length 32.
const SEED_HEADER: [u8; 2] = [0x04, 0x20];

pub(crate) const PLAIN: &str = "PRIVATE KEY";
pub(crate) const ENCRYPTED: &str = "ENCRYPTED PRIVATE KEY";
pub(crate) const PUBLIC: &str = "PUBLIC KEY";

/// The longest passphrase, in bytes.
pub const MAX_PASSPHRASE: usize = 4_096;
/// The longest key or vkey file, in bytes.
pub(crate) const MAX_FILE: usize = 16_384;
/// The longest file name without its extension, in bytes: most systems allow 255 in all.
pub(crate) const MAX_STEM: usize = 200;
/// The most memory that opening a file may take, in bytes. scrypt with N = 2^17 and r = 8 needs 128 MiB and 2^20 of
/// work.
const MAX_SCRYPT_MEMORY: u128 = 256 << 20;
/// The most work (N · r · p) that opening a file may take: eight times 2^20.
const MAX_SCRYPT_WORK: u128 = 1 << 23;
/// The most iterations of PBKDF2: sixteen times the number recommended today.
const MAX_ITERATIONS: u32 = 10_000_000;
