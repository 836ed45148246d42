//! Notes: the text of a head or statement with signatures behind it.

use weighbridge_manifest::{
    Challenge, Head, HeadError, Note, NoteError, NoteSignature, Receipt, Report, SignedChallenge,
    SignedReceipt, SignedReport, StatementError, Vkey,
};
use weighbridge_tree::{Coded, ErrorCode};

use crate::key::SecretKey;

/// A head's text and the signatures collected for its note.
///
/// The text is never encoded again: exactly the text that was read is signed and written.
///
/// # Example
/// ```
/// use weighbridge_manifest::{Expectation, SignedHead, TrustPolicy};
/// use weighbridge_publish::{Added, Signing};
/// # use weighbridge_manifest::KeyName;
/// # use weighbridge_publish::SecretKey;
/// # let sample = weighbridge_testkit::Sample::of(&[("model.bin", 40_000)], 1);
/// # let text = sample.list.head().text().to_owned();
/// # let (alice, bob) = (SecretKey::generate(KeyName::parse("alice")?)?, SecretKey::generate(KeyName::parse("bob")?)?);
///
/// // `text` is the text of a weighed head.
/// let mut signing = Signing::of_text(text)?;
/// assert_eq!(signing.note(), None, "nobody has signed it");
/// let line = alice.sign(signing.text().as_bytes());
/// assert_eq!(signing.add(alice.vkey(), line.clone())?, Added::Added);
/// assert_eq!(signing.add(alice.vkey(), line.clone())?, Added::AlreadyThere);
/// assert!(signing.add(bob.vkey(), line).is_err(), "it is not by this key");
///
/// // A second signer goes on from the note.
/// let mut signing = Signing::of_note(signing.note().ok_or("no signature")?.as_bytes())?;
/// signing.add(bob.vkey(), bob.sign(signing.text().as_bytes()))?;
/// let note = signing.note().ok_or("no signature")?;
/// let policy = TrustPolicy::any_of(vec![alice.vkey().clone(), bob.vkey().clone()])?;
/// let head = SignedHead::parse(note.as_bytes())?.verify(&policy, &Expectation::any(), None)?;
/// assert_eq!(head.signers().len(), 2);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Signing {
    text: String,
    head: Head,
    signatures: Vec<NoteSignature>,
}

/// Whether a signature was added, or was present before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Added {
    /// The note has changed: it now has a signature by the key, and no other line under the key's name and id.
    Added,
    /// The note already had a signature by the same key, and has not changed.
    AlreadyThere,
}

impl Signing {
    /// Begins with a text without signatures.
    ///
    /// # Errors
    /// [`HeadError`] if the text is no head: no signature should exist for a text that every verifier refuses.
    pub fn of_text(text: String) -> Result<Self, HeadError> {
        let head = Head::parse(&text)?;
        Ok(Self { text, head, signatures: Vec::new() })
    }

    /// Begins with a note, to add a signature to it.
    ///
    /// # Errors
    /// [`SigningError`] if the bytes are no note, or not the note of a head.
    pub fn of_note(bytes: &[u8]) -> Result<Self, SigningError> {
        let note = Note::parse(bytes).map_err(SigningError::Note)?;
        let signing = Self::of_text(note.text().to_owned()).map_err(SigningError::Head)?;
        Ok(Self { signatures: note.signatures().to_vec(), ..signing })
    }

    /// The exact bytes to sign.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The values of the head.
    #[must_use]
    pub fn head(&self) -> &Head {
        &self.head
    }

