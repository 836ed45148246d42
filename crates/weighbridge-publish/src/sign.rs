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