    /// Adds a signature that `vkey` made over [`text`](Self::text). An earlier good signature by this key stays; bad
    /// lines under the key's name and id, for which verifiers would refuse the note, are removed.
    ///
    /// # Errors
    /// [`SigningError`] if the signature is not by this key over this text, or if the note could not be read with it.
    pub fn add(&mut self, vkey: &Vkey, signature: NoteSignature) -> Result<Added, SigningError> {
        let text = self.text.as_bytes();
        let claims = |line: &NoteSignature| line.name() == vkey.name() && line.id() == vkey.id();
        if !claims(&signature) || !vkey.has_signed(text, signature.signature()) {
            return Err(SigningError::NotByThisKey);
        }
        let unchanged = self.signatures.clone();
        let before = self.signatures.len();
        let mut signed = false;
        self.signatures.retain(|line| {
            if !claims(line) {
                return true;
            }
            let good = vkey.has_signed(text, line.signature());
            signed |= good;
            good
        });
        if signed && self.signatures.len() == before {
            return Ok(Added::AlreadyThere);
        }
        if !signed {
            self.signatures.push(signature);
        }
        let readable = self.note().map(|note| Note::parse(note.as_bytes()));
        if let Some(Err(error)) = readable {
            self.signatures = unchanged;
            return Err(SigningError::Note(error));
        }
        Ok(Added::Added)
    }

    /// The note; `None` without any signature.
    #[must_use]
    pub fn note(&self) -> Option<String> {
        (!self.signatures.is_empty()).then(|| note(&self.text, &self.signatures))
    }
}

/// The text, an empty line, and the signatures.
fn note(text: &str, signatures: &[NoteSignature]) -> String {
    let lines = signatures.iter().map(|s| format!("{s}\n"));
    [text.to_owned(), "\n".to_owned()].into_iter().chain(lines).collect()
}

/// An auditor's challenge as a note, signed by the auditor.
///
/// # Errors
/// [`SigningError`] if the note could not be read.
///
/// # Cost
/// Signing, and reading what was signed: about three Ed25519 operations.
///
/// # Example
/// ```
/// use weighbridge_manifest::{Challenge, SignedChallenge, Time};
/// use weighbridge_publish::sign_challenge;
/// # use weighbridge_manifest::KeyName;
/// # use weighbridge_publish::SecretKey;
/// # use weighbridge_tree::Nonce;
/// # let sample = weighbridge_testkit::Sample::of(&[("model.bin", 40_000)], 1);
/// # let (head, nonce) = (sample.list.head(), Nonce::from_bytes([7; 32]));
/// # let auditor = SecretKey::generate(KeyName::parse("auditor")?)?;
/// # let prover = SecretKey::generate(KeyName::parse("node")?)?.vkey().clone();
///
/// let challenge = Challenge {
///     head: head.id(),
///     root: head.head().root,
///     prover,
///     nonce, // random, and never used before
///     issued: Time::parse("2026-11-20T18:00:00Z")?,
///     deadline: Time::parse("2026-11-20T18:00:30Z")?,
///     samples: 500,
/// };
/// let note = sign_challenge(&challenge, &auditor)?;
/// let verified = SignedChallenge::parse(note.as_bytes())?.verify(auditor.vkey())?;
/// assert_eq!(*verified.challenge(), challenge);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn sign_challenge(challenge: &Challenge, auditor: &SecretKey) -> Result<String, SigningError> {
    let note = statement(challenge.to_text(), auditor)?;
    let signed = SignedChallenge::parse(note.as_bytes()).map_err(SigningError::Note)?;
    let _ = signed.verify(auditor.vkey()).map_err(SigningError::Statement)?;
    Ok(note)
}

/// An auditor's report as a note, signed by the auditor.
///
/// # Errors
/// [`SigningError`] if the note could not be read.
///
/// # Cost
/// The same as [`sign_challenge`].
///
/// # Example
/// ```
/// use weighbridge_manifest::SignedReport;
/// use weighbridge_publish::sign_report;
/// # use weighbridge_manifest::{KeyName, Report, Time};
/// # use weighbridge_publish::SecretKey;
/// # use weighbridge_tree::{ChallengeHash, ResponseHash};
/// # let sample = weighbridge_testkit::Sample::of(&[("model.bin", 40_000)], 1);
/// # let (head, auditor) = (sample.list.head(), SecretKey::generate(KeyName::parse("auditor")?)?);
/// # let report = &Report {
/// #     name: head.head().name.clone(),
/// #     head: head.id(),
/// #     root: head.head().root,
/// #     prover: SecretKey::generate(KeyName::parse("node")?)?.vkey().clone(),
/// #     challenge: ChallengeHash::from_bytes([1; 32]),
/// #     response: ResponseHash::from_bytes([2; 32]),
/// #     samples: 10,
/// #     of: 40,
/// #     issued: Time::parse("2026-11-20T18:00:00Z")?,
/// #     received: Time::parse("2026-11-20T18:00:02Z")?,
/// # };
///
/// // `report` is `Answered::report` of a response that was checked.
/// let note = sign_report(report, &auditor)?;
///
/// // Whoever believes this auditor reads it.
/// let read = SignedReport::parse(note.as_bytes())?.verify(auditor.vkey())?;
/// assert_eq!(read.report(), report);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn sign_report(report: &Report, auditor: &SecretKey) -> Result<String, SigningError> {
    let note = statement(report.to_text(), auditor)?;
    let signed = SignedReport::parse(note.as_bytes()).map_err(SigningError::Note)?;
    let _ = signed.verify(auditor.vkey()).map_err(SigningError::Statement)?;
    Ok(note)
}

/// A node's receipt as a note, signed by the node.
///
/// # Errors
/// [`SigningError`] if the note could not be read, or if `node` is not the key that the receipt names (3301).
///
/// # Cost
/// The same as [`sign_challenge`].
///
/// # Example
/// ```
/// use weighbridge_manifest::{Receipt, SignedReceipt, Time};
/// use weighbridge_publish::{Coded, sign_receipt};
/// # use weighbridge_manifest::KeyName;
/// # use weighbridge_publish::SecretKey;
/// # let sample = weighbridge_testkit::Sample::of(&[("model.bin", 40_000)], 1);
/// # let (head, node) = (sample.list.head(), SecretKey::generate(KeyName::parse("node")?)?);
/// # let other = SecretKey::generate(KeyName::parse("node")?)?;
///
/// let receipt = Receipt {
///     name: head.head().name.clone(),
///     head: head.id(),
///     root: head.head().root,
///     node: node.vkey().clone(),
///     verified: Time::parse("2026-11-20T18:00:00Z")?,
///     nonce: None, // or that of whoever asked for the receipt
/// };
/// let note = sign_receipt(&receipt, &node)?;
/// let claim = SignedReceipt::parse(note.as_bytes())?.check()?;
/// assert_eq!(*claim.receipt(), receipt);
///
/// // No other node signs for this one.
/// assert_eq!(sign_receipt(&receipt, &other).unwrap_err().error_code().get(), 3301);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn sign_receipt(receipt: &Receipt, node: &SecretKey) -> Result<String, SigningError> {
    let note = statement(receipt.to_text(), node)?;
    let signed = SignedReceipt::parse(note.as_bytes()).map_err(SigningError::Note)?;
    let _ = signed.check().map_err(SigningError::Statement)?;
    Ok(note)
}

fn statement(text: Result<String, StatementError>, key: &SecretKey) -> Result<String, SigningError> {
    let text = text.map_err(SigningError::Statement)?;
    Ok(note(&text, &[key.sign(text.as_bytes())]))
}

/// The reason why a note is not signed.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SigningError {
    /// The bytes are no note.
    Note(NoteError),
    /// The note is not that of a head.
    Head(HeadError),
    /// The signature is not by this key over this text.
    NotByThisKey,
    /// The text is no statement, or not one that this key may sign.
    Statement(StatementError),
}

impl Coded for SigningError {
    fn error_code(&self) -> ErrorCode {
        match self {
            Self::Note(error) => error.error_code(),
            Self::Head(error) => error.error_code(),
            Self::NotByThisKey => ErrorCode::SIGNATURE_NOT_BY_KEY,
            Self::Statement(error) => error.error_code(),
        }
    }
}

impl std::fmt::Display for SigningError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Note(error) => error.fmt(f),
            Self::Head(error) => error.fmt(f),
            Self::NotByThisKey => f.write_str("the signature is not by this key over this head"),
            Self::Statement(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for SigningError {}
